"""The cost of one gradient of a `Shape` by every method, in closed form: no model is built and nothing is run.

`COSTS[name](shape, wanted)` is a `Cost`; the laws are those of each method's own docstring, with sums over circuits
replaced by the shape's numbers. A method that does not serve the shape raises `QupropError` with the reason.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from quprop.collective.hypothesis.vectors import COMBINE_OPS, INNER_OPS
from quprop.cost import Cost
from quprop.errors import QupropError
from quprop.gradients.amplitude_estimation import calls
from quprop.gradients.directional import SPARE
from quprop.gradients.sweeps.fully_gentle import FullyGentle
from quprop.gradients.sweeps.gentle_sweep import GentleBudget, GentleSweep
from quprop.gradients.sweeps.quantum_backprop import QuantumBackprop
from quprop.gradients.sweeps.sweep_design import COARSEST, SweepDesign, held_qubits
from quprop.sampling.budget import share
from quprop.sampling.copies import pairs_for
from quprop.sampling.shape import Shape, Wanted
from quprop.sampling.signs import voters

Formula = Callable[[Shape, Wanted], Cost]
_AMPLITUDES = 16  # bytes
_LARGEST_STATE = 300  # qubits: beyond, 8^n is no floating-point number, and no number of seconds either
_MOST_SHARED = 1 << 40


def cost_of(name: str, shape: Shape, wanted: Wanted) -> Cost:
    """One gradient by method `name`; QupropError where the method does not serve the shape."""
    why = shape.missing.get(name)
    if why:
        raise QupropError(why)
    if not shape.trained or not shape.reaches or not shape.norm:
        return Cost()
    try:
        return COSTS[name](shape, wanted)
    except OverflowError:
        raise QupropError(f"{name} would take more than 1e308 runs here; loosen the precision") from None


# -- shots of fixed circuits ------------------------------------------------------------------------------------------


def _averaged(name: str) -> Formula:
    """shots = load / v, one at least for each circuit (`gradients/linear.py`)."""

    def cost(shape: Shape, wanted: Wanted) -> Cost:
        return _of_load(shape, name, wanted.variance(shape.parameters), _ancillas(name, shape))

    return cost


def _of_load(shape: Shape, name: str, variance: float, ancillas: int, groups: int = 1) -> Cost:
    load = shape.loads[name]
    if not load.circuits or not load.shots:
        return Cost()
    each = max(1, math.ceil(load.shots / load.circuits / variance * (1 - 1e-12))) * groups
    shots = round(load.circuits) * each
    return Cost(
        copies=shots,
        rotations=round(shots * (load.rotations / load.shots)),
        measurements=shots,
        depth=round(load.depth),
        qubits=shape.qubits + ancillas,
        classical_ops=round(shots * (load.ops / load.shots)),
    )


def _ancillas(name: str, shape: Shape) -> int:
    if name == "parameter_shift":
        return 0
    # One commuting block that ends the circuit is read without an ancilla.
    return int(not (name == "commuting_blocks" and shape.loads[name].circuits <= shape.terms))


def _shadows(shape: Shape, wanted: Wanted) -> Cost:
    """max_error: 2 ln(2P/failure) groups of 34 norm^2/e^2 copies, rounded up (`ClassicalShadows`)."""
    if wanted.kind == "precision":
        return _of_load(shape, "classical_shadows", wanted.value**2, 1)
    groups = math.ceil(wanted.union(shape.parameters))
    return _of_load(shape, "classical_shadows", wanted.value**2 / 34, 1, groups)


def _random_components(shape: Shape, wanted: Wanted) -> Cost:
    """Parameter shift's load for the variance; Bernstein's inequality for the largest error, a shot counting up to
    load/(B min W) (`RandomComponents`)."""
    load = shape.loads["parameter_shift"]
    if not load.shots:
        return Cost()
    if wanted.kind == "precision":
        total = max(1, math.ceil(load.shots / wanted.value**2 * (1 - 1e-12)))
    else:
        e = wanted.value
        largest = load.shots / (shape.bound * min(w for w, _ in shape.reaches))
        total = math.ceil(wanted.union(shape.parameters) * (load.shots + 2 * largest * e / 3) / e**2)
    return _plain(shape, total, max(shape.reads))


def _plain(shape: Shape, shots: int, reads: float) -> Cost:
    """Runs of the model's own circuit."""
    return Cost(
        copies=shots,
        rotations=shots * shape.rotations,
        measurements=shots,
        depth=shape.rotations,
        qubits=shape.qubits,
        classical_ops=round(shots * reads),
    )


# -- differences and directions ---------------------------------------------------------------------------------------


def _finite_difference(shape: Shape, wanted: Wanted) -> Cost:
    """h_i = sqrt(6 s e / (B W_i^3)), pi/(2 W_i) at most, s = 1/sqrt(3) of a precision and 1/3 of a largest error; then
    2 b_g B / (2 h^2 v) shots for each parameter and group, v what the bias leaves (`FiniteDifference`)."""
    e, precision = wanted.value, wanted.kind == "precision"
    part = 1 / math.sqrt(3) if precision else 1 / 3
    steps = [
        (min(math.sqrt(6 * part * e / (shape.bound * w**3)), math.pi / 2 / w), w, count) for w, count in shape.reaches
    ]
    bias = max(h * h / 6 * shape.bound * w**3 for h, w, _ in steps)
    left = e * e - bias * bias if precision else (e - bias) ** 2 / wanted.union(shape.parameters)
    shots = ops = 0
    for b, reads in zip(shape.ranges, shape.reads, strict=True):
        for h, _, count in steps:
            each = max(1, math.ceil(b * shape.bound / (2 * h * h * left) * (1 - 1e-12)))
            shots += 2 * round(count) * each
            ops += round(2 * count * each * reads)
    return _plain(shape, shots, ops / shots)


def _directional(shape: Shape, evaluations: int, spread: float, noise: Callable[[Any], float], largest: float) -> Any:
    """(directions for a budget, shots of a direction): the fewest directions whose own spread is `SPARE` of the shot
    noise (`gradients/directional.py`)."""
    G = len(shape.ranges)
    enough = max(G, int(SPARE * noise([1.0] * G) / max(spread, 1e-300) / G) * G)
    shots = [int(s) for s in share(min(enough, _MOST_SHARED), _array(shape.ranges))]

    def needed(kind: str, value: float, union: float) -> int:
        variance = spread + noise(shots)
        if kind == "precision":
            return max(2, math.ceil(variance / value**2))
        return max(2, math.ceil(union * (variance + 2 * largest * value / 3) / value**2))

    def cost(directions: int) -> Cost:
        total = directions * evaluations * sum(shots)
        read = sum(s * r for s, r in zip(shots, shape.reads, strict=True)) / sum(shots)
        return _plain(shape, total, read)

    return needed, cost


def _spsa(shape: Shape, wanted: Wanted) -> Cost:
    """Step c with bias c^2 B (W^3/6 + W (sum_k W_k^2 - W^2)/2), and directions of two evaluations (`SPSA`)."""
    if not shape.affine:
        raise QupropError("SPSA knows its bias only where angles are affine in theta; use parameter_shift")
    B, squares, e = shape.bound, shape.power(2), wanted.value
    worst = max(B * (w**3 / 6 + w * max(0.0, squares - w * w) / 2) for w, _ in shape.reaches)
    precision = wanted.kind == "precision"
    step = min(math.sqrt(e * (1 / math.sqrt(3) if precision else 1 / 3) / worst), math.pi / 2 / shape.reach)
    bias = step * step * worst
    left = math.sqrt(e * e - bias * bias) if precision else e - bias

    def noise(shots: Any) -> float:
        return sum(b * b / s for b, s in zip(shape.ranges, shots, strict=True)) / (2 * step * step)

    needed, cost = _directional(shape, 2, B * B * squares, noise, B / step)
    return cost(needed(wanted.kind, left, wanted.union(shape.active)))


def _forward_gradient(shape: Shape, wanted: Wanted) -> Cost:
    """Directions of ±1 in all parameters, each read by shots that count up to (sum_i W_i) B (`ForwardGradient`)."""
    total = shape.power(1)

    def noise(shots: Any) -> float:
        return total * total * sum(b * b / s for b, s in zip(shape.ranges, shots, strict=True))

    needed, cost = _directional(shape, 1, shape.bound**2 * shape.power(2), noise, shape.bound * total)
    return cost(needed(wanted.kind, wanted.value, wanted.union(shape.active)))


# -- many copies ------------------------------------------------------------------------------------------------------


def _bell_sampling(shape: Shape, wanted: Wanted) -> Cost:
    """2 N1 copies for the magnitudes of K strings and N2 held together for the signs (`BellSampling`)."""
    if not shape.strings:
        raise QupropError(
            "bell_sampling needs every component to be a Pauli string on one state, and here they are not"
        )
    eps = min(1.0, wanted.max_error(shape.parameters) / shape.string_scale)
    pairs = pairs_for(shape.strings, eps, wanted.failure)
    votes = voters(shape.strings, eps, wanted.failure / 2)
    return Cost(
        copies=2 * pairs + votes,
        rotations=(2 * pairs + votes) * shape.rotations,
        measurements=pairs + votes,
        depth=shape.rotations,
        qubits=max(2, votes) * shape.qubits,
        classical_ops=shape.strings * pairs,
    )


def _gentle(kind: type[GentleBudget]) -> Formula:
    """k copies read D times by Gaussian pointers, each undone rotation by rotation."""

    def cost(shape: Shape, wanted: Wanted) -> Cost:
        settings: dict[str, Any] = {wanted.kind: wanted.value, "failure": wanted.failure}
        method = kind(**settings)
        r = method.readings(shape.trained, shape.norm * shape.reach)
        copies = max(r.copies, method.batches)
        largest = -(-copies // method.batches)
        length = 2 * shape.rotations - 1 - shape.first
        return Cost(
            copies=copies,
            rotations=copies * length,
            measurements=method.batches * shape.trained,
            depth=length,
            qubits=largest * (shape.qubits + 1) + math.ceil(math.log2(largest + 8 * r.noise + 1)),
        )

    return cost


def backprop_design(shape: Shape, wanted: Wanted) -> SweepDesign:
    """The sweep of `QuantumBackprop` with its own settings and a dense hypothesis, for which the bound R is proved."""
    m = QuantumBackprop(max_error=1.0)
    base = SweepDesign(COARSEST, shape.trained, shape.qubits + 1, m.c, m.slack, m.verify, wanted.failure, True)
    hard = base.reach / base.eps
    eps = min(COARSEST, wanted.max_error(shape.parameters) / (2 * shape.norm * shape.reach * hard))
    return SweepDesign(eps, shape.trained, shape.qubits + 1, m.c, m.slack, m.verify, wanted.failure, True)


def backprop_cost(shape: Shape, design: SweepDesign, triggered: Sequence[int] | None = None) -> Cost:
    """A sweep over D evenly spaced components. triggered: which of them trigger, counted in the order of the sweep from
    0 (the last rotation) to D - 1; by default as many as the bound allows, at the longest runs: `SweepDesign.cost`
    without a list of all components.

    A copy for component j, rotation m_j = M - 1 - j (M - 1 - first)/(D - 1), takes 2 M - 1 - m_j rotations. A batch is
    prepared at the end of the circuit and is taken along; after a trigger a new one is at the next component.
    """
    M, D, k, fresh = shape.rotations, shape.trained, design.k, design.fresh
    longest = 2 * M - 1 - shape.first
    step = (M - 1 - shape.first) / max(1, D - 1)
    if triggered is None:
        T = design.triggers
        again = min(T, D - 1)
        batches, spent = (count * longest - step * count * (count - 1) / 2 for count in (again, T))
    else:
        T, again = len(triggered), sum(j < D - 1 for j in triggered)
        spent = sum(M + j * step for j in triggered)
        batches = sum(M + (j + 1) * step for j in triggered if j < D - 1)
    q = design.qubits
    if q > _LARGEST_STATE:
        raise QupropError(
            f"the hypothesis of quantum_backprop would be 4^{q:,} numbers; no machine holds them (its quantum part "
            f"alone would be {k * (1 + again) + fresh * T:.3g} copies)"
        )
    updates = min(design.triggers * QuantumBackprop(max_error=1.0).updates_per_layer, math.floor(design.bound))
    size = 4**q
    return Cost(
        copies=k * (1 + again) + fresh * T,
        rotations=round(k * (longest + batches) + fresh * spent),
        measurements=2 * D + fresh * T,
        depth=longest,
        qubits=held_qubits(k, q),
        classical_ops=fresh * T + COMBINE_OPS * size * M + INNER_OPS * size * (D + updates) + 26 * 8**q * updates,
        classical_bytes=6 * _AMPLITUDES * size,
    )


def _quantum_backprop(shape: Shape, wanted: Wanted) -> Cost:
    """The worst case of Theorem 9's sweep (`QuantumBackprop`): R triggers, R the mistake bound of the hypothesis."""
    return backprop_cost(shape, backprop_design(shape, wanted))


def _amplitude_estimation(shape: Shape, wanted: Wanted) -> Cost:
    """sqrt(M)/e ln(M/failure) coherent calls, the hidden constants taken for 1 (`AmplitudeEstimation`)."""
    relative = min(1.0, wanted.max_error(shape.parameters) / (shape.norm * shape.reach))
    count = calls(shape.trained, relative, wanted.failure)
    return Cost(
        copies=count,
        rotations=count * shape.rotations,
        measurements=1,
        depth=count * shape.rotations,
        qubits=shape.qubits + shape.trained + math.ceil(math.log2(1 / relative) + 1),
    )


# -- simulators -------------------------------------------------------------------------------------------------------


def _amplitudes(shape: Shape) -> int:
    if shape.qubits > _LARGEST_STATE:
        raise QupropError(
            f"a state of {shape.qubits:,} qubits has 2^{shape.qubits:,} amplitudes; no machine holds them"
        )
    return 1 << shape.qubits


def _adjoint(shape: Shape, wanted: Wanted) -> Cost:
    """Three sweeps of M rotations over 2^n amplitudes, three states held (`Adjoint`); exact, whatever is wanted."""
    size = _amplitudes(shape)
    return Cost(
        depth=shape.rotations,
        qubits=shape.qubits,
        classical_ops=12 * shape.rotations * size,
        classical_bytes=3 * _AMPLITUDES * size,
    )


def _shot_noise(shape: Shape, wanted: Wanted) -> Cost:
    """Exact moments of parameter shift's circuits (`ShotNoise`)."""
    size = _amplitudes(shape)
    return Cost(
        depth=shape.rotations,
        qubits=shape.qubits,
        classical_ops=round(shape.loads["parameter_shift"].circuits) * shape.rotations * 4 * size,
        classical_bytes=3 * _AMPLITUDES * size,
    )


def _array(values: Any) -> Any:
    import numpy as np

    return np.asarray(values, float)


COSTS: dict[str, Formula] = {
    "adjoint": _adjoint,
    "amplitude_estimation": _amplitude_estimation,
    "bell_sampling": _bell_sampling,
    "classical_shadows": _shadows,
    "commuting_blocks": _averaged("commuting_blocks"),
    "finite_difference": _finite_difference,
    "forward_gradient": _forward_gradient,
    "fully_gentle": _gentle(FullyGentle),
    "gentle_sweep": _gentle(GentleSweep),
    "hadamard_test": _averaged("hadamard_test"),
    "pair_state": _averaged("pair_state"),
    "parameter_shift": _averaged("parameter_shift"),
    "quantum_backprop": _quantum_backprop,
    "random_components": _random_components,
    "shot_noise": _shot_noise,
    "spsa": _spsa,
}
