"""Shapes of circuits that are described rather than built: closed formulas of their qubits and parameters, any size.

    hardware_efficient:n,layers     RY, RZ and a ring of CX: M = 2 n layers, 2 layers commuting sets of n
    tfim_variational:n,layers       the Ising chain's energy: 2 layers parameters, M = (2 n - 1) layers, T = 2 n - 1
    commuting_generator:n,M         M commuting strings that all anticommute with the observable: one set, one block
    commuting_blocks:n,M,B          B blocks of such strings
    pauli_list:n,M                  the expectations of M Pauli strings on one state of n qubits, as a gradient at 0
    summary(...)                    numbers of your own

Other circuits of `model.ansatz.ANSATZE` that numbers describe are built. All above but the second: a parameter for each
rotation, every reach 1, and an observable of one string.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

from quprop.errors import QupropError, nearest
from quprop.model import Model
from quprop.model.ansatz import ANSATZE
from quprop.model.pauli import PauliSum
from quprop.planning.structure import loads_of, shape_of
from quprop.sampling.loads import MOST_LETTERS, Described, Set, Sets
from quprop.sampling.shape import Shape


def summary(
    qubits: int,
    parameters: int,
    *,
    sets: int | Callable[[int], int] | None = None,
    shadow_sets: Callable[[int], int] | None = None,
    shadow_between: bool = False,
    sets_bound: bool = False,
    shadow_bound: bool = False,
    blocks: int = 0,
    terms: int = 1,
    norm: float | None = None,
    weight: int | None = None,
    one_state: bool = False,
    name: str = "",
) -> Shape:
    """A parameter for each of M = `parameters` rotations, each of reach 1.

    sets: commuting rotations, one after another, that are read together, or their number as a function of M; by default
    M of them (nothing commutes, the worst case). shadow_sets: likewise for shadows, which need not commute with one
    another; as `sets` if left out; shadow_between: they are taken between two sets that they serve. sets_bound,
    shadow_bound: there may be fewer of them, of shorter strings. blocks: commuting blocks that pass any later rotation
    alike, 0 if there are none. terms: T strings of the observable, drawn by weight. norm: sum |u_t|, T if left out.
    weight: letters of the longest string of a rotation with the ancilla, n + 1 if left out. one_state: all components
    are strings on one state.
    """
    for label, value in (("qubits", qubits), ("parameters", parameters), ("terms", terms)):
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise QupropError(f"{label} must be a whole number, 1 or more, got {value!r}")
    size = float(terms if norm is None else norm)
    if not 0 < size < math.inf:
        raise QupropError(f"norm must be a positive number, the sum of |coefficients| of the observable, got {norm!r}")
    M, w = parameters, qubits + 1 if weight is None else weight
    if not 1 <= w <= qubits + 1:
        raise QupropError(f"weight is a number of letters, from 1 to n + 1 = {qubits + 1:,}, got {weight!r}")
    if isinstance(blocks, bool) or not 0 <= blocks <= M:
        raise QupropError(f"blocks is a number of blocks, from 0 to M = {M:,}, got {blocks!r}")
    count = sets(M) if callable(sets) else M if sets is None else sets
    if not 1 <= count <= M:
        raise QupropError(f"sets is a number of commuting sets, from 1 to M = {M:,}, got {count!r}")
    shadow_count = shadow_sets(M) if shadow_sets else count
    between = M / shadow_count / 2 if shadow_between else 0.0
    snapshot = 3.0 ** min(w, MOST_LETTERS)
    circuit = Described(
        qubits=qubits,
        rotations=M,
        terms=terms,
        norm=size,
        ranges=(size,),
        reads=(1.0,),
        needs=float(M),
        sets=Sets(count, (Set(M / count, 1.0, 0.0),), sets_bound),
        shadow_sets=Sets(shadow_count, (Set(M / shadow_count, snapshot, between, snapshot),), shadow_bound),
        letters=w,
        blocks=blocks,
        one_state=one_state,
    )
    loads, missing = loads_of(lambda kind: kind.described_load(circuit))
    per_set = sets if callable(sets) else None if sets is None else _in_proportion(count, M)
    return Shape(
        name=name or f"{qubits:,} qubits, {M:,} rotations with a parameter each",
        qubits=qubits,
        rotations=M,
        trained=M,
        parameters=M,
        reaches=((1.0, float(M)),),
        ranges=(size,),
        reads=(1.0,),
        terms=terms,
        norm=size,
        loads=loads,
        strings=M * terms if one_state else 0,
        string_scale=size,
        one_set=one_state or count == 1,
        missing=missing,
        assumed="" if name else _assumed(M, count, blocks, terms, size, w, weight is None),
        grown=lambda m: summary(
            qubits,
            m,
            sets=per_set,
            shadow_sets=shadow_sets,
            shadow_between=shadow_between,
            sets_bound=sets_bound,
            shadow_bound=shadow_bound,
            blocks=blocks and max(1, min(m, blocks)),
            terms=terms,
            norm=norm,
            weight=weight,
            one_state=one_state,
            name=name.split(":")[0] + f" with {m:,} parameters" if name else "",
        ),
    )


def _in_proportion(count: int, M: int) -> Callable[[int], int]:
    return lambda m: 1 if count == 1 else max(1, min(m, round(m * count / M)))


def _assumed(M: int, sets: int, blocks: int, terms: int, norm: float, weight: int, worst: bool) -> str:
    parts = ["no two rotations commute" if sets == M else f"rotations fall into {sets:,} commuting sets"]
    parts.append(f"{blocks:,} commuting blocks" if blocks else "no commuting blocks")
    parts.append(
        f"the observable is {terms:,} Pauli string{'s' * (terms > 1)} of norm {norm:g}"
        + (", drawn by weight" if terms > 1 else "")
    )
    parts.append(f"strings of up to {weight:,} letters{' (all)' if worst else ''}")
    return "; ".join(parts)


def hardware_efficient(n: int, layers: int) -> Shape:
    """`ansatz.hardware_efficient` with an observable of one string: RY and RZ of a layer are a commuting set each, and
    a shadow between two layers' rings serves both."""
    return summary(
        n,
        2 * n * layers,
        sets=lambda m: max(1, m // n),
        shadow_sets=lambda m: max(1, m // (2 * n)),
        shadow_bound=True,
        name=f"hardware_efficient:{n},{layers}",
    )


def commuting_generator(n: int, m: int) -> Shape:
    return summary(n, m, sets=lambda _: 1, blocks=1, one_state=True, name=f"commuting_generator:{n},{m}")


def commuting_blocks(n: int, m: int, blocks: int = 4) -> Shape:
    """Neighbouring blocks anticommute; a shadow between two of them serves both. More blocks than rotations are as many
    as these."""
    blocks = min(blocks, m)
    return summary(
        n,
        m,
        sets=lambda k: min(k, blocks),
        shadow_sets=lambda k: min(k, (blocks + 1) // 2),
        shadow_between=True,
        blocks=blocks,
        name=f"commuting_blocks:{n},{m},{blocks}",
    )


def pauli_list(n: int, m: int) -> Shape:
    """`pauli_list_model`, one qubit more than the state has; the state's own preparation is taken for free."""
    return summary(n + 1, m, one_state=True, sets_bound=True, shadow_bound=True, name=f"pauli_list:{n},{m}")


def tfim_variational(n: int, layers: int) -> Shape:
    """`ansatz.tfim_variational` and the energy -sum Z Z - sum X of the open chain, read in two groups."""
    if n < 2:
        raise QupropError(f"a chain has 2 qubits or more, got {n}")
    M, T, P = layers * (2 * n - 1), 2 * n - 1, 2 * layers
    bonds, fields = float(n - 1), float(n)
    # Undoing starts at the fields of the last layer. A shadow between them and the bonds serves both.
    sets = (Set(fields, fields**2, 0.0), Set(bonds, bonds**2, fields))
    shadow_set = Set(T, max(27 * bonds**2, 9 * fields**2), fields, max(27 * bonds, 9 * fields))
    circuit = Described(
        qubits=n,
        rotations=M,
        terms=T,
        norm=float(T),
        ranges=(bonds, fields),
        reads=(bonds, fields),
        needs=layers * (bonds**2 + fields**2),
        sets=Sets(layers, sets),
        shadow_sets=Sets(layers, (shadow_set,)),
        letters=3,
    )
    loads, missing = loads_of(lambda kind: kind.described_load(circuit))
    return Shape(
        name=f"tfim_variational:{n},{layers}",
        qubits=n,
        rotations=M,
        trained=M,
        parameters=P,
        reaches=((bonds, float(layers)), (fields, float(layers))),
        ranges=(bonds, fields),
        reads=(bonds, fields),
        terms=T,
        norm=float(T),
        loads=loads,
        missing=missing,
        grown=lambda p: replace(
            tfim_variational(n, max(1, round(p / 2))),
            name=f"tfim_variational with {max(2, 2 * round(p / 2)):,} parameters",
        ),
    )


# Of an ansatz that is not here the circuit is built.
CLOSED: dict[str, Callable[..., Shape]] = {
    "hardware_efficient": hardware_efficient,
    "tfim_variational": tfim_variational,
    "commuting_generator": commuting_generator,
    "commuting_blocks": commuting_blocks,
    "pauli_list": pauli_list,
}
MOST_BUILT = 100_000  # product of the sizes of a circuit that is built


def forms() -> dict[str, str]:
    """What follows the name of each circuit that numbers describe."""
    return {name: ansatz.sizes for name, ansatz in ANSATZE.items() if ansatz.sizes}


def named_shape(text: str) -> Shape:
    """The shape that a text such as "hardware_efficient:100,50" describes."""
    name, numbers = _sizes(text)
    return CLOSED[name](*numbers) if name in CLOSED else _built(name, *numbers)


def named_model(text: str) -> Model:
    """The model of such a text, built: the circuit, and the observable that comes with it."""
    name, numbers = _sizes(text)
    if math.prod(numbers) > MOST_BUILT:
        raise QupropError(
            f"{text} is built to be planned, up to sizes whose product is {MOST_BUILT:,}: give smaller ones"
        )
    return _model(name, *numbers)


def _sizes(text: str) -> tuple[str, list[int]]:
    """The circuit that a text names, and its numbers."""
    name, _, sizes = text.partition(":")
    known = forms()
    if name in ANSATZE and name not in known:
        raise QupropError(
            f"{name} needs more than numbers (a molecule, a Hamiltonian): build it in Python, and plan the file that "
            "Model.save writes"
        )
    if name not in known:
        raise QupropError(f"unknown circuit {name!r}: {nearest(name, known)}")
    try:
        numbers = [int(float(part)) if "e" in part.lower() else int(part) for part in sizes.replace("_", "").split(",")]
    except (ValueError, OverflowError):
        numbers = []
    if len(numbers) not in ANSATZE[name].counts() or min(numbers) < 1:
        usual = {"n": 10, "layers": 4, "M": 64, "features": 2, "weight": 2, "B": 4}
        example = f"{name}:{','.join(str(usual[size]) for size in known[name].split(' or ')[-1].split(','))}"
        raise QupropError(f"{name} is followed by {known[name]}, whole numbers from 1, as in {example}; got {text!r}")
    return name, numbers


def _built(name: str, *sizes: int) -> Shape:
    """Read off the circuit, at random angles."""
    if math.prod(sizes) > MOST_BUILT:
        raise QupropError(
            f"no closed shape is known of {name}, which is built to be planned, up to sizes whose product is "
            f"{MOST_BUILT:,}, got {','.join(map(str, sizes))}: give smaller ones, and --parameters P to let it grow"
        )
    shape = shape_of(_model(name, *sizes))
    return replace(shape, name=f"{name}:{','.join(map(str, sizes))}: {shape.name}")


def _model(name: str, *sizes: int) -> Model:
    ansatz = ANSATZE[name]
    circuit = ansatz.circuit(*sizes)
    return Model(circuit, [PauliSum(ansatz.observable(circuit.n_qubits))])
