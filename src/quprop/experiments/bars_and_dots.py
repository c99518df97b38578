"""Bars against dots: what a circuit with commuting generators saves in shots.

The experiment of Bowles, Wierichs, Park, "Backpropagation scaling in parameterised quantum circuits" (Quantum 9, 1873
(2025), arXiv:2306.14962, figure 6): 16 pixels on a ring, a bar of 8 neighbours or 8 dots on every other place, under
noise; 16 qubits, RY encoding, translation-symmetric circuits, prediction sign(mean Z).

    commuting      all X strings of weight 1 to 3, one parameter an orbit: the whole gradient from 16 circuits
    non_commuting  4 layers of Z, Y and XX orbits: parameter shift, two circuits a rotation
    qcnn           a quantum convolutional network (slower to simulate)
    separable      one general rotation a qubit

Their settings: 1,000 training and 100 test points, pixel noise 1.0, then scaled by 0.5; Adam at 0.01, batches of 20,
100 steps; sigmoid cross-entropy of 6 times the prediction; noise N(0, 0.01^2) on every component of a batch's gradient,
which stands for shots. Training here does the same, with exact gradients of the native engine plus that noise; then the
shots are counted that give this noise on hardware, from variances as they are and guaranteed for the worst state.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from quprop import simulate
from quprop.errors import generator_of
from quprop.experiments.experiment import Experiment, Progress, Result, silent
from quprop.gradients import METHODS
from quprop.model import Model
from quprop.model.angle import inputs, params
from quprop.model.circuit import Circuit
from quprop.plots import Picture, panels, picture
from quprop.training.optimise import adam

PIXELS, LENGTH, BATCH, RATE, NOISE, SLOPE = 16, 8, 20, 0.01, 0.01, 6.0
MEAN_Z = {f"Z{q}": 1 / PIXELS for q in range(PIXELS)}
WANTED = 0.8  # the accuracy that shots are counted to


def data(count: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Pixels (count, 16) of ±1 under noise, scaled by 0.5, and labels: 1 for a bar, 0 for dots."""
    starts, labels = rng.integers(PIXELS, size=count), rng.integers(2, size=count)
    steps = np.where(labels == 1, 1, 2)
    places = (starts[:, None] + steps[:, None] * np.arange(LENGTH)) % PIXELS
    x = np.ones((count, PIXELS))
    x[np.arange(count)[:, None], places] = -1.0
    return 0.5 * (x + rng.normal(size=x.shape)), labels


def orbit(letters: str) -> list[str]:
    """All different rotations of a ring of letters."""
    return sorted({letters[k:] + letters[:k] for k in range(len(letters))})


def orbits(letter: str, sizes: tuple[int, ...]) -> list[list[str]]:
    """The translation orbits of strings of one letter with so many sites."""
    found = {}
    for size in sizes:
        for sites in itertools.combinations(range(PIXELS), size):
            strings = orbit("".join(letter if q in sites else "I" for q in range(PIXELS)))
            found[strings[0]] = strings
    return list(found.values())


def encoded(size: int) -> tuple[Circuit, Any]:
    x, theta = inputs("x", PIXELS), params("theta", size)
    circuit = Circuit(PIXELS, params=theta, inputs=x)
    for q in range(PIXELS):
        circuit.ry(x[q], q)
    return circuit, theta


def commuting() -> Model:
    generators = orbits("X", (1, 2, 3))
    circuit, theta = encoded(len(generators))
    for angle, strings in zip(theta, generators, strict=True):
        for string in strings:
            circuit.rotation(string, angle)
    return Model(circuit, MEAN_Z)


def non_commuting(layers: int = 4) -> Model:
    generators = [*orbits("Z", (1,)), *orbits("Y", (1,)), *orbits("X", (2,))]
    circuit, theta = encoded(layers * len(generators))
    for angle, strings in zip(theta, generators * layers, strict=True):
        for string in strings:
            circuit.rotation(string, angle)
    return Model(circuit, MEAN_Z)


def separable() -> Model:
    circuit, theta = encoded(3 * PIXELS)
    for q in range(PIXELS):
        circuit.rz(theta[3 * q], q).ry(theta[3 * q + 1], q).rz(theta[3 * q + 2], q)
    return Model(circuit, MEAN_Z)


def qcnn() -> Model:
    """Blocks of ten rotations on neighbours, pooling of two, halving the qubits four times."""
    depth = PIXELS.bit_length() - 1
    circuit, theta = encoded(12 * depth)

    def block(a: int, b: int, t: Any) -> None:
        circuit.rx(t[0], a).rx(t[1], b).rz(t[2], a).rz(t[3], b).crz(t[4], b, a).crz(t[5], a, b)
        circuit.rx(t[6], a).rx(t[7], b).rz(t[8], a).rz(t[9], b)

    for j in range(depth):
        t, left = theta[12 * j : 12 * j + 12], PIXELS >> j
        odd = range(1, left, 2) if j < depth - 1 else ()
        for i in (*range(0, left, 2), *odd):
            a = (1 << j) - 1 + (i << j)
            block(a, (a + (1 << j)) % PIXELS, t)
        for i in range(0, left, 2):
            a = (1 << j) - 1 + (i << j)
            b = (a + (1 << j)) % PIXELS
            circuit.crz(t[10], a, b).x(a).crx(t[11], a, b).x(a)
    return Model(circuit, f"Z{PIXELS - 1}")


MODELS = {"commuting": commuting, "non_commuting": non_commuting, "qcnn": qcnn, "separable": separable}
METHOD = {"commuting": "commuting_blocks"}  # the others: parameter shift


def train(
    model: Model, steps: int, every: int, rng: np.random.Generator, before: Callable[[int], None] = lambda step: None
) -> dict[str, list[Any]]:
    """Losses of the batches, and the accuracy on the test points every so many steps; before(step) is called first."""
    x, y = data(1000, rng)
    x_test, y_test = data(100, rng)
    theta = rng.uniform(0, 2 * np.pi, model.n_params)
    begin, update = adam(RATE)
    state = begin(theta)
    losses, accuracies, at = [], [], []
    for step in range(steps + 1):
        if step % every == 0 or step == steps:
            guess = simulate.expectation(model, theta, x_test, precision="single")[:, 0] > 0
            at.append(step)
            accuracies.append(float(np.mean(guess == (y_test == 1))))
        if step == steps:
            break
        before(step)
        chosen = rng.choice(len(x), BATCH, replace=False)
        values, pullback = simulate.vjp(model, theta, x[chosen], precision="single")  # the noise is far coarser
        logit = SLOPE * values[:, 0]
        losses.append(float(np.mean(np.logaddexp(0, logit) - y[chosen] * logit)))
        cotangent = SLOPE * (1 / (1 + np.exp(-logit)) - y[chosen]) / BATCH
        gradient = pullback(cotangent[:, None], sum_theta=True)[0]
        gradient = gradient + rng.normal(0, NOISE, gradient.shape)
        change, state = update(gradient, state, theta)
        theta = theta + change
    return {"loss": losses, "step": at, "accuracy": accuracies}


def shots(name: str, model: Model, seed: int) -> dict[str, float]:
    """What one training step costs on hardware at the noise of the experiment.

    A batch's gradient is (1/20) sum_b w_b grad F_b with |w_b| <= 6, so its standard error is 0.01 at most if that of
    each grad F_b is 0.01 sqrt(20) / 6. Shots for that, the same for every circuit: from the standard errors that the
    method itself reports at one point of the training set and random parameters (`shots_a_step`), and as allotted for
    the worst state there is (`guaranteed_a_step`). The predictions themselves are measured beside it and not counted.
    """
    precision = NOISE * np.sqrt(BATCH) / SLOPE
    method = METHODS[METHOD.get(name, "parameter_shift")]
    rng = np.random.default_rng([seed, 99])
    theta, x = rng.uniform(0, 2 * np.pi, model.n_params), data(1, rng)[0][0]
    plan = method(shots=100).compile(model, at=(theta, x))
    found = plan.estimate(theta, x, rng)
    needed = float(np.max(found.stderr) / precision) ** 2 * found.cost.measurements
    guaranteed = method(precision=float(precision)).compile(model, at=(theta, x)).cost
    return {
        "method": method.name,
        "circuits": plan.cost.measurements // 100,
        "shots_a_step": BATCH * needed,
        "guaranteed_a_step": BATCH * guaranteed.measurements,
        "rotations_a_step": BATCH * needed * plan.cost.rotations / plan.cost.measurements,
    }


def run(quick: bool, rng: Any, progress: Progress = silent) -> Result:
    """Commuting and non-commuting circuits, the same data for both; trials of 100 steps (30 in the quick version)."""
    seed = int(generator_of(rng).integers(1 << 31))
    trials, steps = (1, 30) if quick else (5, 100)
    names = ("commuting", "non_commuting") if quick else ("commuting", "non_commuting", "separable")
    found: dict[str, Any] = {}
    each, total = trials * steps, trials * steps * len(names)
    for done, name in enumerate(names):

        def told(step: int, done: int = done, name: str = name) -> None:
            progress(done * each + step, total, name)

        found[name] = measured(name, trials, steps, seed, told)
    progress(total, total, "")
    one, other = found["commuting"], found["non_commuting"]
    return {
        "models": found,
        "ratio": other["shots_a_step"] / one["shots_a_step"],
        "findings": [
            f"a step takes {one['shots_a_step']:.2g} shots with commuting generators, {other['shots_a_step']:.2g} "
            f"without: {other['shots_a_step'] / one['shots_a_step']:.0f} times",
            f"circuits: {one['circuits']} against {other['circuits']}",
            f"accuracy after {steps} steps: "
            + ", ".join(f"{n.replace('_', ' ')} {r['accuracy']:.3f}" for n, r in found.items()),
        ],
    }


def _later(before: Callable[[int], None], done: int, step: int) -> None:
    before(done + step)


def measured(
    name: str,
    trials: int,
    steps: int,
    seed: int,
    before: Callable[[int], None] = lambda step: None,
    every: int = 10,
) -> dict[str, Any]:
    """All about one model: its trials, shots and mean accuracy; before(steps of all trials) is called at each step."""
    model, runs = MODELS[name](), []
    for trial in range(trials):
        rng = np.random.default_rng([seed, trial])
        runs.append(train(model, steps, every, rng, partial(_later, before, trial * steps)))
    found: dict[str, Any] = {"params": model.n_params, "rotations": model.n_rotations - PIXELS, "trials": runs}
    found |= shots(name, model, seed)
    curve = np.mean([t["accuracy"] for t in runs], axis=0)
    reached = np.flatnonzero(curve >= WANTED)
    found |= {"accuracy": float(curve[-1]), "steps_to_wanted": None, "shots_to_wanted": None}
    if len(reached):
        found["steps_to_wanted"] = int(runs[0]["step"][reached[0]])
        found["shots_to_wanted"] = found["shots_a_step"] * max(found["steps_to_wanted"], 1)
    return found


def draw(result: Result) -> Picture:
    figure, (left, right) = panels(2)
    for name, r in result["models"].items():
        curves = np.array([t["accuracy"] for t in r["trials"]])
        steps = np.array(r["trials"][0]["step"], float)
        for axes, x in ((left, steps), (right, np.maximum(steps, 0.5) * r["shots_a_step"])):
            axes.plot(x, curves.mean(axis=0), label=name.replace("_", " "))
            axes.fill_between(x, curves.min(axis=0), curves.max(axis=0), alpha=0.15)
    left.set_xlabel("training step")
    right.set_xlabel("shots")
    right.set_xscale("log")
    left.set_ylabel("test accuracy (mean, range of trials)")
    return picture(figure, "Bars against dots, 16 qubits")


EXPERIMENT = Experiment(
    "bars_and_dots",
    "a circuit of commuting generators trains with orders of magnitude fewer shots",
    "Bowles, Wierichs and Park, arXiv:2306.14962, figure 6",
    8,
    run,
    draw,
)
