"""What is minimised: loss and exact gradient as functions of the trained parameters (theta, and scale and bias of the
head)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from quprop import simulate
from quprop.arrays import checked, plain
from quprop.cost import Cost
from quprop.errors import QupropError, count_of
from quprop.model import Model
from quprop.outputs import StateOverlap, output_vjp
from quprop.sampling.estimate import Estimate
from quprop.sampling.remote import estimate_samples
from quprop.simulate import Composite, memory
from quprop.training.losses import Expectation, Fidelity, Loss
from quprop.training.measured import MeasuredModel
from quprop.training.optimise import adapts
from quprop.training.schedules import changes, method_at

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
    them the loss, its derivative by the outputs and the gradient of a head, stay exact. Or a schedule of methods, of
    which the one of the step is compiled; or a controller (`optimise.Controller`), whose plan is told the state.
    executor: where the method's circuits are run, one task a sample (`quprop.runs.executor`).
    measured: makes outputs and gradients from shots on a device, and nothing is simulated; `loss_error` is the standard
    error of the loss of the last step.
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
        measured: MeasuredModel | None = None,
    ) -> None:
        if executor is not None and method is None:
            raise QupropError("an executor runs a gradient method's circuits: pass method=, or leave out executor=")
        if head and not loss.supports_head:
            raise QupropError(f"{type(loss).__name__} looks at the state and takes no head: leave out head=True")
        if method is not None and isinstance(loss, Fidelity):
            raise QupropError(
                "gradient methods differentiate expectations of observables, got the fidelity loss; leave out method="
            )
        if method is not None and not (hasattr(method, "compile") or changes(method)):
            raise QupropError(
                "method is a gradient method such as ParameterShift(shots=1000), or a function of the step that gives "
                f"one, got {method!r}"
            )
        if adapts(method):
            _refuse_controller(method, loss, head, executor, model)
        self.method, self.cost, self._executor = method, Cost(), executor
        self.measured = measured
        self.loss_error = 0.0
        self.damage: float | None = None  # the largest of copies that the method's claim takes for undisturbed
        self.model, self.loss, self.head, self.precision = model, loss, head, precision
        self.last: Estimate | None = None  # the gradient as it was estimated last
        self.plan: Any = None
        self._now: Any = None  # the method that the plan is of
        self.compile(0)
        self._options = {"engine": engine, "precision": precision, "threads": threads}
        self.direct = loss.over(model, **self._options)
        if self.direct is not None and method is not None:
            raise QupropError(
                f"gradient methods differentiate expectations of observables, got the {type(loss).__name__} loss; "
                "leave out method="
            )
        self._overlap: Callable[..., Any] | None = None
        if isinstance(loss, Fidelity):
            if not isinstance(model, Model):
                raise QupropError(
                    f"the fidelity loss looks at the state, which a {type(model).__name__} never holds; pass the uncut "
                    "Model, or a loss of expectation values"
                )
            self._overlap = partial(output_vjp, model, StateOverlap(loss.target), **self._options)
        self.n_outputs = model.n_observables if self._overlap is None else 1
        self.values = self.gradients = 0

    def compile(self, step: int) -> None:
        """Make the plan of a step, unless its method is that of the plan there is; refuses what the method does."""
        method = method_at(self.method, step)
        if method is None or (self.plan is not None and method == self._now):
            return
        weights = np.ones(self.model.n_observables)
        if adapts(method) and isinstance(self.loss, Expectation) and self.loss.weights is not None:
            weights = np.asarray(self.loss.weights, float)
        self.plan, self._now = method.compile(self.model, weights), method

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
        being the sum of the coefficients, beside targets y, (1 + outputs + max |y|)^2. None is known where
        coefficients move with the parameters."""
        if getattr(self.model, "coefficients", None) is not None:
            return float("inf")
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
        self,
        params: Params,
        x: np.ndarray | None,
        y: np.ndarray | None,
        rng: np.random.Generator | None = None,
        *,
        step: int = 0,
        state: Any = None,
    ) -> tuple[float, Params, np.ndarray]:
        """The loss, its gradient for every entry of ``params``, and the outputs (B, K) after the head.

        rng: what a gradient method draws its shots with. step: chooses the method of a schedule; state: of the
        optimiser, from which a controller has what the step may cost.
        """
        if self.direct is not None:
            self.gradients += 1
            loss, d_theta = self.direct.loss_and_grad(params["theta"], rng)
            return loss, {"theta": d_theta}, np.array([[loss]])
        if self.plan is not None:
            self.compile(step)
            if adapts(self.method):
                self.plan.prepare(state)
            return self._estimated(params, x, y, rng, step)
        if self._overlap is not None:
            values, back = self._overlap(params["theta"], x)

            def pullback(c: np.ndarray, **how: bool) -> tuple[np.ndarray, np.ndarray]:
                return back(c[..., 0], **how)

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
        self, params: Params, x: np.ndarray | None, y: np.ndarray | None, rng: np.random.Generator | None, step: int
    ) -> tuple[float, Params, np.ndarray]:
        assert self.plan is not None

        def through(values: np.ndarray) -> np.ndarray:
            cotangent = self.loss(self.apply_head(params, values), y)[1]
            return cotangent * params["scale"] if self.head else cotangent

        if self.measured is not None:
            assert rng is not None
            seed, known = int(rng.integers(2**62)), None
            if isinstance(self.loss, Expectation) and not self.head:  # linear in the outputs
                known = through(np.zeros((1 if x is None else len(x), self.n_outputs)))
            values, read, found = self.measured.step(
                self.plan, params["theta"], x, through, seed, f"step-{step}", known
            )
            self.cost += read.cost
            self.loss_error = read.error(through(values))
        else:
            values = simulate.expectation(self.model, params["theta"], x, **self._options)
            values = np.reshape(values, (-1, self.n_outputs))
        self.values += len(values)
        self.gradients += len(values)
        outputs = self.apply_head(params, values)
        loss, cotangent = self.loss(outputs, y)
        if self.measured is None:
            found = self._drawn(params["theta"], x, through(values), rng)
        self.cost += found.cost
        self.last = found
        if "damage" in found.info:
            self.damage = max(self.damage or 0.0, found.info["damage"])
        d_theta = found.value if x is None else found.value.sum(axis=0)
        gradients: Params = {"theta": np.asarray(d_theta, float)}
        if self.head:
            gradients |= {"scale": (cotangent * values).sum(axis=0), "bias": cotangent.sum(axis=0)}
        return loss, gradients, outputs

    def _drawn(self, theta: np.ndarray, x: np.ndarray | None, weights: np.ndarray, rng: Any) -> Estimate:
        """The plan's estimate from simulated shots, here or through the executor."""
        if self._executor is None:
            found: Estimate = self.plan.estimate(theta, x, rng, weights=weights if x is not None else weights[0])
            return found
        assert rng is not None and isinstance(self.model, Model)
        samples = [None] if x is None else x
        found = estimate_samples(self._now, self.model, theta, samples, weights, rng, self._executor)
        return replace(found, value=found.value[0]) if x is None else found

    def outputs(self, params: Params, x: np.ndarray | None) -> np.ndarray:
        """Outputs (B, K) after the head, without a gradient."""
        parts = [None] if x is None else [x[i : i + EVALUATION_SAMPLES] for i in range(0, len(x), EVALUATION_SAMPLES)]
        found = []
        for part in parts:
            if self._overlap is not None:
                values, _ = self._overlap(params["theta"], part)
            else:
                values = simulate.expectation(self.model, params["theta"], part, **self._options)
            found.append(np.reshape(values, (-1, self.n_outputs)))
        values = np.concatenate(found)
        self.values += len(values)
        return self.apply_head(params, values)

    def evaluate(
        self, params: Params, x: np.ndarray | None = None, y: np.ndarray | None = None, *, key: str = ""
    ) -> tuple[float, float | None]:
        """Loss and metric over all samples. key: of the round, on a device."""
        if self.measured is not None:
            values, read = self.measured.outputs(params["theta"], x, key)
            self.values, self.cost = self.values + len(values), self.cost + read.cost
            outputs = self.apply_head(params, values)
            loss, cotangent = self.loss(outputs, y)
            self.loss_error = read.error(cotangent * params["scale"] if self.head else cotangent)
            return loss, self.loss.metric(outputs, y)
        if self.direct is not None:
            self.values += 1
            return self.direct.evaluate(params["theta"]).value, None
        outputs = self.outputs(params, x)
        return self.loss(outputs, y)[0], self.loss.metric(outputs, y)


def _refuse_controller(method: Any, loss: Loss, head: bool, executor: Any, model: Model | Composite) -> None:
    """A controller knows what a step gains for the expectation of one fixed observable only."""
    name = type(method).__name__
    if not isinstance(loss, Expectation) or head:
        raise QupropError(
            f"{name} allots shots by what they gain for an expectation value, and takes the expectation loss without a "
            f"head, got {'a head' if head else type(loss).__name__}; take adam(0.01) with method= instead"
        )
    if model.n_inputs:
        raise QupropError(
            f"{name} minimises one expectation value, and this model reads {count_of(model.n_inputs, 'input')} a "
            "sample; take adam(0.01) with method= instead"
        )
    if executor is not None:
        raise QupropError(f"{name} runs its circuits itself: leave out executor=, or take adam(0.01) with method=")


def require_memory(
    model: Model | Composite, batch: int, *, engine: Any = None, precision: str = "double", threads: int | None = None
) -> None:
    """Refuse a model whose gradient does not fit this machine, before a run folder is made for it."""
    found = simulate.engine_for(model, engine, precision, threads)
    what = f"the gradient of {model.n_qubits} qubits" + (f" for {batch} samples" if batch > 1 else "")
    require = getattr(found, "require", memory.require)  # of all machines, where there are several
    require(found.memory(model, batch, "vjp"), what, "take fewer qubits, smaller batches or single precision")


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
