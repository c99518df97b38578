"""Folded circuits and calibrations on Qiskit's backends: nothing is compiled away, and a gradient's bias shrinks."""

from dataclasses import replace

import numpy as np
import pytest

import quprop as qpr
from quprop.sampling.devices.bias import bias
from quprop.sampling.devices.device import DeviceCircuit, Work
from quprop.sampling.estimate import Estimate, variance_of_mean

pytest.importorskip("qiskit_aer")
pytest.importorskip("qiskit_ibm_runtime")
pytestmark = [  # of fake backends that SciPy factorises
    pytest.mark.filterwarnings("ignore::scipy.sparse.SparseEfficiencyWarning"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
]

ZERO = qpr.ZeroNoise((1, 3, 5))


def ring(n, state=None):
    """A ring, which has to be routed on a line, with an identity, and a CZ that ends before its readout."""
    angle = qpr.params("angle", 2 * n)
    circuit = qpr.Circuit(n, state, params=angle)
    for q in range(n):
        circuit.ry(angle[q], q)
    for q in range(n):
        circuit.cx(q, (q + 1) % n).rz(angle[n + q], q)
    circuit.rotation("X0 Y1", 0.3).exp({"I": 1.0}, 0.4).cz(0, n - 1)
    return DeviceCircuit(circuit, tuple(range(n)), 2 * n)


def manila(**options):
    from quprop.hybrid.devices.qiskit import QiskitDevice

    return QiskitDevice("fake_manila", **options)


def operator(device, circuit, values):
    from qiskit.quantum_info import Operator

    made = device._compiled([circuit])[0]
    isa = made.circuit.assign_parameters(dict(zip(made.circuit.parameters, values[made.columns], strict=True)))
    isa.remove_final_measurements()
    return Operator(isa), made


@pytest.mark.parametrize("n, state", [(3, None), (4, "0110")])
def test_a_compiled_folded_circuit_is_the_same_on_the_same_qubits_with_as_many_times_the_gates(n, state):
    device, circuit, values = manila(), ring(n, state), np.random.default_rng(0).uniform(-3, 3, 2 * n)
    base, once = operator(device, ZERO.folded(circuit, 1), values)
    prepared = 0 if state is None else state.count("1")  # by an X each, which are not folded
    assert operator(manila(), circuit, values)[0].equiv(operator(manila(), circuit, values)[0])
    for scale in (3, 5):
        same, made = operator(device, ZERO.folded(circuit, scale), values)
        assert same.equiv(base) and made.prepared.layout == once.prepared.layout
        assert made.prepared.two_qubit_gates == scale * once.prepared.two_qubit_gates
        x, sx = (made.circuit.count_ops().get(g, 0) for g in ("x", "sx"))
        x1, sx1 = (once.circuit.count_ops().get(g, 0) for g in ("x", "sx"))
        assert sx == scale * sx1 and x - prepared == scale * (x1 - prepared)
        assert made.circuit.count_ops()["barrier"] == scale + 1
        assert set(made.circuit.count_ops()) <= {"x", "sx", "rz", "cx", "barrier", "measure"}
    same, made = operator(device, ZERO.folded(circuit, 2), values)
    assert same.equiv(base) and made.prepared.layout == once.prepared.layout
    assert 1 < made.prepared.two_qubit_gates / once.prepared.two_qubit_gates < 3


def test_twirled_instances_of_folded_circuits_keep_all_passes():
    device, circuit = manila(twirl=3), ring(3)
    once = device.prepare([ZERO.folded(circuit, 1)])[0]
    made = device._compiled([ZERO.folded(circuit, 3)])[0]
    found = list(device._instances(made, np.array([9]), np.random.default_rng(0)))
    assert len(found) == 3
    for isa, *_ in found:
        assert isa.count_ops()["cx"] == 3 * once.two_qubit_gates and isa.count_ops()["barrier"] == 4


def test_a_circuit_without_gates_is_folded_to_itself():
    made = manila().prepare([ZERO.folded(DeviceCircuit(qpr.Circuit(2, "10"), (1, 0), 0), s) for s in (1, 2, 3)])
    assert {p.gates for p in made} == {1} and len({p.layout for p in made}) == 1


def test_without_barriers_a_compiler_takes_the_folds_out():
    """What the barriers are for."""
    device, circuit = manila(), ring(3)
    once, thrice = device.prepare([ZERO.folded(circuit, 1), ZERO.folded(circuit, 3)])
    naive = replace(ZERO.folded(circuit, 3), barriers=(), folding=None)
    barred = replace(ZERO.folded(circuit, 3), folding=None)  # compiled as one circuit
    open_, kept = device.prepare([naive, barred])
    assert open_.two_qubit_gates < 2.5 * once.two_qubit_gates < kept.two_qubit_gates
    assert thrice.two_qubit_gates == 3 * once.two_qubit_gates


def test_a_calibration_stays_on_the_qubits_that_it_names_and_finds_what_the_device_says():
    device = manila()

    def run(work):
        return device.submit(work, seed=1, tag="").result()

    said = qpr.Mitigation(readout="device").inversion(device, [(3, 1)], run)
    found = qpr.Mitigation(readout="calibrate", shots=20_000).inversion(device, [(3,), (1, 3)], run)
    assert sorted(found.errors) == sorted(said.errors) == [1, 3]
    for q, pair in found.errors.items():
        for p, true, sigma in zip(pair, said.errors[q], found.stderr[q], strict=True):
            assert abs(p - true) < 5 * sigma + 2e-3  # the X of the second circuit fails and relaxes too


def gradient_of(circuit, values, shots, device, mitigation, seed):
    """Of <Z0 Z1 Z2 ...> by parameter shift; every angle is that of one rotation."""
    P, mask = len(values), (1 << len(circuit.measured)) - 1
    shifted = values + np.concatenate([np.eye(P), -np.eye(P)]) * np.pi / 2
    runs, layouts = {}, {}

    def run(work):
        return device.submit(work, seed=seed, tag="").result()

    scales = [1.0] if mitigation is None else mitigation.scales
    for k, scale in enumerate(scales):
        made = circuit if mitigation is None else mitigation.folded(circuit, scale)
        layouts[scale] = device.prepare([made])[0].layout
        runs[scale] = device.submit([Work(made, shifted, np.full(2 * P, shots))], seed=seed + 100 * k, tag="").result()

    def read(scale, inversion):
        mean, variance = np.zeros(2 * P), np.zeros(2 * P)
        for r, (index, counts) in enumerate(runs[scale][0]):
            inverted = qpr.ReadoutInversion([(0, 0)] * 5) if inversion is None else inversion
            y = inverted.reader({circuit.key: layouts[scale]})(circuit, index, [mask], [1])[:, 0]
            far = inverted.farthest([mask], layouts[scale])[0]
            mean[r] = counts @ y / shots
            variance[r] = variance_of_mean(mean[r], counts @ y**2 / shots, shots, far)
        value = (mean[:P] - mean[P:]) / 2
        return Estimate(value, np.sqrt(variance[:P] + variance[P:]) / 2, qpr.Cost(2 * P * shots, 2 * P * P * shots))

    if mitigation is None:
        return read(1.0, None)
    return mitigation.combine(read, mitigation.inversion(device, layouts.values(), run))


def test_the_bias_of_a_gradient_on_a_noisy_backend_shrinks():
    n, layers = 4, 3
    angle = qpr.params("angle", n * layers)
    model_circuit = qpr.Circuit(n, params=angle)
    for k in range(layers):
        for q in range(n):
            model_circuit.ry(angle[n * k + q], q)
        for q in range(n - 1):
            model_circuit.cx(q, q + 1)
    circuit = DeviceCircuit(model_circuit, tuple(range(n)), n * layers)
    values = np.random.default_rng(1).uniform(-1, 1, n * layers)
    _, exact = qpr.value_and_grad(qpr.Model(model_circuit, "Z0 Z1 Z2 Z3"), values)[:2]
    device, shots = manila(), 20_000
    raw = bias(gradient_of(circuit, values, shots, device, None, 0), exact)
    readout = bias(gradient_of(circuit, values, shots, device, qpr.Mitigation(readout="device"), 0), exact)
    both = qpr.Mitigation(readout="calibrate", zero_noise=qpr.ZeroNoise((1, 3)), shots=100_000)
    left = bias(gradient_of(circuit, values, shots, device, both, 0), exact)
    print(raw, readout, left, sep="\n")
    assert raw.rms - 5 * raw.rms_error > 3 * readout.rms
    assert readout.rms - 3 * readout.rms_error > left.rms
    assert readout.chi2 > 5 and left.chi2 < 2.5  # of 12 components without bias: above 2.5 once in 400 times
