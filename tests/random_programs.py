"""Random programs as plain data, and their exact values, gradients, Hessians and states by dense linear algebra.

A program is what every front end can be given: gates with polynomial angles, an input state, observables. `program`
draws the choices at which shortcuts end: angles that are zero, that cancel at zero, at one or everywhere, tiny and
huge ones, shared and proportional angles, repeated and identity strings, Clifford gates anywhere, every kind of input
state, observables that are zero, repeated, or cancel. `Exact` shares no code with quprop: matrices of `dense`, the
derivative of a gate from its Fourier series, that of an angle monomial by monomial.
"""

from __future__ import annotations

import math
from functools import cached_property, lru_cache
from typing import Any, NamedTuple

import dense
import numpy as np

import quprop as qpr
from quprop.model.gates import GATES

PARAM, INPUT = 0, 1
Angle = tuple[tuple[float, tuple[tuple[str, int], ...]], ...]  # (coefficient, ((vector, entry), ...)) a term


class Gate(NamedTuple):
    name: str  # of the table GATES, "rotation" or "exp"
    target: Any  # qubits, a dense Pauli text (left = qubit 0), or such texts with coefficients
    angles: tuple[Angle, ...]


class Program(NamedTuple):
    n: int
    vectors: tuple[tuple[str, int, int], ...]  # (name, kind, size), params first
    state: tuple[str, Any]  # zero, bits, index, product, amplitudes, encoded
    gates: tuple[Gate, ...]
    observables: tuple[dict[str, float], ...]  # of dense texts

    def places(self) -> dict[str, int]:
        """Where each vector begins in the point (theta, x)."""
        starts = np.cumsum([0, *(size for _, _, size in self.vectors)]).tolist()
        return {name: start for (name, _, _), start in zip(self.vectors, starts, strict=False)}

    def size(self, kind: int) -> int:
        return sum(size for _, k, size in self.vectors if k == kind)

    @property
    def n_params(self) -> int:
        return self.size(PARAM)

    @property
    def n_inputs(self) -> int:
        return self.size(INPUT)

    def circuit(self, gates: tuple[Gate, ...] | None = None) -> qpr.Circuit:
        """By the public builder, angles by its arithmetic."""
        made = {name: (qpr.inputs if kind else qpr.params)(name, size) for name, kind, size in self.vectors}
        lists = [[made[name] for name, kind, _ in self.vectors if kind == k] for k in (PARAM, INPUT)]
        kind, data = self.state
        state = None if kind == "zero" else made[data] if kind == "encoded" else data
        circuit = qpr.Circuit(self.n, state, params=lists[0], inputs=lists[1])
        for gate in self.gates if gates is None else gates:
            angles = [polynomial(a, made) for a in gate.angles]
            if gate.name == "rotation":
                circuit.rotation(gate.target, angles[0])
            elif gate.name == "exp":
                circuit.exp(dict(gate.target), angles[0])
            else:
                circuit.gate(gate.name, *angles, *gate.target)
        return circuit

    def model(self) -> qpr.Model:
        return qpr.Model(self.circuit(), list(self.observables))


def polynomial(angle: Angle, vectors: Any, one: Any = 0.0) -> Any:
    """An angle from the entries of whatever has them: quprop's vectors, Qiskit's, arrays."""
    total = one
    for coefficient, factors in angle:
        term = coefficient
        for name, index in factors:
            term = term * vectors[name][index]
        total = total + term
    return total


# Drawing --------------------------------------------------------------------------------------------------------------


def pick(rng: np.random.Generator, choices: Any, weights: Any = None) -> Any:
    p = None if weights is None else np.array(weights) / sum(weights)
    return choices[int(rng.choice(len(choices), p=p))]


def _text(rng: np.random.Generator, n: int, letters: str = "IXYZ") -> str:
    return "".join(pick(rng, letters) for _ in range(n))


def commute(a: str, b: str) -> bool:
    return sum(p != q and "I" not in (p, q) for p, q in zip(a, b, strict=True)) % 2 == 0


def _coefficient(rng: np.random.Generator) -> float:
    return float(pick(rng, [1.0, -1.0, 0.5, 2.0, -0.25, 1 / 3, rng.normal()]))


def _angle(rng: np.random.Generator, entries: list[tuple[str, int]], before: list[Angle]) -> Angle:
    constant = float(
        pick(rng, [0.0, np.pi / 2 * rng.integers(-4, 9), rng.uniform(-4, 4), 1e-300, -1e-17, 4e4, np.pi / 4])
    )
    if not entries or rng.random() < 0.12:
        return ((constant, ()),)
    v, w, u = (pick(rng, entries) for _ in range(3))
    c, d = _coefficient(rng), _coefficient(rng)
    if before and rng.random() < 0.15:  # driven by an angle that there is already
        factor = float(pick(rng, [1.0, -1.0, 2.0, 0.25, 0.0]))
        return tuple((factor * k, monomial) for k, monomial in pick(rng, before))
    forms: list[Angle] = [
        (),
        ((0.0, (v,)),),
        ((1.0, (v,)), (-1.0, (v,))),  # nothing, everywhere
        ((c, (v, w)), (-c, (w, v))),
        ((1.0, (v,)), (-1.0, ())),  # nothing at one
        ((c, (v, w)), (-c, (v,))),
        ((c, (v, w)), (-c, (w,)), (d, ())),
        ((1.0, ()), (-1.0, (v, v))),
        ((c, (v, w, u)), (-c, (u,))),
        ((c, (v, v)), (-2 * c, (v,))),  # no slope at one
        ((c, (v, w)),),  # no slope at zero
        ((c, (v, v, v)), (d, (w,))),
        ((np.pi**2, ()), (-np.pi, (v,)), (-np.pi, (w,)), (1.0, (v, w))),
        ((300.0, (v,)), (d, ())),
        ((1e-12, (v,)), (c, (w,))),
        ((1e-200, (v, w)),),
        ((1e-160, (v,)), (constant, ())),
    ]
    if rng.random() < 0.5:
        return pick(rng, [((1.0, (v,)),), ((c, (v,)),), ((c, (v,)), (constant, ())), ((c, (v,)), (d, (w,)))])
    return pick(rng, forms)


CLIFFORDS = ("x", "y", "z", "h", "s", "sdg", "sx", "sxdg", "cx", "cy", "cz", "swap", "iswap")


def _gates(rng: np.random.Generator, n: int, entries: list[tuple[str, int]], most: int) -> tuple[Gate, ...]:
    out: list[Gate] = []
    angles: list[Angle] = []
    strings: list[str] = []

    def angle() -> Angle:
        angles.append(_angle(rng, entries, angles))
        return angles[-1]

    def named(names: Any) -> Gate:
        name = pick(rng, [g for g in names if GATES[g].n_qubits <= n])
        qubits = tuple(rng.permutation(n)[: GATES[name].n_qubits].tolist())
        return Gate(name, qubits, tuple(angle() for _ in range(GATES[name].n_angles)))

    def rotation(text: str) -> Gate:
        strings.append(text)
        return Gate("rotation", text, (angle(),))

    long = most > 12 and rng.random() < 0.08
    few = rng.random() < 0.1
    for _ in range(3 * most if long else int(rng.integers(3) if few else rng.integers(3, most))):
        kind = pick(
            rng, ["gate", "clifford", "string", "again", "identity", "diagonal", "exp"], [4, 2, 4, 2, 0.4, 1, 1]
        )
        if kind == "gate":
            out.append(named(list(GATES)))
        elif kind == "clifford":
            out += [named(CLIFFORDS) for _ in range(int(rng.integers(1, 4)))]
        elif kind == "string":
            out.append(rotation(_text(rng, n)))
        elif kind == "again":
            text = pick(rng, strings) if strings else _text(rng, n)
            out.append(rotation(text))
            if rng.random() < 0.3:  # the same angle too, or its opposite
                factor = float(pick(rng, [1.0, -1.0]))
                same = tuple((factor * c, m) for c, m in out[-1].angles[0])
                out.append(Gate("rotation", text, (same,)))
        elif kind == "identity":
            out.append(rotation("I" * n))
        elif kind == "diagonal":
            out += [rotation(_text(rng, n, "IZ")) for _ in range(int(rng.integers(2, 5)))]
        else:
            terms: dict[str, float] = {}
            for text in [_text(rng, n) for _ in range(6)]:
                if all(commute(text, other) for other in terms):
                    terms[text] = float(pick(rng, [1.0, -1.0, 0.5, rng.normal(), 0.0]))
            out.append(Gate("exp", tuple(terms.items()), (angle(),)))
    return tuple(out)


def _observables(rng: np.random.Generator, n: int) -> tuple[dict[str, float], ...]:
    out: list[dict[str, float]] = []
    for _ in range(int(pick(rng, [1, 2, 3, 4], [4, 3, 2, 1]))):
        terms = {_text(rng, n): _coefficient(rng) for _ in range(int(rng.integers(1, 5)))}
        kind = pick(
            rng,
            ["plain", "zero", "identity", "diagonal", "repeated", "opposite", "scaled", "size"],
            [9, 0.5, 0.5, 2, 1, 1, 1, 0.5],
        )
        if kind == "zero":
            terms = {_text(rng, n): 0.0}
        elif kind == "identity":
            terms = {"I" * n: _coefficient(rng)}
        elif kind == "diagonal":
            terms = {_text(rng, n, "IZ"): _coefficient(rng) for _ in range(3)}
        elif kind in ("repeated", "opposite", "scaled") and out:
            factor = {"repeated": 1.0, "opposite": -1.0, "scaled": 0.5}[kind]
            terms = {p: factor * c for p, c in pick(rng, out).items()}
        elif kind == "size":
            factor = float(pick(rng, [1e-30, 1e-8, 1e6, 1e20]))
            terms = {p: factor * c for p, c in terms.items()}
        out.append(terms)
    return tuple(out)


def program(seed: int, most: int = 16, qubits: int = 5, states: Any = None) -> Program:
    """A program of fewer than `most` drawn gates or runs of them, on `qubits` qubits at most."""
    rng = np.random.default_rng([seed, 1])
    n = int(pick(rng, [1, 2, 3, 4, 5, 6][:qubits], [2, 3, 4, 3, 1, 1][:qubits]))
    vectors = [("theta", PARAM, int(rng.integers(0, 5)))]
    if rng.random() < 0.4:
        vectors.append(("beta", PARAM, int(rng.integers(1, 3))))
    if rng.random() < 0.6:
        vectors.append(("data", INPUT, int(rng.integers(1, 4))))
    kinds = ["zero", "bits", "index", "product", "amplitudes", "encoded"]
    kind = pick(rng, states or kinds, None if states else [5, 2, 1, 2, 2, 2])
    if kind == "encoded" and n > 3:
        kind = "zero"
    data: Any = None
    if kind == "bits":
        data = _text(rng, n, "01")
    elif kind == "index":
        data = int(rng.integers(2**n))
    elif kind in ("product", "amplitudes"):
        shape = (n, 2) if kind == "product" else (2**n,)
        data = rng.normal(size=shape) + 1j * rng.normal(size=shape)
        if rng.random() < 0.4:  # zeros among them, never a row of zeros
            data[..., 1:] *= rng.integers(0, 2, shape)[..., 1:]
    elif kind == "encoded":
        data = "pixel"
        vectors.insert(int(rng.integers(sum(k == PARAM for _, k, _ in vectors), len(vectors) + 1)), (data, INPUT, 2**n))
    entries = [(name, i) for name, _, size in vectors for i in range(size) if rng.random() < 0.8]
    return Program(n, tuple(vectors), (kind, data), _gates(rng, n, entries, most), _observables(rng, n))


SHAPES = [
    ((), ()),
    ((3,), (3,)),
    ((), (3,)),
    ((2,), ()),
    ((1,), (2,)),
    ((2, 1), (1, 2)),
    ((), (1,)),
    ((9,), (9,)),
    ((), (5,)),
]


def point(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Entries at zero, at one, at quarter turns, and anywhere."""
    anywhere = rng.uniform(-np.pi, np.pi, shape)
    special = rng.choice([0.0, 1.0, -1.0, np.pi, np.pi / 2, -np.pi / 2, 0.5], shape)
    share = pick(rng, [0.0, 0.0, 0.3, 1.0])
    out = np.where(rng.random(shape) < share, special, anywhere)
    return pick(rng, [out, np.zeros(shape), np.ones(shape), 1e4 * out], [8, 1, 1, 0.3])


class Case:
    """A program with points, weights and directions to ask every way about."""

    def __init__(self, seed: int, **options: Any) -> None:
        self.seed = seed
        self.program = program(seed, **options)
        rng = np.random.default_rng([seed, 2])
        p = self.program
        lead, lead_x = pick(rng, SHAPES)
        self.theta = point(rng, (*lead, p.n_params))
        self.x = point(rng, (*lead_x, p.n_inputs))
        if p.state[0] == "encoded":
            start = p.places()["pixel"] - p.n_params
            pixels = rng.normal(size=(*lead_x, 2**p.n)) * rng.integers(0, 2, (*lead_x, 2**p.n))
            pixels[..., 0] += 0.1 + pixels[..., 0] ** 2
            self.x[..., start : start + 2**p.n] = pixels
        self.shape = np.broadcast_shapes(lead, lead_x) if p.n_inputs else lead
        K = len(p.observables)
        size = K if rng.random() < 0.3 else (*self.shape, K)
        self.weights = np.where(rng.random(size) < 0.3, rng.choice([0.0, 1.0, -1.0], size), rng.normal(size=size))
        if rng.random() < 0.05:
            self.weights = self.weights * float(pick(rng, [1e-30, 1e30]))
        self.v_theta = rng.normal(size=(*self.shape, p.n_params))
        self.v_x = rng.normal(size=(*self.shape, p.n_inputs))

    @cached_property
    def circuit(self) -> qpr.Circuit:
        return self.program.circuit()

    @cached_property
    def model(self) -> qpr.Model:
        return qpr.Model(self.circuit, list(self.program.observables))

    @cached_property
    def single(self) -> np.ndarray:
        """(K,): the weights of the first sample, where one row is asked for."""
        return self.rows[0][2]

    @property
    def arguments(self) -> tuple[np.ndarray, np.ndarray | None]:
        return self.theta, self.x if self.program.n_inputs else None

    @cached_property
    def rows(self) -> list[tuple[np.ndarray, np.ndarray, np.ndarray]]:
        """(theta, x, weights) of every sample."""
        shape, p, count = self.shape, self.program, math.prod(self.shape)
        x = self.x if p.n_inputs else np.zeros((*shape, 0))
        arrays = [
            np.broadcast_to(a, (*shape, a.shape[-1])).reshape(count, a.shape[-1]) for a in (self.theta, x, self.weights)
        ]
        return list(zip(*arrays, strict=True))

    @cached_property
    def exact(self) -> list[Exact]:
        v = [a.reshape(len(self.rows), a.shape[-1]) for a in (self.v_theta, self.v_x)]
        return [Exact(self.program, t, x, np.concatenate([v[0][i], v[1][i]])) for i, (t, x, _) in enumerate(self.rows)]

    def gather(self, results: list[np.ndarray]) -> np.ndarray:
        """One result a sample, in the batch's shape."""
        return np.array(results).reshape((*self.shape, *np.shape(results[0])))


# Exact results --------------------------------------------------------------------------------------------------------

_NODES = 4 * np.pi / 5 * np.arange(5)
_ORDERS = np.arange(-2, 3) / 2
# Derivatives at 0 of sum_k c_k exp(i k a/2), |k| <= 2, from its values at the five nodes.
_DERIVATIVE = [((1j * _ORDERS) ** d @ np.exp(-1j * np.outer(_ORDERS, _NODES)) / 5).real for d in (1, 2)]


@lru_cache(maxsize=4096)
def _pauli(text: str) -> np.ndarray:
    return dense._kron(*(dense.PAULI[letter] for letter in reversed(text)))


def _embedded(matrix: np.ndarray, qubits: tuple[int, ...], n: int) -> np.ndarray:
    """(2^n, 2^n) of a gate whose first qubit is its most significant, in a space whose qubit 0 is the least."""
    order = [*qubits, *(q for q in range(n) if q not in qubits)]
    whole = np.kron(matrix, np.eye(2 ** (n - len(qubits)))).reshape((2,) * (2 * n))
    axes = [order.index(n - 1 - axis) for axis in range(n)]
    return whole.transpose(axes + [n + a for a in axes]).reshape(2**n, 2**n)


@lru_cache(maxsize=4096)
def _fixed(name: str, qubits: tuple[int, ...], n: int) -> np.ndarray:
    return _embedded(dense.FIXED[name], qubits, n)


def _steps(program: Program) -> list[tuple[int, Any, Angle | None]]:
    """(index of the gate, what acts, its angle): a matrix that is fixed, a Pauli text, or (name, qubits)."""
    out: list[tuple[int, Any, Angle | None]] = []
    for index, (name, target, angles) in enumerate(program.gates):
        if name == "rotation":
            out.append((index, target, angles[0]))
        elif name == "exp":
            out += [(index, text, tuple((c * k, m) for k, m in angles[0])) for text, c in target]
        elif name in dense.FIXED:
            out.append((index, _fixed(name, target, program.n), None))
        elif name == "u":  # U(a, b, c) = P(b) RY(a) P(c)
            out += [(index, (part, target), angles[k]) for part, k in (("p", 2), ("ry", 0), ("p", 1))]
        else:
            out.append((index, (name, target), angles[0]))
    return out


def _turn(what: Any, a: float, n: int) -> list[np.ndarray]:
    """A gate's matrix at angle a, and its first two derivatives."""
    if isinstance(what, str):
        p = _pauli(what)
        gate = np.cos(a / 2) * np.eye(2**n) - 1j * np.sin(a / 2) * p
        return [gate, -0.5j * p @ gate, -0.25 * gate]
    name, qubits = what
    nodes = np.array([dense.TURNING[name](np.asarray(a + d), np) for d in _NODES])
    small = [nodes[0], *(np.tensordot(d, nodes, axes=1) for d in _DERIVATIVE)]
    return [_embedded(m, qubits, n) for m in small]


class Exact:
    """Everything about a program at one point (theta (P,), x (D,)), and along a direction v (P + D,) from it.

    Columns of `states` are psi and its derivatives by each angle where it stands and by each encoded amplitude;
    `moving` are their derivatives along v. `chain` (A, P + D) is d(angle)/d(point), `owner` the gate of each angle.
    """

    def __init__(self, program: Program, theta: np.ndarray, x: np.ndarray, v: np.ndarray | None = None) -> None:
        self.program, n = program, program.n
        point = np.concatenate([theta, x]).astype(float)
        v = np.zeros_like(point) if v is None else v
        places = program.places()
        chain, turning, absolute, bending, owner = [], [], [], [], []
        psi, psi_v, first, first_v, rows, norm = _start(program, point, v)
        columns, moving = [psi, *first], [psi_v, *first_v]
        for row in rows:
            chain.append(row)
            absolute.append(np.abs(row) / norm)
            turning.append(np.zeros_like(row))
            bending.append(np.abs(row) * np.linalg.norm(v) / norm**2)
            owner.append(-1)
        C, D = np.array(columns).T, np.array(moving).T
        self.turned = 1.0
        for index, what, angle in _steps(program):
            if angle is None:
                C, D = what @ C, what @ D
                continue
            a, slope, slope_v, size = _monomials(angle, places, point, v)
            speed = slope @ v
            self.turned += size
            gate, d, dd = _turn(what, a, n)
            new, new_v = d @ C[:, 0], d @ D[:, 0] + speed * (dd @ C[:, 0])
            D = np.column_stack([gate @ D + speed * (d @ C), new_v])
            C = np.column_stack([gate @ C, new])
            chain.append(slope)
            turning.append(slope_v)
            _, most, most_v, _ = _monomials(angle, places, np.abs(point), np.abs(v), absolutely=True)
            absolute.append(most)
            bending.append(most_v)
            owner.append(index)
        self.states, self.moving = C, D
        shape = (len(chain), len(point))
        self.chain, self.turning = np.array(chain).reshape(shape), np.array(turning).reshape(shape)
        self.absolute, self.bending = np.array(absolute).reshape(shape), np.array(bending).reshape(shape)
        self.owner, self.v = np.array(owner, int), v

    @property
    def psi(self) -> np.ndarray:
        return self.states[:, 0]

    @cached_property
    def sizes(self) -> np.ndarray:
        """(K,) the largest that each observable can be."""
        return np.array([sum(map(abs, o.values())) for o in self.program.observables])

    @cached_property
    def _applied(self) -> tuple[np.ndarray, np.ndarray]:
        """(K, 2^n) O_k psi and its derivative along v: v moves psi by its columns' chain and by what `moving` says."""
        total = [sum(c * _pauli(p) for p, c in o.items()) for o in self.program.observables]
        return np.array([o @ self.psi for o in total]), np.array([o @ self.moving[:, 0] for o in total])

    @cached_property
    def values(self) -> np.ndarray:
        return (self._applied[0] @ self.psi.conj()).real

    @cached_property
    def by_angle(self) -> np.ndarray:
        """(K, A)"""
        return 2 * (self._applied[0] @ self.states[:, 1:].conj()).real

    @cached_property
    def jacobian(self) -> np.ndarray:
        """(K, P + D)"""
        return self.by_angle @ self.chain

    @cached_property
    def hessian_v(self) -> np.ndarray:
        """(K, P + D): the derivative of the Jacobian along v."""
        applied, applied_v = self._applied
        moved = 2 * (applied @ self.moving[:, 1:].conj() + applied_v @ self.states[:, 1:].conj()).real
        return moved @ self.chain + self.by_angle @ self.turning

    @cached_property
    def tangents(self) -> np.ndarray:
        """(2^n, P) of the state by theta."""
        return self.states[:, 1:] @ self.chain[:, : self.program.n_params]

    def tensor(self) -> np.ndarray:
        """The quantum geometric tensor (P, P)."""
        t = self.tangents
        t = t - np.outer(self.psi, self.psi.conj() @ t)
        return t.conj().T @ t

    def fidelity(self, target: np.ndarray) -> tuple[float, np.ndarray]:
        """|<target|psi>|^2 and its gradient (P + D,)."""
        overlap = target.conj() @ self.states
        return abs(overlap[0]) ** 2, 2 * (overlap[0].conj() * overlap[1:]).real @ self.chain

    # How far from these a right answer may be: roundings of what it adds up, each of the size that it has at most.

    @cached_property
    def roundings(self) -> float:
        return 200 * (self.turned + len(self.program.gates) + 2**self.program.n)

    def value_bound(self, weights: np.ndarray) -> np.ndarray:
        """Of weights (..., K) on the values, in machine epsilons: (...)."""
        return self.roundings * (np.abs(weights) @ self.sizes)

    def gradient_bound(self, weights: np.ndarray) -> np.ndarray:
        """(..., P + D)"""
        return np.multiply.outer(self.value_bound(weights), self.absolute.sum(axis=0))

    def hessian_bound(self, weights: np.ndarray) -> np.ndarray:
        """(..., P + D)"""
        along = self.absolute.sum(axis=0) @ np.abs(self.v)
        return np.multiply.outer(
            self.value_bound(weights), self.absolute.sum(axis=0) * (1 + along) + self.bending.sum(axis=0)
        )


def _start(program: Program, point: np.ndarray, v: np.ndarray) -> tuple[Any, ...]:
    """psi, its derivative along v; the same of its derivatives by encoded amplitudes; and their rows of the chain."""
    kind, data = program.state
    n = program.n
    if kind == "encoded":
        where = program.places()[data] + np.arange(2**n)
        amplitudes, u = point[where], v[where]
        r = np.sqrt(amplitudes @ amplitudes)
        psi = amplitudes / r
        r_v = psi @ u
        psi_v = (u - psi * r_v) / r
        eye = np.eye(2**n)
        first = (eye - np.outer(psi, psi)) / r
        first_v = -(np.outer(psi_v, psi) + np.outer(psi, psi_v)) / r - first * r_v / r
        return psi + 0j, psi_v + 0j, list(first + 0j), list(first_v + 0j), np.eye(len(point))[where], r
    if kind == "product":
        rows = data / np.linalg.norm(data, axis=1, keepdims=True)
        psi = dense._kron(*(row[:, None] for row in rows[::-1]))[:, 0]
    elif kind == "amplitudes":
        psi = data / np.linalg.norm(data)
    else:
        index = {"zero": 0, "index": data}.get(kind, data)
        if kind == "bits":
            index = sum(2**q for q, bit in enumerate(data) if bit == "1")
        psi = np.eye(2**n)[index]
    return psi + 0j, np.zeros(2**n, complex), [], [], np.zeros((0, len(point))), 1.0


def _monomials(
    angle: Angle, places: dict[str, int], point: np.ndarray, v: np.ndarray, absolutely: bool = False
) -> tuple[float, np.ndarray, np.ndarray, float]:
    """An angle's value, gradient, the derivative of its gradient along v, and the sum of its terms' sizes."""
    value, size, gradient, moved = 0.0, 0.0, np.zeros_like(point), np.zeros_like(point)
    for coefficient, factors in angle:
        c = abs(coefficient) if absolutely else coefficient
        at = [places[name] + index for name, index in factors]
        whole = c * np.prod(point[at])
        value, size = value + whole, size + abs(whole)
        for i, k in enumerate(at):
            rest = at[:i] + at[i + 1 :]
            gradient[k] += c * np.prod(point[rest])
            for j, other in enumerate(rest):
                moved[k] += c * v[other] * np.prod(point[rest[:j] + rest[j + 1 :]])
    return value, gradient, moved, size
