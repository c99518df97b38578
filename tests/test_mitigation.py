"""Mitigation: extrapolated and inverted values, their derivatives, and what they cost in standard errors."""

import numpy as np
import pytest
from tolerances import assert_close

import quprop as qpr
from quprop.simulate.noise.mitigation import extrapolation


def depolarised(layers, p=0.03):
    """One qubit turned by t[0] in all and depolarised in between: <Z> = lambda^layers cos t, lambda = 1 - 4p/3."""
    t = qpr.params("t", 1)
    circuit = qpr.Circuit(1, params=t)
    for _ in range(layers):
        circuit.rx(t[0] / layers, 0).depolarising(p, 0)
    return qpr.Model(circuit, "Z0")


def test_scaled_noise_scales_how_much_noise_there_is_and_not_of_what_kind():
    t = qpr.params("t", 3)
    circuit = qpr.Circuit(2, params=t).h(0).cx(0, 1)
    circuit.depolarising(t[0], 0).amplitude_damping(t[1], 1).thermal_relaxation(50.0, 70.0, t[2], 0, excited=0.1)
    circuit.generalised_amplitude_damping(0.1, 0.3, 1).pauli_channel({"XZ": 0.01, "YI": t[0]}, 0, 1).phase_damping(
        0.1, 0
    )
    other = qpr.Circuit(2, params=t).h(0).cx(0, 1)
    other.depolarising(3 * t[0], 0).amplitude_damping(3 * t[1], 1)
    other.thermal_relaxation(50.0, 70.0, 3 * t[2], 0, excited=0.1).generalised_amplitude_damping(3 * 0.1, 0.3, 1)
    other.pauli_channel({"XZ": 3 * 0.01, "YI": 3 * t[0]}, 0, 1).phase_damping(3 * 0.1, 0)
    theta, observables = np.array([0.02, 0.1, 3.0]), ["Z0 + X0 X1", "Z1"]
    model = qpr.Model(circuit, observables)
    (a, back), (b, wanted) = qpr.vjp(qpr.scaled_noise(model, 3), theta), qpr.vjp(qpr.Model(other, observables), theta)
    assert_close(a, b, 1e3)
    assert_close(back(np.ones(2))[0], wanted(np.ones(2))[0], 1e3)
    assert_close(qpr.expectation(qpr.scaled_noise(model, 0), theta), qpr.expectation(model.noiseless(), theta), 1e3)
    with pytest.raises(qpr.QupropError, match="factor from 0"):
        qpr.scaled_noise(model, -1)
    with pytest.raises(qpr.QupropError, match="takes"):
        qpr.expectation(qpr.scaled_noise(model, 30), theta)


@pytest.mark.parametrize(
    ("scales", "degree"), [((1, 3), None), ((1, 2, 3.5), 1), ((0.5, 1, 2, 3), None), ((1, 2, 3), 0)]
)
def test_an_extrapolation_is_exact_for_polynomials_of_its_degree(scales, degree):
    c = extrapolation(scales, degree)
    for power in range((len(scales) - 1 if degree is None else degree) + 1):
        assert_close(c @ np.array(scales, float) ** power, 1.0 if power == 0 else 0.0, 1e4)
    if degree == 0:
        assert_close(c, np.full(3, 1 / 3), 100)


@pytest.mark.parametrize("layers", [1, 2, 3])
def test_richardson_extrapolation_of_a_depolarised_qubit_is_exact_with_a_scale_more_than_layers(layers):
    theta = np.array([0.7])
    found = qpr.zero_noise(depolarised(layers), theta, scales=range(1, layers + 2))
    assert_close(found.values, np.cos(theta), 1e3)
    assert_close(found.pullback(np.ones(1))[0], -np.sin(theta), 1e3)
    c = extrapolation(range(1, layers + 2))
    assert_close(found.error_factor, np.array([np.sqrt((c**2).sum())]), 100)
    if layers == 1:
        assert_close(found.error_factor, np.array([np.sqrt(5.0)]), 100)  # 2 E_1 - E_2
    fewer = qpr.zero_noise(depolarised(layers + 1), theta, scales=range(1, layers + 2))
    assert abs(fewer.values[0] - np.cos(0.7)) > 1e-7


def test_an_extrapolated_logarithm_is_exact_for_exponential_decay():
    t = qpr.params("t", 1)
    circuit = qpr.Circuit(1, params=t).rx(t[0], 0).h(0).thermal_relaxation(20.0, 30.0, 6.0, 0).h(0)
    model, theta = qpr.Model(circuit, "Z0"), np.array([[0.7], [2.6]])
    for scales in ((1, 2), (1, 1.5, 3)):
        found = qpr.zero_noise(model, theta, scales=scales, exponential=True)
        assert_close(found.values[:, 0], np.cos(theta[:, 0]), 1e3)
        d_theta, _ = found.pullback(np.array([[1.0], [-2.0]]))
        assert_close(d_theta[:, 0], np.array([-1.0, 2.0]) * np.sin(theta[:, 0]), 1e3)
        assert_close(found.pullback(np.ones((2, 1)), sum_theta=True)[0], -np.sin(theta).sum(axis=0), 1e3)
        c, e = extrapolation(scales, 1), np.exp(-0.2 * np.array(scales))
        assert_close(found.error_factor[0, 0], np.sqrt(((c / e) ** 2).sum()), 1e3)
    with pytest.raises(qpr.QupropError, match="one sign"):
        qpr.zero_noise(qpr.Model(qpr.Circuit(1, "1").amplitude_damping(0.3, 0), "Z0"), [], exponential=True)


def test_the_error_factor_is_how_far_the_result_moves_with_each_measured_value():
    """A million normal errors of size 1e-6 of the values at all scales."""
    rng = np.random.default_rng(0)
    model, theta, scales = depolarised(3), np.array([0.4]), (1.0, 1.5, 2.0, 3.0)
    at = np.array([qpr.expectation(qpr.scaled_noise(model, s), theta)[0] for s in scales])
    noisy = at + 1e-6 * rng.normal(size=(200_000, 4))
    for degree, exponential in ((None, False), (1, False), (1, True)):
        found = qpr.zero_noise(model, theta, scales=scales, degree=degree, exponential=exponential)
        c = extrapolation(scales, degree)
        spread = (np.exp(np.log(noisy) @ c) if exponential else noisy @ c).std() * 1e6
        assert abs(spread / found.error_factor[0] - 1) < 0.02


def test_derivatives_of_extrapolated_values_in_strengths_and_inputs_are_differences():
    t, x = qpr.params("t", 3), qpr.inputs("x", 1)
    circuit = qpr.Circuit(2, params=t, inputs=x).ry(t[0] * x[0], 0).cx(0, 1).depolarising2(t[1], 0, 1)
    circuit.rx(t[2], 0).amplitude_damping(0.5 * t[1], 1)
    model = qpr.Model(circuit, ["Z0 + Z1", "Z0 Z1"])
    point, weights = np.array([0.8, 0.05, 0.3, 0.9]), np.array([1.0, -0.7])
    for options in ({}, {"scales": (1, 1.5), "exponential": True}, {"scales": (1, 2, 3), "degree": 1}):

        def value(p, options=options):
            return weights @ qpr.zero_noise(model, p[:3], p[3:], **options).values

        steps = 1e-5 * np.eye(4)
        slopes = [(value(point + s) - value(point - s)) / 2e-5 for s in steps]
        found = np.concatenate(qpr.zero_noise(model, point[:3], point[3:], **options).pullback(weights))
        assert np.abs(found - slopes).max() < 1e-8


def test_wrong_extrapolations_are_refused():
    model = depolarised(1)
    for options, text in (
        ({"scales": (1,)}, "scales"),
        ({"scales": (1, 1)}, "scales"),
        ({"scales": (1, 2), "degree": 2}, "degree"),
        ({"scales": (-1, 2)}, "scales"),
    ):
        with pytest.raises(qpr.QupropError, match=text):
            qpr.zero_noise(model, [0.1], **options)
    with pytest.raises(qpr.QupropError, match="without"):
        qpr.zero_noise(model.noiseless(), [0.1])


CONFUSION = np.array([[[0.97, 0.08], [0.03, 0.92]], [[0.9, 0.05], [0.1, 0.95]], [[0.99, 0.2], [0.01, 0.8]]])


def test_inverted_readout_gives_the_values_and_gradients_without_readout_errors():
    rng = np.random.default_rng(1)
    t = qpr.params("t", 5)
    circuit = (
        qpr.Circuit(3, params=t).ry(t[0], 0).cx(0, 1).rx(t[1], 2).cx(1, 2).ry(t[2], 1).depolarising(t[4], 1).rx(t[3], 2)
    )
    read = circuit.copy()
    for q, c in enumerate(CONFUSION):
        read.readout_error(c[1, 0], c[0, 1], q)
    observables = ["Z0", "Z0 Z1 Z2 + 0.3*Z1 - 2*I0", "Z0 Z2 - Z1 Z2"]
    theta = np.append(rng.uniform(-2, 2, 4), 0.1)
    wanted, back = qpr.vjp(qpr.Model(circuit, observables), theta)
    found = qpr.invert_readout(qpr.Model(read, observables), theta, confusion=CONFUSION)
    assert np.abs(qpr.expectation(qpr.Model(read, observables), theta) - wanted).max() > 0.05
    assert_close(found.values, wanted, 1e4)
    for cotangent in np.eye(3):
        assert_close(found.pullback(cotangent)[0], back(cotangent)[0], 1e4)


def test_inverted_readout_is_the_inverse_of_the_confusion_matrices():
    """Probabilities multiplied by the inverse of the tensor product."""
    rng = np.random.default_rng(2)
    whole = np.kron(CONFUSION[2], np.kron(CONFUSION[1], CONFUSION[0]))  # qubit 0 is the lowest bit
    p = rng.dirichlet(np.ones(8))
    read = whole @ p
    signs = 1 - 2 * (np.arange(8)[:, None] >> np.arange(3) & 1)
    for string in ("Z0", "Z1", "Z0 Z2", "Z0 Z1 Z2"):
        made = qpr.readout_inverse(string, CONFUSION)
        letters = [int(a[1:]) for a in string.split()]
        value = sum(
            c * (read * signs[:, [q for q in range(3) if s.z >> q & 1]].prod(axis=1)).sum() for s, c in made.items()
        )
        assert_close(value, (p * signs[:, letters].prod(axis=1)).sum(), 1e4)


def test_the_cost_of_inverted_readout_is_the_closed_form():
    model = qpr.Model(qpr.Circuit(3), ["Z0", "Z0 Z1", "Z2 + Z0"])
    b, c = np.array([0.89, 0.85, 0.79]), np.array([0.05, -0.05, 0.19])
    found = qpr.invert_readout(model, [], confusion=CONFUSION).error_factor
    pair = np.sqrt((1 + c[0] ** 2) * (1 + c[1] ** 2) - c[0] ** 2 * c[1] ** 2) / b[0] / b[1]  # the identity has no error
    assert_close(found, np.array([1 / b[0], pair, np.sqrt((1 / b[0] ** 2 + 1 / b[2] ** 2) / 2)]), 1e3)
    same = qpr.invert_readout(model, [], confusion=CONFUSION[0]).error_factor
    assert_close(same[0], 1 / b[0], 1e3)


def test_letters_are_inverted_whatever_they_are():
    made = qpr.readout_inverse("X0 Y1", CONFUSION)
    b, c = (0.89, 0.85), (0.05, -0.05)
    wanted = {"X0 Y1": 1.0, "X0": -c[1], "Y1": -c[0], "I0": c[0] * c[1]}
    found = dict(made.items())
    for text, number in wanted.items():
        ((string, _),) = qpr.PauliSum(text).items()
        assert_close(found[string], number / b[0] / b[1], 1e3)
    assert len(found) == 4


def test_wrong_confusion_is_refused():
    for confusion, text in (
        (np.full((2, 2), 0.5), "whatever its bit"),
        ([[0.9, 0.2], [0.2, 0.8]], "sums to 1"),
        (np.zeros((2, 3)), "confusion"),
        (CONFUSION[:1], "confusion"),
    ):
        with pytest.raises(qpr.QupropError, match=text):
            qpr.readout_inverse("Z0 Z1", confusion)
    with pytest.raises(qpr.QupropError, match="at most"):
        qpr.readout_inverse("Z" * 24, CONFUSION[0])
