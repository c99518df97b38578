"""Costs of bit strings, minimised by QAOA: what `maxcut`, `labs`, `sk` and `portfolio` share.

A cost is a diagonal sum of Pauli strings, E(b) = sum_T c_T prod_{q in T} (-1)^{b_q} for bits b. From it follow the
circuit, the lowest and the highest cost by trying all strings, the angles that training starts from, and the judgement
of a trained circuit: its expected cost, the best strings among its samples, and

    approximation ratio = (E - E_max) / (E_min - E_max),

1 at the lowest cost and 0 at the highest, whatever the sign of costs. Of cuts with weights of 0 and more it is the cut
over the largest cut.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from quprop import simulate
from quprop.errors import QupropError
from quprop.model import Model
from quprop.model.ansatz import qaoa
from quprop.model.circuit import Circuit
from quprop.model.pauli import PauliSum
from quprop.model.pauli_algebra import walsh_hadamard
from quprop.problems.config import Config, Setting
from quprop.problems.energies import circuit, model_settings
from quprop.problems.published_angles import Angles
from quprop.problems.spec import Params, Problem
from quprop.simulate.distributed.serve import leading
from quprop.training.losses import Expectation

EXACT_BITS = 26  # all strings are tried up to here: a second or two
SHOTS = 1024  # strings sampled from the trained circuit, of which the best are reported
LISTED = 5  # of them
_BLOCK_BITS, _ABREAST = 12, 16  # 2^12 costs a block, 16 blocks abreast: half a MiB, which a core's cache holds
_MATRIX = 1 << 22  # entries of a table of samples by terms

# What the summary says of costs and samples, in words: of all, and of one problem or the other.
WORDS = {
    "highest_energy": "highest energy",
    "sampled_energy": "best sampled energy",
    "optimal_samples": "share of samples with the lowest energy",
    "feasible_samples": "share of samples that are allowed",
    "merit_factor": "merit factor of the best sample",
    "best_merit_factor": "largest possible merit factor",
    "sequence": "its runs of equal signs",
    "sampled_per_spin": "its energy per spin",
    "reference_per_spin": "lowest energy per spin",
    "expected_return": "expected return of the best sample",
    "variance_of_return": "its variance",
    "start_source": "angles to start from",
}
RATIO = "(E - E_max) / (E_min - E_max)"

Told = Callable[[np.ndarray, float], dict[str, Any]]  # (bits, cost) of the best sample -> entries of the summary


def start_setting(*names: str) -> Setting:
    return Setting(names[0], "angles that QAOA starts from; other circuits start from small random ones", choices=names)


def settings(layers: int) -> dict[str, Setting]:
    """The [model] section of a cost that mixers of single qubits minimise."""
    return model_settings("qaoa", layers) | {"start": start_setting("ramp", "published", "random")}


class Extremes(NamedTuple):
    """The lowest and the highest cost, and a string of the lowest: bit q of `at` is that of qubit q."""

    lowest: float
    highest: float
    at: int


def extremes(cost: PauliSum, n: int, ones: int | None = None) -> Extremes:
    """By trying all 2^n strings, or all with so many ones: block by block, each a Walsh-Hadamard transform.

    The block of strings with upper bits h has the costs of a sum on the lower bits alone, whose coefficients are
    c_T times the sign that h gives the upper part of T. A cost that flipping all bits leaves alone is tried on half.
    """
    z = np.array([p.z for p, _ in cost.items()], dtype=np.int64)[:, None]
    c = np.array([value for _, value in cost.items()], dtype=float)[:, None]
    low = min(n, _BLOCK_BITS)
    blocks = 1 << n - low
    if ones is None and blocks > 1 and is_even(cost):
        blocks //= 2  # the highest bit is 0
    abreast = min(_ABREAST, blocks)
    place = ((z & (1 << low) - 1) * abreast + np.arange(abreast)).ravel()
    weight = np.bitwise_count(np.arange(1 << low)).astype(int)[:, None]
    best, worst, at = np.inf, -np.inf, 0
    for first in range(0, blocks, abreast):
        h = np.arange(first, first + abreast)
        left = None if ones is None else ones - np.bitwise_count(h).astype(int)
        if left is not None and not ((left >= 0) & (left <= low)).any():
            continue
        signs = 1.0 - 2.0 * (np.bitwise_count(z >> low & h) & 1)
        values = np.bincount(place, (c * signs).ravel(), abreast << low).astype(float)
        lowest = highest = walsh_hadamard(values.reshape(-1, abreast), 0)
        if left is not None:
            allowed = weight == left
            lowest, highest = np.where(allowed, lowest, np.inf), np.where(allowed, highest, -np.inf)
        worst = max(worst, float(highest.max()))
        lower, column = divmod(int(np.argmin(lowest)), abreast)
        if lowest[lower, column] < best:
            best, at = float(lowest[lower, column]), int(h[column]) << low | lower
    return Extremes(best, worst, at)


def is_even(cost: PauliSum) -> bool:
    """Whether flipping all bits changes no cost."""
    return not any(p.z.bit_count() & 1 for p, _ in cost.items())


def costs(cost: PauliSum, bits: np.ndarray) -> np.ndarray:
    """E of each row of bits, (samples, n): (samples,)."""
    n = bits.shape[1]
    masks = np.array([[p.z >> q & 1 for q in range(n)] for p, _ in cost.items()], dtype=float).reshape(-1, n)
    c = np.array([value for _, value in cost.items()], dtype=float)
    rows = max(1, _MATRIX // max(len(c), 1))
    parts = [bits[k : k + rows].astype(float) @ masks.T % 2 for k in range(0, len(bits), rows)]
    return np.concatenate([(1.0 - 2.0 * odd) @ c for odd in parts]) if parts else np.zeros(0)


def reference(cost: PauliSum, n: int, what: str, ones: int | None = None) -> dict[str, Any]:
    """The lowest cost, as the exact energy, and the highest, where all strings are tried. what: strings, in words."""
    if n > EXACT_BITS:
        return {"reference_name": f"none (all {what} are tried up to {EXACT_BITS} qubits)"}
    found = extremes(cost, n, ones)
    return {
        "reference_energy": found.lowest,
        "highest_energy": found.highest,
        "reference_name": f"exact (all {what} tried)",
    }


def ratio(energy: float, known: dict[str, Any]) -> float | None:
    """(E - E_max) / (E_min - E_max), where both are known and differ."""
    lowest, highest = known.get("reference_energy"), known.get("highest_energy")
    if lowest is None or highest is None or lowest == highest:
        return None
    return float((energy - highest) / (lowest - highest))


def problem(
    config: Config,
    cost: PauliSum,
    n: int,
    known_of: Callable[[], dict[str, Any]],
    *,
    told: Told,
    own: Callable[[int, int], Circuit] | None = None,
    scale: float | None = None,
    gap: float = 2.0,
    published: Callable[[int], Angles] | None = None,
    ones: int | None = None,
    wanted: Circuit | None = None,
) -> Problem:
    """The problem of minimising a cost.

    known_of: tells what is known of its values, as `reference` does, and more entries of the summary; it is called when
    nothing is left to refuse. told: entries of the summary on the best sample. scale: of the cost, by which a ramp of
    gamma is divided; by default the root mean square of sqrt(sum of c_T^2 over the T that contain a qubit). gap: of the
    mixer, by which a ramp of beta is divided; that of sum X is 2. published: the angles of so many layers. ones: of
    strings that count. wanted: the circuit, if it is not what [model] asks for.
    """
    section = config["model"]
    made = wanted if wanted is not None else circuit(config, n, {"qaoa": own or (lambda n, p: qaoa(n, cost, p))})
    model = Model(made, cost)
    of_qaoa = wanted is not None or bool(section["ansatz"] == "qaoa" and not section["gates"])
    how, layers = section["start"], section["layers"]
    if how != "ramp" and not of_qaoa:
        raise QupropError(f"start = {how} is one of QAOA's angles: set ansatz=qaoa without gates, or leave start out")
    angles = published(layers) if how == "published" and published is not None else None
    scale = scale if scale is not None else _field(cost, n)
    known = known_of() | ({} if angles is None else {"start_source": angles.source})

    def start(rng: np.random.Generator) -> Params:
        if not of_qaoa:
            return {"theta": 0.1 * rng.normal(size=model.n_params)}
        if angles is not None:
            return {"theta": np.concatenate([angles.gamma, angles.beta])}
        if how == "random":
            gamma, beta = rng.uniform(0, 1 / scale, layers), rng.uniform(0, np.pi / 2 / gap, layers)
            return {"theta": np.concatenate([gamma, beta])}
        # The linear ramp that good angles are known to resemble: Zhou et al., Phys. Rev. X 10, 021067 (2020).
        ramp = (np.arange(layers) + 0.5) / max(layers, 1)
        theta = np.concatenate([0.7 * ramp, 0.7 * (1 - ramp)]) + 0.01 * rng.normal(size=2 * layers)
        return {"theta": theta / np.repeat([scale, gap / 2], layers)}

    def judge(params: Params, loss: float, metrics: dict[str, float]) -> dict[str, Any]:
        exact = known.get("reference_energy")
        found = {
            "energy": loss,
            "energy_error": None if exact is None else loss - exact,
            "approximation_ratio": ratio(loss, known),
        }
        return found | _sampled(model, params["theta"], config["train"], cost, known, told, ones)

    return Problem(model, Expectation(), start, reference=known, judge=judge, circuit=made)


def _sampled(
    model: Model,
    theta: np.ndarray,
    train: dict[str, Any],
    cost: PauliSum,
    known: dict[str, Any],
    told: Told,
    ones: int | None,
) -> dict[str, Any]:
    """What SHOTS samples of the trained circuit are worth: the best strings with their costs and counts."""
    leader = leading()
    how = {} if leader is None else {"engine": leader.engine(train["precision"])}
    try:
        bits = np.asarray(simulate.samples(model, theta, shots=SHOTS, rng=train["seed"], **how))
    except QupropError as error:  # a training without the whole state, such as by light cones, is not lost
        return {"no_samples": str(error)}
    found: dict[str, Any] = {"shots": SHOTS}
    if ones is not None:
        allowed = bits.sum(axis=1) == ones
        found["feasible_samples"] = float(allowed.mean())
        bits = bits[allowed]
        if not len(bits):
            return found
    if is_even(cost) and ones is None:
        bits = bits ^ bits[:, :1]  # a string and its complement are one solution, the first bit 0
    strings, first, counts = np.unique(bits, axis=0, return_index=True, return_counts=True)
    values = costs(cost, strings)
    order = np.lexsort((first, values))  # of equal costs, as they were met
    if (lowest := known.get("reference_energy")) is not None:
        near = 1e-9 * (known["highest_energy"] - lowest) + 1e-12 * float(np.abs(values).max())  # for rounding
        found["optimal_samples"] = float(counts[values <= lowest + near].sum() / SHOTS)
    found["sampled_energy"] = float(values[order[0]])
    found["solutions"] = [
        {"bits": "".join(map(str, strings[k])), "cost": float(values[k]), "count": int(counts[k])}
        for k in order[:LISTED]
    ]
    return found | told(strings[order[0]], float(values[order[0]]))


def _field(cost: PauliSum, n: int) -> float:
    """The root mean square, over qubits, of what their terms add up to with random signs."""
    total = sum(c * c * p.z.bit_count() for p, c in cost.items())
    return float(np.sqrt(total / n)) or 1.0
