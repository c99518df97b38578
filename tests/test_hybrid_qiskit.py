"""Qiskit circuits, operators, primitives, gradients: against its own Statevector, primitives and parameter shifts."""

import dense
import numpy as np
import pytest
from cases import CASES, random_circuit, random_sum

import quprop as qpr
from quprop.errors import QupropError

pytest.importorskip("qiskit")
pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::PendingDeprecationWarning"),
    pytest.mark.filterwarnings("ignore::scipy.sparse.SparseEfficiencyWarning"),  # Qiskit's exponentials
]

from qiskit import QuantumCircuit, qpy  # noqa: E402
from qiskit.circuit import ClassicalRegister, Gate, Parameter, ParameterVector, QuantumRegister  # noqa: E402
from qiskit.circuit import library as lib  # noqa: E402
from qiskit.primitives import StatevectorEstimator, StatevectorSampler  # noqa: E402
from qiskit.quantum_info import Operator, Pauli, SparseObservable, SparsePauliOp, Statevector, random_unitary  # noqa: E402

from quprop.hybrid.qiskit import (  # noqa: E402
    from_qiskit,
    from_sparse_pauli_op,
    load_qpy,
    read_qiskit,
    save_qpy,
    to_qiskit,
    to_sparse_pauli_op,
)
from quprop.hybrid.qiskit_primitives import QupropEstimator, QupropSampler  # noqa: E402

ENCODED = {"encoded_state", "encoded_and_rotated"}
WRITTEN_OTHERWISE = {"basis_state", "product_state", "commuting_sums", "identity_terms", "qaoa", "ising"}


def values(circuit, seed=0):
    rng = np.random.default_rng(seed)
    return rng.uniform(-3, 3, circuit.n_params), rng.uniform(-3, 3, circuit.n_inputs)


def apart(psi, phi):
    overlap = np.vdot(phi, psi)
    return np.abs(psi - overlap / abs(overlap) * phi).max()


def bound(qc, circuit, theta, x):
    """The QuantumCircuit with the values that theta and x give its parameters, by name."""
    named, start = {}, {0: 0, 1: 0}
    for name, (kind, size) in circuit.vectors.items():
        for k in range(size):
            named[f"{name}[{k}]" if size > 1 else name] = (x if kind else theta)[start[kind] + k]
        start[kind] += size
    return qc.assign_parameters({p: named[p.name] for p in qc.parameters})


def distance(qc, seed=0):
    """Between Qiskit's state and ours, at random values in the order of qc.parameters."""
    imported = read_qiskit(qc)
    given = np.random.default_rng(seed).uniform(-2, 2, len(qc.parameters))
    theta = np.zeros(imported.circuit.n_params)
    theta[[k for _, k in imported.columns]] = given
    plain = qc.remove_final_measurements(inplace=False)
    return apart(dense.final_state(imported.circuit, theta), Statevector(plain.assign_parameters(given)).data)


# Circuits -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(4))
def test_the_unitary_and_the_names_survive_a_round_trip(seed):
    circuit = random_circuit(seed, 4, 60)
    theta, x = values(circuit, seed)
    qc = to_qiskit(circuit)
    back = from_qiskit(qc)
    assert list(back.vectors.items()) == list(circuit.vectors.items())
    u = Operator(bound(qc, circuit, theta, x)).data
    columns = []
    for j in range(16):
        start = qpr.Circuit(4, j)
        start.vectors.update(circuit.vectors)
        columns.append(dense.final_state(start.append(circuit), theta, x))
    ours = np.stack(columns, axis=1)
    assert np.abs(ours - np.trace(u.conj().T @ ours) / 16 * u).max() < 1e-12
    assert apart(dense.final_state(circuit, theta, x), dense.final_state(back, theta, x)) < 1e-12


@pytest.mark.parametrize("name", sorted(set(CASES) - ENCODED))
def test_all_test_circuits_are_the_same_in_qiskit_and_back(name):
    circuit = CASES[name].circuit
    theta, x = values(circuit)
    psi = dense.final_state(circuit, theta, x)
    qc = to_qiskit(circuit)
    assert apart(psi, Statevector(bound(qc, circuit, theta, x)).data) < 1e-12
    back = from_qiskit(qc)
    assert list(back.vectors.items()) == list(circuit.vectors.items())
    assert apart(psi, dense.final_state(back, theta, x)) < 1e-12
    assert back == circuit or name in WRITTEN_OTHERWISE


def test_theta_follows_qiskit_s_order_not_the_order_of_use():
    late, early, theta = Parameter("zeta"), Parameter("alpha"), ParameterVector("theta", 11)
    qc = QuantumCircuit(2)
    qc.rx(late, 0)
    qc.ry(2 * theta[10] - theta[2], 1)  # vectors count by index: theta[10] after theta[2]
    qc.rz(early + 0.3, 0)
    circuit = from_qiskit(qc)
    assert circuit.layout(0) == (("alpha", 1), ("theta", 11), ("zeta", 1))
    theta_values = np.arange(1.0, 14.0) / 10
    expected = qpr.Circuit(2).rx(1.3, 0).ry(2 * 1.2 - 0.4, 1).rz(0.1 + 0.3, 0)
    assert apart(dense.final_state(circuit, theta_values), dense.final_state(expected, ())) < 1e-14
    whole = QuantumCircuit(2)
    whole.compose(qc, inplace=True)
    whole.rx(sum(theta), 0)  # with every entry used, theta is what assign_parameters takes
    state = Statevector(whole.assign_parameters(theta_values)).data
    assert apart(dense.final_state(from_qiskit(whole), theta_values), state) < 1e-14


@pytest.mark.parametrize("constant", [-0.5, -1e-17, -3.0])
def test_angles_whose_parameters_cancel_to_a_negative_number_are_that_number(constant):
    a, b, qc = Parameter("a"), Parameter("b"), QuantumCircuit(1)
    for angle in (a - a + constant, constant + 0 * b, a * b - b * a + constant, b):
        qc.ry(angle, 0)
    model = from_qiskit(qc, "Z0")
    theta = np.array([0.7, 0.4])
    assert qpr.expectation(model, theta)[0] == pytest.approx(np.cos(3 * constant + 0.4), abs=1e-14)


def test_inputs_are_chosen_by_name_and_polynomials_are_kept_exactly():
    x, w = ParameterVector("x", 2), Parameter("w")
    qc = QuantumCircuit(1)
    qc.rz(0.1 * w * x[0] - (np.pi - x[1]) * (np.pi - x[0]) + w**2 / 3, 0)
    for chosen in ("x", x, [x]):
        circuit = from_qiskit(qc, inputs=chosen)
        assert (circuit.layout(0), circuit.layout(1)) == ((("w", 1),), (("x", 2),))
    angle = circuit.operations[0].angles[0]
    ours_w, ours_x = qpr.params("w", 1), qpr.inputs("x", 2)
    expected = 0.1 * ours_w[0] * ours_x[0] - (np.pi - ours_x[1]) * (np.pi - ours_x[0]) + ours_w[0] ** 2 / 3
    assert {m for m, _ in angle.terms} == {m for m, _ in expected.terms}
    for (_, found), (_, true) in zip(angle.terms, expected.terms, strict=True):
        assert found == pytest.approx(true, rel=3e-16)


def _four(used=4):
    qc = QuantumCircuit(4)
    for k, angle in enumerate(ParameterVector("v", 4)):
        qc.ry(angle, k)
    return qc


def _controlled():
    a, b, qc = Parameter("a"), Parameter(r"$\beta$"), _four()
    qc.mcx([0, 1, 2], 3)
    qc.cu(0.1, a, 0.3, b, 0, 1)
    qc.mcp(a * b, [0, 1], 2)
    qc.cswap(0, 1, 2)
    qc.ch(0, 1)
    qc.rccx(0, 1, 2)
    qc.csx(1, 0)
    qc.cx(0, 1, ctrl_state=0)
    qc.dcx(0, 1)
    qc.r(a, 0.3, 1)
    qc.barrier()
    qc.delay(10, 0)
    qc.id(1)
    return qc


def _numeric():
    qc = _four()
    qc.unitary(random_unitary(4, seed=1), [2, 0])
    qc.unitary(random_unitary(8, seed=1), [2, 0, 3])
    qc.append(lib.DiagonalGate([1, 1j, -1, 1]), [0, 1])
    qc.append(lib.PermutationGate([2, 0, 1]), [0, 1, 2])
    qc.append(lib.PauliGate("XYZ"), [0, 1, 2])
    qc.append(lib.QFTGate(3), [0, 2, 1])
    return qc


def _own_gate_called_h():
    a = Parameter("a")
    inner = QuantumCircuit(2, name="h")
    inner.rx(a, 0)
    inner.cx(0, 1)
    inner.global_phase = 0.3
    qc = _four()
    qc.append(inner.to_gate(), [2, 1])
    qc.append(inner.to_gate().control(1), [0, 3, 1])
    qc.append(inner.to_gate().inverse(), [0, 3])
    return qc


def _evolution():
    qc, a, b = _four(), Parameter("a"), Parameter("b")
    qc.append(lib.PauliEvolutionGate(SparsePauliOp(["XX", "YY"], [0.3, -0.2]), time=a**2 - b), [3, 1])
    qc.append(lib.PauliEvolutionGate(SparsePauliOp(["IZX"], [2.0]), time=b), [3, 1, 0])
    return qc


def _initialised():
    qc = QuantumCircuit(3, 3)
    qc.initialize([1, 0, 0, 1j, 0, 0, 2, 0], [2, 0, 1], normalize=True)
    qc.ry(Parameter("a"), 1)
    qc.measure([0, 1], [2, 0])
    return qc


def _prepared():
    qc = QuantumCircuit(3)
    qc.prepare_state([1, 0, 0, 1j], [2, 0], normalize=True)
    qc.prepare_state("+", 1)
    qc.rzx(Parameter("a") / 3 + 0.1, 0, 2)
    qc.ecr(2, 1)
    return qc


def _annotated():
    qc = _four()
    qc.append(lib.XGate().control(2, annotated=True), [0, 1, 2])
    qc.append(lib.RYGate(Parameter("a")).control(1, annotated=True), [3, 0])
    return qc


@pytest.mark.parametrize(
    "make",
    [
        _controlled,
        _numeric,
        _own_gate_called_h,
        _evolution,
        _initialised,
        _prepared,
        _annotated,
        lambda: lib.efficient_su2(4, reps=1),
        lambda: lib.zz_feature_map(3, reps=2),
    ],
    ids="controlled numeric own_gate_called_h evolution initialised prepared annotated su2 zz_feature_map".split(),  # noqa: SIM905
)
def test_other_gates_are_taken_apart(make):
    assert distance(make()) < 1e-12


def test_qpy_files_go_out_and_come_in(tmp_path):
    circuit = random_circuit(5, 3, 30)
    save_qpy(circuit, tmp_path / "one.qpy")
    assert load_qpy(tmp_path / "one.qpy") == from_qiskit(to_qiskit(circuit))
    with open(tmp_path / "two.qpy", "wb") as file:
        qpy.dump([to_qiskit(qpr.Circuit(1).h(0)), to_qiskit(qpr.Circuit(2).x(1))], file)
    assert load_qpy(tmp_path / "two.qpy", index=1) == qpr.Circuit(2).x(1)
    with pytest.raises(QupropError, match="holds 2 circuits; say which one with index=0 to 1"):
        load_qpy(tmp_path / "two.qpy")
    whole = (tmp_path / "one.qpy").read_bytes()
    (tmp_path / "cut.qpy").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(QupropError, match="is no QPY file that this Qiskit reads"):
        load_qpy(tmp_path / "cut.qpy")
    with pytest.raises(QupropError, match="No such file"):
        load_qpy(tmp_path / "none.qpy")


@pytest.mark.parametrize(("here", "there"), [("Barrier", "Measure"), ("HGate", "UGate"), ("YGate", "UGate")])
def test_a_qpy_file_with_another_gate_than_its_numbers_fit_is_refused(here, there, tmp_path):
    inner = QuantumCircuit(1, name="inner")
    inner.y(0)
    qc = QuantumCircuit(2)
    qc.h(0)
    qc.barrier()
    qc.append(inner.to_instruction(), [1])
    with open(tmp_path / "good.qpy", "wb") as file:
        qpy.dump(qc, file)
    good = (tmp_path / "good.qpy").read_bytes()
    assert load_qpy(tmp_path / "good.qpy") == qpr.Circuit(2).h(0).y(1) and good.count(here.encode()) == 1
    (tmp_path / "bad.qpy").write_bytes(good.replace(here.encode(), there.encode()))
    with pytest.raises(QupropError, match=r"instruction [012], \w+ on qubit"):
        load_qpy(tmp_path / "bad.qpy")


def test_a_panic_of_qiskit_s_decoder_is_a_sentence_and_control_c_is_none(tmp_path, monkeypatch):
    panic = type("PanicException", (BaseException,), {})("index out of bounds")  # as pyo3 makes it
    (tmp_path / "one.qpy").write_bytes(b"QISKIT")
    for error, raised in ((panic, QupropError), (KeyboardInterrupt(), KeyboardInterrupt)):
        monkeypatch.setattr(qpy, "load", lambda file: (_ for _ in ()).throw(error))
        with pytest.raises(raised):
            load_qpy(tmp_path / "one.qpy")


def test_bound_circuits_do_not_keep_the_vectors_that_have_gone():
    x, theta = qpr.inputs("x", 2), qpr.params("theta", 2)
    qc = to_qiskit(qpr.Circuit(2, inputs=x).rx(x[0], 0).ry(theta[1], 1))
    half = qc.assign_parameters({p: 0.3 for p in qc.parameters if p.name.startswith("x")})
    assert list(from_qiskit(half).vectors.items()) == [("theta", (0, 2))]


# Recognition ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name", ["flip", "id", "delay", "barrier", "reset", "global_phase", "measure", "pauli", "h", "rx"]
)
def test_a_gate_is_what_its_definition_says_whatever_its_name(name):
    sub = QuantumCircuit(1, name=name)
    sub.x(0)
    for made in (sub.to_gate(), sub.to_instruction()):
        qc = QuantumCircuit(1)
        qc.append(made, [0])
        assert from_qiskit(qc) == qpr.Circuit(1).x(0)
    renamed = lib.XGate().to_mutable()
    renamed.name = name
    qc = QuantumCircuit(1)
    qc.append(renamed, [0])
    assert from_qiskit(qc) == qpr.Circuit(1).x(0)


def test_a_circuit_called_measure_measures_in_its_own_basis():
    sub = QuantumCircuit(2, 2, name="measure")
    sub.h([0, 1])
    sub.measure([0, 1], [1, 0])
    qc = QuantumCircuit(3, 2)
    qc.h([2, 0])
    qc.x(2)
    qc.z(2)
    qc.append(sub.to_instruction(), [2, 0], [1, 0])
    counts = QupropSampler(seed=1).run([(qc,)]).result()[0].data.c.get_counts()
    assert counts == StatevectorSampler(seed=1).run([(qc.decompose(),)]).result()[0].data.c.get_counts()
    assert read_qiskit(qc).measured == {0: 2, 1: 0}
    qc.h(2)  # which was measured into bit 0: a fresh qubit keeps that
    assert read_qiskit(qc).measured == {0: 3, 1: 0}


def test_open_controls_are_no_closed_ones():
    qc = QuantumCircuit(3)
    qc.h([0, 1, 2])
    qc.append(lib.CXGate(ctrl_state=0), [0, 1])
    qc.append(lib.CPhaseGate(0.4, ctrl_state=0), [1, 2])
    qc.append(lib.CCXGate(ctrl_state=1), [0, 1, 2])
    qc.append(lib.CRXGate(0.3, ctrl_state=0), [2, 0])
    assert distance(qc) < 1e-12


def test_loops_over_numbers_and_boxes_are_written_out():
    step, theta = Parameter("step"), Parameter("theta")
    qc = QuantumCircuit(3, 1)
    with qc.for_loop(range(3)):
        qc.x(0)
    with qc.for_loop((2, 5), step):
        qc.rx(step * theta, 1)
        with qc.for_loop(range(1, -1, -1), Parameter("inner")) as inner:
            qc.ry(inner * step, 2)
    with qc.box():
        qc.cx(0, 2)
        qc.measure(1, 0)
    t = qpr.params("theta", 1)[0]
    by_hand = qpr.Circuit(3).x(0).x(0).x(0)
    for k in (2, 5):
        by_hand.rx(k * t, 1).ry(k, 2).ry(0, 2)
    assert from_qiskit(qc) == by_hand.cx(0, 2)
    assert read_qiskit(qc).measured == {0: 1}


def test_control_flow_that_is_not_known_beforehand_is_refused():
    feedback, endless = QuantumCircuit(1, 1), QuantumCircuit(1)
    with feedback.while_loop((feedback.clbits[0], 1)):
        feedback.x(0)
    with endless.for_loop(range(10**12)):
        endless.x(0)
    with pytest.raises(QupropError, match="instruction 0, while_loop on qubit 0: control flow at run time"):
        from_qiskit(feedback)
    with pytest.raises(QupropError, match="instruction 0, for_loop on qubit 0: loops come to more than 1,000,000"):
        from_qiskit(endless)


def test_coefficients_of_operators_may_hold_parameters():
    a, b, v = Parameter("a"), Parameter("b"), ParameterVector("v", 2)
    qc = QuantumCircuit(2)
    qc.ry(a, 0)
    qc.cx(0, 1)
    qc.rx(v[0], 1)
    qc.ry(v[1], 0)
    operator = 2 * SparsePauliOp(["ZZ", "XI", "IY"], [a * a, 0.5 * b, 1.5 * v[1] + 2])
    model = from_qiskit(qc, operator)
    assert model.param_names == ("a", "v", "b")

    def qiskit(theta):
        values = dict(zip([a, v[0], v[1], b], theta, strict=True))
        state = Statevector(qc.assign_parameters({p: values[p] for p in qc.parameters}))
        return state.expectation_value(operator.assign_parameters([values[p] for p in operator.parameters])).real

    theta, h = np.array([0.3, 0.7, -0.4, 1.1]), 1e-6
    value, grad = qpr.value_and_grad(model, theta)
    assert abs(value - qiskit(theta)) < 1e-12
    steps = [(qiskit(theta + h * e) - qiskit(theta - h * e)) / (2 * h) for e in np.eye(4)]
    assert np.abs(grad - steps).max() < 1e-8
    with pytest.raises(QupropError, match="an observable: its angle"):
        from_qiskit(qc, SparsePauliOp(["ZZ"], [1j * a]))
    with pytest.raises(QupropError, match="another than the circuit's of that name"):
        from_qiskit(qc, SparsePauliOp(["ZZ"], [Parameter("a")]))


def test_dense_labels_are_read_in_qiskit_s_order():
    qc = QuantumCircuit(3)
    qc.x(0)
    qc.h(1)
    model = from_qiskit(qc, ["IIZ", "ZXI - 0.5*IIZ", {"IIZ": 2.0, "Z2": 1.0}, "Z0", qpr.PauliSum({"ZII": 1.0})])
    labels = ["IIZ", "ZXI", "ZII"]
    z0, zx, z2 = (Statevector(qc).expectation_value(Pauli(label)).real for label in labels)
    expected = [z0, zx - 0.5 * z0, 2 * z0 + z2, z0, z0]
    assert np.abs(qpr.expectation(model, []) - expected).max() < 1e-12
    with pytest.raises(
        QupropError, match="one letter for each of the circuit's 3 qubits, qubit 0 on the right, got 'IZ'"
    ):
        from_qiskit(qc, "IZ")


# Operators ------------------------------------------------------------------------------------------------------------


def test_operators_keep_their_matrices_though_their_texts_run_the_other_way():
    total = random_sum(np.random.default_rng(3), 4, 9)
    operator = to_sparse_pauli_op(total, 4)
    assert np.abs(operator.to_matrix() - dense.sum_matrix(total, 4)).max() < 1e-14
    assert from_sparse_pauli_op(operator) == total
    assert from_sparse_pauli_op(Pauli("-IXYZ")) == qpr.PauliSum({"Z0 Y1 X2": -1.0})
    projector = SparseObservable.from_list([("0+I", 1.0), ("rZ1", 0.4)])
    found = dense.sum_matrix(from_sparse_pauli_op(projector), 3)
    assert np.abs(found - SparsePauliOp.from_sparse_observable(projector).to_matrix()).max() < 1e-14


def test_a_model_gives_qiskit_s_expectation_values():
    qc = _controlled()
    operators = [SparsePauliOp(["XIZI", "ZZIY"], [0.5, -0.3]), Pauli("IIIZ")]
    model = from_qiskit(qc, operators)
    theta = np.random.default_rng(1).uniform(-2, 2, 6)
    state = Statevector(qc.assign_parameters(theta))
    expected = [state.expectation_value(o).real for o in operators]
    assert qpr.expectation(model, theta) == pytest.approx(expected, abs=1e-12)


# Mistakes -------------------------------------------------------------------------------------------------------------


def _looped(qc):
    with qc.while_loop((qc.clbits[0], 1)):
        qc.x(1)


def _two_names(qc):
    qc.rx(Parameter("θ"), 0)
    qc.ry(ParameterVector("θ", 2)[0], 1)


def _resized(qc):
    vector = ParameterVector("w", 4)
    qc.rx(vector[3], 0)
    vector.resize(2)


def _rv(qc):
    qc.append(lib.RVGate(Parameter("x"), Parameter("y"), 0.1), [0])


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (_looped, "instruction 0, while_loop on qubit 1: control flow"),
        (lambda qc: qc.rx(Parameter("a").sin(), 0), "its angle sin(a) is no polynomial of the parameters"),
        (lambda qc: qc.rx(abs(Parameter("a")), 0), "is no polynomial"),
        (lambda qc: qc.rx(1 / Parameter("a"), 0), "is no polynomial"),
        (lambda qc: qc.rx(2 ** Parameter("a"), 0), "its angle 2**a is no polynomial"),
        (lambda qc: qc.rx((Parameter("a") + Parameter("b")) ** 1000, 0), "is no polynomial of the parameters"),
        (_resized, "the circuit uses w[3], beyond the 2 entries that its vector was resized to"),
        (_rv, "instruction 0, rv on qubit 0: Qiskit does not take it apart"),
        (lambda qc: qc.append(Gate("mystery", 1, []), [1]), "instruction 0, mystery on qubit 1: it has no definition"),
        (_two_names, "two parameters of the circuit would both be called 'θ'"),
    ],
)
def test_a_mistake_names_the_instruction(make, sentence):
    qc = QuantumCircuit(2, 2)
    make(qc)
    with pytest.raises(QupropError) as caught:
        from_qiskit(qc)
    assert sentence in str(caught.value)


def test_bad_arguments_are_refused_with_the_mend():
    with pytest.raises(QupropError, match="takes a qiskit QuantumCircuit, got int"):
        from_qiskit(3)
    with pytest.raises(QupropError, match="coefficients are real and finite, got 1j"):
        from_qiskit(_four(), SparsePauliOp(["ZZZZ"], [1j]))
    with pytest.raises(QupropError, match="an observable has 5 qubits, but the circuit 4"):
        from_qiskit(_four(), Pauli("ZZZZZ"))
    with pytest.raises(QupropError, match="inputs='x' names no parameter of the circuit; known names are v"):
        from_qiskit(_four(), inputs="x")
    with pytest.raises(QupropError, match="amplitudes read from the inputs pixel have no form in Qiskit"):
        to_qiskit(CASES["encoded_state"].circuit)


# Primitives -----------------------------------------------------------------------------------------------------------


def _asymmetric():
    """A circuit whose parameters sort otherwise than they are used, and a broadcast of 3 observables by 5 points."""
    v, a, b = ParameterVector("w", 4), Parameter("b2"), Parameter("B")
    qc = QuantumCircuit(3)
    qc.ry(v[2], 0)
    qc.cx(0, 1)
    qc.rx(a * v[0], 2)
    qc.cz(1, 2)
    qc.ry(b + v[1], 1)
    qc.rz(v[3], 2)
    qc.h(2)
    observables = [[SparsePauliOp(["XIZ", "ZZI", "IYX"], [0.5, -0.3, 0.2])], [Pauli("ZIX")], [SparsePauliOp("IIZ")]]
    return qc, observables, np.random.default_rng(0).uniform(-2, 2, (5, 6))


def test_exact_values_are_those_of_qiskit_s_estimator_over_the_whole_broadcast():
    qc, observables, points = _asymmetric()
    pubs = [(qc, observables, points), (qc, "ZZZ", points[0]), (qc, observables[0] * 5, points)]
    ours, theirs = QupropEstimator().run(pubs).result(), StatevectorEstimator().run(pubs).result()
    for a, b in zip(ours, theirs, strict=True):
        assert a.data.evs.shape == b.data.evs.shape
        assert np.abs(a.data.evs - b.data.evs).max() < 1e-13
        assert not np.any(a.data.stds)
    by_name = {("w[3]", "w[1]", "w[0]", "w[2]"): points[:, [5, 3, 2, 4]], ("b2", "B"): points[:, [1, 0]]}
    named = QupropEstimator().run([(qc, observables, by_name)]).result()[0]
    assert np.abs(named.data.evs - theirs[0].data.evs).max() < 1e-13


def test_values_find_their_places_where_vectors_are_used_in_part_and_written_out_of_order():
    zeta, theta, x = qpr.params("zeta", 2), qpr.params("theta", 3), qpr.inputs("x", 2)
    circuit = qpr.Circuit(2, params=[zeta, theta], inputs=x).ry(zeta[1] + 0.2, 0).rx(theta[2] * x[1], 1).cx(0, 1)
    qc = to_qiskit(circuit.ry(theta[0] / 2, 0))  # Qiskit's order: theta[0], theta[2], x[1], zeta[1]
    points = np.random.default_rng(4).uniform(-2, 2, (3, 4))
    ours, theirs = (
        e.run([(qc, "XZ", points)]).result()[0].data.evs for e in (QupropEstimator(), StatevectorEstimator())
    )
    assert np.abs(ours - theirs).max() < 1e-13


def test_precision_is_the_true_standard_error_and_shots_follow_the_variance():
    qc, observables, points = _asymmetric()
    exact = QupropEstimator().run([(qc, observables, points)]).result()[0].data.evs
    estimator, precision = QupropEstimator(seed=3, default_precision=0.05), 0.05
    runs = [estimator.run([(qc, observables, points)]).result()[0] for _ in range(200)]
    draws = np.array([r.data.evs for r in runs])
    stds = runs[0].data.stds
    assert np.all(stds <= precision * (1 + 1e-12)) and np.all(stds > 0.9 * precision)
    assert np.abs((draws.mean(0) - exact) / (stds / np.sqrt(200))).max() < 4.5
    assert np.abs(draws.std(0) / stds - 1).max() < 0.25  # 15 values, each known to 1/sqrt(400) = 5 %
    single = exact[2]  # one Pauli string: variance 1 - mean^2
    shots = runs[0].metadata["shots"]
    assert np.abs(shots[2] - (1 - single**2) / precision**2).max() <= 1


def test_a_value_without_variance_stays_exact_and_seeds_repeat():
    qc = QuantumCircuit(2)
    qc.h(0)
    qc.cx(0, 1)
    result = QupropEstimator(seed=1).run([(qc, ["XX", "ZZ", "YY"])], precision=0.1).result()[0]
    assert result.data.evs == pytest.approx([1, 1, -1], abs=1e-14) and not np.any(result.data.stds)
    qc, observables, points = _asymmetric()
    twice = [QupropEstimator(seed=7).run([(qc, observables, points)], precision=0.1).result() for _ in range(2)]
    assert np.array_equal(twice[0][0].data.evs, twice[1][0].data.evs)


def test_samples_fill_named_registers_bit_by_bit():
    first, second = ClassicalRegister(2, "alpha"), ClassicalRegister(10, "beta")
    qc = QuantumCircuit(QuantumRegister(3, "q"), first, second)
    angle = Parameter("a")
    qc.x(0)
    qc.ry(angle, 1)
    qc.h(2)
    qc.measure(0, second[9])
    qc.measure(1, first[1])
    qc.measure(2, second[0])
    shots, points = 20000, [[0.3], [1.2]]
    data = QupropSampler(seed=0).run([(qc, points, shots)]).result()[0].data
    theirs = StatevectorSampler(seed=1).run([(qc, points, shots)]).result()[0].data
    assert data.shape == theirs.shape == (2,)
    for row, (a,) in enumerate(points):
        p = np.sin(a / 2) ** 2
        alpha, beta = data.alpha.get_counts(row), data.beta.get_counts(row)
        assert set(alpha) == set(theirs.alpha.get_counts(row)) == {"00", "10"}
        assert set(beta) == set(theirs.beta.get_counts(row)) == {"1000000000", "1000000001"}
        assert abs(alpha["10"] - shots * p) < 5 * np.sqrt(shots * p * (1 - p))
        assert abs(beta["1000000001"] - shots / 2) < 5 * np.sqrt(shots / 4)
    again = QupropSampler(seed=0).run([(qc, points, shots)]).result()[0].data
    assert again.alpha == data.alpha


def test_primitives_refuse_before_the_job_starts():
    qc, observables, points = _asymmetric()
    with pytest.raises(QupropError, match="needs a seed: QupropEstimator"):
        QupropEstimator(seed=None).run([(qc, observables, points)], precision=0.1)
    with pytest.raises(QupropError, match="QupropSampler"):
        QupropSampler(seed=None)
    with pytest.raises(QupropError, match="measures nothing"):
        QupropSampler(seed=1).run([(qc, points)])
    with pytest.raises(QupropError, match="must be finite"):
        QupropEstimator().run([(qc, observables, points * np.nan)])
    with pytest.raises(QupropError, match="precision is a standard error"):
        QupropEstimator(default_precision=-1)
    _looped(bad := QuantumCircuit(2, 2))
    with pytest.raises(QupropError, match="instruction 0, while_loop on qubit 1"):
        QupropEstimator().run([(bad, "ZZ")])
    with pytest.raises(QupropError, match=r"more than 2\^62 shots"):
        QupropEstimator(seed=1).run([(qc, observables, points)], precision=1e-12).result()


# Gradients ------------------------------------------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore")
def test_a_network_of_qiskit_machine_learning_has_exact_gradients_and_trains():
    pytest.importorskip("qiskit_machine_learning")
    from qiskit_machine_learning.gradients import ParamShiftEstimatorGradient
    from qiskit_machine_learning.neural_networks import EstimatorQNN

    from quprop.hybrid.qiskit_gradient import QupropGradient

    features, ansatz = lib.zz_feature_map(3, reps=1), lib.real_amplitudes(3, reps=1)
    qc = QuantumCircuit(3)
    qc.compose(features, inplace=True)
    qc.compose(ansatz, inplace=True)
    observables = [SparsePauliOp("IZZ"), SparsePauliOp(["XIZ", "IIY"], [0.3, 0.5])]
    rng = np.random.default_rng(0)
    x, w = rng.uniform(-1, 1, (4, 3)), rng.uniform(-1, 1, ansatz.num_parameters)
    found = []
    for estimator, gradient in (
        (QupropEstimator(), QupropGradient()),
        (StatevectorEstimator(), ParamShiftEstimatorGradient(StatevectorEstimator())),
    ):
        network = EstimatorQNN(
            circuit=qc,
            estimator=estimator,
            observables=observables,
            input_params=features.parameters,
            weight_params=ansatz.parameters,
            input_gradients=True,
            gradient=gradient,
            default_precision=0.0,
        )
        found.append((network, network.forward(x, w), *network.backward(x, w)))
    for ours, theirs in zip(found[0][1:], found[1][1:], strict=True):
        assert ours.shape == theirs.shape and np.abs(ours - theirs).max() < 1e-12
    network, target = found[0][0], np.array([[1.0, 0.0], [-1.0, 0.0], [1.0, 0.0], [-1.0, 0.0]])
    losses = []
    for _ in range(40):
        error = network.forward(x, w) - target
        losses.append(float(np.sum(error**2)))
        w = w - 0.1 * np.einsum("bo,bop->p", error, network.backward(x, w)[1])
    assert losses[-1] < 0.9 * losses[0]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("reps", [1, 2])
def test_a_network_at_its_default_precision_is_within_it_and_repeats(reps):
    """EstimatorQNN asks for a standard error of 1/64, forwards and for each shifted circuit of its gradient."""
    pytest.importorskip("qiskit_machine_learning")
    from qiskit_machine_learning.neural_networks import EstimatorQNN

    features, ansatz = lib.zz_feature_map(2), lib.real_amplitudes(2, reps=reps)
    w = np.linspace(0.1, 0.4, ansatz.num_parameters)
    of_precision = {
        "circuit": features.compose(ansatz),
        "observables": [SparsePauliOp("ZZ"), SparsePauliOp(["XI", "ZX"], [0.5, 0.3])],
        "input_params": features.parameters,
        "weight_params": ansatz.parameters,
        "input_gradients": True,
    }

    def results(estimator, **options):
        network = EstimatorQNN(estimator=estimator, **of_precision, **options)
        return network.forward([0.1, 0.2], w), *network.backward([0.1, 0.2], w)

    exact = results(StatevectorEstimator(), default_precision=0.0)
    drawn, again = results(QupropEstimator()), results(QupropEstimator())
    sizes = [1, 7, 1]  # d(angles)/d(input): two gates at 2 and two at 2 (pi - x), each by half the difference of two
    for ours, repeated, theirs, size in zip(drawn, again, exact, sizes, strict=True):
        assert np.array_equal(ours, repeated) and 0 < np.abs(ours - theirs).max() < 5 * size / 64


@pytest.mark.filterwarnings("ignore")
def test_qiskit_algorithms_finds_a_ground_state_with_exact_gradients():
    pytest.importorskip("qiskit_algorithms")
    from qiskit_algorithms import VQE
    from qiskit_algorithms.optimizers import L_BFGS_B

    from quprop.hybrid.qiskit_gradient import QupropAlgorithmsGradient

    hamiltonian = SparsePauliOp(["ZZ", "XI", "IX"], [1, 0.5, 0.3])
    solver = VQE(
        QupropEstimator(),
        lib.real_amplitudes(2, reps=2),
        L_BFGS_B(),
        gradient=QupropAlgorithmsGradient(),
        initial_point=np.linspace(0.1, 0.6, 6),
    )
    energy = solver.compute_minimum_eigenvalue(hamiltonian).eigenvalue
    assert energy == pytest.approx(np.linalg.eigvalsh(hamiltonian.to_matrix())[0], abs=1e-6)
