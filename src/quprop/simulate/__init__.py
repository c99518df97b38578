"""Simulation of models: the public functions, where every argument is checked, over the engines, which trust theirs."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from quprop.arrays import all_finite, checked, measured, plain
from quprop.errors import QupropError, count_of, generator_of
from quprop.lazy import listing
from quprop.model import Model
from quprop.model.channels import DENSITY, refuse_channels
from quprop.simulate import memory
from quprop.simulate.auto import AutoEngine
from quprop.simulate.commuting.engine import Commuting
from quprop.simulate.distributed.serve import lead
from quprop.simulate.distributed.settings import Distributed
from quprop.simulate.engine import MAX_QUBITS, Arrays, Composite, Engine
from quprop.simulate.engines import ENGINES, engine_for, get_engine, is_model
from quprop.simulate.noise.trajectories import Averages, Trajectories
from quprop.simulate.pauli.engine import Propagated
from quprop.simulate.pauli.settings import PauliPropagation
from quprop.simulate.vectors import drawn_states

__all__ = [
    "ENGINES",
    "MAX_QUBITS",
    "AutoEngine",
    "Averages",
    "Call",
    "Commuting",
    "Composite",
    "Distributed",
    "Engine",
    "PauliPropagation",
    "Propagated",
    "Trajectories",
    "engine_for",
    "estimate",
    "expectation",
    "get_engine",
    "hvp",
    "in_range",
    "is_model",
    "lead",
    "probabilities",
    "propagate",
    "quiet",
    "samples",
    "state",
    "value_and_grad",
    "vjp",
]

__dir__ = listing(__name__)

_RESULTS = {
    "values": "the value",
    "value_and_grad": "the gradient",
    "vjp": "the gradient",
    "hvp": "the Hessian-vector product",
    **dict.fromkeys(("jet", "state_jet"), "the derivatives along a direction"),
    "states": "the state",
    "register": "the state's probabilities",
    "probabilities": "the mixed state",
    "state_vjp": "the gradient of a state",
}


class Call:
    """Checked arguments of one evaluation, and the batch shape its results get back."""

    __slots__ = ("engine", "shape", "theta", "x")

    def __init__(
        self,
        model: Model | Composite,
        theta: Any,
        x: Any,
        engine: Any,
        precision: str,
        threads: int | None,
        what: str,
    ):
        if not is_model(model):
            raise QupropError(
                f"model must be a quprop Model, got {type(model).__name__}; "
                "build one with qpr.Model(circuit, observables)"
            )
        theta, size = measured("theta", theta, (..., model.n_params))
        if x is None and model.n_inputs:
            raise QupropError(f"this model has {model.n_inputs} inputs; pass x with shape (..., {model.n_inputs})")
        if x is not None and not model.n_inputs and plain("x", x).size:
            raise QupropError("this model has no inputs; leave x out")
        self.engine = engine_for(model, engine, precision, threads)
        if not isinstance(model, Model):
            model = model.model
        if x is None or not model.n_inputs:
            self.shape: tuple[int, ...] = theta.shape[:-1]
            self.theta = theta.reshape(math.prod(self.shape), model.n_params)
            self.x = np.empty((1, 0))
        else:
            x, size_x = measured("x", x, (..., model.n_inputs))
            size = max(size, size_x)
            try:
                self.shape = np.broadcast_shapes(theta.shape[:-1], x.shape[:-1])
            except ValueError:
                raise QupropError(
                    f"the batch axes of theta {theta.shape[:-1]} and x {x.shape[:-1]} must be equal or broadcast"
                ) from None
            self.theta, self.x = (_rows(a, self.shape) for a in (theta, x))
        batch = self.batch
        if batch == 0:
            given = f"theta has shape {theta.shape}" + (f" and x {x.shape}" if x is not None else "")
            raise QupropError(f"the batch is empty: {given}; pass one sample at least")
        if not size <= model.angle_limit * model.angle_limit:
            model.angle_table.check(self.theta, self.x)
        if model.channels or model.n_qubits > 20 or batch << model.n_qubits > 1 << 22:
            needed = self.engine.memory(model, batch, what)
            if model.n_qubits > MAX_QUBITS and needed >= 1 << MAX_QUBITS:  # not so if few basis states are reached
                raise QupropError(
                    f"a state of {model.n_qubits} qubits fits no machine; state vectors end at {MAX_QUBITS} qubits"
                )
            samples = f" for {count_of(batch, 'sample')}" if batch > 1 else ""
            require = getattr(self.engine, "require", memory.require)
            require(
                needed,
                f"{_RESULTS[what]} of {model.n_qubits} qubits{samples}",
                'use precision="single", a smaller batch or fewer qubits',
            )

    @property
    def batch(self) -> int:
        return math.prod(self.shape)


def _rows(array: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """(1, size) if it is the same for all samples, else (B, size)."""
    size = array.shape[-1]
    if math.prod(array.shape[:-1]) == 1:
        return array.reshape(1, size)
    return np.ascontiguousarray(np.broadcast_to(array, (*shape, size)).reshape(math.prod(shape), size))


def _beside(name: str, value: Any, size: int, shape: tuple[int, ...]) -> np.ndarray:
    """An array that goes with the batch: (1, size), or (B, size)."""
    array = checked(name, value, (..., size))
    try:
        fits = np.broadcast_shapes(array.shape[:-1], shape) == shape
    except ValueError:
        fits = False
    if not fits:
        raise QupropError(f"{name} must have shape {(*shape, size)}, got {array.shape}")
    return _rows(array, shape)


def quiet() -> np.errstate:
    """No warnings of results that are checked before they are handed out."""
    return np.errstate(over="ignore", invalid="ignore")


def in_range(what: str, precision: str, *results: np.ndarray) -> None:
    """Refuses results that overflowed."""
    if not all(map(all_finite, results)):
        mend = (
            'use precision="double"'
            if precision == "single"
            else "scale down the angles, observables, weights or vectors"
        )
        raise QupropError(f"{what} is larger than {precision} precision holds; {mend}")


def _weights(model: Model | Composite, weights: Any, call: Call) -> np.ndarray:
    if weights is None:
        if model.n_observables != 1:
            raise QupropError(
                f"this model has {model.n_observables} observables; pass weights=, one number for each, to say which "
                "sum to differentiate"
            )
        return np.ones((1, 1))
    return _beside("weights", weights, model.n_observables, call.shape)


def expectation(
    model: Model | Composite,
    theta: Any,
    x: Any = None,
    *,
    engine: Any = None,
    precision: str = "double",
    threads: int | None = None,
) -> np.ndarray:
    """The expectation values <O_k> of all observables: (..., n_observables).

    theta is (..., n_params) and x (..., n_inputs), angles in radians; leading axes are batches and broadcast.

    engine: a name of `quprop.simulate.ENGINES`, an engine or its settings (`qpr.Trajectories(1000)`); default "auto".
    precision: "double" or "single". threads: all cores by default; results do not depend on it.
    Returns: float array (..., n_observables).
    Raises: QupropError for other shapes or numbers that are not finite, and where no engine or memory serves the model.

    >>> model = qpr.Model(qpr.Circuit(1).ry(qpr.params("theta", 1)[0], 0), "Z0")  # cos(theta)
    >>> qpr.expectation(model, [[0.0], [np.pi / 3]]).round(6).tolist()
    [[1.0], [0.5]]
    """
    call = Call(model, theta, x, engine, precision, threads, "values")
    values = call.engine.values(model, call.theta, call.x)
    in_range("a value", precision, values)
    return values.reshape(*call.shape, model.n_observables)


def value_and_grad(
    model: Model | Composite,
    theta: Any,
    x: Any = None,
    *,
    weights: Any = None,
    engine: Any = None,
    precision: str = "double",
    threads: int | None = None,
) -> Arrays:
    """F = sum_k weights_k <O_k> and its exact gradient dF/dtheta: shapes (...) and (..., n_params).

    weights is (..., n_observables); it may be left out for a model with one observable.
    Adjoint differentiation (Jones & Gacon 2020, arXiv:2009.02823): one forward and one backward sweep.

    Returns: float arrays (...) and (..., n_params). theta, x, engine, precision, threads: as in `expectation`.
    Raises: QupropError as `expectation`, and for several observables without weights.

    >>> model = qpr.Model(qpr.Circuit(1).ry(qpr.params("theta", 1)[0], 0), "Z0")  # cos(theta)
    >>> value, grad = qpr.value_and_grad(model, [np.pi / 3])
    >>> value.round(6), grad.round(6)
    (np.float64(0.5), array([-0.866025]))
    """
    call = Call(model, theta, x, engine, precision, threads, "value_and_grad")
    w = _weights(model, weights, call)
    value, grad = call.engine.value_and_grad(model, call.theta, call.x, w)
    in_range("the value or its gradient", precision, value, grad)
    if not call.shape:
        return value[0], grad[0]
    return value.reshape(call.shape), grad.reshape(*call.shape, model.n_params)


def propagate(
    model: Model,
    theta: Any,
    x: Any = None,
    *,
    weights: Any = None,
    engine: PauliPropagation | None = None,
    threads: int | None = None,
) -> Propagated:
    """F = sum_k weights_k <O_k>, its gradient, and how wrong each number can be, by Pauli propagation at one point:
    theta (P,), x (D,), weights (K,), all 1 if left out.

    engine: what may be dropped; `PauliPropagation()` keeps the value and all derivatives within 1e-3. Bounds hold for
    the strings that were dropped, at these angles, and count rounding. threads: as in `expectation`.
    Returns: Propagated: value, gradient (P,), d_x (D,), and the bounds value_bound, gradient_bound, x_bound.
    Raises: QupropError for other shapes, and where the engine's tolerance cannot be kept in its memory.

    >>> model = qpr.Model(qpr.Circuit(1).ry(qpr.params("theta", 1)[0], 0), "Z0")  # cos(theta)
    >>> result = qpr.propagate(model, [np.pi / 3])
    >>> round(result.value, 6), result.gradient.round(6), result.value_bound < 1e-3
    (0.5, array([-0.866025]), True)
    """
    call = Call(model, theta, x, engine or PauliPropagation(), "double", threads, "value_and_grad")
    if not isinstance(model, Model) or call.shape:
        raise QupropError(
            f"propagate takes a Model and one point, theta ({model.n_params},), got {type(model).__name__} and theta "
            f"{np.shape(theta)}"
        )
    return call.engine.propagate(model, call.theta[0], call.x[0], weights)


def estimate(
    model: Model,
    theta: Any,
    x: Any = None,
    *,
    weights: Any = None,
    engine: Trajectories | None = None,
    precision: str = "double",
    threads: int | None = None,
) -> Averages:
    """Values, F = sum_k weights_k <O_k> and its gradient by theta and x with their standard errors, from random
    trajectories of a noisy model at one point: theta (P,), x (D,), weights (K,), all 1 if left out.

    engine: how many trajectories, and their seed. All means are without bias, derivatives in strengths included.

    precision, threads: as in `expectation`.
    Returns: Averages: values (K,), value, gradient (P,), d_x (D,), each with its error, `value_error` and so on.
    Raises: QupropError for other shapes, batches, and engines that are no `Trajectories`.

    >>> model = qpr.Model(qpr.Circuit(1).ry(qpr.params("theta", 1)[0], 0).depolarising(0.03, 0), "Z0")
    >>> found = qpr.estimate(model, [0.0], engine=qpr.Trajectories(samples=2000, seed=1))
    >>> bool(abs(found.value - 0.96) < 4 * found.value_error)
    True
    """
    if engine is not None and not isinstance(engine, Trajectories):
        raise QupropError(f"estimate takes engine=qpr.Trajectories(samples, seed), got {engine!r}")
    call = Call(model, theta, x, engine or Trajectories(), precision, threads, "value_and_grad")
    if not isinstance(model, Model) or call.shape:
        raise QupropError(
            f"estimate takes a Model and one point, theta ({model.n_params},), got {type(model).__name__} and theta "
            f"{np.shape(theta)}"
        )
    return call.engine.estimate(model, call.theta[0], call.x[0], weights)


def vjp(
    model: Model | Composite,
    theta: Any,
    x: Any = None,
    *,
    engine: Any = None,
    precision: str = "double",
    threads: int | None = None,
) -> tuple[np.ndarray, Callable[..., Arrays]]:
    """The values (..., K), and pullback(cotangent) -> (d_theta, d_x): the gradients of sum_k cotangent_k <O_k>.

    cotangent is (..., K); d_theta is (..., n_params) and d_x (..., n_inputs), sample by sample. With
    `pullback(cotangent, sum_theta=True)` d_theta is summed over the batch, as a shared theta needs it: (n_params,).
    One backward sweep whatever the number of observables: their sum, weighted by the cotangent, is applied once.

    theta, x, engine, precision, threads: as in `expectation`.
    Returns: float array (..., K) and a function of the cotangent. Raises: QupropError as `expectation`.

    >>> model = qpr.Model(qpr.Circuit(1).ry(qpr.params("theta", 1)[0], 0), "Z0")  # cos(theta)
    >>> values, pullback = qpr.vjp(model, [np.pi / 3])
    >>> values.round(6), pullback([1.0])[0].round(6)
    (array([0.5]), array([-0.866025]))
    """
    call = Call(model, theta, x, engine, precision, threads, "vjp")
    values, inner = call.engine.vjp(model, call.theta, call.x)
    in_range("a value", precision, values)
    shape, batch, K = call.shape, call.batch, model.n_observables

    def pullback(cotangent: Any, *, sum_theta: bool = False) -> Arrays:
        c = np.ascontiguousarray(np.broadcast_to(_beside("cotangent", cotangent, K, shape), (batch, K)))
        with quiet():
            d_theta, d_x = inner(c, sum_theta)
        in_range("the gradient", precision, d_theta, d_x)
        if not sum_theta:
            d_theta = d_theta.reshape(*shape, model.n_params)
        return d_theta, d_x.reshape(*shape, model.n_inputs)

    return values.reshape(*shape, K), pullback


def hvp(
    model: Model | Composite,
    theta: Any,
    x: Any = None,
    *,
    v_theta: Any,
    v_x: Any = None,
    weights: Any = None,
    engine: Any = None,
    precision: str = "double",
    threads: int | None = None,
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Exact gradient and Hessian-vector product of F = sum_k weights_k <O_k>: (d_theta, d_x, h_theta, h_x).

    h = d/dt of the gradient at (theta + t v_theta, x + t v_x), t = 0; v_x is zero if left out. The adjoint sweep,
    differentiated forwards: twice its states, no differences, no second circuit.

    theta, x, weights, engine, precision, threads: as in `value_and_grad`. v_theta (..., n_params), v_x (..., n_inputs).
    Returns: float arrays (..., n_params), (..., n_inputs), (..., n_params), (..., n_inputs).
    Raises: QupropError as `value_and_grad`, and for a model with channels, which has no second derivatives here.

    >>> model = qpr.Model(qpr.Circuit(1).ry(qpr.params("theta", 1)[0], 0), "Z0")  # cos(theta)
    >>> qpr.hvp(model, [np.pi / 3], v_theta=[1.0])[2].round(6)  # -cos
    array([-0.5])
    """
    call = Call(model, theta, x, engine, precision, threads, "hvp")
    w = np.broadcast_to(_weights(model, weights, call), (call.batch, model.n_observables))
    v = _beside("v_theta", v_theta, model.n_params, call.shape)
    vx = np.zeros_like(call.x) if v_x is None else _beside("v_x", v_x, model.n_inputs, call.shape)
    with quiet():
        results = call.engine.hvp(model, call.theta, call.x, w, v, vx)
    in_range("the gradient or its Hessian-vector product", precision, *results)
    sizes = (model.n_params, model.n_inputs, model.n_params, model.n_inputs)
    return tuple(r.reshape(*call.shape, size) for r, size in zip(results, sizes, strict=True))


def state(
    model: Model,
    theta: Any,
    x: Any = None,
    *,
    engine: Any = None,
    precision: str = "double",
    threads: int | None = None,
) -> np.ndarray:
    """The circuit's final state, up to a global phase: complex (..., 2^n), qubit q being bit q of the index.

    Returns: complex array (..., 2^n). theta, x, engine, precision, threads: as in `expectation`.
    Raises: QupropError as `expectation`, and for a model with channels, whose final state is mixed.

    >>> model = qpr.Model(qpr.Circuit(2).h(0).cx(0, 1), "Z0")
    >>> abs(qpr.state(model, [])).round(6)
    array([0.707107, 0.      , 0.      , 0.707107])
    """
    call = Call(model, theta, x, engine, precision, threads, "states")
    return call.engine.states(model, call.theta, call.x).reshape(*call.shape, 1 << model.n_qubits)


def probabilities(model: Model, theta: Any, x: Any = None, **options: Any) -> np.ndarray:
    """|amplitude|^2 of the final state, or the diagonal of a mixed one: (..., 2^n), summing to 1.

    theta, x and options (engine, precision, threads): as in `expectation`.
    Returns: float array (..., 2^n). Raises: QupropError as `expectation`.

    >>> model = qpr.Model(qpr.Circuit(2).h(0).cx(0, 1), "Z0")
    >>> qpr.probabilities(model, []).round(6)
    array([0.5, 0. , 0. , 0.5])
    """
    if isinstance(model, Model) and model.channels:
        return _of_mixed(model, theta, x, **options)
    amplitudes = state(model, theta, x, **options)
    p = amplitudes.real**2 + amplitudes.imag**2
    return p / p.sum(axis=-1, keepdims=True)


def _of_mixed(
    model: Model, theta: Any, x: Any, engine: Any = None, precision: str = "double", threads: int | None = None
) -> np.ndarray:
    call = Call(model, theta, x, engine, precision, threads, "probabilities")
    if not hasattr(call.engine, "probabilities"):
        refuse_channels(model, f"the engine {getattr(call.engine, 'name', call.engine)!r}", DENSITY)
    return call.engine.probabilities(model, call.theta, call.x).reshape(*call.shape, 1 << model.n_qubits)


def samples(model: Model, theta: Any, x: Any = None, *, shots: int, rng: Any, **options: Any) -> np.ndarray:
    """Bits measured in the computational basis: uint8 (..., shots, n), column q for qubit q.

    `rng` is a seed or a numpy Generator; the same seed gives the same samples. theta, x, options: as `probabilities`.

    Returns: uint8 array (..., shots, n). Raises: QupropError as `expectation`, and for no seed or no shots.

    >>> model = qpr.Model(qpr.Circuit(2).h(0).cx(0, 1), "Z0")
    >>> qpr.samples(model, [], shots=1, rng=0)
    array([[1, 1]], dtype=uint8)
    """
    if isinstance(shots, bool) or not isinstance(shots, (int, np.integer)) or shots < 1:
        raise QupropError(f"shots must be a positive integer, got {shots!r}")
    generator = generator_of(rng)
    call = _by_parts(model, theta, x, **options)
    p = np.empty((0, 0)) if call else probabilities(model, theta, x, **options)
    shape = call.shape if call else p.shape[:-1]
    drawn_bytes = 17 * shots * model.n_qubits * math.prod(shape)
    memory.require(drawn_bytes, f"{shots} shots of {model.n_qubits} qubits", "draw fewer at a time")
    uniform = generator.random((math.prod(shape), shots))
    if call:
        drawn = call.engine.samples(model, call.theta, call.x, uniform).astype(np.int64)
    else:
        drawn = np.empty(uniform.shape, np.int64)
        for row, u, weights in zip(drawn, uniform, p.reshape(len(drawn), -1), strict=True):
            row[:] = drawn_states(weights, u)
    bits = (drawn[..., None] >> np.arange(model.n_qubits)) & 1
    return bits.astype(np.uint8).reshape(*shape, shots, model.n_qubits)


def _by_parts(
    model: Model, theta: Any, x: Any, engine: Any = None, precision: str = "double", threads: int | None = None
) -> Call | None:
    """The call of an engine that has samples and probabilities of registers without the whole state, or None."""
    found = get_engine(engine, precision, threads)
    if not hasattr(found, "register_probabilities") or not isinstance(model, Model):
        return None
    return Call(model, theta, x, found, precision, threads, "register")


def register_probabilities(
    model: Model, theta: Any, x: Any, qubits: tuple[int, ...], **options: Any
) -> np.ndarray | None:
    """The probabilities (..., 2^k) of a register from an engine that has them without the whole state; None for all
    others."""
    call = _by_parts(model, theta, x, **options)
    if call is None:
        return None
    p = call.engine.register_probabilities(model, call.theta, call.x, list(qubits))
    return p.reshape(*call.shape, -1)
