"""The `Shape` of a model that exists: read off its rotations and observables, nothing compiled or run.

Loads are those of `gradients/linear.py`: a circuit r that adds up to b_rp to component p in either direction needs
b_rp sum_r' b_r'p / v shots for a variance v, and the most that any component asks for.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import scipy.sparse as sp

from quprop.gradients.classical_shadows import shadow_frames
from quprop.gradients.fixed_state import Fixed, output_state, quarter_turns
from quprop.gradients.pair_state import Frame, find_frames
from quprop.gradients.shift_rules import shifts_of
from quprop.gradients.step_bounds import is_affine
from quprop.model import Model
from quprop.model.pauli import PauliString
from quprop.sampling.grouping import group
from quprop.sampling.linear import driven, points, slope_bounds
from quprop.sampling.plan import Terms, settle
from quprop.sampling.shape import Load, Shape
from quprop.sampling.snapshots import pauli_norm
from quprop.structure.blocks import find_blocks
from quprop.structure.commutation import after, bits, generators

_BINS = 64  # different reaches that are kept apart
_MOST_PAIRS = 50_000  # rotations times terms up to which it is looked whether all components are on one state
MOST_ROTATIONS = 5_000  # up to which it is looked which of them commute, which takes time as their square
_NOT_LOOKED = (
    f"which rotations commute is not looked for beyond {MOST_ROTATIONS:,} of them; describe the circuit by its sizes, "
    "as in commuting_blocks:n,M,B"
)
_STATE_NOT_LOOKED = (
    f"whether all components are Pauli strings on one state is not looked for beyond {_MOST_PAIRS:,} rotations times "
    "terms; BellSampling(...).compile(model) says so"
)
_REFUSED_BLOCKS = "its rotations do not fall into commuting blocks of two or more; pair_state serves any model"
_REFUSED_STATE = (
    "bell_sampling needs every component to be a Pauli string on one state, and here rotations anticommute at angles "
    "that are no multiples of pi/2"
)


def shape_of(model: Model, weights: Any = None, *, at: Any = None) -> Shape:
    """The shape of F = weights . <O>. weights and at: as a gradient method's `compile` has them; at is also where
    multiples of pi/2 are looked for."""
    w = settle(model, weights)
    terms = Terms.of(model)
    u = terms.sizes(w)
    norm = float(u.sum())
    grouping = group(terms.total(w), clifford=model.clifford)
    ranges = tuple(float(sum(abs(c) for _, c in members)) for members in grouping.groups)
    reads = tuple(1.0 if grouping.scheme == "sampled" else float(len(members)) for members in grouping.groups)
    trained = driven(model)
    slopes = slope_bounds(model, at)
    reach = np.asarray(slopes.sum(axis=0)).ravel()
    loads: dict[str, Load] = {}
    missing: dict[str, str] = {}
    bounds: frozenset[str] = frozenset()
    strings, scale = 0, 1.0
    if len(trained) and norm:
        loads["parameter_shift"] = _parameter_shift(model, slopes, trained, ranges, reads)
        loads["hadamard_test"] = _hadamard_test(model, slopes, trained, reach, ranges, reads)
        small = len(trained) <= MOST_ROTATIONS
        worst = [Frame(m + 1, (m,)) for m in reversed(trained.tolist())]
        frames = find_frames(model) if small else worst
        ones = np.ones(len(trained))
        loads["pair_state"] = _frames(model, slopes, trained, ones, frames, norm, len(terms.strings))
        ancilla = PauliString(1 << model.n_qubits, 1 << model.n_qubits)
        norms = [pauli_norm(ancilla * p, "pauli", model.n_qubits + 1) for p in np.array(generators(model))[trained]]
        loads["classical_shadows"] = _frames(
            model, slopes, trained, np.sqrt(norms), shadow_frames(model) if small else worst, norm, len(terms.strings)
        )
        found = _commuting_blocks(model, slopes, terms, u) if small else None
        if not small:
            bounds = frozenset({"pair_state", "classical_shadows"})
            missing["commuting_blocks"] = _NOT_LOOKED
        elif found is None:
            missing["commuting_blocks"] = _REFUSED_BLOCKS
        if found is not None:
            loads["commuting_blocks"] = found
        strings, scale = _strings(model, terms, u, slopes, at)
        if not strings:
            looked = model.n_rotations * len(terms.strings) <= _MOST_PAIRS
            missing["bell_sampling"] = _REFUSED_STATE if looked else _STATE_NOT_LOOKED
    return Shape(
        name=repr(model).strip("<>").removeprefix("Model: "),
        qubits=model.n_qubits,
        rotations=model.n_rotations,
        trained=len(trained),
        parameters=model.n_params,
        reaches=_table(reach[reach > 0]),
        first=int(trained[0]) if len(trained) else 0,
        ranges=ranges,
        reads=reads,
        terms=int(np.count_nonzero(u)),
        norm=norm,
        loads=loads,
        strings=strings,
        string_scale=scale,
        missing=missing,
        bounds=bounds,
        affine=is_affine(model),
    )


def _table(reach: np.ndarray) -> tuple[tuple[float, float], ...]:
    """(W, count), reaches that differ by rounding together; many different ones in bins, each at its largest."""
    values, counts = np.unique(np.round(reach, 9), return_counts=True)
    if len(values) <= _BINS:
        return tuple(zip(values.tolist(), counts.astype(float).tolist(), strict=True))
    ordered = np.array_split(np.sort(reach), _BINS)
    return tuple((float(np.sqrt(np.mean(part**2))), float(len(part))) for part in ordered if len(part))


def _parameter_shift(model: Model, slopes: sp.csr_matrix, trained: np.ndarray, ranges: Any, reads: Any) -> Load:
    shifts = [s for s in shifts_of(model, trained.tolist()) if len(s.shifts)]
    sizes = [float(np.abs(s.coefficients).sum()) for s in shifts]
    moved = _gathered([[s.rotations[0]] for s in shifts], model.n_rotations)
    total = float(_needed(sp.diags_array(sizes).tocsr() @ moved @ slopes).sum()) if shifts else 0.0
    return _own_circuit(model.n_rotations, sum(len(s.shifts) for s in shifts), total, ranges, reads)


def _hadamard_test(
    model: Model, slopes: sp.csr_matrix, trained: np.ndarray, reach: np.ndarray, ranges: Any, reads: Any
) -> Load:
    weighed = slopes[trained].multiply(reach[None, :]).tocsr()
    total = float(np.asarray(weighed.max(axis=1).todense()).sum()) if len(trained) else 0.0
    return _own_circuit(model.n_rotations, len(trained), total, ranges, reads)


def _own_circuit(rotations: int, runs: int, total: float, ranges: Any, reads: Any) -> Load:
    """Circuits of M rotations for every group g, with b_g B total shots times the variance."""
    B = sum(ranges)
    shots = B * B * total
    ops = B * total * sum(b * r for b, r in zip(ranges, reads, strict=True))
    return Load(runs * len(ranges), shots, shots * rotations, rotations, ops)


def _frames(
    model: Model,
    slopes: sp.csr_matrix,
    trained: np.ndarray,
    sizes: np.ndarray,
    frames: list[Frame],
    norm: float,
    terms: int,
) -> Load:
    """A pair state for every frame and term, an outcome of component m within ±sizes[m]."""
    weighed = sp.csr_matrix((sizes, (trained, trained)), (model.n_rotations, model.n_rotations)) @ slopes
    shots = norm**2 * _needed(_gathered([f.members for f in frames], model.n_rotations) @ weighed)
    lengths = np.array([2 * model.n_rotations - f.place for f in frames])
    members = np.array([len(f.members) for f in frames])
    return Load(
        len(frames) * terms,
        float(shots.sum()),
        float(shots @ lengths),
        float(lengths.max()),
        float(shots @ members),
    )


def _commuting_blocks(model: Model, slopes: sp.csr_matrix, terms: Terms, u: np.ndarray) -> Load | None:
    """The programs of `structure/readout.py` without their circuits: rotations in the cone of a term that meet
    everything after them alike. None where no two rotations share a block."""
    blocks = find_blocks(model)
    if blocks.why_not:
        return None
    parts: list[tuple[float, int, list[int]]] = []
    for coefficient, term in zip(np.abs(u), terms.strings, strict=True):
        cone = blocks.cone(term)
        together: dict[int, list[int]] = {}
        for j in bits(cone & blocks.trained):
            together.setdefault(after(blocks.rows[j], j) & cone, []).append(j)
        parts += [(float(coefficient), cone.bit_count(), members) for members in together.values()]
    if not parts:
        return Load(0, 0.0, 0.0, 0, 0.0)
    gathered = _gathered([members for _, _, members in parts], model.n_rotations)
    shots = _needed(sp.diags_array([c for c, _, _ in parts]).tocsr() @ gathered @ slopes)
    lengths = np.array([length for _, length, _ in parts])
    reads = np.array([len(members) for _, _, members in parts])
    return Load(len(parts), float(shots.sum()), float(shots @ lengths), float(lengths.max()), float(shots @ reads))


def _gathered(parts: Sequence[Sequence[int]], rotations: int) -> sp.csr_matrix:
    """1 where rotation m is in part r, (parts, M)."""
    ends = np.cumsum([0, *map(len, parts)])
    members = np.concatenate([np.asarray(p, np.int64) for p in parts])
    return sp.csr_matrix((np.ones(len(members)), members, ends), (len(parts), rotations))


def _needed(bounds: sp.csr_matrix) -> np.ndarray:
    """max_p b_rp sum_r' b_r'p, (R,)."""
    columns = np.asarray(bounds.sum(axis=0)).ravel()
    return np.asarray(bounds.multiply(columns[None, :]).tocsr().max(axis=1).todense()).ravel()


def _strings(model: Model, terms: Terms, u: np.ndarray, slopes: sp.csr_matrix, at: Any) -> tuple[int, float]:
    """Bell sampling's K, the different strings on the circuit's own state (0 where components are no such strings), and
    what an error of theirs counts in a component at worst."""
    if model.n_rotations * len(terms.strings) > _MOST_PAIRS:
        return 0, 1.0
    angles = None if at is None else model.angle_table.evaluate(*points(model, at))
    found = output_state(model, terms, quarter_turns(angles, model.n_rotations))
    if not isinstance(found, Fixed):
        return 0, 1.0
    of_angle = np.zeros(model.n_rotations)
    for r in found.reads:
        of_angle[r.target] += abs(u[r.term])
    return len({r.pauli for r in found.reads}), float((slopes.T @ of_angle).max(initial=0.0))
