"""The benchmark's workloads, in a description that belongs to no library.

A workload is a list of blocks of gates, a Pauli-sum observable and the parameter values at which everybody is asked for the
value and the gradient. Conventions: R_P(angle) = exp(-i angle P / 2); qubit q is bit q of a basis index; circuits start in
|0...0>. Each adapter in `libraries/` translates this into the construction that suits its library best.
"""

from __future__ import annotations

import functools
import hashlib
import itertools
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

DATA = Path(__file__).parent / "data"
SEED = 20240229

Pauli = tuple[tuple[int, str], ...]  # ((qubit, "X" | "Y" | "Z"), ...), by ascending qubit


class Gate(NamedTuple):
    """One gate. Fixed: "h", "x", "cx" (control, target). Rotations: "rx", "ry", "rz", "rzz" and "pauli" (any string).

    The angle of a rotation is scale * theta[param], or x[input] where `input` is given.
    """

    kind: str
    qubits: tuple[int, ...]
    param: int | None = None
    scale: float = 1.0
    input: int | None = None
    pauli: Pauli = ()

    def shifted(self, offset: int) -> Gate:
        return self if self.param is None else self._replace(param=self.param + offset)


class Block(NamedTuple):
    """`gates` repeated; in repetition r every parameter index is moved up by r * stride. (JAX scans over repetitions.)"""

    gates: tuple[Gate, ...]
    repeats: int = 1
    stride: int = 0


class Excitation(NamedTuple):
    """exp(theta[param] (T - T^dagger)), T = a+_created... a_annihilated..., under Jordan-Wigner."""

    annihilated: tuple[int, ...]
    created: tuple[int, ...]
    param: int


@dataclass(frozen=True)
class Workload:
    name: str
    n_qubits: int
    blocks: tuple[Block, ...]
    n_params: int
    observable: tuple[tuple[Pauli, float], ...]
    x: np.ndarray | None = None  # (B, D): the answer is then the mean over the samples
    excitations: tuple[Excitation, ...] = ()  # the same circuit as `blocks`, for libraries that know excitations
    n_electrons: int = 0
    peers: bool = True  # False: too long for anyone but us (the tail of the scaling curve)

    @property
    def gates(self) -> Iterator[Gate]:
        for block in self.blocks:
            for repetition in range(block.repeats):
                yield from (gate.shifted(repetition * block.stride) for gate in block.gates)

    @property
    def theta(self) -> np.ndarray:
        """The point of evaluation: the same for everyone, spread over the whole circle except for excitations."""
        draw = np.random.default_rng(SEED + self.n_params).uniform(-np.pi, np.pi, self.n_params)
        return 0.1 * draw if self.excitations else draw

    @property
    def batch(self) -> int:
        return 1 if self.x is None else len(self.x)

    @property
    def n_rotations(self) -> int:
        return sum(b.repeats * sum(g.param is not None or g.input is not None for g in b.gates) for b in self.blocks)

    def fingerprint(self) -> str:
        """Changes whenever the numbers asked for change; keeps stale results and references from being reused."""
        x = b"" if self.x is None else self.x.tobytes()
        text = repr((self.n_qubits, self.blocks, self.observable)).encode()
        return hashlib.sha256(text + x + self.theta.tobytes()).hexdigest()[:16]


# ---------------------------------------------------------------------------------------------------------- observables


def ising_energy(n: int) -> tuple[tuple[Pauli, float], ...]:
    """H = - sum_i Z_i Z_{i+1} - sum_i X_i on an open chain."""
    bonds = [(((i, "Z"), (i + 1, "Z")), -1.0) for i in range(n - 1)]
    return (*bonds, *((((i, "X"),), -1.0) for i in range(n)))


def molecule(name: str) -> tuple[int, int, tuple[tuple[Pauli, float], ...]]:
    """(qubits, electrons, Hamiltonian) from data/NAME.json, which `make_molecules.py` wrote."""
    data = json.loads((DATA / f"{name}.json").read_text())
    terms = tuple((parse_pauli(text), coefficient) for text, coefficient in data["terms"])
    return data["n_qubits"], data["n_electrons"], terms


def parse_pauli(text: str) -> Pauli:
    """ "X0 Y2" -> ((0, "X"), (2, "Y")); "I" -> ()."""
    return () if text == "I" else tuple(sorted((int(token[1:]), token[0]) for token in text.split()))


def format_pauli(pauli: Pauli) -> str:
    return " ".join(f"{letter}{qubit}" for qubit, letter in pauli) or "I"


# ------------------------------------------------------------------------------------------------------------- circuits


def _rotations(kind: str, n: int, start: int) -> list[Gate]:
    return [Gate(kind, (q,), start + q) for q in range(n)]


def _cx_ring(n: int) -> list[Gate]:
    return [Gate("cx", (q, (q + 1) % n)) for q in range(n)]


def hardware_efficient(name: str, n: int, layers: int, *, peers: bool = True) -> Workload:
    """Layers of RY, RZ on every qubit and a ring of CX, then a last RY, RZ: M = 2 n (layers + 1)."""
    rotations = _rotations("ry", n, 0) + _rotations("rz", n, n)
    last = tuple(gate.shifted(2 * n * layers) for gate in rotations)
    blocks = (Block((*rotations, *_cx_ring(n)), layers, 2 * n), Block(last))
    return Workload(name, n, blocks, 2 * n * (layers + 1), ising_energy(n), peers=peers)


def hamiltonian_variational(name: str, n: int, layers: int = 10) -> Workload:
    """From |+>^n: layers of RZZ along the chain, then RX, every gate its own parameter: M = layers (2n - 1)."""
    chain = tuple(Gate("rzz", (q, q + 1), q) for q in range(n - 1))
    start = Block(tuple(Gate("h", (q,)) for q in range(n)))
    layer = Block((*chain, *_rotations("rx", n, n - 1)), layers, 2 * n - 1)
    return Workload(name, n, (start, layer), layers * (2 * n - 1), ising_energy(n))


def random_regular_graph(n: int, degree: int, seed: int) -> list[tuple[int, int]]:
    """Edges of a simple random regular graph: random pairings of half-edges until one has no loop or double edge."""
    rng = np.random.default_rng(seed)
    while True:
        half_edges = rng.permutation(np.repeat(np.arange(n), degree)).reshape(-1, 2)
        edges = {(int(min(e)), int(max(e))) for e in half_edges}
        if len(edges) == n * degree // 2 and all(a != b for a, b in edges):
            return sorted(edges)


def qaoa(name: str, n: int, layers: int = 8) -> Workload:
    """MaxCut QAOA on a random 3-regular graph: angle gamma_l for every edge's RZZ, beta_l for every RX: M = 2 layers."""
    edges = random_regular_graph(n, 3, SEED)
    gates = [Gate("rzz", edge, 0) for edge in edges] + [Gate("rx", (q,), 1) for q in range(n)]
    cut = tuple((((a, "Z"), (b, "Z")), 0.5) for a, b in edges)
    blocks = (Block(tuple(Gate("h", (q,)) for q in range(n))), Block(tuple(gates), layers, 2))
    return Workload(name, n, blocks, 2 * layers, cut)


def cost_layers(name: str, n: int, cost: dict[tuple[int, ...], float], layers: int = 4) -> Workload:
    """QAOA on any cost, a sum of c Z...Z: layers of exp(-i gamma_l C / 2), then RX(beta_l) on every qubit; the value is <C>."""
    strings = [(tuple((q, "Z") for q in qubits), c) for qubits, c in cost.items()]
    phase = [
        Gate("rzz", qubits, 0, c) if len(qubits) == 2 else Gate("pauli", qubits, 0, c, pauli=tuple((q, "Z") for q in qubits))
        for qubits, c in cost.items()
    ]
    mixer = [Gate("rx", (q,), 1) for q in range(n)]
    blocks = (Block(tuple(Gate("h", (q,)) for q in range(n))), Block((*phase, *mixer), layers, 2))
    return Workload(name, n, blocks, 2 * layers, tuple(strings))


def labs(name: str, n: int) -> Workload:
    """Low-autocorrelation binary sequences: sum over k of (sum_i s_i s_{i+k})^2, multiplied out, without its constant."""
    cost: dict[tuple[int, ...], float] = {}
    for k in range(1, n):
        for i, j in itertools.combinations(range(n - k), 2):
            string = tuple(sorted({i, i + k} ^ {j, j + k}))
            cost[string] = cost.get(string, 0.0) + 2.0
    return cost_layers(name, n, cost)


def sherrington_kirkpatrick(name: str, n: int) -> Workload:
    """Every pair of spins coupled, normally distributed couplings of variance 1/n."""
    couplings = np.random.default_rng(SEED).normal(scale=n**-0.5, size=n * (n - 1) // 2)
    return cost_layers(name, n, dict(zip(itertools.combinations(range(n), 2), couplings.tolist(), strict=True)))


def reuploading(name: str, n: int = 8, repetitions: int = 4, samples: int = 256) -> Workload:
    """Data re-uploading: (RX(x), RY, RZ, CX ring) repeated; mean Ising energy over the samples."""
    data = [Gate("rx", (q,), input=q) for q in range(n)]
    layer = (*data, *_rotations("ry", n, 0), *_rotations("rz", n, n), *_cx_ring(n))
    x = np.random.default_rng(SEED).uniform(-np.pi, np.pi, (samples, n))
    return Workload(name, n, (Block(layer, repetitions, 2 * n),), 2 * n * repetitions, ising_energy(n), x=x)


# ---------------------------------------------------------------------------------------------------------- excitations


def spin_conserving_excitations(n_electrons: int, n_qubits: int) -> list[Excitation]:
    """All singles and doubles from the lowest orbitals that keep the spin (even qubits up, odd qubits down)."""
    occupied, virtual = range(n_electrons), range(n_electrons, n_qubits)
    singles = [((p,), (r,)) for p in occupied for r in virtual if p % 2 == r % 2]
    doubles = [
        (pair, new)
        for pair in itertools.combinations(occupied, 2)
        for new in itertools.combinations(virtual, 2)
        if sum(q % 2 for q in pair) == sum(q % 2 for q in new)
    ]
    return [Excitation(old, new, k) for k, (old, new) in enumerate(singles + doubles)]


_PRODUCT = {
    "II": (1, "I"),
    "XY": (1j, "Z"),
    "YZ": (1j, "X"),
    "ZX": (1j, "Y"),
    "YX": (-1j, "Z"),
    "ZY": (-1j, "X"),
    "XZ": (-1j, "Y"),
}
_PRODUCT |= {p + p: (1, "I") for p in "XYZ"} | {"I" + p: (1, p) for p in "XYZ"} | {p + "I": (1, p) for p in "XYZ"}


def multiply(left: dict[str, complex], right: dict[str, complex]) -> dict[str, complex]:
    """Product of two operators given as {dense Pauli text: coefficient}."""
    out: dict[str, complex] = {}
    for (p, a), (q, b) in itertools.product(left.items(), right.items()):
        phases, letters = zip(*(_PRODUCT[s + t] for s, t in zip(p, q, strict=True)), strict=True)
        text = "".join(letters)
        out[text] = out.get(text, 0) + a * b * np.prod(phases)
    return out


def _ladder(qubit: int, n: int, *, create: bool) -> dict[str, complex]:
    """Jordan-Wigner: a_q = Z_0 ... Z_{q-1} (X_q + i Y_q) / 2; a+_q has the minus sign."""
    before, after = "Z" * qubit, "I" * (n - qubit - 1)
    return {before + "X" + after: 0.5, before + "Y" + after: -0.5j if create else 0.5j}


def excitation_rotations(excitation: Excitation, n: int) -> list[Gate]:
    """exp(theta (T - T+)) as commuting Pauli rotations exp(-i c theta P / 2) that share theta: 2 of them, or 8."""
    factors = [_ladder(q, n, create=True) for q in excitation.created]
    factors += [_ladder(q, n, create=False) for q in reversed(excitation.annihilated)]
    gates = []
    for text, coefficient in functools.reduce(multiply, factors).items():
        # T - T+ keeps the anti-Hermitian part: 2i Im(coefficient) P = -i c P / 2
        c = -4 * np.imag(coefficient)
        if abs(c) > 1e-12:
            pauli = tuple((q, letter) for q, letter in enumerate(text) if letter != "I")
            gates.append(Gate("pauli", tuple(q for q, _ in pauli), excitation.param, float(c), pauli=pauli))
    return gates


def uccsd(name: str, molecule_name: str) -> Workload:
    """Unitary coupled cluster, singles then doubles, one Trotter step, from the Hartree-Fock determinant."""
    n, n_electrons, hamiltonian = molecule(molecule_name)
    excitations = spin_conserving_excitations(n_electrons, n)
    start = Block(tuple(Gate("x", (q,)) for q in range(n_electrons)))
    rotations = Block(tuple(gate for e in excitations for gate in excitation_rotations(e, n)))
    return Workload(
        name, n, (start, rotations), len(excitations), hamiltonian, excitations=tuple(excitations), n_electrons=n_electrons
    )


# --------------------------------------------------------------------------------------------------------------- by name

_HEA_LAYERS = {4: 10, 8: 10, 10: 10, 12: 10, 16: 5, 20: 5, 22: 5, 24: 2, 26: 2}
_SCALING_LAYERS = {"100": 2, "1000": 30, "10000": 311, "100000": 3124}  # M = 32 (layers + 1) = 96, 992, 9984, 100000

WORKLOADS = {
    **{f"hea-{n}": functools.partial(hardware_efficient, f"hea-{n}", n, layers) for n, layers in _HEA_LAYERS.items()},
    **{f"hva-{n}": functools.partial(hamiltonian_variational, f"hva-{n}", n) for n in (12, 14, 16, 18, 20, 22, 24)},
    **{f"qaoa-{n}": functools.partial(qaoa, f"qaoa-{n}", n) for n in (12, 20, 24)},
    **{f"labs-{n}": functools.partial(labs, f"labs-{n}", n) for n in (10, 12, 18, 20, 22)},
    **{f"sk-{n}": functools.partial(sherrington_kirkpatrick, f"sk-{n}", n) for n in (10, 12, 18, 20, 22)},
    "uccsd-lih": functools.partial(uccsd, "uccsd-lih", "lih"),
    "uccsd-h2o": functools.partial(uccsd, "uccsd-h2o", "h2o"),
    "batch-8": functools.partial(reuploading, "batch-8"),
    **{
        f"scaling-{m}": functools.partial(hardware_efficient, f"scaling-{m}", 16, layers, peers=int(m) <= 1000)
        for m, layers in _SCALING_LAYERS.items()
    },
}

# Costs that are one diagonal: `diagonal.py` times these beside simulators that tabulate it; `exact_gradients.py` keeps qaoa-20.
DIAGONAL = tuple(name for name in WORKLOADS if name.startswith(("labs-", "sk-", "qaoa-")))


@functools.cache
def workload(name: str) -> Workload:
    return WORKLOADS[name]()
