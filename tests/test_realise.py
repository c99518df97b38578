"""Circuits for machines: the same expectations as the programs that they are made of, in the user's own gates."""

import time

import dense
import numpy as np
import pytest
from cases import CASES, random_circuit, random_sum, values_for

import quprop as qpr
from quprop.errors import QupropError
from quprop.gradients.pair_state import pair_program
from quprop.model import ansatz
from quprop.model.noise import two_qubit_gates
from quprop.model.pauli import PauliString, PauliSum
from quprop.sampling.devices.realise import realise
from quprop.sampling.devices.timeline import Timeline
from quprop.sampling.programs import absorbed, free, read_by_programs
from quprop.structure import find_blocks

METHODS = {
    "parameter_shift": qpr.ParameterShift(shots=1),
    "direct": qpr.HadamardTest(shots=1),
    "reversed": qpr.HadamardTest(shots=1, mode="reversed"),
    "pair_state": qpr.PairState(shots=1),
    "commuting_blocks": qpr.CommutingBlocks(shots=1),
}
_MOST = 6  # runs of each program that a test looks at


def gates(circuit):
    """Two-qubit gates that a machine runs for a circuit."""
    return sum(map(two_qubit_gates, circuit.operations))


def expectations(program, angles, strings, x):
    """<P_l> right after a program's rotations, (L,), those of NaN left out."""
    padded = np.zeros(program.n_inputs)
    padded[: len(x)] = x
    return qpr.expectation(program._replace(observables=tuple(map(PauliSum, strings))), np.nan_to_num(angles), padded)


def read_out(real, angles):
    """The same from the circuit's outcomes."""
    circuit, measured = real.circuit.circuit, real.circuit.measured
    strings = [PauliString(0, sum(1 << q for b, q in enumerate(measured) if int(mask) >> b & 1)) for mask in real.masks]
    model = qpr.Model(circuit, [PauliSum(p) for p in strings])
    return real.signs * qpr.expectation(model, angles[real.columns])


def cases_of_plan(plan, model, theta, x, most=_MOST):
    """(program, angles, strings) of runs of a plan, spread over all of them."""
    a = model.angle_table.evaluate(theta[None], x[None])[0]
    for runs in plan.runs:
        for i in np.unique(np.linspace(0, len(runs) - 1, most).astype(int)).tolist():
            yield runs.program, runs.rows.angles(a, i, i + 1)[0], (runs.own[i] if runs.own else runs.paulis), runs


def compiled(name, model):
    """None where commuting blocks do not serve the model."""
    if name == "commuting_blocks" and find_blocks(model).why_not:
        return None
    return METHODS[name].compile(model, np.linspace(1, 2, model.n_observables))


def check(model, name, seed=0, most=_MOST):
    theta, x = values_for(model, seed=seed)
    at, plan, count = read_by_programs(model, x), compiled(name, model), 0
    if plan is None:
        return 0
    for program, angles, strings, runs in cases_of_plan(plan, model, theta, x, most):
        groups = [[p] for p in strings] if runs.mixture else [strings]
        for group in groups:
            real = realise(program, ~np.isnan(angles), group, timeline=model, x=at)
            np.testing.assert_allclose(
                read_out(real, angles), expectations(program, angles, group, at), atol=1e-12, rtol=0
            )
            count += 1
    return count


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("name", CASES)
def test_a_circuit_has_the_expectations_of_its_program(name, method):
    check(CASES[name].model, method, most=3)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("seed", range(6))
def test_a_circuit_of_random_gates_has_the_expectations_of_its_program(seed, method):
    rng = np.random.default_rng(seed)
    n = 2 + seed % 3
    model = qpr.Model(random_circuit(seed, n, 25), [random_sum(rng, n, 3)])
    check(model, method, seed, most=3)


def copies_of(program, strings, angles, x):
    """<P> on two copies: products of the parts of each."""
    n, low = program.n_qubits, (1 << program.n_qubits) - 1
    parts = [
        expectations(program, angles, [PauliString(p.x >> shift & low, p.z >> shift & low) for p in strings], x)
        for shift in (0, n)
    ]
    return np.array([p.sign for p in strings]) * parts[0] * parts[1]


def doubled(string, n):
    return PauliString(string.x | string.x << n, string.z | string.z << n)


@pytest.mark.parametrize("name", ["several_observables", "basis_state", "product_state", "encoded_state", "qaoa"])
@pytest.mark.parametrize("paired", [False, True])
def test_two_copies_are_read_in_the_bell_basis_of_each_pair(name, paired):
    model = CASES[name].model
    theta, x = values_for(model)
    a, at = model.angle_table.evaluate(theta[None], x[None])[0], read_by_programs(model, x)
    program = free(model)
    if paired:
        program = pair_program(model, PauliString.parse("Z0"))[0]
        a = np.concatenate([a, -a[::-1]])
        a[-2:] = np.nan
    n = program.n_qubits
    generators = [doubled(PauliString.parse(f"{letter}{q}"), n) for q in range(n) for letter in "ZX"]
    products = [generators[0] * generators[1], generators[0] * generators[3] * generators[2]]
    strings = [*generators, *products]
    real = realise(program, ~np.isnan(a), strings, timeline=model, copies=2, x=at)
    np.testing.assert_allclose(read_out(real, a), copies_of(program, strings, a, at), atol=1e-12)
    assert real.circuit.rotations == 2 * np.count_nonzero(~np.isnan(a))
    assert real.circuit.n_params == np.count_nonzero(~np.isnan(a))
    one = realise(program, ~np.isnan(a), [PauliString(0, 1 << q) for q in range(n)], timeline=model, x=at)
    assert gates(real.circuit.circuit) <= 2 * gates(one.circuit.circuit) + n


def test_two_copies_are_read_by_any_commuting_strings():
    model = CASES["hardware_efficient"].model
    a, program = np.linspace(0.1, 2.4, model.n_rotations), free(model)
    strings = [PauliString.parse(s) for s in ("X0 Y7", "Z0 X7", "-Z3 Z9", "X1 X2 Z3")]
    real = realise(program, np.ones(len(a), bool), strings, timeline=model, copies=2)
    np.testing.assert_allclose(read_out(real, a), copies_of(program, strings, a, np.zeros(0)), atol=1e-12)


@pytest.mark.parametrize("method", ["parameter_shift", "direct", "pair_state"])
def test_without_a_circuit_or_with_anothers_frames_a_circuit_has_the_expectations_of_its_program(method):
    model, other = CASES["random_gates"].model, CASES["several_observables"].model
    read = qpr.Model.from_text(model.to_text())
    assert read.steps is None and model.steps is not None
    theta, x = values_for(model)
    for program, angles, strings, _ in cases_of_plan(compiled(method, model), model, theta, x, 2):
        expected = expectations(program, angles, strings, x[:0])
        bare = qpr.Model.from_text(program.to_text())  # its own gates are gone too
        for given, timeline in ((program, None), (program, read), (program, other), (bare, model), (bare, None)):
            real = realise(given, ~np.isnan(angles), strings, timeline=timeline)
            np.testing.assert_allclose(read_out(real, angles), expected, atol=1e-12)


def unitary(n, operations):
    columns = []
    for j in range(1 << n):
        circuit = qpr.Circuit(n, j)
        circuit.steps += operations
        columns.append(dense.final_state(circuit, []))
    return np.array(columns).T


def test_frames_are_those_of_the_clifford_gates_before_and_their_inverses_lead_back():
    half, n, rng = np.pi / 2, 3, np.random.default_rng(3)
    circuit = qpr.Circuit(n)
    for name in ("x", "y", "z", "h", "s", "sdg", "sx", "sxdg"):
        circuit.gate(name, int(rng.integers(n)))
    for name in ("cx", "cy", "cz", "swap", "iswap", "ecr"):
        circuit.gate(name, *map(int, rng.permutation(n)[:2]))
    for k in (1, 2, 3, 4, -1):
        circuit.rotation(["XYZ", "ZZI", "-YIX", "IXI", "YXZ"][k], k * half).rx(-half * k, 0).crz(2 * half * k, 1, 2)
        circuit.exp({"X0 X1": 1.0, "Z0 Z1": -3.0}, half * k).u(half, -half, k * half, 1).rzx(half * k, 2, 0)
    line = Timeline(n, circuit.steps)
    assert not line.native and line.end > 30
    for s in range(line.end + 1):
        frame = unitary(n, list(line.between(0, s)))
        back = unitary(n, list(line.between(s, 0)))
        phase = (back @ frame)[0, 0]
        np.testing.assert_allclose(back @ frame, phase * np.eye(1 << n), atol=1e-12)
        for string in (PauliString.parse(t) for t in ("XII", "ZII", "IYI", "YZX")):
            spot = line.at(s, string.x, string.z)
            expected = frame @ string.matrix(n) @ frame.conj().T
            np.testing.assert_allclose(spot.sign * PauliString(spot.x, spot.z).matrix(n), expected, atol=1e-12)
            assert line.anywhere(string.x, string.z).get(s, spot) == spot
    whole = unitary(n, circuit.operations)
    np.testing.assert_allclose(np.abs(np.trace(whole.conj().T @ frame)), 1 << n, atol=1e-10)


@pytest.mark.filterwarnings("ignore::scipy.sparse.SparseEfficiencyWarning")  # Qiskit's exponentials
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("name", ["one_qubit", "observables_with_y", "iqp", "product_state", "encoded_state"])
def test_qiskit_finds_the_expectations_too(name, method):
    pytest.importorskip("qiskit")
    from qiskit.quantum_info import SparsePauliOp, Statevector

    model = CASES[name].model
    theta, x = values_for(model)
    at = read_by_programs(model, x)
    plan = compiled(method, model)
    if plan is None:
        return
    for program, angles, strings, runs in cases_of_plan(plan, model, theta, x, 2):
        if runs.mixture:
            continue
        real = realise(program, ~np.isnan(angles), strings, timeline=model, x=at)
        circuit = qpr.to_qiskit(real.circuit.circuit)
        state = Statevector(circuit.assign_parameters(angles[real.columns]))
        n = real.circuit.circuit.n_qubits
        qubits = [[q for b, q in enumerate(real.circuit.measured) if int(m) >> b & 1] for m in real.masks]
        found = [
            s * state.expectation_value(SparsePauliOp.from_sparse_list([("Z" * len(qs), qs, 1.0)], n)).real
            for s, qs in zip(real.signs, qubits, strict=True)
        ]
        np.testing.assert_allclose(found, expectations(program, angles, strings, at), atol=1e-12)


@pytest.mark.parametrize("method", METHODS)
def test_openqasm_writes_every_circuit(method):
    pytest.importorskip("openqasm3")
    model = CASES["commuting_sums"].model
    theta, x = values_for(model)
    for program, angles, strings, _ in cases_of_plan(compiled(method, model), model, theta, x, 2):
        circuit = realise(program, ~np.isnan(angles), strings, timeline=model).circuit.circuit
        again = qpr.from_qasm(qpr.to_qasm(circuit))
        values = np.linspace(-1, 1, circuit.n_params)
        observables = [PauliSum({p: 1.0}) for p in strings if p.n_qubits <= circuit.n_qubits]
        np.testing.assert_allclose(
            qpr.expectation(qpr.Model(again, observables), values),
            qpr.expectation(qpr.Model(circuit, observables), values),
            atol=1e-12,
        )


def counted(circuit, observable, method):
    """Two-qubit gates of the circuits of a plan."""
    model = qpr.Model(circuit, observable)
    theta, x = values_for(model)
    plan = compiled(method, model)
    return [
        gates(realise(program, ~np.isnan(angles), strings, timeline=model).circuit.circuit)
        for program, angles, strings, runs in cases_of_plan(plan, model, theta, x, 8)
    ]


@pytest.mark.parametrize("entangler", ["cx", "cz"])
@pytest.mark.parametrize("final", [(), ("ry",)])
@pytest.mark.parametrize("n, layers", [(4, 1), (6, 3), (12, 4)])
def test_a_circuit_has_the_two_qubit_gates_of_the_users(n, layers, final, entangler):
    circuit = ansatz.hardware_efficient(n, layers, entangler=entangler, final=final)
    own, last = gates(circuit), n * (not final)  # what follows the last rotation may be left to the reading
    observable = {"Z0 Z1": 1.0, "Z2 Z3": 0.5}
    assert own - last <= min(counts := counted(circuit, observable, "parameter_shift")) <= max(counts) <= own
    assert max(counted(circuit, observable, "direct")) <= own + 1
    for method in ("pair_state", "reversed"):
        assert max(counted(circuit, observable, method)) <= 2 * own + 2
    if final:
        assert set(counts) == {own}


def test_letters_on_every_qubit_of_a_pair_state_are_read_where_they_are_letters():
    model = qpr.Model(circuit := ansatz.hardware_efficient(6, 3), "Z0 Z1")
    (term,) = (p for p, _ in model.observables[0].terms)
    program = pair_program(model, term)[0]
    letters = absorbed(program, [PauliString.parse(f"{letter}{q}") for q, letter in enumerate("XYZZYXY")])
    a = np.concatenate([np.linspace(0, 3, 36), -np.linspace(0, 3, 36)[::-1]])
    real = realise(program, np.ones(72, bool), letters, timeline=model)
    np.testing.assert_allclose(read_out(real, a), expectations(program, a, letters, a[:0]), atol=1e-12)
    assert gates(real.circuit.circuit) <= 2 * gates(circuit) + 2 and sorted(real.masks) == [1 << b for b in range(7)]


def test_gates_that_no_measured_qubit_depends_on_are_left_out_and_rotations_stay():
    theta = qpr.params("theta", 4)
    circuit = qpr.Circuit(4).ry(theta[0], 0).cx(0, 1).ry(theta[1], 1).ry(theta[2], 2).cx(2, 3).ry(theta[3], 3)
    model = qpr.Model(circuit, "Z1")
    real = realise(free(model), np.ones(4, bool), [p for p, _ in model.observables[0].terms], timeline=model)
    assert [op.name for op in real.circuit.circuit.operations] == ["ry", "cx", "ry", "ry", "ry"]
    a = np.array([0.3, 0.4, 0.5, 0.6])
    np.testing.assert_allclose(read_out(real, a), qpr.expectation(model, a), atol=1e-12)


def test_a_ladder_is_climbed_once_and_not_written_out_in_each_rotation():
    n, theta = 8, qpr.params("theta", 8)
    circuit = qpr.Circuit(n)
    for q in range(n - 1):
        circuit.ry(theta[q], q).cx(q, q + 1)
    circuit.ry(theta[n - 1], n - 1)
    model = qpr.Model(circuit, f"Z{n - 1}")
    real = realise(free(model), np.ones(n, bool), [p for p, _ in model.observables[0].terms], timeline=model)
    names = [op.name for op in real.circuit.circuit.operations]
    assert names == ["ry", "cx"] * (n - 1) + ["ry"] and real.circuit.measured == (n - 1,)
    without = realise(free(model), np.ones(n, bool), [p for p, _ in model.observables[0].terms])
    assert gates(without.circuit.circuit) > 3 * gates(real.circuit.circuit)


def test_a_turned_sign_turns_the_angle_and_not_the_parameter():
    theta = qpr.params("theta", 1)
    model = qpr.Model(qpr.Circuit(1).x(0).rz(theta[0], 0).sx(0).ry(0.3, 0), "Y0")
    assert model.rotations[0].angle.terms[0][1] < 0
    real = realise(free(model), np.ones(2, bool), [PauliString.parse("X0")], timeline=model)
    operation = real.circuit.circuit.operations[1]
    assert operation.name == "rz" and operation.angles[0].terms[0][1] == -1.0


def test_columns_are_the_executed_rotations_in_order_and_only_needed_qubits_are_measured():
    model = CASES["several_observables"].model
    executed = np.array([True, False, True, True, False])
    real = realise(free(model), executed, [PauliString.parse("Z1")], timeline=model)
    assert real.columns.tolist() == [0, 2, 3] and real.circuit.rotations == 3 == real.circuit.n_params
    assert len(real.circuit.measured) == int(np.bitwise_count(real.masks).max())
    nothing = realise(free(model), np.zeros(5, bool), [PauliString.parse("Z1")], timeline=model)
    assert nothing.columns.shape == (0,) and not nothing.circuit.circuit.vectors


def test_a_model_keeps_the_gates_of_its_circuit_and_shows_them_to_nobody():
    import copy
    import pickle

    circuit = CASES["hardware_efficient"].circuit.copy()
    model, other = (qpr.Model(circuit, "Z0") for _ in range(2))
    steps = len(circuit.steps)
    circuit.x(0)
    assert len(model.steps) == steps  # what is appended later is none of it
    loaded = pickle.loads(pickle.dumps(model))
    read = qpr.Model.from_text(model.to_text())
    assert loaded.steps is None and read.steps is None
    assert loaded == model == read == other and hash(loaded) == hash(model) == hash(read)
    assert copy.deepcopy(model).steps is model.steps
    assert model.with_observables("X1").steps is model.steps and model.noiseless().steps is model.steps
    assert model._replace(clifford=model.clifford).steps is None
    subsets = [[q, (q + 1) % 5] for q in range(5)]
    block = qpr.Model(qpr.Circuit(5).x_rotations(subsets, qpr.params("theta", 5)).h(0), "Z0 Z1")
    assert len(block.steps) == 2  # arrays stay arrays
    check(block, "parameter_shift")
    check(block, "pair_state")


def test_a_long_circuit_is_realised_in_well_under_a_second():
    model = qpr.Model(ansatz.hardware_efficient(20, 25), {f"Z{q} Z{q + 1}": 1.0 for q in range(19)})
    strings = [p for p, _ in model.observables[0].terms]
    program, executed = free(model), np.ones(model.n_rotations, bool)
    realise(program, executed, strings, timeline=model)
    times = []
    for _ in range(5):
        start = time.process_time()
        realise(program, executed, strings, timeline=model)
        times.append(time.process_time() - start)
    assert model.n_rotations == 1000 and min(times) < 0.3


def test_encoded_amplitudes_become_fixed_ones_and_vanish_beside_an_ancilla_in_1():
    model = CASES["encoded_state"].model
    _, x = values_for(model)
    program = pair_program(model, PauliString.parse("Z0"))[0]
    executed = np.ones(program.n_params, bool)
    real = realise(program, executed, [PauliString.parse("Z3")], timeline=model, x=read_by_programs(model, x))
    amplitudes = real.circuit.circuit.state.array
    np.testing.assert_allclose(amplitudes[:8], x[:8] / np.linalg.norm(x[:8]), atol=1e-15)
    assert not amplitudes[8:].any()
    again = realise(program, executed, [PauliString.parse("Z3")], timeline=model, x=read_by_programs(model, x))
    assert again.circuit.key == real.circuit.key
    with pytest.raises(QupropError, match="amplitudes are read from x"):
        realise(program, executed, [PauliString.parse("Z3")], timeline=model)


def test_what_is_no_circuit_for_a_machine_is_refused():
    model = qpr.Model(qpr.Circuit(2).ry(qpr.params("theta", 1)[0], 0).depolarising(0.1, 0), "Z0")
    z, one = [PauliString.parse("Z0")], np.ones(1, bool)
    with pytest.raises(QupropError, match="noise of its own"):
        realise(free(model), one, z, timeline=model)
    clean = model.noiseless()
    program = free(clean)
    with pytest.raises(QupropError, match="must commute"):
        realise(program, one, [*z, PauliString.parse("X0")], timeline=clean)
    with pytest.raises(QupropError, match="one entry for each of 1 angles"):
        realise(program, np.ones(2, bool), z, timeline=clean)
    with pytest.raises(QupropError, match="copies=3"):
        realise(program, one, z, copies=3)
    with pytest.raises(QupropError, match="2 qubits at most, got one of 4"):
        realise(program, one, z, timeline=CASES["several_observables"].model)
    with pytest.raises(QupropError, match="Hermitian Pauli strings on 2 qubits"):
        realise(program, one, [PauliString.parse("Z2")])
    shared = qpr.params("theta", 2)
    with pytest.raises(QupropError, match="one of its parameters each"):
        realise(qpr.Model(qpr.Circuit(1).ry(shared[0] + shared[1], 0), "Z0"), np.ones(2, bool), z)
