"""Circuits of electrons moved between orbitals: unitary coupled cluster, and the pool that an adaptive ansatz is grown
from.

Spin orbitals are interleaved: qubit 2p is orbital p with spin up, qubit 2p + 1 the same with spin down.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence

from quprop.errors import QupropError, whole
from quprop.model.angle import params
from quprop.model.ansatz_room import require_room
from quprop.model.circuit import Circuit
from quprop.model.pauli import PauliString, PauliSum

Excitation = tuple[tuple[int, ...], tuple[int, ...]]  # spin orbitals emptied, and filled


def uccsd(n_qubits: int, n_electrons: int, layers: int = 1, *, spin: int | None = None) -> Circuit:
    """Unitary coupled cluster singles and doubles, first-order Trotter product, under the Jordan-Wigner transformation.

    Spin orbitals are interleaved: even qubits spin up, odd ones down; the Hartree-Fock state fills the lowest orbitals:
    qubits 0..n_electrons-1, or with `spin` (electrons up minus electrons down) the first of either spin. Each
    spin-conserving excitation T is one exponential exp(theta (T - T†)), a commuting sum with one parameter (2 Pauli
    terms for a single, 8 for a double).
    Parameters: theta[layer, excitation], first the singles (i -> a), then the doubles (i < j -> a < b), each in
    lexicographic order; the circuit applies them in that order.

    Reference: Peruzzo et al., Nat. Commun. 5, 4213 (2014), arXiv:1304.3061; Romero et al., Quantum Sci. Technol. 4,
    014008 (2018), arXiv:1701.02691.
    """
    layers = whole("layers", layers, 0)
    circuit = hartree_fock(n_qubits, n_electrons, spin=spin)
    sums = [excitation_generator(*e) for e in spin_conserving_excitations(n_qubits, n_electrons, spin=spin)]
    require_room("layers", layers, sum(map(len, sums)))
    theta = params("theta", layers * len(sums))
    circuit = Circuit(n_qubits, circuit.state, params=theta)
    for angle, total in zip(theta, itertools.cycle(sums), strict=False):
        circuit.exp(total, angle)
    return circuit


def hartree_fock(n_qubits: int, n_electrons: int, *, spin: int | None = None) -> Circuit:
    """The circuit without gates from the Hartree-Fock state of `uccsd`."""
    filled = _occupied(n_qubits, n_electrons, spin)
    return Circuit(n_qubits, "".join("1" if q in filled else "0" for q in range(n_qubits)))


def spin_conserving_excitations(n: int, electrons: int, *, spin: int | None = None) -> list[Excitation]:
    """(occupied, virtual) of all singles and then all doubles that keep the number of spins up (even orbitals)."""
    filled = _occupied(n, electrons, spin)
    empty = [q for q in range(n) if q not in filled]
    return [e for rank in (1, 2) for e in _conserving(itertools.combinations(filled, rank), empty)]


def excitation_pool(
    n_qubits: int, n_electrons: int, *, generalised: bool = True, spin: int | None = None
) -> dict[str, tuple[PauliSum, ...]]:
    """Singles and doubles that an adaptive ansatz is grown from (`quprop.adapt`), as generators by name.

    An element is one or two commuting sums G, applied one after the other as exp(-i theta/2 G) with one angle: the
    excitation T - T† and, where it is another one, the same with all spins flipped, so that a closed shell stays one;
    with spin not 0 each is an element of its own. "0a 1b -> 2a 3b" moves electrons from orbitals 0 and 1 to 2 and 3, up
    (a) and down (b). generalised: between any orbitals, else only from those occupied in Hartree-Fock to the others.

    Reference: Grimsley, Economou, Barnes, Mayhall, Nat. Commun. 10, 3007 (2019), arXiv:1812.11173; generalised
    excitations: Lee, Huggins, Head-Gordon, Whaley, J. Chem. Theory Comput. 15, 311 (2019), arXiv:1810.02327.
    """
    filled = _occupied(n_qubits, n_electrons, spin)
    closed = 2 * sum(q % 2 for q in filled) == len(filled)
    found = _generalised(n_qubits) if generalised else spin_conserving_excitations(n_qubits, n_electrons, spin=spin)
    pool: dict[str, tuple[PauliSum, ...]] = {}
    seen: set[frozenset[frozenset[int]]] = set()
    for excitation in found:
        # Not sorted again: the order of the operators carries the sign.
        flipped = [tuple(q ^ 1 for q in part) for part in excitation]
        if closed and frozenset(map(frozenset, flipped)) in seen:
            continue
        seen.add(frozenset(map(frozenset, excitation)))
        sums = [excitation_generator(*excitation)]
        if closed and (other := excitation_generator(*flipped)) != sums[0]:
            if other == -1.0 * sums[0]:  # no part of it keeps a closed shell
                continue
            sums.append(other)
        pool[" -> ".join(" ".join(f"{q // 2}{'ab'[q % 2]}" for q in part) for part in excitation)] = tuple(sums)
    return pool


def _generalised(n: int) -> Iterator[Excitation]:
    """All singles, then all doubles, between any spin orbitals; an excitation and its inverse are one."""
    for rank in (1, 2):
        for place, sources in enumerate(subsets := list(itertools.combinations(range(n), rank))):
            up = sum(q % 2 for q in sources)
            yield from ((sources, t) for t in subsets[place + 1 :] if sum(q % 2 for q in t) == up)


def _conserving(sources: Iterable[tuple[int, ...]], empty: Sequence[int]) -> Iterator[Excitation]:
    for occupied in sources:
        for virtual in itertools.combinations(empty, len(occupied)):
            if sum(o % 2 for o in occupied) == sum(v % 2 for v in virtual):
                yield occupied, virtual


def _occupied(n_qubits: int, n_electrons: int, spin: int | None) -> list[int]:
    n, electrons = whole("n_qubits", n_qubits, 2), whole("n_electrons", n_electrons, 0)
    if n % 2:
        raise QupropError(f"two spins an orbital need an even number of qubits, got {n}")
    if electrons > n:
        raise QupropError(f"{n} spin orbitals hold at most {n} electrons, got {electrons}")
    if spin is None:
        return list(range(electrons))
    most = min(electrons, n - electrons)
    if isinstance(spin, bool) or not isinstance(spin, int) or abs(spin) > most or (electrons - spin) % 2:
        raise QupropError(
            f"the spin (electrons up minus electrons down) of {electrons} electrons on {n} spin orbitals is "
            f"{'odd' if electrons % 2 else 'even'} and from {-most} to {most}, got {spin!r}"
        )
    up, down = (electrons + spin) // 2, (electrons - spin) // 2
    return sorted([*range(0, 2 * up, 2), *range(1, 2 * down, 2)])


def excitation_generator(occupied: Sequence[int], virtual: Sequence[int]) -> PauliSum:
    """The commuting sum G with exp(-i theta/2 G) = exp(theta (T - T†)), T = a†_b a†_a a_i a_j (or a†_a a_i).

    G = 2i (T - T†) with a_p = Z_0 ... Z_{p-1} (X_p + i Y_p) / 2, as |1> is an occupied orbital.
    """
    product: dict[PauliString, complex] = {PauliString(0, 0): 1.0}
    ladder = [_ladder(p, raising=True) for p in reversed(virtual)] + [_ladder(p, raising=False) for p in occupied]
    for factor in ladder:
        product = _multiply(product, factor)
    # T† has the conjugate coefficients, so T - T† is 2i times the imaginary part over positive Hermitian strings.
    return PauliSum({p: -4.0 * c.imag for p, c in product.items() if c.imag})


def _ladder(orbital: int, raising: bool) -> dict[PauliString, complex]:
    bit = 1 << orbital
    return {PauliString(bit, bit - 1): 0.5, PauliString(bit, bit | bit - 1): -0.5j if raising else 0.5j}


def _multiply(a: dict[PauliString, complex], b: dict[PauliString, complex]) -> dict[PauliString, complex]:
    out: dict[PauliString, complex] = {}
    for (p, c), (q, d) in itertools.product(a.items(), b.items()):
        string = p * q
        positive = PauliString(string.x, string.z)
        phase = 1j ** ((string.phase - positive.phase) & 3)
        out[positive] = out.get(positive, 0.0) + phase * c * d
    return out
