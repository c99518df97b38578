"""A model in a PyTorch program: `QuantumLayer`, an nn.Module, and `expectation`, the function it calls.

Values are one batched call of the native engine, gradients by weights and inputs one sweep backwards that starts from
what the call forwards kept; second derivatives are Hessian-vector products, third ones are read from jets. Tensors on
the CPU go to the engine and come back without a copy in double precision.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from quprop.cost import Cost
from quprop.errors import QupropError, generator_of
from quprop.hybrid.estimated import Estimated
from quprop.hybrid.node import PRECISION_OF, Node, check_model, check_shapes
from quprop.hybrid.noise import noisy_model
from quprop.hybrid.output_node import OutputNode, check_output
from quprop.hybrid.torch_graph import CostMeter, Draw, Sampled, Tensor, ValueFunction, torch
from quprop.model import Model
from quprop.model.circuit import Circuit
from quprop.outputs import Output
from quprop.simulate import Composite, get_engine

_HALVES = (torch.float16, torch.bfloat16)
_Function = TypeVar("_Function", bound=Callable[..., Tensor])


def _eager(function: _Function) -> _Function:
    """A graph break under `torch.compile`, of the same type."""
    return torch.compiler.disable(function)


class QuantumLayer(torch.nn.Module):
    """Expectation values as a layer: inputs (..., D) to outputs (..., K), any leading axes; without inputs, (K,).

        layer = QuantumLayer(model, rng=1)             # trains layer.weights, (P,), in the order of model's vectors
        network = nn.Sequential(nn.Linear(64, 8), layer, nn.Linear(layer.out_features, 10))

    model: a Model, with or without channels, or the plan of a cut circuit (`qpr.cut`), exact and so without method and
        forward_shots; or a Circuit, with observables=.
    observables: of a Circuit, as `qpr.Model` takes them. noise: put on the Circuit, an object with apply(circuit) or a
        function from a circuit to the noisy one, `lambda c: c.depolarising(theta[3], 0)`. Its parameters are weights
        like all others, laid out after those of the circuit. Errors of readout at the end act on each Pauli string in
        the basis it is measured in. A noisy layer has first derivatives only, by weights, inputs and strengths.
    weights: where theta begins: an array (P,), a dictionary {name: values} with an entry for each of the model's
        vectors, a function of `torch.nn.init` that fills a tensor in place, or None: uniform in [-pi, pi) by `rng`.
    output: what is read from the state in place of expectation values: one of `qpr.outputs`, such as
        `qpr.outputs.Entropy([0, 1])`, with outputs (..., *shape), complex where it is; "probabilities" and "amplitudes"
        for those of all basis states. Exact, twice differentiable, of models without noise.
    method: what estimates the gradients of the backward pass: a gradient method with its budget, such as
        `qpr.ParameterShift(shots=100)`. None: exact, and only then differentiable more than once: three times, so that
        a loss may have second derivatives by the inputs in it. An estimate is made for each sample; its budget is for
        the sum of all observables with weight 1, as in `qpr.train`. `layer.cost` adds up what was executed in this
        process.
    forward_shots: runs of each circuit that the outputs are read from; None: exact outputs, also under a method.
    rng: a seed or a numpy Generator, for the weights and, under shots, for a stream of shots of its own. The n-th draw
        depends on the seed and n alone; n is in the `state_dict`, so a resumed training draws what it would have
        drawn. A second layer, or a replica of data-parallel training, wants another seed.
    dtype: torch.float64, or torch.float32, whose simulation is in single precision too (`precision="double"` keeps the
        simulation in double). Default: torch's default dtype. Half-precision inputs are taken as the layer's dtype.
    threads: of the engine; None: all cores. Use 1 in the workers of a DataLoader. engine: as in `quprop.expectation`.

    The simulation runs on the CPU: inputs on another device are copied there and outputs back, with one warning. Under
    `torch.compile` the layer is a graph break. `torch.func` transforms work, vmap in one batched call; under shots
    those of reverse mode, with shots of its own for every sample.

    Raises: QupropError for weights, inputs and settings that do not fit the model; and on import where PyTorch is not
    there.

    >>> import torch
    >>> theta, x = qpr.params("theta", 1), qpr.inputs("x", 1)
    >>> model = qpr.Model(qpr.Circuit(1).ry(theta[0] + x[0], 0), "Z0")
    >>> layer = qpr.QuantumLayer(model, weights=[0.0], dtype=torch.float64)
    >>> outputs = layer(torch.tensor([[0.0], [np.pi / 3]], dtype=torch.float64))
    >>> outputs.sum().backward()
    >>> outputs.detach().numpy().round(6), layer.weights.grad.numpy().round(6)
    (array([[1. ],
           [0.5]]), array([-0.866025]))
    """

    model: Model | Composite
    weights: torch.nn.Parameter
    draws: Tensor

    def __init__(
        self,
        model: Model | Composite | Circuit,
        weights: Any = None,
        *,
        output: Any = None,
        observables: Any = None,
        noise: Any = None,
        method: Any = None,
        forward_shots: int | None = None,
        rng: Any = 0,
        dtype: torch.dtype | None = None,
        precision: str | None = None,
        threads: int | None = None,
        engine: Any = None,
    ) -> None:
        super().__init__()
        model = self.model = check_model("QuantumLayer", noisy_model("QuantumLayer", model, observables, noise))
        generator = generator_of(rng)
        self.seed = int(rng) if isinstance(rng, int | np.integer) else int(generator.integers(2**63))
        self.method, self.forward_shots = method, forward_shots
        self.precision, self.threads, self.engine = precision, threads, engine
        dtype = torch.get_default_dtype() if dtype is None else dtype
        _precision(dtype, precision, threads, engine)
        self.output = None if output is None else check_output("QuantumLayer", model, output)
        self._estimated = None
        if self.output is not None and (method is not None or forward_shots is not None):
            raise QupropError("an output of the state is exact; leave method= and forward_shots= out, or output=")
        if method is not None or forward_shots is not None:
            self._estimated = Estimated(model, method, forward_shots, threads)
        self.weights = torch.nn.Parameter(_initial(model, weights, generator, dtype))
        if self._estimated is not None:
            self.register_buffer("draws", torch.zeros((), dtype=torch.int64))
        self.meter = CostMeter()

    @property
    def in_features(self) -> int:
        return self.model.n_inputs

    @property
    def out_features(self) -> int:
        if self.output is None:
            return self.model.n_observables
        return math.prod(self.output.shape(self.model.n_qubits))

    @property
    def cost(self) -> Cost:
        """What the gradient method has executed in backward passes of this process, a `Cost`."""
        return self.meter.cost

    if TYPE_CHECKING:  # torch's own returns Any

        def __call__(self, x: Tensor | None = None) -> Tensor: ...

    @_eager
    def forward(self, x: Tensor | None = None) -> Tensor:
        precision = _precision(self.weights.dtype, self.precision, self.threads, self.engine)
        x = _checked(self.model, self.weights, x, ("the layer's weights", "the input"))
        if self._estimated is None:
            return _exact(_node(self.model, self.output, precision, self.threads, self.engine), self.weights, x)
        return Sampled.apply(self._estimated, Draw(self.seed, self.draws), self.meter, self.weights, x)

    def extra_repr(self) -> str:
        m = self.model
        parts = [f"{m.n_inputs} -> {self.out_features}, qubits={m.n_qubits}, weights={m.n_params}"]
        parts += [f"output={self.output!r}"] * (self.output is not None)
        parts += [f"method={self.method!r}"] * (self.method is not None)
        parts += [f"forward_shots={self.forward_shots}"] * (self.forward_shots is not None)
        return ", ".join(parts)


def expectation(
    model: Model | Composite | Circuit,
    theta: Tensor,
    x: Tensor | None = None,
    *,
    output: Any = None,
    observables: Any = None,
    noise: Any = None,
    precision: str | None = None,
    threads: int | None = None,
    engine: Any = None,
) -> Tensor:
    """<O_k> as `quprop.expectation`, of tensors theta (..., P) and x (..., D) to (..., K), three times differentiable:
    a loss may have second derivatives by x in it (`create_graph=True`). Noisy models: once; cut ones: twice.

    Leading axes broadcast. The dtype is that of theta; float32 is simulated in single precision unless `precision` says
    "double". engine: as in `quprop.expectation`. output: as in `QuantumLayer`. observables and noise: of a Circuit, as
    there.
    """
    model = check_model("expectation", noisy_model("expectation", model, observables, noise))
    if not isinstance(theta, Tensor):
        raise QupropError(f"theta must be a torch.Tensor, got {type(theta).__name__}; pass torch.as_tensor(theta)")
    output = None if output is None else check_output("expectation", model, output)
    node = _node(model, output, _precision(theta.dtype, precision, threads, engine), threads, engine)
    return _apart(node, theta, _checked(model, theta, x, ("theta", "x")))


@_eager
def _apart(node: Node, theta: Tensor, x: Tensor | None) -> Tensor:
    return _exact(node, theta, x)


def _node(model: Any, output: Output | None, precision: str, threads: int | None, engine: Any) -> Node:
    if output is None:
        return Node(model, precision, threads, engine)
    return OutputNode(model, output, precision, threads, engine)


def _exact(node: Node, theta: Tensor, x: Tensor | None) -> Tensor:
    wanted = torch.is_grad_enabled() and (theta.requires_grad or (x is not None and x.requires_grad))
    values: Tensor = ValueFunction.apply(node, [] if wanted else None, theta, x)
    if not isinstance(node, OutputNode):
        return values
    if node.output.complex:  # put together by torch, whose convention its gradients then have
        values = torch.view_as_complex(values.reshape(*values.shape[:-1], values.shape[-1] // 2, 2))
    return values.reshape((*values.shape[:-1], *node.shape_of_output))


def _precision(dtype: torch.dtype, precision: str | None, threads: int | None, engine: Any) -> str:
    """That of the simulation, for tensors of a dtype; refuses what the engine does not know before anything runs."""
    name = str(dtype).removeprefix("torch.")
    if name not in PRECISION_OF:
        mend = "call .float() or .double()" if dtype.is_floating_point else "pass floating point numbers"
        raise QupropError(f"theta must be float32 or float64, got {name}; {mend}")
    get_engine(engine, precision or "double", threads)
    return precision or PRECISION_OF[name]


def _checked(model: Model | Composite, theta: Tensor, x: Any, names: tuple[str, str]) -> Tensor | None:
    """x as a tensor of theta's dtype and device, or one sentence."""
    if x is not None:
        if not isinstance(x, Tensor):
            raise QupropError(f"{names[1]} must be a torch.Tensor, got {type(x).__name__}; pass torch.as_tensor(x)")
        if not x.dtype.is_floating_point:
            raise QupropError(f"{names[1]} must be floating point, got {str(x.dtype)[6:]}; pass x.to({theta.dtype})")
        if x.dtype in _HALVES:  # as autocast hands them on
            x = x.to(theta.dtype)
        if x.dtype != theta.dtype:
            raise QupropError(
                f"{names[1]} is {str(x.dtype)[6:]} and {names[0]} {str(theta.dtype)[6:]}; "
                f"pass x.to({theta.dtype}), or turn the module with .to({x.dtype})"
            )
    shape = None if x is None else tuple(x.shape)
    if names[0] != "theta" and shape is not None and shape[-1:] == (model.n_params,) != (model.n_inputs,) != (0,):
        raise QupropError(
            f"{names[1]} must have shape (..., {model.n_inputs}), got {shape}, which is a shape of weights; the layer "
            "holds its weights itself"
        )
    check_shapes(model, tuple(theta.shape), shape, names)
    if theta.device.type == "meta" or (x is not None and x.device.type == "meta"):
        raise QupropError("tensors on the meta device have no values to simulate; move the module with .to_empty first")
    return x if model.n_inputs else None


def _initial(model: Model | Composite, weights: Any, rng: np.random.Generator, dtype: torch.dtype) -> Tensor:
    P = model.n_params
    if weights is None:
        return torch.as_tensor(rng.uniform(-np.pi, np.pi, P), dtype=dtype)
    if isinstance(weights, Mapping):
        sizes = dict(zip(model.param_names, model.param_sizes, strict=True))
        if set(weights) != set(sizes):
            raise QupropError(
                f"weights must name the model's vectors {', '.join(sizes) or '(none)'}, got "
                f"{', '.join(map(str, weights)) or 'an empty dictionary'}"
            )
        parts = [_vector(f"weights[{name!r}]", weights[name], size, dtype) for name, size in sizes.items()]
        return torch.cat(parts) if parts else torch.zeros(0, dtype=dtype)
    if isinstance(weights, Callable):  # type: ignore[arg-type]
        filled = torch.zeros(P, dtype=dtype)
        weights(filled)
        return _vector("what weights(tensor) filled", filled, P, dtype)
    return _vector("weights", weights, P, dtype)


def _vector(name: str, value: Any, size: int, dtype: torch.dtype) -> Tensor:
    try:
        tensor = torch.as_tensor(value.copy() if isinstance(value, np.ndarray) else value)  # some may not be written to
    except (TypeError, ValueError, RuntimeError):
        raise QupropError(f"{name} must be {size} real numbers, got {type(value).__name__}") from None
    if tensor.is_complex() or tuple(tensor.shape) != (size,):
        what = "complex numbers" if tensor.is_complex() else f"shape {tuple(tensor.shape)}"
        raise QupropError(f"{name} must have shape ({size},) and be real, got {what}")
    if not torch.isfinite(tensor).all():
        raise QupropError(f"{name} must be finite, got {int((~torch.isfinite(tensor)).sum())} NaN or infinite entries")
    return tensor.detach().to(dtype, copy=True)
