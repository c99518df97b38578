"""What is minimised: loss and exact gradient as functions of the trained parameters (theta, and scale and bias of the
head)."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from quprop import simulate
from quprop.arrays import checked, plain
from quprop.cost import Cost
from quprop.errors import QupropError
from quprop.model import Model
from quprop.sampling.remote import estimate_samples
from quprop.simulate import Composite, memory
from quprop.simulate.state_vector.metric import Overlap
from quprop.training.losses import Expectation, Fidelity, Loss

Params = dict[str, np.ndarray]
Data = tuple[np.ndarray, np.ndarray | None]

EVALUATION_SAMPLES = 512  # samples looked at in one call when only values are wanted


class Objective:
    """loss(head(values(theta, x)), targets) with head(v) = scale * v + bias, elementwise over the observables.

    Counts what it asks of the engine, in samples: ``values`` (expectations only) and ``gradients`` (forward and
    backward sweep).

    method: a gradient method, its budget included, that estimates the gradient by theta in place of the backward sweep;
    `cost` is what it executed. It is compiled once, for weights 1 of all observables, and estimates sum_k w_k d<O_k>
    for every sample, w being the loss's derivative by the outputs: its budget holds for weights 1. Values, and with
    them the loss, its derivative by the outputs and the gradient of a head, stay exact.
    executor: where the method's circuits are run, one task a sample (`quprop.runs.executor`).
    """

    def __init__(
        self,
        model: Model | Composite,
        loss: Loss,
        *,
        head: bool,
        engine: Any,
        precision: str,
        threads: int | None,
        method: Any = None,
        executor: Any = None,
    ) -> None:
        if executor is not None and method is None:
            raise QupropError("an executor runs a gradient method's circuits: pass method=, or leave out executor=")
        if head and not loss.supports_head:
            raise QupropError(f"{type(loss).__name__} looks at the state and takes no head: leave out head=True")
        if method is not None and isinstance(loss, Fidelity):
            raise QupropError(
                "gradient methods differentiate expectations of observables, got the fidelity loss; leave out method="
            )
        if method is not None and not hasattr(method, "compile"):
            raise QupropError(f"method is a gradient method such as ParameterShift(shots=1000), got {method!r}")
        self.method, self.cost, self._executor = method, Cost(), executor
        self.damage: float | None = None  # the largest of copies that the method's claim takes for undisturbed
        self.plan = None if method is None else method.compile(model, np.ones(model.n_observables))
        self.model, self.loss, self.head, self.precision = model, loss, head, precision
        self._options = {"engine": engine, "precision": precision, "threads": threads}
        self.direct = loss.over(model, **self._options)
        if self.direct is not None and method is not None:
            raise QupropError(
                f"gradient methods differentiate expectations of observables, got the {type(loss).__name__} loss; "
                "leave out method="
            )
        self._overlap = None
        if isinstance(loss, Fidelity):
            if not isinstance(model, Model):
                raise QupropError(
                    f"the fidelity loss looks at the state, which a {type(model).__name__} never holds; pass the uncut "
                    "Model, or a loss of expectation values"
                )
            self._overlap = Overlap(model, loss.target, **self._options)
        self.n_outputs = model.n_observables if self._overlap is None else 1
        self.values = self.gradients = 0

    def initial(self, params: Params | np.ndarray | None, rng: np.random.Generator) -> Params:
        """The parameters to begin with, checked; what is missing is drawn (theta) or neutral (scale 1, bias 0)."""
        given = {"theta": params} if params is not None and not isinstance(params, dict) else dict(params or {})
        shapes = {"theta": (self.model.n_params,)}
        if self.head:
            shapes |= {"scale": (self.n_outputs,), "bias": (self.n_outputs,)}
        if extra := sorted(set(given) - set(shapes)):
            mend = "pass head=True to train scale and bias" if set(extra) <= {"scale", "bias"} else "leave it out"
            raise QupropError(f"`params` may hold {', '.join(shapes)}, got {', '.join(extra)} too: {mend}")
        memory.require(4 * 8 * self.model.n_params, f"training {self.model.n_params} parameters", "train fewer")
        start: Params = {}
        for key, shape in shapes.items():
            if key in given:
                value = checked(f"`{key}`", given[key], shape).copy()
            elif key == "theta":
                value = rng.uniform(-np.pi, np.pi, shape)
            else:
                value = np.ones(shape) if key == "scale" else np.zeros(shape)
            start[key] = value
        return start

    def reach(self, params: Params, targets: np.ndarray | None) -> float:
        """What no loss exceeds at these ``params``: of outputs of at most sum_k |scale_k| ||O_k|| + |bias_k|, ||O||
        being the sum of the coefficients, beside targets y, (1 + outputs + max |y|)^2."""
        if hasattr(self.direct, "reach"):
            return 1.0 + float(self.direct.reach)
        norms = [sum(abs(c) for _, c in total.items()) for total in getattr(self.model, "observables", ())]
        outputs = np.array(norms or [1.0])
        if self.head:
            outputs = np.abs(params["scale"]) * outputs + np.abs(params["bias"])
        if isinstance(self.loss, Expectation) and self.loss.weights is not None:
            outputs = outputs * np.abs(self.loss.weights)
        largest = float(np.abs(targets).max(initial=0.0)) if targets is not None else 0.0
        return (1.0 + float(outputs.sum()) + largest) ** 2

    def apply_head(self, params: Params, values: np.ndarray) -> np.ndarray:
        return params["scale"] * values + params["bias"] if self.head else values

    def loss_and_grad(
        self, params: Params, x: np.ndarray | None, y: np.ndarray | None, rng: np.random.Generator | None = None
    ) -> tuple[float, Params, np.ndarray]:
        """The loss, its gradient for every entry of ``params``, and the outputs (B, K) after the head.

        rng: what a gradient method draws its shots with.
        """
        if self.direct is not None:
            self.gradients += 1
            loss, d_theta = self.direct.loss_and_grad(params["theta"], rng)
            return loss, {"theta": d_theta}, np.array([[loss]])
        if self.plan is not None:
            return self._estimated(params, x, y, rng)
        if self._overlap is not None:
            values, pullback = self._overlap.vjp(params["theta"], x)
        else:
            values, pullback = simulate.vjp(self.model, params["theta"], x, **self._options)
        values = np.reshape(values, (-1, self.n_outputs))
        self.gradients += len(values)
        outputs = self.apply_head(params, values)
        loss, cotangent = self.loss(outputs, y)
        through = cotangent * params["scale"] if self.head else cotangent
        if x is None:
            d_theta = pullback(through[0])[0]
        else:
            d_theta = pullback(through, sum_theta=True)[0]
        gradients: Params = {"theta": np.asarray(d_theta, float)}
        if self.head:
            gradients |= {"scale": (cotangent * values).sum(axis=0), "bias": cotangent.sum(axis=0)}
        return loss, gradients, outputs

    def _estimated(
        self, params: Params, x: np.ndarray | None, y: np.ndarray | None, rng: np.random.Generator | None
    ) -> tuple[float, Params, np.ndarray]:
        assert self.plan is not None
        values = np.reshape(simulate.expectation(self.model, params["theta"], x, **self._options), (-1, self.n_outputs))
        self.values += len(values)
        self.gradients += len(values)
        outputs = self.apply_head(params, values)
        loss, cotangent = self.loss(outputs, y)
        through = cotangent * params["scale"] if self.head else cotangent
        if self._executor is not None:
            assert rng is not None and isinstance(self.model, Model)
            samples = [None] if x is None else x
            found = estimate_samples(self.method, self.model, params["theta"], samples, through, rng, self._executor)
            found = replace(found, value=found.value[0]) if x is None else found
        else:
            found = self.plan.estimate(params["theta"], x, rng, weights=through if x is not None else through[0])
        self.cost += found.cost
        if "damage" in found.info:
            self.damage = max(self.damage or 0.0, found.info["damage"])
        d_theta = found.value if x is None else found.value.sum(axis=0)
        gradients: Params = {"theta": np.asarray(d_theta, float)}
        if self.head:
            gradients |= {"scale": (cotangent * values).sum(axis=0), "bias": cotangent.sum(axis=0)}
        return loss, gradients, outputs

    def outputs(self, params: Params, x: np.ndarray | None) -> np.ndarray:
        """Outputs (B, K) after the head, without a gradient."""
        parts = [None] if x is None else [x[i : i + EVALUATION_SAMPLES] for i in range(0, len(x), EVALUATION_SAMPLES)]
        found = []
        for part in parts:
            if self._overlap is not None:
                values, _ = self._overlap.vjp(params["theta"], part)
            else:
                values = simulate.expectation(self.model, params["theta"], part, **self._options)
            found.append(np.reshape(values, (-1, self.n_outputs)))
        values = np.concatenate(found)
        self.values += len(values)
        return self.apply_head(params, values)

    def evaluate(
        self, params: Params, x: np.ndarray | None = None, y: np.ndarray | None = None
    ) -> tuple[float, float | None]:
        """Loss and metric over all samples."""
        if self.direct is not None:
            self.values += 1
            return self.direct.evaluate(params["theta"]).value, None
        outputs = self.outputs(params, x)
        return self.loss(outputs, y)[0], self.loss.metric(outputs, y)


def require_memory(
    model: Model | Composite, batch: int, *, engine: Any = None, precision: str = "double", threads: int | None = None
) -> None:
    """Refuse a model whose gradient does not fit this machine, before a run folder is made for it."""
    needed = simulate.engine_for(model, engine, precision, threads).memory(model, batch, "vjp")
    what = f"the gradient of {model.n_qubits} qubits" + (f" for {batch} samples" if batch > 1 else "")
    memory.require(needed, what, "take fewer qubits, smaller batches or single precision")


def check_data(model: Model | Composite, loss: Loss, data: Any, name: str) -> Data | None:
    """Inputs (B, D) and targets (B, ...) or None, as arrays, or one sentence about what is wrong with them."""
    n_outputs = 1 if isinstance(loss, Fidelity) else model.n_observables
    if data is None:
        if name == "data" and model.n_inputs:
            raise QupropError(f"the model reads {model.n_inputs} inputs a sample: pass data=(inputs, targets)")
        if name == "data" and loss.needs_targets:
            raise QupropError(f"{type(loss).__name__} needs targets: pass data=(inputs, targets)")
        if name == "data" and type(loss).over is Loss.over:  # it reads the model's outputs
            loss.check(n_outputs, None)
        return None
    x, y = data if isinstance(data, tuple) and len(data) == 2 else (data, None)
    x = checked(f"inputs in `{name}`", x, ("samples", model.n_inputs))
    if not len(x):
        raise QupropError(f"inputs in `{name}` must be one sample at least, got an empty array")
    y = None if y is None else plain(f"targets in `{name}`", y)
    if y is not None and y.shape[:1] != x.shape[:1]:
        raise QupropError(f"`{name}` must have one target an input, got {len(x)} inputs and targets of shape {y.shape}")
    loss.check(n_outputs, y)
    return x, y
