"""Expectation values by Qiskit's estimators: against exact ones, through layouts, at the shots that were asked for."""

import dense
import numpy as np
import pytest
from device_laws import STATES, random_circuit

import quprop as qpr
from quprop.model.pauli import PauliString

pytest.importorskip("qiskit")
aer = pytest.importorskip("qiskit_aer")

from qiskit.primitives import BackendEstimatorV2, StatevectorEstimator, StatevectorSampler  # noqa: E402
from qiskit.providers.fake_provider import GenericBackendV2  # noqa: E402

from quprop.hybrid.devices.qiskit_estimator import QiskitEstimator  # noqa: E402
from quprop.hybrid.qiskit_primitives import QupropEstimator  # noqa: E402

LINE = [[0, 1], [1, 2], [2, 3], [3, 4]]
GIVEN = {
    "aer": lambda: "aer",
    "line": lambda: GenericBackendV2(5, noise_info=False, coupling_map=LINE, seed=2),
    "backend": lambda: BackendEstimatorV2(backend=aer.AerSimulator(coupling_map=LINE)),
    "statevector": lambda: StatevectorEstimator(),
    "aer_estimator": lambda: aer.primitives.EstimatorV2(),
    "quprop": lambda: QupropEstimator(seed=0),
}
STRINGS = [PauliString.parse(text) for text in ("X0 Y2", "Z3", "Y1", "Z0 Z1 X2 Y3", "X1 X3")]


@pytest.mark.parametrize("given", GIVEN)
def test_expectation_values_are_the_exact_ones_up_to_their_errors(given):
    rng = np.random.default_rng(len(given))
    circuits = [random_circuit(rng, state).circuit for state in STATES]
    work = [(c, STRINGS[k:]) for k, c in enumerate(circuits)]
    values = [rng.uniform(-3, 3, (2, 12)) for _ in circuits]
    shots = [3000, 4000, 5000]
    estimator = QiskitEstimator(GIVEN[given]())
    found = estimator.expectations(work, values, shots, seed=1)
    terms = []
    for (circuit, strings), rows, n, (evs, stds) in zip(work, values, shots, found, strict=True):
        exact = np.array([dense.values(circuit, [qpr.PauliSum({p: 1.0}) for p in strings], row) for row in rows])
        assert evs.shape == stds.shape == exact.shape
        assert (stds <= 1.001 / np.sqrt(n)).all()
        terms.append(((evs - exact) / np.maximum(stds, 1e-3)).ravel())
    z = np.concatenate(terms)
    assert np.abs(z).max() < 4.5 and 0.4 < np.mean(z**2) < 1.9
    again = estimator.expectations(work, values, shots, seed=1)
    other = estimator.expectations(work, values, shots, seed=2)
    assert all(np.allclose(a[0], b[0], rtol=0, atol=1e-12) for a, b in zip(found, again, strict=True))
    assert np.abs(found[0][0] - other[0][0]).max() > 1e-4


def test_as_many_shots_are_run_as_were_asked_for(monkeypatch):
    """1 / precision^2 of a rounded precision is rounded up, and one shot more would be one not planned."""
    ran, run = [], aer.AerSimulator.run
    monkeypatch.setattr(aer.AerSimulator, "run", lambda self, *a, **k: [ran.append(k["shots"]), run(self, *a, **k)][1])
    circuit = qpr.Circuit(1).h(0)
    asked = [1, 3, 7, 100, 1000, 4095, 123_457]
    work = [(circuit, [PauliString.parse("Z0")])] * len(asked)
    QiskitEstimator("aer").expectations(work, [np.zeros((1, 0))] * len(asked), asked, seed=0)
    assert sorted(ran) == asked


def test_the_estimator_of_aer_gets_no_angles_that_it_binds_wrongly():
    simulator = aer.AerSimulator(basis_gates=["crx", "rz", "sx", "cx"], coupling_map=LINE)
    crx = qpr.Circuit(2).crx(qpr.params("angle", 1)[0], 0, 1)
    work = ([(crx, Z)], [np.zeros((1, 1))], [10])
    with pytest.raises(qpr.QupropError, match=r"binds .* wrongly"):
        QiskitEstimator(aer.primitives.EstimatorV2.from_backend(simulator)).expectations(*work, seed=0)
    assert QiskitEstimator(simulator).expectations(*work, seed=0)[0][0] == 1


Z = [PauliString.parse("Z0")]


@pytest.mark.parametrize(
    "call, what",
    [
        (lambda: QiskitEstimator(StatevectorSampler()), "EstimatorV2"),
        (lambda: QiskitEstimator(3), "BackendV2"),
        (lambda: QiskitEstimator("aer", optimisation_level=7), "0, 1, 2 or 3"),
        (lambda: QiskitEstimator(StatevectorEstimator(), options={"a": 1}), "in the estimator itself"),
        (lambda: _run([(qpr.Circuit(1), [])], [np.zeros((1, 0))], [10]), "one or more"),
        (lambda: _run([(qpr.Circuit(1), [PauliString.parse("Z1")])], [np.zeros((1, 0))], [10]), "qubits 0 to 0"),
        (lambda: _run([(qpr.Circuit(1), Z)], [np.zeros((1, 2))], [10]), r"\(settings, 0\)"),
        (lambda: _run([(qpr.Circuit(1), Z)], [np.zeros((1, 0))], [0]), "shots must be a whole number"),
        (lambda: _run([(qpr.Circuit(1), Z)], [], [10]), "values and shots"),
        (lambda: _run([(qpr.Circuit(99), Z)], [np.zeros((1, 0))], [10]), "this circuit needs 99"),
    ],
)
def test_what_no_estimator_can_do_is_refused(call, what):
    with pytest.raises(qpr.QupropError, match=what):
        call()


def _run(work, values, shots):
    return QiskitEstimator("aer").expectations(work, values, shots, seed=0)
