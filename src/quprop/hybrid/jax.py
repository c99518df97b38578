"""A model in a JAX program: `function(model)` is f(theta, x), for grad, jacrev, jacfwd, hessian, vmap and jit.

    f = function(model)
    loss = lambda theta, x, y: ((f(theta, x)[..., 0] - y) ** 2).mean()
    step = jax.jit(jax.value_and_grad(loss))        # then optax, as ever

Behind it are primitives of its own (jax_primitives.py) and not `jax.custom_vjp`, which would give up forward mode, and
whose second derivatives would be callbacks that JAX cannot differentiate. They broadcast leading axes, so that vmap
adds an axis and the engine still sees one call.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from quprop.errors import QupropError
from quprop.hybrid.jax_primitives import Array, jax, value_p
from quprop.hybrid.node import PRECISION_OF, Node, check_model, check_shapes
from quprop.hybrid.noise import noisy_model
from quprop.hybrid.output_node import OutputNode, check_output
from quprop.model import Model
from quprop.model.circuit import Circuit
from quprop.simulate import Composite, get_engine

jnp = jax.numpy


def function(
    model: Model | Composite | Circuit,
    *,
    output: Any = None,
    observables: Any = None,
    noise: Any = None,
    precision: str | None = None,
    threads: int | None = None,
    engine: Any = None,
) -> Callable[..., Array]:
    """f(theta, x) -> (..., K), the expectation values of all observables; theta (..., P), x (..., D), leading axes
    broadcast. A model without inputs: f(theta). The plan of a cut circuit (`qpr.cut`) is taken like a model.

    output: what is read from the state in place of expectation values: one of `qpr.outputs`, such as
    `qpr.outputs.Entropy([0, 1])`, with results (..., *shape), complex where it is; "probabilities" and "amplitudes" for
    those of all basis states. Of models without noise.

    observables: of a Circuit in place of a model. noise: put on the Circuit, an object with apply(circuit) or a
    function from a circuit to the noisy one; its parameters follow those of the circuit in theta. Errors of readout at
    the end act on each Pauli string in the basis it is measured in. Models with noise have first derivatives only.

    Derivatives by theta and x are exact up to the third order, in any mix of forward and reverse mode, so that a loss
    with a Laplacian has its gradient; a fourth order is refused, and a third one of cut circuits.

    The dtype is what theta and x promote to: float64 under `jax_enable_x64`, else float32, which is simulated in single
    precision unless precision="double". threads: of the engine; None: all cores. engine: as in `quprop.expectation`.

    The simulation runs on the CPU, also for arrays on other devices, which JAX copies there and back. Values that are
    not finite are refused; inside a compiled program JAX raises its own JaxRuntimeError, which ends in the sentence.
    """
    model = check_model("function", noisy_model("function", model, observables, noise))
    output = None if output is None else check_output("function", model, output)
    if precision is not None or threads is not None or engine is not None:
        get_engine(engine, precision or "double", threads)  # refuses what it does not know

    def f(theta: Array, x: Array | None = None) -> Array:
        """The expectation values (..., K), or the output (..., *shape), at theta (..., P) and x (..., D)."""
        theta, x = _checked(model, theta, x)
        if output is not None:
            of = OutputNode(model, output, precision or PRECISION_OF[str(theta.dtype)], threads, engine)
            return _presented(of, value_p.bind(theta, x, node=of, keep=False)[0])
        node = Node(model, precision or PRECISION_OF[str(theta.dtype)], threads, engine)
        return value_p.bind(theta, x, node=node, keep=False)[0]

    f.model = model  # type: ignore[attr-defined]
    return f


def _presented(node: OutputNode, values: Array) -> Array:
    """(..., *shape); complex numbers are put together by JAX, whose convention their derivatives then have."""
    lead = values.shape[:-1]
    if node.output.complex:
        pairs = values.reshape(*lead, -1, 2)
        values = jax.lax.complex(pairs[..., 0], pairs[..., 1])
    return values.reshape((*lead, *node.shape_of_output))


def _checked(model: Model | Composite, theta: Any, x: Any) -> tuple[Array, Array]:
    """theta and x of one floating dtype; (0,) for the x of a model without inputs."""
    arrays: list[Any] = []
    for name, value in (("theta", theta), ("x", x)):
        if value is None:
            if name == "theta":
                raise QupropError(f"theta is missing; pass {model.n_params} parameters as f(theta, x)")
            arrays.append(None)
            continue
        try:
            array = jnp.asarray(value)
        except (TypeError, ValueError):
            raise QupropError(f"{name} must be an array of real numbers, got {type(value).__name__}") from None
        if not jnp.issubdtype(array.dtype, jnp.floating) and array.size:
            raise QupropError(f"{name} must be floating point, got {array.dtype}; pass {name}.astype(float)")
        arrays.append(array)
    theta, x = arrays
    check_shapes(model, theta.shape, None if x is None else x.shape)
    dtype = theta.dtype if x is None else jnp.promote_types(theta.dtype, x.dtype)
    if str(dtype) not in PRECISION_OF:  # half precisions
        dtype = jnp.dtype(jnp.float32)
    if x is None or not model.n_inputs:
        x = jnp.zeros(0, dtype)
    return theta.astype(dtype), x.astype(dtype)
