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
sqrt(sum c^2). Within a group the choices get shots in proportion to |q| (Neyman's allotment for outcomes of unknown
variance), each at least two; if there are too many for that they are drawn with probability |q|/kappa, shot by shot.
Either way the value is unbiased and its standard error comes from the shots' own spread.

Outcomes are drawn from the exact distribution of each fragment. M is an ancilla read in X, V_+- that ancilla found in
an eigenstate of Y (half the shots would be): so one state a fragment holds all its choices (`fragments`).
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from quprop import simulate
from quprop.absorption import Rotation
from quprop.angle import from_terms
from quprop.arrays import checked
from quprop.errors import QupropError
from quprop.gradients.budget import share
from quprop.gradients.estimate import Estimate
from quprop.gradients.grouping import qubit_wise
from quprop.hybrid.cutting.fragments import Fragment
from quprop.model import Model
from quprop.seeds import generator_of

if TYPE_CHECKING:
    from quprop.hybrid.cutting.plan import CutPlan

CHUNK = 1 << 15  # shots held at once
_LEAVE, _APPLY, _PLUS, _MINUS, _MEASURE = range(5)  # what an end of a gate does; ends of wires: `_wire`
_S = math.sqrt(0.5)
# sqrt(2) times the bra that an ancilla is found in, for each thing an end may do (None: it is read, in X)
_GATE = (np.array([1, 0]), np.array([0, 1]), _S * np.array([1, -1j]), _S * np.array([1, 1j]))
_WIRE = (*(np.array(v) for v in ([1, 0], [0, 1])), *(_S * np.array([1, v]) for v in (1, -1, 1j, -1j)))

Choice = tuple[float, tuple[int, ...]]  # q_i and what each end does


class _Group(NamedTuple):
    """Terms read together: their places, and the basis as masks on wires."""

    terms: np.ndarray
    x: int
    z: int
    shots: int


def estimate(plan: CutPlan, theta: Any, x: Any, shots: int, rng: Any) -> Estimate:
    """`CutPlan.estimate`."""
    call, generator = _checked(plan, theta, x, shots, rng)
    angles = plan.table.evaluate(call.theta, call.x)[0]
    states = [simulate.state(f.model, call.theta, plan._inputs(call))[0] for f in plan.fragments]
    choices = _choices(plan, angles)
    groups = _groups(plan, plan.coefficients, shots)
    value, variance, how = _run(plan, states, choices, groups, plan.coefficients, generator)
    info = {
        "kappa": math.prod(sum(abs(q) for q, _ in row) for row in choices),
        "settings": math.prod(map(len, choices)),
        "allocation": how,
        "groups": [(len(g.terms), g.shots) for g in groups],
    }
    return Estimate(value, np.sqrt(variance), plan.cost(shots), info)


def gradient(plan: CutPlan, theta: Any, x: Any, shots: int, rng: Any, weights: Any = None) -> Estimate:
    """dF/dtheta (P,) of F = weights . <O>, each derivative by an angle from `shots` shots of every fragment.

    Rotations inside a fragment: the parameter-shift rule, (F(a + pi/2) - F(a - pi/2))/2, half the shots each. Gates
    that are cut: the derivative of their coefficients, which is a quasi-probability of its own,
    -sin(a)/2 (leave - P) + cos(a) (C . M + M . C). Both are unbiased; angles pull back to theta linearly, and so do
    their variances.
    """
    call, generator = _checked(plan, theta, x, shots, rng)
    if weights is None and plan.n_observables != 1:
        raise QupropError(f"this plan has {plan.n_observables} observables; pass weights=, one number for each")
    w = np.ones(1) if weights is None else checked("weights", weights, (plan.n_observables,))
    coefficients = (plan.coefficients @ w)[:, None]
    cut_angles = plan.table.evaluate(call.theta, call.x)[0]
    choices = _choices(plan, cut_angles)
    half, full = _groups(plan, coefficients, max(shots // 2, 1)), _groups(plan, coefficients, shots)
    free = [_free(f.model) for f in plan.fragments]
    angles = [f.model.angle_table.evaluate(call.theta, call.x)[0] for f in plan.fragments]
    states = [simulate.state(m, a) for m, a in zip(free, angles, strict=True)]
    value, variance, runs = np.zeros(plan.n_params), np.zeros(plan.n_params), 0

    def pull(table: Any, slopes: np.ndarray, spread: np.ndarray) -> None:
        jacobian = table.pullback(np.eye(len(slopes)), call.theta, call.x)[0]
        value[...] += slopes @ jacobian
        variance[...] += spread @ jacobian**2

    for k, f in enumerate(plan.fragments):
        slopes, spread = np.zeros(f.model.n_rotations), np.zeros(f.model.n_rotations)
        for m, rotation in enumerate(f.model.rotations):
            if not any(v[0] == 0 for monomial, _ in rotation.angle.terms for v in monomial):
                continue
            for sign in (0.5, -0.5):
                moved = angles[k].copy()
                moved[m] += sign * math.pi
                shifted = [simulate.state(free[k], moved) if i == k else s for i, s in enumerate(states)]
                mean, var, _ = _run(plan, shifted, choices, half, coefficients, generator, constant=False)
                slopes[m], spread[m] = slopes[m] + sign * mean[0], spread[m] + var[0] / 4
                runs += sum(g.shots for g in half)
        pull(f.model.angle_table, slopes, spread)
    gates = [c for c, cut_ in enumerate(plan.cuts) if cut_.kind == "gate"]
    slopes, spread = np.zeros(len(gates)), np.zeros(len(gates))
    for g, c in enumerate(gates):
        if plan.cuts[c].angle.is_constant:
            continue
        varied = [*choices[:c], _gate(plan.cuts[c].parts, float(cut_angles[g]), 1), *choices[c + 1 :]]
        mean, var, _ = _run(plan, states, varied, full, coefficients, generator, constant=False)
        slopes[g], spread[g] = mean[0], var[0]
        runs += sum(g.shots for g in full)
    if gates:
        pull(plan.table, slopes, spread)
    return Estimate(value, np.sqrt(variance), plan.cost(runs), {"shots": runs})


def _checked(plan: CutPlan, theta: Any, x: Any, shots: Any, rng: Any) -> tuple[simulate.Call, np.random.Generator]:
    if isinstance(shots, bool) or not isinstance(shots, int | np.integer) or shots < 1:
        raise QupropError(f"shots must be a whole number, 1 or more, got {shots!r}")
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


def _groups(plan: CutPlan, coefficients: np.ndarray, shots: int) -> list[_Group]:
    size = np.sqrt((coefficients**2).sum(axis=1))
    place = {p: j for j, p in enumerate(plan.terms)}
    terms = [(p, float(size[j])) for p, j in place.items() if p.weight and size[j] > 0]
    found = qubit_wise(terms, None)
    if not found:
        return []
    if shots < 2 * len(found):
        raise QupropError(
            f"the observables are read in {len(found)} groups of two shots at least, so {2 * len(found)} shots are the "
            f"fewest (twice that for a gradient), got {shots}"
        )
    weight = np.array([math.sqrt(sum(c * c for _, c in g)) for g in found])
    allotted = share(shots - len(found), weight) + 1
    out = []
    for g, n in zip(found, allotted, strict=True):
        x = z = 0
        for p, _ in g:
            x, z = x | p.x, z | p.z
        out.append(_Group(np.array([place[p] for p, _ in g]), x, z, int(n)))
    return out


def _run(
    plan: CutPlan,
    states: Sequence[np.ndarray],
    choices: Sequence[Sequence[Choice]],
    groups: Sequence[_Group],
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
    for group in groups:
        stratified = 4 * count <= group.shots
        how = how if stratified else "drawn"
        picked, factor, stratum, strata = _pick(weights, group.shots, stratified, rng)
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
