"""Commuting blocks and their circuits, against exact gradients, dense matrices and all partitions tried in turn."""

import dataclasses
import itertools

import cases
import dense
import numpy as np
import pytest
from structure_models import random_strings, rotations_model
from tolerances import assert_close

import quprop as qpr
from quprop import Model, PauliString, PauliSum, QupropError
from quprop.model import ansatz
from quprop.model.commutation import bits
from quprop.structure import (
    dla_dimension,
    efficiency_report,
    expressivity_bound,
    find_blocks,
    measurement_efficiency,
    observable_programs,
    readout_programs,
    term_programs,
)

NAMES = list(cases.CASES)


def read(model, programs, theta, x):
    """dF/d angles (M,) as the programs' exact expectations give it."""
    out = np.zeros(model.n_rotations)
    for program in programs:
        values = qpr.expectation(program.model, *program.arguments(theta, x))
        for entry, value in zip(program.reads, values, strict=True):
            out[entry.rotation] += entry.factor * value
    return out


def gradient(model, programs, theta, x):
    return model.angle_table.pullback(read(model, programs, theta, x)[None], theta[None], x[None])[0][0]


def exact(model, theta, x, k):
    weights = np.eye(model.n_observables)[k]
    return qpr.value_and_grad(model, theta, x if model.n_inputs else None, weights=weights)[1]


# --- circuits ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_programs_hold_the_exact_gradient(name):
    model = cases.CASES[name].model
    theta, x = cases.values_for(model)
    blocks = find_blocks(model)
    for k in range(model.n_observables):
        programs = observable_programs(model, k, blocks=blocks)
        assert_close(gradient(model, programs, theta, x), exact(model, theta, x, k), 4000)  # 1e-12


@pytest.mark.parametrize("seed", range(6))
def test_block_by_block_they_hold_the_derivatives_of_each_term(seed):
    """Against the commutator <b| (i/2) [G_j, W† H W] |b>, in dense matrices."""
    rng = np.random.default_rng(seed)
    model = cases.random_model(seed, 3, 12, n_observables=1)
    theta, x = cases.values_for(model)
    blocks = find_blocks(model)
    strings = [PauliString(r.x, r.z) for r in model.rotations]
    angles = model.angle_table.evaluate(theta[None], x[None])[0]
    turns = [
        np.cos(a / 2) * np.eye(8) - 1j * np.sin(a / 2) * dense.pauli_matrix(p, 3)
        for a, p in zip(angles, strings, strict=True)
    ]
    term = PauliString.parse("".join(rng.choice(list("XYZ"), 3)))
    expected = np.zeros(len(strings))
    for j in range(len(strings)):
        state, later = np.eye(8)[0].astype(complex), np.eye(8)
        for t in turns[: j + 1]:
            state = t @ state
        for t in turns[j + 1 :]:
            later = t @ later
        g, a = dense.pauli_matrix(strings[j], 3), later.conj().T @ dense.pauli_matrix(term, 3) @ later
        expected[j] = (state.conj() @ (0.5j * (g @ a - a @ g)) @ state).real
    programs = [p for b in range(blocks.n_blocks) for p in readout_programs(model, blocks, term, b)]
    assert len(programs) <= blocks.n_blocks
    assert_close(read(model, programs, theta, x), expected, 1000)
    negative = [p for b in range(blocks.n_blocks) for p in readout_programs(model, blocks, -term, b)]
    assert_close(read(model, negative, theta, x), -expected, 1000)


@pytest.mark.parametrize("name", NAMES)
def test_what_a_program_measures_commutes_and_names_each_derivative_once(name):
    model = cases.CASES[name].model
    blocks = find_blocks(model)
    for term in blocks.terms:
        programs = term_programs(model, term.string, blocks=blocks)
        assert len(programs) == term.circuits <= blocks.n_blocks
        for program in programs:
            assert PauliSum({r.pauli: 1.0 for r in program.reads}).commuting() is None
            assert all(abs(r.factor) == 1 and r.pauli.sign == 1 for r in program.reads)
            assert all(op.name in ("rotation", "h", "cx", "cy", "cz") for op in program.circuit.operations)
            assert program.circuit.n_params == model.n_rotations
        named = [r.rotation for p in programs for r in p.reads]
        assert len(named) == len(set(named))
        assert sorted([*named, *term.vanishing]) == bits(blocks.trained)
        split = [j for part in (*term.commuting, *term.anticommuting) for j in part]
        assert sorted(split) == sorted(named)


def test_a_wrong_program_is_noticed():
    """A flipped factor, X and Y of the ancilla exchanged, the controlled string left out: each changes the gradient."""
    model = cases.random_model(2, 3, 10, n_observables=1)
    theta, x = cases.values_for(model)
    right = observable_programs(model)
    expected = read(model, right, theta, x)
    ancilla = 1 << 3

    def flipped(program):
        return [r._replace(factor=-r.factor) for r in program.reads[:1]] + list(program.reads[1:]), program.circuit

    def exchanged(program):
        reads = [r._replace(pauli=PauliString(r.pauli.x, r.pauli.z ^ ancilla)) for r in program.reads]
        return reads if program.has_ancilla else program.reads, program.circuit

    def uncontrolled(program):
        circuit = program.circuit.copy()
        circuit.steps = [op for op in circuit.operations if op.name not in ("cx", "cy", "cz")]
        return program.reads, circuit

    for mutation in (flipped, exchanged, uncontrolled):
        wrong = []
        for program in right:
            reads, circuit = mutation(program)
            wrong.append(dataclasses.replace(program, reads=tuple(reads), circuit=circuit))
        assert np.max(np.abs(read(model, wrong, theta, x) - expected)) > 1e-2, mutation.__name__


def test_commuting_generators_take_one_circuit_a_term_without_ancilla():
    """Sixteen qubits, mean Z, X strings of weight up to 3: 16 circuits for all derivatives (Bowles et al.)."""
    n = 16
    strings = [PauliString(sum(1 << q for q in c), 0) for k in (1, 2, 3) for c in itertools.combinations(range(n), k)]
    mean = PauliSum({f"Z{q}": 1 / n for q in range(n)})
    model = Model(ansatz.commuting_generator(n, strings), [mean])
    blocks = find_blocks(model)
    assert blocks.n_blocks == blocks.n_circuits == 1 and blocks.why_not is None
    programs = observable_programs(model, blocks=blocks)
    assert len(programs) == 16 and not any(p.has_ancilla for p in programs)
    assert all(len(p.reads) == sum(1 for s in strings if s.x & p.term.z) for p in programs)
    theta = np.random.default_rng(1).normal(size=model.n_params)
    assert_close(gradient(model, programs, theta, np.zeros(0)), exact(model, theta, np.zeros(0), 0), 4000)


@pytest.mark.parametrize("observable", ["Z0", "Y0 X1", "Z0 Z1 Z2 + 0.3*X0 - Y2", "X0 Y1 Z2 + X1"])
def test_three_blocks_take_three_circuits_a_term_where_the_paper_counts_five(observable):
    strings = ["X0", "X0 X1 X2", "Z0", "Z0 Z1 Z2", "Z0", "X0", "X0 X1 X2"]
    model = rotations_model(strings, observable, n=3)
    blocks = find_blocks(model)
    assert blocks.blocks == ((0, 1), (2, 3, 4), (5, 6)) and blocks.n_circuits == 5
    np.testing.assert_array_equal(blocks.relation, [[1, -1, 1], [-1, 1, -1], [1, -1, 1]])
    theta = np.random.default_rng(3).uniform(-3, 3, model.n_params)
    x = np.zeros(model.n_inputs)
    programs = observable_programs(model, blocks=blocks)
    assert len(programs) <= 3 * len(blocks.terms)
    assert_close(gradient(model, programs, theta, x), exact(model, theta, x, 0), 4000)


def test_terms_read_several_blocks_together_where_only_rotations_outside_their_cone_differ():
    model = rotations_model(["X0", "X1", "Z1"], ["Z0 Y2", "Z0 Z1"], n=3)
    blocks = find_blocks(model)
    assert blocks.n_blocks == 3
    assert [t.circuits for t in blocks.terms] == [1, 1]  # Z0 Y2 sees X0 alone; Z0 Z1 sees X0 and X1, but not Z1
    model = rotations_model(["X0", "X1", "Z1"], "Z0 Z1", n=3)
    (program,) = term_programs(model, "Z0 Z1")
    assert {r.rotation for r in program.reads} == {0, 1} and program.executed == (0, 1)


def test_arguments_carry_batches_and_encoded_amplitudes():
    model = cases.CASES["encoded_and_rotated"].model
    theta, x = cases.values_for(model, 4)
    expected = np.stack([exact(model, t, u, 1) for t, u in zip(theta, x, strict=True)])
    total = np.zeros((4, model.n_rotations))
    for program in observable_programs(model, 1):
        values = qpr.expectation(program.model, *program.arguments(theta, x))
        for k, entry in enumerate(program.reads):
            total[:, entry.rotation] += entry.factor * values[:, k]
    assert_close(model.angle_table.pullback(total, theta, x)[0], expected, 1000)


# --- blocks -----------------------------------------------------------------------------------------------------------


def smallest_by_hand(strings, fixed=()):
    """The least number of blocks among all set partitions that satisfy the definition and can be put in order."""
    paulis = [PauliString.parse(s) for s in strings]
    m = len(paulis)
    apart = [[not p.commutes(q) for q in paulis] for p in paulis]

    def partitions(items):
        if not items:
            yield []
            return
        first, *rest = items
        for others in partitions(rest):
            yield [[first], *others]
            for k, block in enumerate(others):
                yield [*others[:k], [first, *block], *others[k + 1 :]]

    def valid(blocks):
        if any(apart[i][j] for b in blocks for i in b for j in b):
            return False
        edges = set()
        for a, b in itertools.permutations(range(len(blocks)), 2):
            pairs = {apart[i][j] for i in blocks[a] for j in blocks[b]}
            if len(pairs) > 1:
                return False
            if True in pairs and any(i < j for i in blocks[a] for j in blocks[b]):
                edges.add((a, b))
        left = set(range(len(blocks)))
        while left:
            free = [b for b in left if not any(e[1] == b and e[0] in left for e in edges)]
            if not free:
                return False
            left -= set(free)
        return True

    return min(len(p) for p in partitions(list(range(m))) if valid(p))


@pytest.mark.parametrize("seed", range(20))
def test_the_number_of_blocks_is_the_smallest_there_is(seed):
    rng = np.random.default_rng(seed)
    choice = random_strings(rng, 2, 3)
    strings = [s for s in rng.choice(choice, 7) if set(s) != {"I"}]
    model = rotations_model(strings, "Z0", n=2)
    assert find_blocks(model).n_blocks == smallest_by_hand(strings)


def test_commuting_rotations_are_reordered_into_blocks():
    """X0, X0 X2 and Z3, Z1 Z3 are written in turns; they commute, but what follows tells the pairs apart."""
    model = rotations_model(["X0", "Z3", "X0 X2", "Z1 Z3", "X3", "Z0", "Z0 Z1"], "Z0", n=4)
    assert find_blocks(model).blocks == ((0, 2), (1, 3), (4,), (5, 6))


def test_data_encoding_first_does_not_spoil_the_blocks():
    generators = ["X0", "X1", "X0 X1", "X2"]
    model = rotations_model(["~Y0", "~Z0 Z1", "=Y2", "~Y1", *generators], "Z0 + Z1")
    blocks = find_blocks(model)
    assert blocks.blocks == ((4, 5, 6, 7),) and blocks.preparation == (0, 1, 2, 3) and blocks.fixed == ()
    late = find_blocks(rotations_model(["X0", "~Z2", "X1", "~Y2"], "Z0", n=3))  # the data rotations swap to the front
    assert late.blocks == ((0, 2),) and late.preparation == (1, 3)


def test_data_between_blocks_is_met_by_a_block_as_a_whole():
    model = rotations_model(["X0", "X0 X1", "~Z0", "X0", "X0 X1"], "Z0 Y1")
    blocks = find_blocks(model)
    assert blocks.blocks == ((0, 1), (3, 4)) and blocks.fixed == (2,)
    split = find_blocks(rotations_model(["X0", "X1", "~Z0"], "Z0"))
    assert split.n_blocks == 2
    assert split.why_apart(0, 1) == (
        "rotations 0 (X0) and 1 (X1) commute, but rotation 2 (Z0) anticommutes with 0 and not with 1"
    )
    theta, x = cases.values_for(model)
    assert_close(gradient(model, observable_programs(model), theta, x), exact(model, theta, x, 0), 1000)


def test_why_not_names_the_first_pair():
    assert find_blocks(rotations_model(["X0", "Z0", "X0"], "Z0")).why_not == (
        "no two of the 3 trained rotations can share a block: rotations 0 (X0) and 1 (Z0) anticommute"
    )
    blocks = find_blocks(rotations_model(["X0", "Z0", "X0", "Z0"], "Z0"))
    assert blocks.why_apart(0, 2) == (
        "rotations 0 (X0) and 2 (X0) commute, but rotation 1 (Z0) stands between and anticommutes with both"
    )
    assert find_blocks(rotations_model(["X0"], "Z0")).why_not is None
    structured = find_blocks(rotations_model(["X0", "X0 X1", "Z0"], "Z0"))
    assert structured.why_not is None and structured.why_apart(0, 1) is None


@pytest.mark.parametrize("name", NAMES)
def test_why_apart_speaks_exactly_for_rotations_of_different_blocks(name):
    blocks = find_blocks(cases.CASES[name].model)
    home = {j: b for b, members in enumerate(blocks.blocks) for j in members}
    for i, j in itertools.combinations(home, 2):
        assert (blocks.why_apart(i, j) is None) == (home[i] == home[j])
        if not blocks.strings[i].commutes(blocks.strings[j]):
            assert home[i] < home[j] and blocks.relation[home[i], home[j]] == -1  # executed block by block, in order
        else:
            assert blocks.relation[home[i], home[j]] == 1


def test_derivatives_called_vanishing_vanish():
    for name in ("ising", "hardware_efficient", "random_gates", "iqp"):
        model = cases.CASES[name].model
        free = Model.from_rotations(
            model.n_qubits,
            [
                (PauliString(r.x, r.z), a)
                for r, a in zip(model.rotations, qpr.params("a", model.n_rotations), strict=True)
            ],
            list(model.observables),
            model.state,
            params=qpr.params("a", model.n_rotations),
        )
        angles = np.random.default_rng(4).normal(size=model.n_rotations)
        for term in find_blocks(model).terms:
            derivative = qpr.value_and_grad(free.with_observables(PauliSum(term.string)), angles)[1]
            assert_close(derivative[list(term.vanishing)], np.zeros(len(term.vanishing)), 10)


def test_blocks_print_as_something_to_read():
    text = str(find_blocks(rotations_model(["~Y0", "X0", "X0 X1 X2", "Z0", "Z0 Z1 Z2"], "Z0 Y1 + 0.5*Z0", n=3)))
    assert "2 commuting blocks of 4 trained rotations, 1 before them prepare the state" in text
    assert "block 0: X0, X0 X1 X2 (rotations 1-2)" in text
    assert "(2B - 1): 3" in text and "0.5 Z0: 1; commuting/anticommuting in each block: 0/2, 0/0; 2 deriv" in text
    program = str(readout_programs(m := rotations_model(["X0", "Z0"], "Y0"), find_blocks(m), "Y0", 0)[0])
    assert "2 qubits, the last an ancilla, 2 rotations" in program and "d/da[0]" in program


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda m: find_blocks("X0"), "find_blocks takes a quprop Model, got str"),
        (lambda m: find_blocks(m, 2), "observable must be an index from 0 to 0"),
        (lambda m: find_blocks(m, "Z0"), "observable is the index of one"),
        (lambda m: find_blocks(m).why_apart(0, 9), "why_apart takes two trained rotations of the 2"),
        (lambda m: readout_programs(m, find_blocks(m), "Z0", 5), "b must be the index of one of the 2 blocks, got 5"),
        (lambda m: readout_programs(m, find_blocks(m), "Z7", 0), "term must be a Hermitian Pauli string"),
        (lambda m: term_programs(m, "iZ0"), "term must be a Hermitian Pauli string"),
        (lambda m: term_programs(m, "Z0", blocks=find_blocks(rotations_model(["Y0"], "Z0"))), "blocks must be those"),
        (lambda m: term_programs(m, "Z0")[0].arguments([1.0], None), r"theta must have shape \(..., 2\), got \(1,\)"),
        (lambda m: dla_dimension(["X0", "iZ0"]), "generators are Hermitian Pauli strings"),
        (lambda m: dla_dimension(["X0", "Z0"], limit=2), "2 generators on 1 qubits has more than limit=2 dimensions"),
        (lambda m: measurement_efficiency(rotations_model(["X0"], "X0")), "no trained rotation of this model reaches"),
        (lambda m: efficiency_report("X0"), "the efficiency is that of a quprop Model"),
        (lambda m: expressivity_bound(2, 0), "F_eff > 0"),
    ],
)
def test_mistakes_get_one_sentence(call, sentence):
    theta = qpr.params("theta", 2)
    model = Model.from_rotations(1, [("X0", theta[0]), ("Z0", theta[1])], "Y0", params=theta)
    with pytest.raises(QupropError, match=sentence):
        call(model)
