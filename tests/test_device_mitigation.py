"""Mitigation of a device's counts: what inverted bits, folded gates and extrapolations are on average, exactly."""

import itertools
import math
from dataclasses import replace

import dense
import numpy as np
import pytest
from tolerances import assert_close

import quprop as qpr
from quprop.model.pauli import PauliString
from quprop.sampling.devices.bias import bias
from quprop.sampling.devices.device import DeviceCircuit, Prepared, Work
from quprop.sampling.estimate import Estimate
from quprop.sampling.sampler import eigenvalues
from quprop.simulate.noise.mitigation import extrapolation

ERRORS = {4: (0.03, 0.11), 0: (0.0, 0.2), 7: (0.06, 0.06), 2: (0.15, 0.02)}
QUBITS = (4, 7, 0, 2)  # the device's, of the outcome bits 0 to 3
MASKS, SIGNS = np.array([1, 2, 6, 11, 15, 0]), np.array([1, -1, 1, 1, -1, 1])


def confusion():
    """P(read i | bits j) of the four outcome bits, (16, 16), bit 0 the lowest."""
    found = np.eye(1)
    for q in QUBITS:
        p10, p01 = ERRORS[q]
        found = np.kron([[1 - p10, p01], [p10, 1 - p01]], found)
    return found


def chances(seed=0):
    return np.random.default_rng(seed).dirichlet(np.ones(16))


def device_circuit(n=3, gates=None, state=None, seed=0):
    """Gates of all kinds with angles of their own, and values of these."""
    rng, angle = np.random.default_rng(seed), qpr.params("angle", 4)
    circuit = qpr.Circuit(n, state, params=angle)
    circuit.h(0).ry(angle[0], 1).rotation("X0 Y1 Z2", angle[1]).iswap(1, 2).t(0).u(0.3, angle[2], 0.5, 2)
    circuit.sx(1).crx(angle[3], 0, 2).exp("X0 X1 + Y0 Y1", 0.4).ccx(0, 1, 2).sdg(0).ecr(2, 0)
    return DeviceCircuit(circuit, tuple(range(n)), 4), rng.uniform(-3, 3, 4)


def clifford_and_turns(values):
    """Of which depolarising noise on the qubits of each gate commutes with the gate."""
    circuit = qpr.Circuit(2).ry(values[0], 0).ry(values[1], 1).cx(0, 1).rx(values[2], 0).rz(values[3], 1).cx(1, 0)
    return circuit.ry(values[4], 1)


def unitary(circuit, values):
    columns = [qpr.Circuit(circuit.n_qubits, k).append(circuit) for k in range(1 << circuit.n_qubits)]
    return np.stack([dense.final_state(c, values).ravel() for c in columns], axis=1)


def same_up_to_phase(a, b, atol=1e-12):
    k = np.unravel_index(np.abs(b).argmax(), b.shape)
    return np.abs(a * (b[k] / a[k]) - b).max() < atol


# -- readout ----------------------------------------------------------------------------------------------------------


def test_inverted_bits_have_the_mean_of_strings_read_without_errors():
    inversion, p = qpr.ReadoutInversion(ERRORS), chances()
    values = inversion.values(np.arange(16), MASKS, SIGNS, QUBITS)
    exact = p @ eigenvalues(np.arange(16), MASKS, SIGNS)
    assert_close((confusion() @ p) @ values, exact, 100)
    assert np.abs((confusion() @ p) @ eigenvalues(np.arange(16), MASKS, SIGNS) - exact).max() > 0.01
    matrices = {q: [[1 - a, b], [a, 1 - b]] for q, (a, b) in ERRORS.items()}
    assert (qpr.ReadoutInversion(matrices).values(np.arange(16), MASKS, SIGNS, QUBITS) == values).all()


def test_inverted_bits_are_those_of_the_inverted_observable():
    """Values of a circuit with readout errors, and `readout_inverse` as an observable of its own making."""
    inversion = qpr.ReadoutInversion({q: ERRORS[k] for q, k in enumerate(QUBITS)})
    matrices = [[[1 - a, b], [a, 1 - b]] for a, b in (ERRORS[k] for k in QUBITS)]
    values = inversion.values(np.arange(16), MASKS, SIGNS, range(4))
    for mask, sign, column in zip(MASKS.tolist(), SIGNS, values.T, strict=True):
        total = qpr.readout_inverse({PauliString(0, mask): float(sign)}, matrices)
        strings = [p for p, _ in total.items()]
        read = eigenvalues(np.arange(16), np.array([p.z for p in strings]), np.ones(len(strings)))
        assert_close(column, read @ [c for _, c in total.items()], 100)
    circuit, angle = qpr.Circuit(2).ry(0.7, 0).cx(0, 1).rx(0.4, 1), np.arange(4)
    noisy = qpr.Model(circuit.copy().readout_error(0.03, 0.11, 0).readout_error(0.06, 0.02, 1), "Z0 Z1")
    read = qpr.ReadoutInversion([(0.03, 0.11), (0.06, 0.02)]).values(angle, [3], [1], (0, 1))[:, 0]
    assert_close(qpr.probabilities(noisy, []) @ read, qpr.expectation(qpr.Model(circuit, "Z0 Z1"), [])[0], 100)


def test_the_variance_of_an_inverted_string_is_within_its_factor_and_reaches_it():
    inversion = qpr.ReadoutInversion(ERRORS)
    factor = inversion.variance_factor(MASKS, QUBITS)
    square = inversion.values(np.arange(16), MASKS, SIGNS, QUBITS) ** 2
    of_basis_states = confusion().T @ square  # (16, L); those of other states are between
    assert_close(of_basis_states.max(axis=0), factor, 100)
    for (p10, p01), z in itertools.product(ERRORS.values(), (1, -1)):
        b, c = 1 - p10 - p01, p01 - p10
        mean = [1 - p10, p10] if z == 1 else [p01, 1 - p01]
        own = qpr.ReadoutInversion([(p10, p01)])
        law = (1 - c**2 - 2 * c * b * z) / b**2
        assert_close(mean @ own.values([0, 1], [1], [1], (0,))[:, 0] ** 2, law, 100)
    even = qpr.ReadoutInversion([(0.06, 0.06)] * 3)
    assert_close(even.variance_factor([7, 1], range(3)), np.array([0.88**-6, 0.88**-2]), 100)


def test_the_farthest_values_are_those_of_all_outcomes():
    inversion = qpr.ReadoutInversion(ERRORS)
    values = inversion.values(np.arange(16), MASKS, SIGNS, QUBITS)
    assert_close(inversion.farthest(MASKS, QUBITS)[:-1], np.ptp(values, axis=0)[:-1], 100)
    exact = qpr.ReadoutInversion([(0, 0)] * 4)
    assert (exact.farthest(MASKS, range(4)) == [2, 2, 2, 2, 2, 0]).all()
    assert (exact.values(np.arange(16), MASKS, SIGNS, range(4)) == eigenvalues(np.arange(16), MASKS, SIGNS)).all()


def test_bits_beyond_an_integer_of_64_are_read():
    outcomes = np.array([0, 1 << 70, (1 << 70) + 1], object)
    values = qpr.ReadoutInversion([(0.1, 0.1)] * 71).values(outcomes, np.array([1 << 70], object), [1], range(71))
    assert_close(values[:, 0], np.array([1.25, -1.25, -1.25]), 10)


class Misread:
    """A device whose only error is in reading; `at` is where it puts qubits."""

    name = "misread"

    def __init__(self, seed=0, reports=False, honours=True):
        self.rng, self.honours, self.ran = np.random.default_rng(seed), honours, 0
        if reports:
            self.readout_errors = lambda layout: [ERRORS[q] for q in layout]

    def prepare(self, circuits):
        return [Prepared(0, 0, 0, None, c.measured if self.honours else c.measured[::-1]) for c in circuits]

    def run(self, work):
        self.ran += 1
        return [[self.draw(w.circuit, int(n)) for n in w.shots] for w in work]

    def draw(self, circuit, shots):
        p = qpr.probabilities(qpr.Model(circuit.circuit, "Z0"), [])
        bits = self.rng.choice(len(p), shots, p=p)
        read = np.zeros(shots, int)
        for b, q in enumerate(circuit.measured):
            bit = bits >> q & 1
            p10, p01 = ERRORS[q]
            flip = self.rng.random(shots) < np.where(bit, p01, p10)
            read |= (bit ^ flip) << b
        return np.unique(read, return_counts=True)


def test_a_calibration_finds_the_errors_within_their_standard_errors_and_is_counted():
    device, mitigation = Misread(), qpr.Mitigation(readout="calibrate", shots=4000)
    deviations = []
    for _ in range(40):
        found = mitigation.inversion(device, [(4, 0), (2, 0)], device.run)
        assert found.cost == qpr.Cost(copies=8000, measurements=8000, qubits=3)
        assert sorted(found.errors) == [0, 2, 4]
        assert found.errors[0][0] == 0 and 0 < found.stderr[0][0] < 1e-3  # never seen, and not known to be 0
        for q, i in ((0, 1), (2, 0), (2, 1), (4, 0), (4, 1)):
            deviations.append((found.errors[q][i] - ERRORS[q][i]) / found.stderr[q][i])
    assert device.ran == 40
    assert abs(np.mean(deviations)) < 5 / math.sqrt(200) and 0.7 < np.mean(np.square(deviations)) < 1.4
    work = qpr.ReadoutInversion.calibration((4, 0), 10)
    assert all(w.circuit.placed and w.circuit.measured == (4, 0) for w in work)


def test_errors_of_a_calibration_are_in_the_standard_error():
    """Counts without shot noise read with 400 calibrations: the spread is theirs alone, and is what is said."""
    device, ideal = Misread(1), chances(3)
    counts = confusion() @ ideal
    mitigation, found = qpr.Mitigation(readout="calibrate", shots=2000), []
    mask, exact = np.array([15, 3, 5]), ideal @ eigenvalues(np.arange(16), np.array([15, 3, 5]), np.ones(3))
    for _ in range(400):
        inversion = mitigation.inversion(device, [QUBITS], device.run)

        def read(scale, inversion):
            values = counts @ inversion.values(np.arange(16), mask, np.ones(3), QUBITS)
            return Estimate(values, np.zeros(3), qpr.Cost())

        found.append(mitigation.combine(read, inversion))
        assert (found[-1].stderr <= 1.05 * inversion.calibration_error(mask, QUBITS)).all()
    errors, said = np.array([e.value - exact for e in found]), np.array([e.stderr for e in found])
    assert np.abs(np.sqrt((errors**2).mean(axis=0)) / said.mean(axis=0) - 1).max() < 0.15
    assert "known to ±" in found[0].info["readout"]
    without = mitigation.combine(read, inversion, propagate=False)
    assert (without.stderr == 0).all() and (without.value == found[-1].value).all()


def test_a_device_says_its_own_errors_and_is_asked_for_its_own_qubits():
    device = Misread(reports=True)
    found = qpr.Mitigation(readout="device").inversion(device, [(7,), (2, 7)], device.run)
    assert found.errors == {q: ERRORS[q] for q in (2, 7)} and not device.ran and found.cost == qpr.Cost()
    given = qpr.Mitigation(readout=ERRORS).inversion(None, [], None)
    circuit = DeviceCircuit(qpr.Circuit(2), (1, 0), 0)
    read = given.reader({circuit.key: (4, 2)})
    assert (read(circuit, [0, 1], [1], [1]) == given.values([0, 1], [1], [1], (4, 2))).all()
    assert (read.farthest(circuit, [1]) == given.farthest([1], (4, 2))).all()
    assert qpr.Mitigation(zero_noise=qpr.ZeroNoise()).inversion(None, [], None) is None


def test_rounds_that_depend_on_counts_are_those_of_the_same_reading():
    """A precise pilot read without inversion would ask for other shots than its inverted reading, of which the second
    round is then taken for."""
    device = pytest.importorskip("quprop.sampling.devices.own").OwnDevice(
        noise=lambda c: c.readout_error(0.05, 0.15, 0).readout_error(0.05, 0.15, 1)
    )
    t = qpr.params("t", 3)
    model = qpr.Model(qpr.Circuit(2).ry(t[0], 0).ry(t[1], 1).cx(0, 1).rx(t[2], 1), "Z0 Z1 + 0.5 X0 X1 + 0.2 Y1")
    theta, reader = np.array([0.4, -0.7, 0.9]), qpr.ReadoutInversion([(0.05, 0.15)] * 2).reader()
    exact = qpr.value_and_grad(model, theta)[1]
    plan, deviations = qpr.ParameterShift(precision=0.02, adaptive=True).compile(model), []
    for seed in range(40):
        at, number = plan.circuits(theta, rng=seed), 0
        while True:
            counts = device.submit(at.work, seed=100 * seed + number, tag="").result()
            following, number = at.next(counts, reader=reader), number + 1
            if following is None:
                break
            at = following
        found = at.combine(counts, reader=reader)
        deviations.append((found.value - exact) / found.stderr)
    assert number == 2 and 0.6 < np.mean(np.square(deviations)) < 1.5


# -- folding ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("scale", [1, 1.4, 2, 2.5, 3, 4.2, 5, 6.9])
def test_a_folded_circuit_is_the_same_unitary_with_as_many_times_the_gates(scale):
    circuit, values = device_circuit()
    folded = qpr.ZeroNoise((1, 3)).folded(circuit, scale)
    assert same_up_to_phase(unitary(folded.circuit, values), unitary(circuit.circuit, values))
    work = [Work(circuit, values[None], np.array([10]))]
    realised = qpr.ZeroNoise((1, 3)).realised(work, scale)
    gates = len(circuit.circuit)
    assert abs(realised - scale) <= 1 / gates + 1e-12 and (realised == scale or scale not in (1, 3, 5))
    turned = [op for op in folded.circuit.operations if op.name != "z"]  # the Z of inverse ISWAPs is not counted
    assert len(turned) == round(realised * gates)
    moving = sum(not all(a.is_constant for a in op.angles) for op in folded.circuit.operations)
    assert folded.rotations == moving and folded.n_params == circuit.n_params == 4


def test_barriers_stand_between_all_passes_and_tell_circuits_apart():
    circuit, _ = device_circuit()
    zero, gates = qpr.ZeroNoise((1, 3)), len(circuit.circuit)
    assert zero.folded(circuit, 1).barriers == (0, gates)
    assert zero.folded(circuit, 3).barriers == (0, gates, 2 * gates + 2, 3 * gates + 2)  # ISWAP† is three gates
    partly = zero.folded(circuit, 1 + 4 / gates)
    assert partly.barriers == (0, gates, gates + 2, gates + 4)
    keys = [
        circuit.key,
        *(zero.folded(circuit, s).key for s in (1, 1 + 4 / gates, 3)),
        replace(circuit, placed=True).key,
    ]
    assert len(set(keys)) == 5


def test_the_input_state_is_not_folded():
    circuit, values = device_circuit(state="101")
    folded = qpr.ZeroNoise((1, 3)).folded(circuit, 3)
    states = [qpr.state(qpr.Model(c.circuit, "Z0"), values) for c in (circuit, folded)]
    assert abs(abs(np.vdot(*states)) - 1) < 1e-12 and folded.circuit.state == circuit.circuit.state


STRINGS = ["Z0", "X1", "Y0", "Z0 Z1", "X0 X1", "Y0 Y1", "X0 Z1", "Z0 X1", "Y0 Z1", "X0 Y1"]


def noisy_error(circuit, zero, p):
    """Of extrapolated expectation values, the largest, and of those as they are."""
    noise = qpr.NoiseModel(one_qubit=p, two_qubit=p)
    given = DeviceCircuit(circuit, (0, 1), 0)
    at = [qpr.expectation(qpr.Model(zero.folded(given, s).circuit.with_noise(noise), STRINGS), []) for s in zero.scales]
    exact = qpr.expectation(qpr.Model(circuit, STRINGS), [])
    c = zero.coefficients
    return np.abs(c @ np.array(at) - exact).max(), np.abs(at[0] - exact).max()


def order(circuit, zero):
    strengths = np.array([4e-4, 2e-4, 1e-4])
    errors = [noisy_error(circuit, zero, p)[0] for p in strengths]
    return np.polyfit(np.log(strengths), np.log(errors), 1)[0]


@pytest.mark.parametrize("zero", [qpr.ZeroNoise((1, 3)), qpr.ZeroNoise((1, 3, 5), 1)], ids=str)
def test_the_error_of_a_line_through_folded_circuits_is_of_second_order_in_the_noise(zero):
    circuit = clifford_and_turns(np.random.default_rng(2).uniform(-2, 2, 5))
    assert abs(order(circuit, zero) - 2) < 0.05
    mitigated, raw = noisy_error(circuit, zero, 1e-3)
    assert mitigated < raw / 20


def test_the_error_of_higher_degrees_falls_by_an_order_each_where_the_noise_of_gates_commutes():
    circuit = qpr.Circuit(2).h(0).cx(0, 1).s(1).h(1).cx(1, 0).sx(0)  # Clifford gates: errors stay Pauli channels
    for scales in ((1, 3), (1, 3, 5), (1, 3, 5, 7)):
        noise = qpr.ZeroNoise(scales, None)
        strengths = np.array([8e-3, 4e-3])
        a, b = (noisy_error(circuit, noise, p)[0] for p in strengths)
        assert abs(math.log2(a / b) - len(scales)) < 0.15, scales


def test_of_the_second_order_there_is_a_part_that_no_degree_takes_out():
    """Errors of gates that do not commute: all odd scales share their commutators."""
    rng, circuit = np.random.default_rng(2), qpr.Circuit(2)
    for k in range(4):
        a = rng.uniform(-2, 2, 4)
        circuit.ry(a[0], 0).ry(a[1], 1).cx(k % 2, 1 - k % 2).rx(a[2], 0).rz(a[3], 1)
    zero = qpr.ZeroNoise((1, 3, 5, 7), None)
    assert abs(order(circuit, zero) - 2) < 0.05
    mitigated, raw = noisy_error(circuit, zero, 4e-4)
    assert mitigated < 1e-4 * raw  # it is small: 0.5 p^2 of 19 p


def test_a_scale_between_odd_numbers_leaves_some_of_the_first_order():
    """Which is why the class says so: noise of gates that are not folded once more is not what is extrapolated."""
    circuit = clifford_and_turns(np.random.default_rng(2).uniform(-2, 2, 5))
    given, noise = DeviceCircuit(circuit, (0, 1), 0), qpr.NoiseModel(one_qubit=1e-4, two_qubit=1e-4)
    zero = qpr.ZeroNoise((1, 2))
    work = [Work(given, np.empty((1, 0)), np.array([1]))]
    scales = [zero.realised(work, s) for s in zero.scales]
    assert scales == [1.0, 1 + 2 * 4 / 7]  # of 7 gates 4 once more: 3.5, to even
    exact = qpr.expectation(qpr.Model(circuit, "Z0"), [])[0]
    at = [qpr.expectation(qpr.Model(zero.folded(given, s).circuit.with_noise(noise), "Z0"), [])[0] for s in (1, 2)]
    left = extrapolation(scales) @ at - exact
    assert 1e-6 < abs(left) < abs(at[0] - exact)


def estimates(rng, c):
    sigma = np.array([[0.1, 0.2], [0.3, 0.1], [0.2, 0.2]])
    return [Estimate(np.array([1.0, 2.0]) + s * rng.normal(size=2), s, qpr.Cost(10, 30, 10, 3, 2)) for s in sigma]


def test_the_standard_error_of_an_extrapolation_is_the_spread_of_many():
    rng, zero = np.random.default_rng(0), qpr.ZeroNoise()
    found = [zero.combine(estimates(rng, zero)) for _ in range(4000)]
    values, said = np.array([e.value for e in found]), found[0].stderr
    assert np.abs(values.std(axis=0) / said - 1).max() < 0.05
    assert np.abs(values.mean(axis=0) - [1, 2]).max() < 5 * said.max() / math.sqrt(4000)
    assert found[0].cost == qpr.Cost(30, 30 * 9, 30, 15, 2)  # 1 + 3 + 5 times the rotations, the depth of the last
    assert "1.46 times the variance" in found[0].info["zero_noise"]
    at = (1.0, 2.8, 5.2)
    moved = zero.combine(estimates(np.random.default_rng(0), zero), at)
    c = extrapolation(at, 1)
    assert_close(moved.value, c @ [e.value for e in estimates(np.random.default_rng(0), zero)], 10)


def test_both_together_extrapolate_what_was_inverted():
    mitigation = qpr.Mitigation(readout=[(0.1, 0.1)], zero_noise=qpr.ZeroNoise((1, 3)))

    def read(scale, inversion):
        z = inversion.values([0, 1], [1], [1], (0,))[:, 0]
        p = np.array([0.9, 0.1]) * (1 - 0.1 * scale) + 0.05 * scale  # linear in the scale
        misread = np.array([[0.9, 0.1], [0.1, 0.9]]) @ p
        return Estimate(np.array([misread @ z]), np.array([0.1]), qpr.Cost(1, 1, 1, 1, 1))

    found = mitigation.combine(read, mitigation.inversion(None, [], None))
    assert_close(found.value, np.array([0.8]), 100)
    assert_close(found.stderr, np.array([0.1 * math.sqrt(2.5)]), 10)
    assert set(found.info) == {"zero_noise", "readout"} and mitigation.scales == [1.0, 3.0]
    circuit, _ = device_circuit()
    assert qpr.Mitigation(readout=[(0, 0)]).folded(circuit, 1.0) is circuit
    assert mitigation.realised([Work(circuit, np.empty((1, 4)), np.array([1]))]) == [1.0, 3.0]
    assert qpr.Mitigation(readout="device").realised([]) == [1.0]


# -- bias -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [0.0, 0.05, 0.3])
def test_the_bias_beyond_standard_errors_is_found_within_its_own_error(size):
    rng = np.random.default_rng(1)
    sigma, exact = rng.uniform(0.05, 0.2, 60), rng.normal(size=60)
    true = size * rng.normal(size=60)
    found = [bias(Estimate(exact + true + sigma * rng.normal(size=60), sigma, qpr.Cost()), exact) for _ in range(1000)]
    squares, said = np.array([f.mean_square for f in found]), np.array([f.mean_square_error for f in found])
    assert abs(squares.mean() - (true**2).mean()) < 5 * squares.std() / math.sqrt(1000)
    assert 0.95 < math.sqrt((said**2).mean()) / squares.std() < 1.25
    assert abs(np.mean([f.chi2 for f in found]) - (1 + (true**2 / sigma**2).mean())) < 0.1 * (1 + 100 * size**2)
    assert "rms of 60 components" in str(found[0]) and "chi^2" in str(found[0])


def test_components_that_are_known_are_right_or_infinitely_wrong():
    found = bias(Estimate(np.array([1.0, 0.0, 2.0]), np.array([0.5, 0.0, 0.0]), qpr.Cost()), [0.5, 0.0, 1.0])
    assert found.deviations.tolist() == [1.0, 0.0, math.inf] and found.chi2 == 1.0
    assert abs(found.cosine - 2.5 / math.sqrt(5 * 1.25)) < 1e-12
    assert abs(found.mean_square - 1 / 3) < 1e-12


# -- refusals ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "wrong, text",
    [
        (lambda: qpr.ReadoutInversion([(0.6, 0.5)]), "next to nothing"),
        (lambda: qpr.ReadoutInversion([(0.5, 0.495)]), "next to nothing"),
        (lambda: qpr.ReadoutInversion([[0.95, 0.1], [0.05, 0.9]]), "next to nothing"),  # one matrix is no list
        (lambda: qpr.ReadoutInversion([(-0.1, 0.5)]), "probabilities"),
        (lambda: qpr.ReadoutInversion([0.1]), "p10, p01"),
        (lambda: qpr.ReadoutInversion(0.1), "list of a pair"),
        (lambda: qpr.ReadoutInversion({"a": (0.1, 0.1)}), "whole numbers"),
        (lambda: qpr.ReadoutInversion([(0.1, 0.1)], {3: (0.1, 0.1)}), "standard errors"),
        (lambda: qpr.ReadoutInversion([(0.1, 0.1)]).values([0], [2], [1], (0,)), "beyond the 1 qubit"),
        (lambda: qpr.ReadoutInversion([(0.1, 0.1)]).values([0], [1], [1], (5,)), "qubit 5 are not known"),
        (lambda: qpr.ReadoutInversion(ERRORS).reader({})(device_circuit()[0], [0], [1], [1]), "place on the device"),
        (lambda: qpr.ReadoutInversion.calibration(()), "different qubits"),
        (lambda: qpr.ReadoutInversion.calibration((1, 1)), "different qubits"),
        (lambda: qpr.ReadoutInversion.calibrated([], []), "two circuits"),
        (
            lambda: qpr.ReadoutInversion.calibrated(
                qpr.ReadoutInversion.calibration((0,), 9), [[(np.array([0]), np.array([8]))]] * 2
            ),
            "run with 9 shots, got 8",
        ),
        (lambda: qpr.Mitigation(readout="device").inversion(Misread(), [(0,)], None), "reports no readout errors"),
        (lambda: qpr.Mitigation(readout="calibrate").inversion(Misread(honours=False), [(0, 2)], None), "placed"),
        (lambda: qpr.Mitigation(), "does nothing"),
        (lambda: qpr.Mitigation(readout="best"), "calibrate"),
        (lambda: qpr.Mitigation(zero_noise=3), "ZeroNoise"),
        (lambda: qpr.Mitigation(readout="calibrate", shots=0), "shots"),
        (lambda: qpr.ZeroNoise((1,)), "two different"),
        (lambda: qpr.ZeroNoise((1, 1)), "two different"),
        (lambda: qpr.ZeroNoise((0.5, 1)), "from 1"),
        (lambda: qpr.ZeroNoise((1, 3), 2), "degree"),
        (lambda: qpr.ZeroNoise().folded(device_circuit()[0], 0.5), "scale from 1"),
        (lambda: qpr.ZeroNoise().folded(qpr.ZeroNoise().folded(device_circuit()[0], 3), 3), "folded already"),
        (
            lambda: qpr.ZeroNoise().folded(DeviceCircuit(qpr.Circuit(1).depolarising(0.1, 0), (0,), 0), 3),
            "takes no noise",
        ),
        (lambda: qpr.ZeroNoise().combine(estimates(np.random.default_rng(0), None)[:2]), "an estimate of each"),
        (lambda: qpr.ZeroNoise((1, 2, 3)).combine(estimates(np.random.default_rng(0), None), (1, 1, 3)), "too few"),
        (lambda: bias(Estimate(np.zeros(2), np.ones(2), qpr.Cost()), [1.0]), "shape"),
        (lambda: bias(Estimate(np.zeros(0), np.ones(0), qpr.Cost()), []), "one component or more"),
    ],
)
def test_what_cannot_be_right_is_refused(wrong, text):
    with pytest.raises(qpr.QupropError, match=text):
        wrong()
