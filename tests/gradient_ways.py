"""Every public way to a value or a gradient, each as a check against the exact result of a random program.

`WAYS[name](case)` returns None where the way is right, the sentence where it refuses, and raises AssertionError, or
whatever went wrong, otherwise.
"""

from __future__ import annotations

import pickle
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from random_programs import INPUT, Case, Exact, pick, program

import quprop as qpr
from quprop.errors import QupropError
from quprop.gradients import METHODS
from quprop.training.job import LARGEST
from quprop.training.trained import TrainingFailed

DOUBLE, SINGLE = float(np.finfo(float).eps), float(np.finfo(np.float32).eps)
TINY = 1e-290  # below it double precision loses digits
WAYS: dict[str, Callable[[Case], str | None]] = {}
OPTIONS: dict[str, dict[str, Any]] = {}  # what a way wants of the program that is drawn for it


def way(*libraries: str, **options: Any) -> Callable[[Callable[[Case], None]], Callable[[Case], None]]:
    """Adds a check to WAYS; a QupropError in it is a refusal if it is one sentence."""

    def add(check: Callable[[Case], None]) -> Callable[[Case], None]:
        def run(case: Case) -> str | None:
            for library in libraries:
                pytest.importorskip(library)
            try:
                check(case)
            except QupropError as refusal:
                sentence = str(refusal)
                assert "\n" not in sentence and len(sentence) > 30, f"a refusal is one sentence: {sentence!r}"
                return sentence
            return None

        WAYS[check.__name__], OPTIONS[check.__name__] = run, options
        return check

    return add


def near(what: str, actual: Any, expected: Any, bound: Any) -> None:
    """actual = expected within bound, entry by entry; the shapes are equal."""
    actual, expected = np.asarray(actual), np.asarray(expected)
    assert actual.shape == expected.shape, f"{what}: shape {actual.shape}, not {expected.shape}"
    error = np.abs(actual - expected)
    if not np.all(error <= bound + TINY):
        k = int(np.argmax(np.where(np.isnan(error), np.inf, error) / (bound + TINY)))
        values = actual.ravel()[k], expected.ravel()[k]
        raise AssertionError(f"{what}: entry {k} is {values[0]:.17g}, not {values[1]:.17g}\n{actual}\n{expected}")


# Engines --------------------------------------------------------------------------------------------------------------


def check_values(case: Case, model: Any, eps: float = DOUBLE, **options: Any) -> None:
    eye = np.eye(len(case.program.observables))
    values = case.gather([e.values for e in case.exact])
    bound = case.gather([eps * e.value_bound(eye) for e in case.exact])
    near("expectation", qpr.expectation(model, *case.arguments, **options), values, bound)


def check_gradients(case: Case, model: Any, eps: float = DOUBLE, **options: Any) -> None:
    """Values, value and gradient, pullbacks sample by sample and summed."""
    P, K = case.program.n_params, len(case.program.observables)
    check_values(case, model, eps, **options)
    rows = [(e, w) for e, (_, _, w) in zip(case.exact, case.rows, strict=True)]
    value = case.gather([w @ e.values for e, w in rows])
    value_bound = case.gather([eps * e.value_bound(w) for e, w in rows])
    gradient = case.gather([w @ e.jacobian for e, w in rows])
    bound = case.gather([eps * e.gradient_bound(w) for e, w in rows])
    found = qpr.value_and_grad(model, *case.arguments, weights=case.weights, **options)
    near("value", found[0], value, value_bound)
    near("gradient", found[1], gradient[..., :P], bound[..., :P])
    values, pullback = qpr.vjp(model, *case.arguments, **options)
    assert values.shape == (*case.shape, K)
    d_theta, d_x = pullback(case.weights)
    near("d_theta", d_theta, gradient[..., :P], bound[..., :P])
    near("d_x", d_x, gradient[..., P:], bound[..., P:])
    d_theta, _ = pullback(case.weights, sum_theta=True)
    axes = tuple(range(len(case.shape)))
    near("sum of d_theta", d_theta, gradient[..., :P].sum(axis=axes), bound[..., :P].sum(axis=axes))


def check_second(case: Case, model: Any, **options: Any) -> None:
    P = case.program.n_params
    inputs = {"v_x": case.v_x} if case.program.n_inputs else {}
    found = qpr.hvp(model, *case.arguments, v_theta=case.v_theta, weights=case.weights, **inputs, **options)
    rows = [(e, w) for e, (_, _, w) in zip(case.exact, case.rows, strict=True)]
    first = case.gather([w @ e.jacobian for e, w in rows])
    second = case.gather([w @ e.hessian_v for e, w in rows])
    bounds = [case.gather([DOUBLE * b(w) for b, w in pairs]) for pairs in (
        [(e.gradient_bound, w) for e, w in rows], [(e.hessian_bound, w) for e, w in rows],
    )]  # fmt: skip
    near("d_theta", found[0], first[..., :P], bounds[0][..., :P])
    near("d_x", found[1], first[..., P:], bounds[0][..., P:])
    near("h_theta", found[2], second[..., :P], bounds[1][..., :P])
    near("h_x", found[3], second[..., P:], bounds[1][..., P:])


@way()
def native(case: Case) -> None:
    check_gradients(case, case.model)


@way(qubits=6)
def native_blocks(case: Case) -> None:
    """All basis states, in blocks as small as they can be: small programs otherwise keep to the states they reach."""
    for block in (None, 2):
        engine = qpr.NativeEngine(support=False, block=block)
        check_gradients(case, case.model, engine=engine)
        check_second(case, case.model, engine=engine)


@way()
def empty_batch(case: Case) -> None:
    """No value of no samples: refused, or an empty answer."""
    theta, x = np.zeros((0, case.program.n_params)), case.rows[0][1] if case.program.n_inputs else None
    for ask in (qpr.expectation, qpr.state, qpr.vjp, qpr.gradient):
        try:
            ask(case.model, theta, x, **({"weights": case.single} if ask is qpr.gradient else {}))
        except QupropError as refusal:
            assert "empty" in str(refusal) and "\n" not in str(refusal)
        else:
            raise AssertionError(f"{ask.__name__} answers an empty batch")


@way()
def native_single(case: Case) -> None:
    check_gradients(case, case.model, SINGLE, precision="single")


@way()
def native_threads(case: Case) -> None:
    check_gradients(case, case.model, threads=2)


@way()
def reference(case: Case) -> None:
    check_gradients(case, case.model, engine="reference")


@way()
def hessian_products(case: Case) -> None:
    check_second(case, case.model)
    check_second(case, case.model, engine="reference")


@way()
def state(case: Case) -> None:
    found = qpr.state(case.model, *case.arguments).reshape(-1, 2**case.program.n)
    for psi, e in zip(found, case.exact, strict=True):
        overlap = np.vdot(e.psi, psi)
        near("state", psi, overlap / abs(overlap) * e.psi, DOUBLE * e.roundings)
    p = case.gather([np.abs(e.psi) ** 2 for e in case.exact])
    near("probabilities", qpr.probabilities(case.model, *case.arguments), p, DOUBLE * case.exact[0].roundings)


def _samples(case: Case) -> tuple[np.ndarray, Any, list[Exact]]:
    """One theta, all samples' x (or None), and the exact results there."""
    theta, p = case.rows[0][0], case.program
    xs = np.array([x for _, x, _ in case.rows]) if p.n_inputs else np.zeros((1, 0))
    exact = [
        Exact(p, theta, x, np.concatenate([case.v_theta.reshape(len(case.rows), p.n_params)[0], 0 * x])) for x in xs
    ]
    return theta, xs if p.n_inputs else None, exact


@way()
def metric(case: Case) -> None:
    theta, x, exact = _samples(case)
    tensor = np.mean([e.tensor() for e in exact], axis=0)
    size = np.max([e.absolute.sum(axis=0)[: case.program.n_params] for e in exact], axis=0)
    bound = DOUBLE * max(e.roundings for e in exact) * np.outer(size, size)
    near("geometric tensor", qpr.geometric_tensor(case.model, theta, x), tensor, bound)
    near("metric", qpr.metric(case.model, theta, x), tensor.real, bound)
    near("metric, reference", qpr.metric(case.model, theta, x, engine="reference"), tensor.real, bound)
    v = np.stack([e.v[: case.program.n_params] for e in exact[:1]])
    products = qpr.simulate.state_vector.metric.metric_products(case.model, theta, v, x)
    near("metric products", products, v @ tensor.real, np.abs(v) @ bound)


@way()
def fidelity(case: Case) -> None:
    rng, P = np.random.default_rng([case.seed, 3]), case.program.n_params
    target = rng.normal(size=2**case.program.n) + 1j * rng.normal(size=2**case.program.n)
    target /= np.linalg.norm(target)
    values, pullback = qpr.output_vjp(case.model, qpr.outputs.StateOverlap(target), *case.arguments)
    exact = [e.fidelity(target) for e in case.exact]
    near("fidelity", values, case.gather([f for f, _ in exact]), DOUBLE * case.exact[0].roundings)
    bound = case.gather([DOUBLE * e.roundings * 2 * e.absolute.sum(axis=0) for e in case.exact])
    gradient = case.gather([g for _, g in exact])
    d_theta, d_x = pullback(np.ones(case.shape))
    near("d_theta", d_theta, gradient[..., :P], bound[..., :P])
    near("d_x", d_x, gradient[..., P:], bound[..., P:])


@way()
def training_step(case: Case) -> None:
    """One step of gradient descent at rate 1 is the mean gradient."""
    theta, x, exact = _samples(case)
    if not case.program.n_params:
        return
    w = case.single
    bound = DOUBLE * np.mean([e.gradient_bound(w) for e in exact], axis=0)[: len(theta)] + DOUBLE * np.abs(theta)
    expected = np.mean([w @ e.jacobian for e in exact], axis=0)[: len(theta)]
    loss = qpr.Expectation(tuple(w.tolist()))
    try:
        result = qpr.train(case.model, loss, data=x, params=theta, optimiser=qpr.sgd(1.0), steps=1)
    except TrainingFailed as refusal:  # which keeps no angle that large
        assert np.abs(theta - expected).max() > LARGEST, refusal
        raise QupropError(refusal) from None
    near("step", theta - result.theta, expected, bound + DOUBLE * np.abs(expected))


# Models from models ---------------------------------------------------------------------------------------------------


@way()
def saved(case: Case) -> None:
    assert qpr.Model.from_text(case.model.to_text()) == case.model
    with tempfile.TemporaryDirectory() as folder:
        case.model.save(Path(folder) / "model.json")
        loaded = qpr.Model.load(Path(folder) / "model.json")
    assert loaded == case.model and hash(loaded) == hash(case.model)
    check_gradients(case, pickle.loads(pickle.dumps(loaded)))


@way()
def other_observables(case: Case) -> None:
    given = list(case.program.observables)
    check_gradients(case, qpr.Model(case.circuit, "Z0").with_observables(given))
    check_gradients(case, qpr.Model(case.circuit, list(case.model.original_observables)))


@way()
def composed(case: Case) -> None:
    """Pieces in series, some of them frozen: each has the gradient of the angles that stand in it."""
    rng, p = np.random.default_rng([case.seed, 4]), case.program
    theta, x, exact = _samples(case)
    ends = sorted(rng.integers(0, len(p.gates) + 1, int(rng.integers(1, 3))).tolist())
    pieces = list(zip([0, *ends], [*ends, len(p.gates)], strict=True))
    modules, places, kept = [], [], []
    for k, (start, stop) in enumerate(pieces):
        piece = p if k == 0 else p._replace(state=("zero", None))
        model = qpr.Model(piece.circuit(p.gates[start:stop]), "X0")
        module = qpr.Module(model, theta, name=f"piece{k}")
        if rng.random() < 0.4:
            modules.append(module.freeze())
            continue
        modules.append(module)
        places.append((start, stop))
        kept.append(theta)
    whole = qpr.compose(*modules, observables=list(p.observables))
    whole = qpr.Module.from_text(whole.to_text())
    t = np.concatenate([np.zeros(0), *kept])
    w = case.single
    P = p.n_params
    inside = [(e.owner >= a) & (e.owner < b) for e in exact[:1] for a, b in places]
    gradient = [np.concatenate([np.zeros(0), *(w @ e.by_angle[:, i] @ e.chain[i, :P] for i in inside)]) for e in exact]
    bound = [DOUBLE * np.tile(e.gradient_bound(w)[:P], len(places)) for e in exact]
    value_bound = np.array([DOUBLE * e.value_bound(w) for e in exact])
    value, found = qpr.value_and_grad(whole.model, t, x, weights=w)
    d_x = qpr.vjp(whole.model, t, x)[1](np.broadcast_to(w, (*value.shape, len(w))))[1]
    at = slice(None) if x is not None else 0
    near("value", value, np.array([w @ e.values for e in exact])[at], value_bound[at])
    near("gradient", found, np.array(gradient)[at], np.array(bound)[at])
    by_x = np.array([(w @ e.jacobian)[P:] for e in exact])[at]
    near("d_x", d_x, by_x, np.array([DOUBLE * e.gradient_bound(w)[P:] for e in exact])[at])


@way(qubits=4)
def side_by_side(case: Case) -> None:
    """The values of both parts, and products of their strings' values, which are entangled by nothing."""
    rng, p = np.random.default_rng([case.seed, 5]), case.program
    other = program(case.seed + 10**6, most=8, qubits=3, states=["zero", "bits", "product", "amplitudes"])
    theta, x = case.rows[0][:2]
    t, y = rng.uniform(-3, 3, other.n_params), rng.uniform(-3, 3, other.n_inputs)
    a, b = case.exact[0], Exact(other, t, y)
    second = qpr.Module(other.model(), t).reading(**{name: f"{name}_2" for name, k, _ in other.vectors if k == INPUT})
    held = rng.random() < 0.5
    first = qpr.Module(case.model, theta).freeze() if held else qpr.Module(case.model)
    whole = qpr.parallel(first, second).model
    point, inputs = np.concatenate([theta[len(theta) * held :], t]), np.concatenate([x, y])
    inputs = inputs if len(inputs) else None
    K, L = len(p.observables), len(other.observables)
    w = np.concatenate([case.single, rng.normal(size=L)])
    scale = DOUBLE * (a.roundings + b.roundings)
    sizes = np.concatenate([a.sizes, b.sizes])
    near("values", qpr.expectation(whole, point, inputs), np.concatenate([a.values, b.values]), scale * sizes)
    parts = [(w[:K] @ a.jacobian)[p.n_params * held : p.n_params], (w[K:] @ b.jacobian)[: other.n_params]]
    slopes = [a.absolute.sum(axis=0)[p.n_params * held : p.n_params], b.absolute.sum(axis=0)[: other.n_params]]
    found = qpr.value_and_grad(whole, point, inputs, weights=w)[1]
    near("gradient", found, np.concatenate(parts), scale * (np.abs(w) @ sizes) * np.concatenate(slopes))
    joint = {one + two: c * d for one, c in p.observables[0].items() for two, d in other.observables[0].items()}
    whole = qpr.parallel(first, second, observables=[joint]).model
    near("product", qpr.expectation(whole, point, inputs), [a.values[0] * b.values[0]], scale * a.sizes[0] * b.sizes[0])


@way(most=7, qubits=4)
def cut(case: Case) -> None:
    rng, p = np.random.default_rng([case.seed, 6]), case.program
    observables = list(p.observables)
    options: list[dict[str, Any]] = [{"max_qubits": max(1, p.n - 1)}, {}, {"max_qubits": max(1, p.n // 2)}]
    if p.n > 1:
        order = rng.permutation(p.n).tolist()
        options.append({"parts": [order[:1], order[1:]]})
    if len(case.circuit.operations):
        options.append({"at_wires": [(int(rng.integers(p.n)), int(rng.integers(len(case.circuit.operations))))]})
    chosen = pick(rng, options)
    plan = qpr.cut(case.circuit, observables, **chosen, max_overhead=3e4)
    check_gradients(case, plan)
    if len(plan.cuts) < 3:
        check_second(case, plan)


# Methods --------------------------------------------------------------------------------------------------------------

SETTINGS: dict[str, dict[str, Any]] = {
    "adjoint": {},
    "classical_shadows": {"shots": 400},
    "forward_gradient": {"shots": 10, "directions": 3},
    "quantum_backprop": {"shots": 400},
    "spsa": {"shots": 20, "directions": 3},
}
BIASED = ("finite_difference", "spsa")  # by so much where they are told they will be
LIMIT = 5.0  # standard errors
SQUARED = 1e-150  # whose square, a variance, is below what double precision holds


def _method(name: str, word: str, draw: Callable[..., Any]) -> Callable[[Case], None]:
    def check(case: Case) -> None:
        """The mean of estimates that are counted beforehand is within 5 standard errors and the stated bias."""
        theta, x = case.arguments
        P = case.program.n_params
        options = SETTINGS.get(name, {"shots": 50})
        if "shots" in options and case.seed % 2 == 0:
            options = {**options, "total_shots": 8 * options["shots"]}
            del options["shots"]
        method = METHODS[name](**options)
        rows = [(e, w) for e, (_, _, w) in zip(case.exact, case.rows, strict=True)]
        exact = case.gather([(w @ e.jacobian)[:P] for e, w in rows])
        bound = case.gather([DOUBLE * e.gradient_bound(w)[:P] for e, w in rows])
        at = None if case.seed % 4 < 2 and name not in BIASED else (theta, x)
        plan = method.compile(case.model, case.weights, at=at)
        repeats = 1 if name == "adjoint" else 12
        # The second look, with more repeats of their own, is for the one in a million that five errors leave out.
        for count, seed in ((repeats, 7), (20 * repeats, 8)):
            rng = np.random.default_rng([case.seed, seed])
            estimates = [draw(plan, theta, x, rng, case.weights) for _ in range(count)]
            mean = np.mean([e.value for e in estimates], axis=0)
            variance = np.mean([e.stderr**2 for e in estimates], axis=0) / count
            bias = np.broadcast_to(getattr(plan, "bias", 0.0), exact.shape)
            limit = bias + LIMIT * np.sqrt(variance) + 100 * bound + SQUARED
            if np.all(np.abs(mean - exact) <= limit):
                return
        near(f"{name}, mean of {count}", mean, exact, limit)

    check.__name__ = f"{word}_{name}"
    return check


def _simulated(plan: Any, theta: Any, x: Any, rng: np.random.Generator, weights: Any) -> Any:
    return plan.estimate(theta, x, rng, weights=weights)


def _on_device(plan: Any, theta: Any, x: Any, rng: np.random.Generator, weights: Any) -> Any:
    """From counts of the plan's circuits, in the user's own gates, on quprop's engine as a device."""
    device = qpr.device("quprop")
    circuits = plan.circuits(theta, x, weights=weights, rng=rng)
    while True:
        counts = device.submit(circuits.work, seed=int(rng.integers(2**31)), tag="").result() if circuits.work else []
        following = circuits.next(counts)
        if following is None:
            return circuits.combine(counts)
        circuits = following


HELD = {"adjoint", "shot_noise", "clifford_shadows", "quantum_backprop", "gentle_sweep", "fully_gentle"}
for _name in METHODS:
    way(most=5 if _name == "bell_sampling" else 9, qubits=3)(_method(_name, "method", _simulated))
for _name in sorted(METHODS.keys() - HELD):  # no circuits, or one for each shot
    way(most=5 if _name == "bell_sampling" else 6, qubits=3)(_method(_name, "device", _on_device))
