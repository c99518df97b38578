"""Bars against dots: what a circuit with commuting generators saves in shots.

The experiment of Bowles, Wierichs, Park, "Backpropagation scaling in parameterised quantum circuits" (Quantum 9, 1873
(2025), arXiv:2306.14962, figure 6): 16 pixels on a ring, a bar of 8 neighbours or 8 dots on every other place, under
noise; 16 qubits, RY encoding, translation-symmetric circuits, prediction sign(mean Z).

    commuting      all X strings of weight 1 to 3, one parameter an orbit: the whole gradient from 16 circuits
    non_commuting  4 layers of Z, Y and XX orbits: parameter shift, two circuits a rotation
    qcnn           a quantum convolutional network (slower to simulate; on request)
    separable      one general rotation a qubit

Their settings: 1,000 training and 100 test points, pixel noise 1.0, then scaled by 0.5; Adam at 0.01, batches of 20,
100 steps; sigmoid cross-entropy of 6 times the prediction; noise N(0, 0.01^2) on every component of a batch's gradient,
which stands for shots. Training here does the same, with exact gradients of the native engine plus that noise; then the
shots are counted that give this noise on hardware, from variances as they are and guaranteed for the worst state.

    python examples/bars_and_dots.py --trials 2                    # some minutes; prints and draws
"""

from __future__ import annotations

import argparse
import itertools
import json
import time
from pathlib import Path

import numpy as np

import quprop as qpr
from quprop.gradients import METHODS
from quprop.runs import versions, write_atomically, write_json

PIXELS, LENGTH, BATCH, RATE, NOISE, SLOPE = 16, 8, 20, 0.01, 0.01, 6.0
MEAN_Z = {f"Z{q}": 1 / PIXELS for q in range(PIXELS)}


def data(count: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Pixels (count, 16) of ±1 under noise, scaled by 0.5, and labels: 1 for a bar, 0 for dots."""
    starts, labels = rng.integers(PIXELS, size=count), rng.integers(2, size=count)
    steps = np.where(labels == 1, 1, 2)
    places = (starts[:, None] + steps[:, None] * np.arange(LENGTH)) % PIXELS
    x = np.ones((count, PIXELS))
    np.put_along_axis(x, places, -1.0, axis=1)
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


def encoded(params: int) -> tuple[qpr.Circuit, object]:
    x, theta = qpr.inputs("x", PIXELS), qpr.params("theta", params)
    circuit = qpr.Circuit(PIXELS, params=theta, inputs=x)
    for q in range(PIXELS):
        circuit.ry(x[q], q)
    return circuit, theta


def commuting() -> qpr.Model:
    generators = orbits("X", (1, 2, 3))
    circuit, theta = encoded(len(generators))
    for angle, strings in zip(theta, generators, strict=True):
        for string in strings:
            circuit.rotation(string, angle)
    return qpr.Model(circuit, MEAN_Z)


def non_commuting(layers: int = 4) -> qpr.Model:
    generators = [*orbits("Z", (1,)), *orbits("Y", (1,)), *orbits("X", (2,))]
    circuit, theta = encoded(layers * len(generators))
    for angle, strings in zip(theta, generators * layers, strict=True):
        for string in strings:
            circuit.rotation(string, angle)
    return qpr.Model(circuit, MEAN_Z)


def separable() -> qpr.Model:
    circuit, theta = encoded(3 * PIXELS)
    for q in range(PIXELS):
        circuit.rz(theta[3 * q], q).ry(theta[3 * q + 1], q).rz(theta[3 * q + 2], q)
    return qpr.Model(circuit, MEAN_Z)


def qcnn() -> qpr.Model:
    """Blocks of ten rotations on neighbours, pooling of two, halving the qubits four times."""
    depth = PIXELS.bit_length() - 1
    circuit, theta = encoded(12 * depth)

    def block(a: int, b: int, t: object) -> None:
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
    return qpr.Model(circuit, f"Z{PIXELS - 1}")


MODELS = {"commuting": commuting, "non_commuting": non_commuting, "qcnn": qcnn, "separable": separable}
METHOD = {"commuting": "commuting_blocks"}  # the others: parameter shift


def train(model: qpr.Model, steps: int, every: int, rng: np.random.Generator) -> dict[str, list[float]]:
    """Losses of the batches, and the accuracy on the test points every so many steps."""
    x, y = data(1000, rng)
    x_test, y_test = data(100, rng)
    theta = rng.uniform(0, 2 * np.pi, model.n_params)
    begin, update = qpr.adam(RATE)
    state = begin(theta)
    losses, accuracies, at = [], [], []
    for step in range(steps + 1):
        if step % every == 0 or step == steps:
            guess = qpr.expectation(model, theta, x_test, precision="single")[:, 0] > 0
            at.append(step)
            accuracies.append(float(np.mean(guess == (y_test == 1))))
        if step == steps:
            break
        chosen = rng.choice(len(x), BATCH, replace=False)
        values, pullback = qpr.vjp(model, theta, x[chosen], precision="single")  # the noise is far coarser
        logit = SLOPE * values[:, 0]
        losses.append(float(np.mean(np.logaddexp(0, logit) - y[chosen] * logit)))
        cotangent = SLOPE * (1 / (1 + np.exp(-logit)) - y[chosen]) / BATCH
        gradient = pullback(cotangent[:, None], sum_theta=True)[0]
        gradient = gradient + rng.normal(0, NOISE, gradient.shape)
        change, state = update(gradient, state, theta)
        theta = theta + change
    return {"loss": losses, "step": at, "accuracy": accuracies}


def shots(name: str, model: qpr.Model, seed: int) -> dict[str, float]:
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


def report(found: dict[str, dict], wanted: float) -> list[str]:
    goal = f"shots to {wanted:.2f}"
    lines = [f"{'':14}{'params':>7}{'rotations':>10}{'circuits':>9}{'shots/step':>11}{'accuracy':>9}{goal:>14}"]
    for name, r in found.items():
        curve = np.mean([t["accuracy"] for t in r["trials"]], axis=0)
        reached = np.flatnonzero(curve >= wanted)
        r["accuracy"], r["steps_to_wanted"] = float(curve[-1]), None
        total = "not reached"
        if len(reached):
            r["steps_to_wanted"] = int(r["trials"][0]["step"][reached[0]])
            r["shots_to_wanted"] = r["shots_a_step"] * max(r["steps_to_wanted"], 1)
            total = f"{r['shots_to_wanted']:.2e}"
        lines.append(
            f"{name:14}{r['params']:7}{r['rotations']:10}{r['circuits']:9}{r['shots_a_step']:11.2e}"
            f"{r['accuracy']:9.3f}{total:>14}"
        )
    return lines


def draw(found: dict[str, dict]) -> bytes:
    import io

    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9.0, 3.6), layout="constrained")
    FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2, sharey=True)
    for name, r in found.items():
        curves = np.array([t["accuracy"] for t in r["trials"]])
        steps = np.array(r["trials"][0]["step"], float)
        for axes, x in ((left, steps), (right, np.maximum(steps, 0.5) * r["shots_a_step"])):
            axes.plot(x, curves.mean(axis=0), label=name.replace("_", " "))
            axes.fill_between(x, curves.min(axis=0), curves.max(axis=0), alpha=0.15)
    left.set_xlabel("training step")
    right.set_xlabel("shots")
    right.set_xscale("log")
    left.set_ylabel("test accuracy (mean, range of trials)")
    left.legend(frameon=False, fontsize=8)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=120)
    return buffer.getvalue()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--trials", type=int, default=2, help="runs of each model; the paper has 20")
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--every", type=int, default=10, help="steps between tests of the accuracy")
    parser.add_argument("--models", default="commuting,non_commuting,separable", help=f"of {', '.join(MODELS)}")
    parser.add_argument("--wanted", type=float, default=0.8, help="the accuracy that shots are counted to")
    parser.add_argument("--out", type=Path, default=Path("runs/bars_and_dots"))
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    found: dict[str, dict] = {}
    for name in given.models.split(","):
        model = MODELS[name]()
        start = time.perf_counter()
        trials = []
        for trial in range(given.trials):  # the same data for every model
            trials.append(train(model, given.steps, given.every, np.random.default_rng([given.seed, trial])))
            spent = time.perf_counter() - start
            print(f"{name} trial {trial + 1}/{given.trials}: accuracy {trials[-1]['accuracy'][-1]:.2f}, {spent:.0f} s")
        found[name] = {"params": model.n_params, "rotations": model.n_rotations - PIXELS, "trials": trials}
        found[name] |= shots(name, model, given.seed)
    print("\n".join(report(found, given.wanted)))
    if found.keys() >= {"commuting", "non_commuting"}:
        one, other = found["commuting"], found["non_commuting"]
        print(
            f"a step without commuting generators: {other['circuits'] / one['circuits']:.0f} times the circuits, "
            f"{other['shots_a_step'] / one['shots_a_step']:.0f} times the shots "
            f"({other['guaranteed_a_step'] / one['guaranteed_a_step']:.0f} times if guaranteed)"
        )
    write_json(given.out / "result.json", {"settings": vars(given), "models": found, "versions": versions()})
    write_atomically(given.out / "bars_and_dots.png", draw(found))
    print(json.dumps({"written to": str(given.out)}))


if __name__ == "__main__":
    main()
