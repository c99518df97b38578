"""Expectation values and gradients of a cut circuit from shots: the quasi-probability protocol, run as on hardware.

Each cut is a sum of products of operations that its ends can do alone, sum_i q_i (.) with kappa = sum_i |q_i|:

    gate    cos^2(a/2) leave . leave + sin^2(a/2) P_1 . P_2 + sin(a) (C . M + M . C)    kappa = 1 + 2 |sin a|
            M measures P and multiplies by the outcome; C = (V_+ - V_-)/2 with V the rotation about P by +-pi/2
            (Mitarai and Fujii, arXiv:1909.07534, arXiv:2006.11174; for F fragments the odd part of prod (M + iC))
    wire    1/2 sum_p sum_s s <p> |p, s>: measure p, prepare its eigenstate of value s                 kappa = 4
            (Peng, Harrow, Ozols and Wu, arXiv:1904.00102)

A shot runs every fragment once, in one choice i for every cut, and its value is kappa sign(q_i) times all outcomes: its
mean is the expectation of the uncut circuit, its variance at most kappa^2 times the observable's, hence gamma^2.
Fragments are never run together: no entanglement, and no message between them.

Terms of the observables that agree on every qubit's basis are read together, groups getting shots in proportion to
sqrt(sum c^2), or, where a precision is asked for, as many as the worst case needs (`_allot`). Within a group the
choices get shots in proportion to |q| (Neyman's allotment for outcomes of unknown variance), each at least two; if
there are too many for that they are drawn with probability |q|/kappa, shot by shot. Either way the value is unbiased
and its standard error comes from the shots' own spread.

Outcomes are drawn from the exact distribution of each fragment. M is an ancilla read in X, V_+- that ancilla found in
an eigenstate of Y (half the shots would be): so one state a fragment holds all its choices (`fragments`).
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import scipy.sparse as sp

from quprop import simulate
from quprop.arrays import checked
from quprop.errors import QupropError, generator_of
from quprop.model import Model
from quprop.model.angle import PARAM, from_terms
from quprop.model.x_rotations import Rotation
from quprop.modules.cutting.fragments import Fragment
from quprop.sampling.budget import Budget, share
from quprop.sampling.estimate import Estimate
from quprop.sampling.grouping import qubit_wise
from quprop.sampling.plan import settle
from quprop.simulate import memory

if TYPE_CHECKING:
    from quprop.modules.cutting.plan import CutPlan

CHUNK = 1 << 15  # shots held at once
_LEAVE, _APPLY, _PLUS, _MINUS, _MEASURE = range(5)  # what an end of a gate does; ends of wires: `_wire`
_S = math.sqrt(0.5)
# sqrt(2) times the bra that an ancilla is found in, for each thing an end may do (None: it is read, in X)
_GATE = (np.array([1, 0]), np.array([0, 1]), _S * np.array([1, -1j]), _S * np.array([1, 1j]))
_WIRE = (*(np.array(v) for v in ([1, 0], [0, 1])), *(_S * np.array([1, v]) for v in (1, -1, 1j, -1j)))

Choice = tuple[float, tuple[int, ...]]  # q_i and what each end does


class _Group(NamedTuple):
    """Terms read together: their places, the basis as masks on wires, and sqrt(sum c^2)."""

    terms: np.ndarray
    x: int
    z: int
    size: float


class _Reading(NamedTuple):
    """An expectation that is read from shots, times `slopes`: what it adds to each component that is wanted."""

    choices: list[list[Choice]]
    slopes: np.ndarray

    @property
    def kappa(self) -> float:
        return math.prod(sum(abs(q) for q, _ in row) for row in self.choices)

    @property
    def strata(self) -> int:
        return math.prod(map(len, self.choices))


def estimate(plan: CutPlan, theta: Any, x: Any, budget: Budget, rng: Any) -> Estimate:
    """`CutPlan.estimate`."""
    call, generator = _checked(plan, theta, x, rng)
    angles = plan.table.evaluate(call.theta, call.x)[0]
    reading = _Reading(_choices(plan, angles), np.ones(plan.n_observables))
    groups = _groups(plan, plan.coefficients)
    (shots,) = _allot(plan, budget, [reading], groups, plan.coefficients)
    states = [simulate.state(f.model, call.theta, plan._inputs(call))[0] for f in plan.fragments]
    value, variance, how = _run(plan, states, reading.choices, groups, shots, plan.coefficients, generator)
    info = {
        "kappa": reading.kappa,
        "settings": reading.strata,
        "allocation": how,
        "groups": [(len(g.terms), int(n)) for g, n in zip(groups, shots, strict=True)],
    }
    return Estimate(value, np.sqrt(variance), plan.cost(int(shots.sum())), info)


def gradient(plan: CutPlan, theta: Any, x: Any, budget: Budget, rng: Any, weights: Any = None) -> Estimate:
    """dF/dtheta (P,) of F = weights . <O> from shots of the fragments.

    Rotations inside a fragment: the parameter-shift rule, (F(a + pi/2) - F(a - pi/2))/2, half of a derivative's shots
    each. Gates that are cut: the derivative of their coefficients, which is a quasi-probability of its own,
    -sin(a)/2 (leave - P) + cos(a) (C . M + M . C). Both are unbiased; angles pull back to theta linearly, and so do
    their variances.
    """
    call, generator = _checked(plan, theta, x, rng)
    w = settle(plan.model, None if weights is None else checked("weights", weights, (plan.n_observables,)))
    coefficients = (plan.coefficients @ w)[:, None]
    cut_angles = plan.table.evaluate(call.theta, call.x)[0]
    choices, groups = _choices(plan, cut_angles), _groups(plan, coefficients)
    angles = [f.model.angle_table.evaluate(call.theta, call.x)[0] for f in plan.fragments]
    tables = [*(f.model.angle_table for f in plan.fragments), plan.table]
    jacobians = [t.pullback(np.eye(len(t.constant)), call.theta, call.x)[0] for t in tables]

    readings: list[_Reading] = []
    shifts: list[tuple[int, int, float]] = []  # of each: the table, the angle, and half a sign or 1
    for k, f in enumerate(plan.fragments):
        for m, rotation in enumerate(f.model.rotations):
            if any(v[0] == PARAM for monomial, _ in rotation.angle.terms for v in monomial):
                for sign in (0.5, -0.5):
                    readings.append(_Reading(choices, sign * jacobians[k][m]))
                    shifts.append((k, m, sign))
    gates = [c for c, cut_ in enumerate(plan.cuts) if cut_.kind == "gate"]
    for g, c in enumerate(gates):
        if not plan.cuts[c].angle.is_constant:
            varied = [*choices[:c], _gate(plan.cuts[c].parts, float(cut_angles[g]), 1), *choices[c + 1 :]]
            readings.append(_Reading(varied, jacobians[-1][g]))
            shifts.append((len(plan.fragments), g, 1.0))
    allotted = _allot(plan, budget, readings, groups, coefficients, [abs(sign) for _, _, sign in shifts])

    free = [_free(f.model) for f in plan.fragments]
    states = [simulate.state(m, a) for m, a in zip(free, angles, strict=True)]
    slopes, spread = ([np.zeros(len(j)) for j in jacobians] for _ in range(2))
    for reading, (k, m, sign), shots in zip(readings, shifts, allotted, strict=True):
        shifted = states
        if k < len(states):
            moved = angles[k].copy()
            moved[m] += sign * math.pi
            shifted = [simulate.state(free[k], moved) if i == k else s for i, s in enumerate(states)]
        mean, var, _ = _run(plan, shifted, reading.choices, groups, shots, coefficients, generator, constant=False)
        slopes[k][m] += sign * mean[0]
        spread[k][m] += sign**2 * var[0]
    value = sum((s @ j for s, j in zip(slopes, jacobians, strict=True)), np.zeros(plan.n_params))
    variance = sum((s @ j**2 for s, j in zip(spread, jacobians, strict=True)), np.zeros(plan.n_params))
    runs = int(sum(n.sum() for n in allotted))
    return Estimate(value, np.sqrt(variance), plan.cost(runs), {"shots": runs})


def _checked(plan: CutPlan, theta: Any, x: Any, rng: Any) -> tuple[simulate.Call, np.random.Generator]:
    call = plan._call(theta, x)
    if call.shape:
        raise QupropError(f"shots are drawn for one sample at a time, got a batch of shape {call.shape}; loop over it")
    return call, generator_of(rng)


def _free(model: Model) -> Model:
    """The same circuit, residual Clifford included, with every rotation's angle a parameter of its own."""
    rotations = tuple(Rotation(r.x, r.z, from_terms(((((0, m),), 1.0),))) for m, r in enumerate(model.rotations))
    return Model._of(
        n_qubits=model.n_qubits,
        rotations=rotations,
        observables=model.observables[:1],
        state=model.state,
        clifford=model.clifford,
        param_names=("angle",),
        param_sizes=(len(rotations),),
        input_names=(),
        input_sizes=(),
    )


# --- quasi-probabilities


def _choices(plan: CutPlan, angles: np.ndarray) -> list[list[Choice]]:
    gate = iter(angles)
    return [_gate(c.parts, float(next(gate)), 0) if c.kind == "gate" else _wire() for c in plan.cuts]


def _gate(parts: int, a: float, derivative: int) -> list[Choice]:
    even, odd, cross = math.cos(a / 2) ** 2, math.sin(a / 2) ** 2, math.sin(a)
    if derivative:
        even, odd, cross = -math.sin(a) / 2, math.sin(a) / 2, math.cos(a)
    out: list[Choice] = [(even, (_LEAVE,) * parts), (odd, (_APPLY,) * parts)]
    for ends in itertools.product((_PLUS, _MINUS, _MEASURE), repeat=parts):
        turns = parts - ends.count(_MEASURE)
        if turns % 2:  # Im i^turns, and C = (V_+ - V_-)/2 at each of them
            sign = (-1) ** (turns // 2 + ends.count(_MINUS))
            out.append((sign * cross / 2**turns, ends))
    return [(q, ends) for q, ends in out if abs(q) > 1e-15]


def _wire() -> list[Choice]:
    """(what is measured upstream: 0 nothing, 1 X, 2 Y, 3 Z; what is prepared downstream, a place in `_WIRE`)."""
    states = {0: (0, 1), 1: (2, 3), 2: (4, 5), 3: (0, 1)}
    return [(s if p else 0.5, (p, k)) for p, pair in states.items() for k, s in zip(pair, (0.5, -0.5), strict=True)]


# --- shots


def _groups(plan: CutPlan, coefficients: np.ndarray) -> list[_Group]:
    size = np.sqrt((coefficients**2).sum(axis=1))
    place = {p: j for j, p in enumerate(plan.terms)}
    terms = [(p, float(size[j])) for p, j in place.items() if p.weight and size[j] > 0]
    out = []
    for g in qubit_wise(terms, None):
        x = z = 0
        for p, _ in g:
            x, z = x | p.x, z | p.z
        out.append(_Group(np.array([place[p] for p, _ in g]), x, z, math.sqrt(sum(c * c for _, c in g))))
    return out


def _allot(
    plan: CutPlan,
    budget: Budget,
    readings: Sequence[_Reading],
    groups: Sequence[_Group],
    coefficients: np.ndarray,
    parts: Sequence[float] | None = None,
) -> list[np.ndarray]:
    """Shots of each reading's groups, two at least. parts: which part of `shots` each reading gets (all: None).

    A shot of group g lies in [-b, b], b = kappa sum |c|, so n drawn ones add b^2/(n-1) at most to the variance that is
    told, and n in L strata, of n_i >= 1 + (n - 2 L) |q_i|/kappa each, b^2/(n - 2 L).
    """
    if not readings or not groups:
        return [np.zeros(0, np.int64) for _ in readings]
    size = np.array([g.size for g in groups])
    if budget.shots is not None:
        each = [max(int(budget.shots * part), 1) for part in (parts or [1.0] * len(readings))]
        if min(each) < 2 * len(groups):
            raise QupropError(
                f"the observables are read in {len(groups)} groups of two shots at least, so {2 * len(groups)} shots "
                f"are the fewest (twice that for a gradient), got {budget.shots}"
            )
        out = [share(n - len(groups), size) + 1 for n in each]
    elif budget.total_shots is not None:
        fewest, total = 2 * len(readings) * len(groups), budget.total_shots // len(plan.run)
        if total < fewest:
            raise QupropError(
                f"total_shots={budget.total_shots:,} is less than two shots for each of the {fewest // 2:,} circuits "
                f"that are cut into {len(plan.run)} fragments; the smallest that works is {fewest * len(plan.run):,}"
            )
        reach = np.array([r.kappa * np.linalg.norm(r.slopes) for r in readings])
        out = list((share(total - fewest // 2, np.outer(reach, size).ravel()) + 1).reshape(len(readings), -1))
    else:
        norms = np.array([np.abs(coefficients[g.terms]).sum(axis=0) for g in groups])
        bounds = [r.kappa * norm * np.abs(r.slopes) for r in readings for norm in norms]
        needed = budget.allot(sp.csr_matrix(np.array(bounds))).reshape(len(readings), -1)
        strata = np.array([[r.strata] for r in readings])
        out = list(np.where(needed < 4 * strata - 1, needed + 1, needed + 2 * strata))
    most = max(int(n.max()) for n in out)
    memory.require(
        24 * most * (len(plan.cuts) + 2), f"drawing {most:,} shots", "ask for fewer, or for a coarser precision"
    )
    return out


def _run(
    plan: CutPlan,
    states: Sequence[np.ndarray],
    choices: Sequence[Sequence[Choice]],
    groups: Sequence[_Group],
    shots: np.ndarray,
    coefficients: np.ndarray,
    rng: np.random.Generator,
    constant: bool = True,
) -> tuple[np.ndarray, np.ndarray, str]:
    """The mean (K,), its variance (K,), and how shots were allotted to choices.

    constant: the identity terms, which need no shots, are added as what they are for quasi-probabilities that sum to 1.
    """
    identity = [j for j, p in enumerate(plan.terms) if not p.weight]
    value = coefficients[identity].sum(axis=0) if constant else np.zeros(coefficients.shape[1])
    variance = np.zeros(coefficients.shape[1])
    how = "stratified"
    if any(not row for row in choices):  # a derivative that vanishes
        return value, variance, how
    weights = [np.array([q for q, _ in row]) for row in choices]
    count = math.prod(map(len, weights))
    for group, n_shots in zip(groups, shots.tolist(), strict=True):
        stratified = 4 * count <= n_shots
        how = how if stratified else "drawn"
        picked, factor, stratum, strata = _pick(weights, n_shots, stratified, rng)
        sums, squares = np.zeros((strata, coefficients.shape[1])), np.zeros((strata, coefficients.shape[1]))
        for f_values, part in _shots(plan, states, choices, group, picked, rng):
            y = f_values @ coefficients[group.terms]
            for k in range(y.shape[1]):
                sums[:, k] += np.bincount(stratum[part], y[:, k] * factor[part], strata)
                squares[:, k] += np.bincount(stratum[part], (y[:, k] * factor[part]) ** 2, strata)
        n = np.bincount(stratum, minlength=strata)[:, None]
        value = value + (sums / n).sum(axis=0)
        spread = np.maximum(squares - sums**2 / n, 0.0) / (n - 1)
        variance = variance + (spread / n).sum(axis=0)
    return value, variance, how


def _pick(
    weights: Sequence[np.ndarray], shots: int, stratified: bool, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, np.ndarray, int]:
    """Each shot's choice for every cut (shots, C), its factor and its stratum (shots,), the number of strata.

    A stratum is one joint choice, with factor q; without strata there is one, and factors are kappa sign(q).
    """
    if stratified:
        joint = np.array(list(itertools.product(*(range(len(w)) for w in weights))), dtype=np.intp)
        joint = joint.reshape(math.prod(map(len, weights)), len(weights))  # one empty choice where nothing is cut
        q = np.ones(len(joint))
        for c, w in enumerate(weights):
            q *= w[joint[:, c]]
        n = share(shots - len(q), np.abs(q)) + 1
        stratum = np.repeat(np.arange(len(q)), n)
        return joint[stratum], q[stratum], stratum, len(q)
    picked = np.empty((shots, len(weights)), np.intp)
    factor = np.ones(shots)
    for c, w in enumerate(weights):
        picked[:, c] = rng.choice(len(w), shots, p=np.abs(w) / np.abs(w).sum())
        factor *= np.abs(w).sum() * np.sign(w[picked[:, c]])
    return picked, factor, np.zeros(shots, np.intp), 1


def _shots(
    plan: CutPlan,
    states: Sequence[np.ndarray],
    choices: Sequence[Sequence[Choice]],
    group: _Group,
    picked: np.ndarray,
    rng: np.random.Generator,
) -> Any:
    """Yields ((n, J) products of all outcomes for each term of the group, slice of shots), a chunk at a time."""
    does = [np.array([ends for _, ends in row]) for row in choices]
    rotated = [_rotated(f, s, group) for f, s in zip(plan.fragments, states, strict=True)]
    for start in range(0, len(picked), CHUNK):
        part = slice(start, min(start + CHUNK, len(picked)))
        product = np.ones((part.stop - part.start, len(group.terms)), np.int8)
        for k, (f, psi) in enumerate(zip(plan.fragments, rotated, strict=True)):
            if f.idle:
                continue
            masks = [f.locals[i].x | f.locals[i].z for i in plan.factors[k][group.terms]]
            ends = [does[a.cut][picked[part, a.cut], a.side] for a in f.axes]
            codes = np.stack([np.zeros(len(product), np.intp), *ends], axis=1)
            unique, inverse = np.unique(codes, axis=0, return_inverse=True)
            by_code = np.argsort(inverse.ravel(), kind="stable")
            edges = np.searchsorted(inverse.ravel()[by_code], np.arange(len(unique) + 1))
            for code, first, last in zip(unique, edges[:-1], edges[1:], strict=True):
                steps, signs = _distribution(f, psi, code[1:])
                drawn = np.searchsorted(steps, rng.random(last - first) * steps[-1], side="right")
                drawn = np.minimum(drawn, len(steps) - 1)
                rows = by_code[first:last]
                for j, mask in enumerate(masks):
                    product[rows, j] *= 1 - 2 * (np.bitwise_count(drawn & mask) & 1).astype(np.int8)
                if signs:
                    product[rows] *= (1 - 2 * (np.bitwise_count(drawn & signs) & 1).astype(np.int8))[:, None]
        yield product, part


def _rotated(f: Fragment, psi: np.ndarray, group: _Group) -> np.ndarray:
    """The state with its wires turned to the group's basis; wires that are cut have none yet."""
    ends = {a.qubit for a in f.axes if a.kind == "wire" and a.side == 0}
    for q, (w, _) in enumerate(f.wires):
        if q not in ends and group.x >> w & 1:
            psi = _to_z(psi, q, bool(group.z >> w & 1))
    return psi


def _to_z(psi: np.ndarray, q: int, y: bool) -> np.ndarray:
    """Turns X (or Y) of a qubit to Z."""
    pair = psi.reshape(-1, 2, 1 << q)
    one = -1j * pair[:, 1] if y else pair[:, 1]
    return (np.stack([pair[:, 0] + one, pair[:, 0] - one], axis=1) * _S).ravel()


def _distribution(f: Fragment, psi: np.ndarray, code: np.ndarray) -> tuple[np.ndarray, int]:
    """Cumulated probabilities of the remaining qubits' outcomes, and the mask of those whose product is the sign."""
    held, signs = f.n_qubits, 0
    ancillas: list[tuple[int, Any]] = []
    for axis, does in zip(f.axes, code, strict=True):
        if axis.kind == "wire" and axis.side == 0:
            if does:
                psi = psi if does == 3 else _to_z(psi, axis.qubit, does == 2)
                signs |= 1 << axis.qubit
        elif axis.kind == "gate":
            ancillas.append((axis.qubit, None if does == _MEASURE else _GATE[does]))
        else:
            ancillas.append((axis.qubit, _WIRE[does]))
    tops = 0
    for qubit, bra in sorted(ancillas, key=lambda a: -a[0]):  # from the highest down; those that are read stay above
        pair = psi.reshape(1 << tops, 2, 1 << qubit)
        if bra is None:
            psi = _to_z(psi, qubit, False)
            tops += 1
        else:
            psi = math.sqrt(2) * (bra[0] * pair[:, 0] + bra[1] * pair[:, 1]).ravel()
    signs |= ((1 << tops) - 1) << held
    return np.cumsum(psi.real**2 + psi.imag**2), signs
