"""Named circuits, each with its reference. Every function returns a `Circuit`; its parameters have a stated order.

`ANSATZE` is the one table of their names, from which `quprop train`, `plan` and `scaling` take them too;
`by_name("qaoa", ...)` calls one.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from quprop.errors import QupropError, nearest, whole
from quprop.model.angle import inputs, params
from quprop.model.ansatz_excitations import excitation_generator as excitation_generator
from quprop.model.ansatz_excitations import excitation_pool as excitation_pool
from quprop.model.ansatz_excitations import hartree_fock as hartree_fock
from quprop.model.ansatz_excitations import spin_conserving_excitations as spin_conserving_excitations
from quprop.model.ansatz_excitations import uccsd
from quprop.model.ansatz_iqp import covariance_gates as covariance_gates
from quprop.model.ansatz_iqp import graph_gates as graph_gates
from quprop.model.ansatz_iqp import iqp
from quprop.model.ansatz_qaoa import MIXERS as MIXERS
from quprop.model.ansatz_qaoa import dicke_state as dicke_state
from quprop.model.ansatz_qaoa import qaoa, qaoa_xy
from quprop.model.ansatz_room import require_room
from quprop.model.ansatz_stabiliser import stabilizer_logical_product
from quprop.model.circuit import Circuit
from quprop.model.input_state import InputState
from quprop.model.pauli import PauliString, PauliSum
from quprop.model.pauli_operator import PauliTerms

_TURNS = ("rx", "ry", "rz")
_ENTANGLERS = ("cx", "cz")


def hardware_efficient(
    n: int,
    layers: int,
    rotations: Sequence[str] = ("ry", "rz"),
    entangler: str = "cx",
    ring: bool = True,
    final: Sequence[str] = (),
) -> Circuit:
    """Layers of one-qubit rotations and a ring (or chain) of entangling gates.

    A layer is each gate of `rotations` on all qubits, then `entangler` on (0,1), (1,2), ..., and with `ring` on
    (n-1,0); on two qubits ring and chain are the same. `final` adds rotations after the last layer.
    Parameters: theta[layer, rotation, qubit] flattened in this order, then those of `final`.

    Reference: Kandala et al., Nature 549, 242 (2017), arXiv:1704.05050.
    """
    n, layers = whole("n", n, 1), whole("layers", layers, 0)
    rotations, final = _turns("rotations", rotations), _turns("final", final)
    _choice("entangler", entangler, _ENTANGLERS)
    require_room("layers", layers, n * (len(rotations) + 1))
    theta = iter(vector := params("theta", n * (layers * len(rotations) + len(final))))
    circuit = Circuit(n, params=vector)
    for _ in range(layers):
        for name, qubit in itertools.product(rotations, range(n)):
            circuit.gate(name, next(theta), qubit)
        _entangle(circuit, entangler, ring)
    for name, qubit in itertools.product(final, range(n)):
        circuit.gate(name, next(theta), qubit)
    return circuit


def strongly_entangling(n: int, layers: int) -> Circuit:
    """Layers of general one-qubit rotations RZ(c) RY(b) RZ(a), then CX on (q, q+r).

    The reach r is 1, 2, ..., n-1, 1, ... from layer to layer; RZ(a) acts first.
    Parameters: theta[layer, qubit, (a, b, c)] flattened: PennyLane's shape (layers, n, 3).

    Reference: Schuld, Bocharov, Svore, Wiebe, Phys. Rev. A 101, 032308 (2020), arXiv:1804.00633.
    """
    n, layers = whole("n", n, 1), whole("layers", layers, 0)
    require_room("layers", layers, 4 * n)
    theta = iter(vector := params("theta", layers * n * 3))
    circuit = Circuit(n, params=vector)
    for layer in range(layers):
        for qubit in range(n):
            circuit.rz(next(theta), qubit).ry(next(theta), qubit).rz(next(theta), qubit)
        if n > 1:
            reach = layer % (n - 1) + 1
            for qubit in range(n):
                circuit.cx(qubit, (qubit + reach) % n)
    return circuit


def hamiltonian_variational(
    groups: PauliSum | Sequence[PauliSum], layers: int, n: int | None = None, state: Any = None
) -> Circuit:
    """Layers of exp(-i theta/2 H_g) for each group H_g of mutually commuting terms of a Hamiltonian.

    groups: the groups in circuit order, or one PauliSum, which `commuting_groups` splits. n: the number of qubits if it
    is more than the Hamiltonian touches. state: the state to start from, as in `Circuit`.
    Parameters: theta[layer, group] flattened.

    Reference: Wecker, Hastings, Troyer, Phys. Rev. A 92, 042303 (2015), arXiv:1507.08969.
    """
    parts = commuting_groups(PauliSum(groups)) if isinstance(groups, PauliTerms) else [PauliSum(g) for g in groups]
    layers = whole("layers", layers, 0)
    if not parts:
        raise QupropError("hamiltonian_variational needs a Hamiltonian with one term at least, got none")
    needed = max(1, *(g.n_qubits for g in parts))
    n = needed if n is None else whole("n", n, 1)
    require_room("layers", layers, sum(map(len, parts)))
    theta = params("theta", layers * len(parts))
    circuit = Circuit(n, state, params=theta)
    for angle, group in zip(theta, itertools.cycle(parts), strict=False):
        circuit.exp(group, angle)
    return circuit


def tfim_variational(n: int, layers: int, field: float = 1.0, ring: bool = False) -> Circuit:
    """The Hamiltonian variational circuit of the Ising chain H = -sum Z_q Z_{q+1} - field sum X_q, from |+>^n.

    A layer is exp(-i theta/2 H_ZZ) and then exp(-i theta'/2 H_X).
    Parameters: theta[layer, (ZZ, X)] flattened. The open chain has layers * (2n - 1) rotations.

    Reference: Wierichs, Gogolin, Kastoryano, Phys. Rev. Research 2, 043246 (2020), arXiv:2004.14666.
    """
    n = whole("n", n, 2)
    return hamiltonian_variational(_ising_chain(n, field, ring), layers, n, _plus(n))


def data_reuploading(n: int, layers: int, n_features: int) -> Circuit:
    """Layers that load all features anew, each through a trainable weight and bias, then a ring of CZ.

    A layer holds blocks of RZ, RY, RZ on all qubits, as many blocks as n_features need; feature f sits on qubit f mod n
    and turns by weight * x[f] + bias; rotations beyond the last feature turn by their bias alone (the paper pads x
    with zeros).
    Inputs: x[f]. Parameters: two vectors, weight[layer, feature] and then bias[layer, slot, qubit], flattened.

    Reference: Pérez-Salinas, Cervera-Lierta, Gil-Fuster, Latorre, Quantum 4, 226 (2020), arXiv:1907.02085.
    """
    n, layers, features = whole("n", n, 1), whole("layers", layers, 0), whole("n_features", n_features, 1)
    slots = 3 * math.ceil(features / (3 * n))
    require_room("layers", layers, (slots + 1) * n)
    x, weight, bias = inputs("x", features), params("weight", layers * features), params("bias", layers * slots * n)
    circuit = Circuit(n, params=[weight, bias], inputs=x)
    for layer in range(layers):
        for slot, qubit in itertools.product(range(slots), range(n)):
            angle, feature = bias[(layer * slots + slot) * n + qubit], slot * n + qubit
            if feature < features:
                angle = weight[layer * features + feature] * x[feature] + angle
            circuit.gate("ry" if slot % 3 == 1 else "rz", angle, qubit)
        _entangle(circuit, "cz", ring=True)
    return circuit


def commuting_generator(n: int, generators: Iterable[str | PauliString] | None = None, state: Any = None) -> Circuit:
    """Rotations about mutually commuting Pauli strings, whose gradients can all be measured at once.

    generators: the strings, one parameter each; by default all products of one and two X (an IQP circuit).
    Parameters: theta[generator].

    Reference: Bowles, Wierichs, Park, arXiv:2306.14962 (2023), Sec. III; IQP: Shepherd, Bremner, Proc. R. Soc. A 465,
    1413 (2009), arXiv:0809.0847.
    """
    n = whole("n", n, 1)
    if generators is None:
        strings = [PauliString(sum(1 << q for q in c), 0) for k in (1, 2) for c in itertools.combinations(range(n), k)]
    else:
        strings = [PauliString.parse(g) if isinstance(g, str) else g for g in generators]
    clash = PauliSum({p if p.is_hermitian and p.sign > 0 else -p: 1.0 for p in strings}).commuting()
    if clash is not None:
        raise QupropError(f"commuting generators are asked for, but {clash[0]} and {clash[1]} anticommute; drop one")
    theta = params("theta", len(strings))
    circuit = Circuit(n, state, params=theta)
    for string, angle in zip(strings, theta, strict=True):
        circuit.rotation(string, angle)
    return circuit


def random_pauli_rotations(n: int, m: int, rng: int | np.random.Generator, state: Any = None) -> Circuit:
    """m rotations about Pauli strings drawn uniformly from the 4^n - 1 that are not the identity.

    rng: a seed or a NumPy generator. Parameters: theta[rotation].

    Reference: the "simple variational model" of Abbas et al., NeurIPS 2023, arXiv:2305.13362, Definition 2, with random
    generators.
    """
    n, m = whole("n", n, 1), whole("m", m, 0)
    require_room("m", m, 1)
    generator = np.random.default_rng(rng)
    theta = params("theta", m)
    circuit = Circuit(n, state, params=theta)
    for angle in theta:
        while not (letters := generator.integers(0, 4, size=n)).any():
            pass
        circuit.rotation("".join("IXYZ"[k] for k in letters), angle)
    return circuit


def commuting_blocks(n: int, m: int, blocks: int = 4, state: Any = None) -> Circuit:
    """Blocks of m / blocks rotations about X_0 S, Z_0 S, X_0 S, ..., the last about X_0 S, with S the first products of
    X on the other qubits: strings of a block commute, those of neighbouring blocks anticommute.

    A stabiliser-logical product ansatz with one logical qubit; Z_0 anticommutes with the last block. m is at most
    blocks 2^(n-1). Parameters: theta[block, S] flattened.

    Reference: Chinzei et al., npj Quantum Information 11, 79 (2025), arXiv:2406.18316.
    """
    n, m, blocks = whole("n", n, 1), whole("m", m, 0), whole("blocks", blocks, 1)
    require_room("m", m, 1)
    each = math.ceil(m / blocks)
    subsets = _x_products(n, each)
    theta = params("theta", m)
    circuit = Circuit(n, state, params=theta)
    for k, angle in enumerate(theta):
        block, place = divmod(k, each)
        last = (blocks - 1 - block) % 2 == 0
        circuit.rotation(subsets[place] * PauliString(int(last), int(not last)), angle)
    return circuit


def pauli_list(state: Circuit, paulis: Sequence[PauliString | str]) -> Circuit:
    """Of a state, the circuit whose gradient at theta = 0 is the list of <P_k>, if the observable is Y_n: one more
    qubit n in |+>, the state's gates, rotations about Z_n P_k.

    state: a circuit on n qubits from |0...0>, without parameters or inputs left. Parameters: theta[string].

    Reference: Abbas et al., NeurIPS 2023, arXiv:2305.13362, Proposition 7, as the derivative of a cost.
    """
    if not isinstance(state, Circuit) or state.n_params or state.n_inputs:
        raise QupropError("pauli_list takes a Circuit without parameters or inputs; put numbers for its angles")
    strings = [PauliString.parse(p) if isinstance(p, str) else p for p in paulis]
    n = state.n_qubits
    for p in strings:
        if not isinstance(p, PauliString) or not p.is_hermitian or p.n_qubits > n:
            raise QupropError(f"the strings of the list must be Hermitian and fit the {n} qubits of the state, got {p}")
    if not isinstance(state.state, InputState) or state.state != InputState():
        raise QupropError("pauli_list takes a circuit that starts from |0...0>; write the state's gates instead")
    theta = params("theta", len(strings))
    circuit = Circuit(n + 1, params=theta).h(n).append(state)
    for angle, p in zip(theta, strings, strict=True):
        circuit.rotation(p * PauliString(0, 1 << n), angle)
    return circuit


# -- all of them by name, and as sizes describe them -------------------------------------------------------------------


@dataclass(frozen=True)
class Ansatz:
    """A named circuit: `build(...)` makes it, as its docstring says.

    sizes: the numbers that are enough to describe it, as in `quprop plan NAME:4,2 --precision E`; "" if it needs more.
    Those of "n,layers" and "n,M" grow with the second one, which `quprop scaling` and `quprop train` (by `layers`) set.
    of_sizes: the circuit of these numbers, where that is not `build` of them. observable: of the model that numbers
    describe, by its qubits. trained: further options of `build` in `quprop train`.
    """

    build: Callable[..., Circuit]
    sizes: str = ""
    of_sizes: Callable[..., Circuit] | None = None
    observable: Callable[[int], Any] = lambda n: "Z0 Z1" if n > 1 else "Z0"
    trained: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.__dict__.update(__doc__=self.build.__doc__, __wrapped__=self.build)

    def __call__(self, *arguments: Any, **options: Any) -> Circuit:
        return self.build(*arguments, **options)

    @property
    def grows(self) -> bool:
        return self.sizes.split(" or ")[0] in ("n,layers", "n,M")

    def counts(self) -> set[int]:
        """How many numbers may be given."""
        return {len(form.split(",")) for form in self.sizes.split(" or ")} if self.sizes else set()

    def circuit(self, *sizes: int, training: bool = False) -> Circuit:
        if self.of_sizes is not None:
            return self.of_sizes(*sizes)
        return self.build(*sizes, **(self.trained if training else {}))


def _ring(n: int) -> list[tuple[int, int]]:
    return [(q, (q + 1) % n) for q in range(n if n > 2 else n - 1)]


def _ising(n: int) -> PauliSum:
    zz, x = _ising_chain(n, 1.0, False)
    return PauliSum(dict(zz.items()) | dict(x.items()))


def _on_diagonal_spins(n: int, m: int) -> Circuit:
    """`pauli_list` of the first m strings on spins along (1, 1, 1)."""
    state = Circuit(n)
    for q in range(n):
        state.ry(math.acos(3**-0.5), q).rz(math.pi / 4, q)
    return pauli_list(state, [PauliString(k & (1 << n) - 1, k >> n) for k in range(1, m + 1)])


ANSATZE: dict[str, Ansatz] = {
    "hardware_efficient": Ansatz(hardware_efficient, "n,layers", trained={"final": ("ry",)}),
    "strongly_entangling": Ansatz(strongly_entangling, "n,layers"),
    "qaoa": Ansatz(
        qaoa,
        "n,layers",
        of_sizes=lambda n, layers: qaoa(n, _ring(n), layers),
        observable=lambda n: PauliSum({PauliString(0, 1 << a | 1 << b): 0.5 for a, b in _ring(n)}),
    ),
    "qaoa_xy": Ansatz(qaoa_xy),
    "hamiltonian_variational": Ansatz(hamiltonian_variational),
    "tfim_variational": Ansatz(tfim_variational, "n,layers", observable=_ising),
    "uccsd": Ansatz(uccsd),
    "data_reuploading": Ansatz(data_reuploading, "n,layers,features"),
    "commuting_generator": Ansatz(
        commuting_generator,
        "n,M",
        of_sizes=lambda n, m: commuting_generator(n, [p * PauliString(1, 0) for p in _x_products(n, m)]),
        observable=lambda n: "Z0",
    ),
    "iqp": Ansatz(iqp, "n or n,weight", observable=lambda n: "Z0"),
    "commuting_blocks": Ansatz(commuting_blocks, "n,M or n,M,B", observable=lambda n: "Z0"),
    "random_pauli_rotations": Ansatz(
        random_pauli_rotations, "n,M", of_sizes=lambda n, m: random_pauli_rotations(n, m, 0)
    ),
    "pauli_list": Ansatz(
        pauli_list, "n,M", of_sizes=_on_diagonal_spins, observable=lambda n: PauliString(1 << n - 1, 1 << n - 1)
    ),
    "stabilizer_logical_product": Ansatz(stabilizer_logical_product),
}


def by_name(name: str, *arguments: Any, **options: Any) -> Circuit:
    """The circuit `ANSATZE[name](*arguments, **options)`."""
    return find(name)(*arguments, **options)


def find(name: str) -> Ansatz:
    if name not in ANSATZE:
        raise QupropError(f"there is no ansatz {name!r}; {nearest(str(name), ANSATZE)}")
    return ANSATZE[name]


def commuting_groups(hamiltonian: PauliSum) -> list[PauliSum]:
    """Split a sum into groups of mutually commuting terms, each term into the first group it fits; identity dropped."""
    groups: list[dict[PauliString, float]] = []
    for string, coefficient in hamiltonian.items():
        if string.weight == 0:
            continue  # only a global phase
        group = next((g for g in groups if all(string.commutes(p) for p in g)), None)
        if group is None:
            groups.append(group := {})
        group[string] = coefficient
    return [PauliSum(g) for g in groups]


def _ising_chain(n: int, field: float, ring: bool) -> tuple[PauliSum, PauliSum]:
    """Bonds and fields of -sum Z Z - field sum X."""
    bonds = n if ring and n > 2 else n - 1
    zz = PauliSum({PauliString(0, 1 << q | 1 << (q + 1) % n): -1.0 for q in range(bonds)})
    return zz, PauliSum({PauliString(1 << q, 0): -float(field) for q in range(n)})


def _x_products(n: int, count: int) -> list[PauliString]:
    """The first `count` products of X on the qubits from 1 on, the identity first."""
    if count > 1 << n - 1:
        raise QupropError(f"{n} qubits have {1 << n - 1} products of X beside qubit 0, got {count}: take more qubits")
    return [PauliString(subset << 1, 0) for subset in range(count)]


def _entangle(circuit: Circuit, name: str, ring: bool) -> None:
    n = circuit.n_qubits
    for qubit in range(n if ring and n > 2 else n - 1):
        circuit.gate(name, qubit, (qubit + 1) % n)


def _plus(n: int) -> np.ndarray:
    return np.full((n, 2), math.sqrt(0.5))


def _turns(what: str, names: Sequence[str]) -> tuple[str, ...]:
    names = (names,) if isinstance(names, str) else tuple(names)
    for name in names:
        _choice(what, name, _TURNS)
    return names


def _choice(what: str, name: str, known: Sequence[str]) -> None:
    if name not in known:
        raise QupropError(f"{what} must be made of {', '.join(known)}, got {name!r}; use one of those")
