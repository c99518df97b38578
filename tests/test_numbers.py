"""Numbers of any size: zeros, the smallest and the largest doubles give the closed form, or one sentence.

The property at the end draws circuits whose coefficients, parameters, inputs and amplitudes come from the whole range,
and compares the engines with a dense simulation that is fed exact angles.
"""

import base64
import json
import math
import time
from fractions import Fraction

import dense
import numpy as np
import pytest
import stim
from hypothesis import given, seed, settings
from hypothesis import strategies as st
from tolerances import tolerance

import quprop as qpr
from quprop.simulate.state_vector.metric import metric

T, U, X = qpr.params("t", 2), qpr.params("u", 1), qpr.inputs("x", 2)
ENGINES = ["native", "reference"]


def turned(angle, observables="Z0"):
    """RY(angle)|0>, of which <Z> is the cosine and <X> the sine."""
    return qpr.Model(qpr.Circuit(1, params=[T], inputs=[X]).ry(angle, 0), observables)


def close(found, expected, factor=100):
    """Relative agreement of every entry, however small or large."""
    found, expected = np.asarray(found), np.asarray(expected)
    assert found.shape == expected.shape
    assert np.all(np.abs(found - expected) <= tolerance(factor) * np.abs(expected)), (found, expected)


# -- angles that are zero, and ratios of coefficients -----------------------------------------------------------------


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("held", [0.0, -0.0, 1e-17, 5e-324, 0.4])
def test_a_frozen_parameter_acts_as_its_value(held, engine):
    """<Z0> of RX(b) RY(h)|0> is cos h cos b, at h = 0 too, and so are its derivatives."""
    a, b = qpr.params("a", 1), qpr.params("b", 1)
    first = qpr.Module(qpr.Model(qpr.Circuit(1).ry(a[0], 0), "Z0"), theta=[held], frozen=True)
    second = qpr.Model(qpr.Circuit(1).rx(b[0], 0), "Z0")
    whole = qpr.compose(first, second).model
    value, grad = qpr.value_and_grad(whole, [0.7], engine=engine)
    curve = qpr.hvp(whole, [0.7], v_theta=[1.0], engine=engine)[2]
    ratios = [value, grad[0], curve[0]] / np.array([math.cos(0.7), -math.sin(0.7), -math.cos(0.7)])
    assert np.abs(ratios - math.cos(held)).max() < tolerance(20)
    beside = qpr.parallel(first, second).model
    assert np.abs(qpr.expectation(beside, [0.7], engine=engine) - [math.cos(held), math.cos(0.7)]).max() < tolerance(20)
    close(metric(whole, [0.7], engine=engine), [[0.25 * math.cos(held) ** 2]])


@pytest.mark.parametrize("batch", [None, 3, 40])
@pytest.mark.parametrize("engine", ENGINES)
def test_an_angle_without_terms_is_zero(engine, batch):
    """Among angles that are constants, one parameter, and sums: read from a saved model, where no builder drops it."""
    circuit = qpr.Circuit(2).ry(T[0], 0).rx(1.0, 1).rotation("Y0 X1", T[1]).rz(0.3, 0).rotation("X0", T[0] + 1.0)
    data = json.loads(qpr.Model(circuit, ["Z0 + X1", "Y0 Y1"]).to_text())
    with_zeros, expected = dict(data), dict(data)
    zeros = [["Z0", {}], ["X0 X1", {}], ["Y1", {"theta[0]": 0.0}]]
    with_zeros["rotations"] = [
        r for pair in zip(data["rotations"], [*zeros, ["Y0", {}], ["Z1", {}]], strict=True) for r in pair
    ]
    models = [qpr.Model.from_text(json.dumps(d)) for d in (with_zeros, expected)]
    theta = np.random.default_rng(0).normal(size=(2,) if batch is None else (batch, 2))
    results = []
    for model in models:
        values, pullback = qpr.vjp(model, theta, engine=engine)
        results.append(
            [values, pullback(values)[0], qpr.hvp(model, theta, v_theta=theta, weights=[1, 2], engine=engine)[2]]
        )
        results[-1].append(qpr.probabilities(model, theta, engine=engine))
    for found, right in zip(*results, strict=True):
        assert np.abs(found - right).max() < tolerance(100)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("ratio", [1e-310, 5e-324, 1e-300, -1e-200, 1e-17, 1e-8, 0.0])
@pytest.mark.parametrize("theta", [0.3, 1e-9, -2.0])
def test_terms_of_an_angle_may_differ_by_any_ratio(theta, ratio, engine):
    """Whichever comes first: sums are in the order of their monomials, constants before parameters."""
    for angle in (T[0] + ratio, ratio * T[1] + T[0], T[0] * (1 + 0 * ratio) + ratio * T[0] * T[1]):
        model = turned(angle, ["Z0", "X0"])
        values, pullback = qpr.vjp(model, [theta, 1.0], np.zeros(2), engine=engine)
        whole = theta + ratio * (theta if angle.degree == 2 else 1.0)
        close(values, [math.cos(whole), math.sin(whole)])
        slope = 1 + ratio if angle.degree == 2 else 1.0
        close(pullback([1.0, 0.0])[0][:1], [-math.sin(whole) * slope])


@pytest.mark.parametrize("engine", ENGINES)
def test_multiples_of_one_angle_may_differ_by_any_ratio(engine):
    """Rotations that one polynomial drives: tiny ones beside ordinary ones, and none that is a ratio of zero."""
    p = T[0] + 2 * T[1]
    circuit = qpr.Circuit(2).ry(1e-300 * p, 0).ry(p, 0).rx(1e-12 * p, 1).rx(0 * p, 1)
    model = qpr.Model(circuit, ["X0", "Y1"])
    values, pullback = qpr.vjp(model, [0.1, 0.2], engine=engine)
    close(values, [math.sin(0.5), -math.sin(5e-13)])
    close(pullback([0.0, 1.0])[0], np.array([-1e-12, -2e-12]) * math.cos(5e-13))


# -- large angles -----------------------------------------------------------------------------------------------------

LARGE = [1e8, 2.0**53, 2.0**53 + 2, 1e16, -1e17, 123456789e12, 1e22, -1e100, 2.0**900, 1e280]


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("angle", LARGE)
def test_large_angles_are_reduced_exactly(angle, engine):
    """Python's cos and sin reduce exactly. As a constant, a parameter, an input, and a product of both."""
    right = [math.cos(angle), math.sin(angle)]
    for a, theta, x in [(angle, 0, 0), (T[0], angle, 0), (X[0], 0, angle), (T[0] * X[0], angle / 4, 4)]:
        values = qpr.expectation(turned(a, ["Z0", "X0"]), [theta, 0.0], [x, 0.0], engine=engine)
        assert np.abs(values - right).max() < tolerance(20)
    batch = np.tile([angle, 0.0], (20, 1))
    assert np.abs(qpr.expectation(turned(T[0], ["Z0", "X0"]), batch, [0, 0], engine=engine) - right).max() < tolerance(
        20
    )


def test_large_constants_are_cliffords_only_where_they_are_quarter_turns():
    """2^53 pi/2 as a double is 1e-1 away from a quarter turn; small multiples are Cliffords and leave no rotation."""
    assert [turned(k * math.pi / 2).n_rotations for k in range(-4, 9)] == [0] * 13
    for angle in (2.0**53 * math.pi / 2, 1e16, 1e18, 2.0**60, 1e280):
        assert turned(angle).n_rotations == 1
        assert abs(qpr.expectation(turned(angle), [0, 0], [0, 0])[0] - math.cos(angle)) < tolerance(20)


@pytest.mark.parametrize("count", [1, 3, 64])
@pytest.mark.parametrize("scale", [1.0, 1e6, 1e12, 1e16, 1e20])
def test_rotations_that_one_large_angle_drives_stay_apart(scale, count):
    """<X1> of RZ(t) RY(t)|0> is sin t cos t, whatever multiple of t turns the other qubit in the same pass."""
    circuit = qpr.Circuit(2, params=[T]).rotation("Z0", 0.3 * T[0]).ry(T[0], 1).rz(T[0], 1)
    model = qpr.Model(circuit, "X1")
    t = np.random.default_rng(5).uniform(1, 10, count) * scale
    found = qpr.expectation(model, np.stack([t, 0 * t], axis=1))[:, 0]
    assert np.abs(found - np.sin(t) * np.cos(t)).max() < tolerance(2000)


GROUPS = [("X0 X1 Z2", 0.7), ("Y0 Y1 Z2", 0.5), ("X0 X1", 0.123)], [("Z0", 0.7), ("Z1", 0.5), ("Z2", -0.123)]


@pytest.mark.parametrize("group", range(2))
@pytest.mark.parametrize("support", [True, False])
@pytest.mark.parametrize("angle", [0.3, 123.456, 1000.0, 1.23456789e6, 1.23456789e12, 1.23456789e16, -1.23e20])
def test_a_group_of_one_driver_turns_by_each_rotations_own_angle(angle, support, group):
    """On the basis states that are reached, and on all: each angle rounded, as constants are, then reduced exactly."""
    circuit, constant = (qpr.Circuit(3, params=[T]).rotation("X0 Y1", 0.4) for _ in range(2))
    for string, coefficient in GROUPS[group]:
        circuit.rotation(string, coefficient * T[0])
        constant.rotation(string, coefficient * angle)
    total = "X0 Y1 + Z0 Z1 + 0.3*Z0 + X0 X1 - X2"
    right = dense.values(constant, [qpr.PauliSum(total)], [0, 0])
    native = qpr.NativeEngine(support=support)
    model = qpr.Model(circuit, total)
    for batch in (1, 20):
        found = qpr.expectation(model, np.tile([angle, 0.0], (batch, 1)), engine=native)
        assert np.abs(found - right).max() < tolerance(20 * (1 + min(abs(angle), 1024)))


def test_long_angles_of_many_qubits_that_reach_few_states_are_refused():
    circuit = qpr.Circuit(38, params=[T], state="1" + "0" * 37)
    for q in range(37):
        circuit.rotation(f"X{q} X{q + 1}", T[0]).rotation(f"Y{q} Y{q + 1}", T[0])
    model = qpr.Model(circuit, "Z37")
    assert np.isfinite(qpr.value_and_grad(model, [0.4, 0])[1]).all()
    with pytest.raises(qpr.QupropError, match=r"38 qubits, whose angles are beyond 1024 rad, needs"):
        qpr.value_and_grad(model, [1e6, 0])


# -- norms of amplitudes ----------------------------------------------------------------------------------------------

SCALES = [1.0, 1e154, 1e160, 1e300, 1.2e308, 1e-154, 1e-160, 1e-162, 1e-200, 1e-300]


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("scale", SCALES)
def test_encoded_amplitudes_of_any_size(scale, engine):
    """(cos p, sin p) times any scale, turned by t: <Z> = cos(2 p + t), and dF/dx is the ordinary one over the scale."""
    model = qpr.Model(qpr.Circuit(1, qpr.inputs("x", 2), params=[T]).ry(T[0], 0), "Z0")
    x, t = np.array([0.6, 0.8]), 0.3
    angle = 2 * math.atan2(x[1], x[0]) + t
    values, pullback = qpr.vjp(model, [t, 0.0], x * scale, engine=engine)
    assert abs(values[0] - math.cos(angle)) < tolerance(20)
    d_theta, d_x = pullback([1.0])
    assert abs(d_theta[0] + math.sin(angle)) < tolerance(20)
    right = -2 * math.sin(angle) * np.array([-x[1], x[0]]) / (x @ x)  # of 2 atan2
    assert np.abs(d_x * scale - right).max() < tolerance(50)
    along = qpr.hvp(model, [t, 0.0], x * scale, v_theta=[0, 0], v_x=x * scale, engine=engine)
    assert np.abs(along[0]).max() < 2 and np.abs(along[2]).max() < tolerance(100)  # along x nothing changes


@pytest.mark.parametrize("scale", [*SCALES, 5e-324])
def test_given_amplitudes_of_any_size(scale):
    given = np.array([0.6j, 0.8]) if scale > 1e-320 else np.array([1j, 0.0])
    psi = qpr.state(qpr.Model(qpr.Circuit(1, state=given * scale), "Z0"), [])
    assert np.abs(np.abs(psi) - np.abs(given)).max() < tolerance(10)
    rows = qpr.state(qpr.Model(qpr.Circuit(2, state=[given * scale, [1, 1]]), "Z0"), [])
    assert np.abs(np.abs(rows) - np.abs(np.kron([1, 1], given)) / 2**0.5).max() < tolerance(10)


# -- coefficients and weights -----------------------------------------------------------------------------------------

COEFFICIENTS = [1e-310, 1e-300, 1e-45, 1e-40, 1e-20, 1e20, 1e38, 1e39, 1e150, 1e300]


@pytest.mark.parametrize("precision", ["double", "single"])
@pytest.mark.parametrize("size", COEFFICIENTS)
def test_everything_is_linear_in_observables_and_weights_of_any_size(size, precision):
    """cos(t) and its derivatives, times the coefficient; in single precision, whose numbers end at 1e38, too."""
    dtype = np.float32 if precision == "single" else float
    options = {"precision": precision}
    factor = tolerance(100, dtype) + (1e-12 if size < 1e-307 else 0)  # numbers below 1e-308 have fewer digits
    right = np.array([math.cos(0.3), -math.sin(0.3), -math.cos(0.3)])
    theta, x = [0.3, 0.0], [0.0, 0.0]
    large, plain = turned(T[0], qpr.PauliSum({"Z0": size})), turned(T[0])
    for model, weights in [(large, [1.0]), (plain, [size])]:
        value, grad = qpr.value_and_grad(model, theta, x, weights=weights, **options)
        curve = qpr.hvp(model, theta, x, v_theta=[1.0, 0.0], weights=weights, **options)[2]
        pulled = qpr.vjp(model, theta, x, **options)[1](weights)[0]
        many = qpr.vjp(model, np.tile(theta, (9, 1)), x, **options)[1](np.tile(weights, (9, 1)), sum_theta=True)[0]
        found = np.array([value, grad[0], curve[0], pulled[0], many[0] / 9]) / size
        assert np.abs(found - right[[0, 1, 2, 1, 1]]).max() < factor
    assert abs(qpr.expectation(large, theta, x, **options)[0] / size - right[0]) < factor


@pytest.mark.parametrize("precision", ["double", "single"])
@pytest.mark.parametrize("size", [1e-300, 1e-100, 1e-30, 1e30, 1e100, 1e300])
def test_hessian_vector_products_are_linear_in_directions_of_any_size(size, precision):
    limit = tolerance(100, np.float32 if precision == "single" else float)
    curve = qpr.hvp(turned(T[0]), [0.3, 0], [0, 0], v_theta=[size, 0], precision=precision)[2][0]
    assert abs(curve / size + math.cos(0.3)) < limit


def test_observables_of_very_different_sizes_keep_their_own():
    model = turned(T[0], [{"Z0": 1e300}, {"X0": 1e-300}, {"Z0": 1.0}])
    values, pullback = qpr.vjp(model, [0.3, 0], [0, 0])
    close(values, [1e300 * math.cos(0.3), 1e-300 * math.sin(0.3), math.cos(0.3)])
    close(pullback([0, 1, 0])[0][0], 1e-300 * math.cos(0.3))
    close(pullback([1, 0, 0])[0][0], -1e300 * math.sin(0.3))


# -- what leaves the range of doubles is refused ----------------------------------------------------------------------

_PAIR = qpr.Model(qpr.Circuit(2), "1e308*Z0 + 1e308*Z1")
BEYOND = {
    "a square of a parameter": lambda **o: qpr.expectation(turned(T[0] ** 2), [1e200, 0], [0, 0], **o),
    "a product": lambda **o: qpr.value_and_grad(turned(T[0] * X[0]), [1e200, 0], [1e200, 0], **o),
    "a coefficient's product": lambda **o: qpr.expectation(turned(1e200 * T[0]), [1e200, 0], [0, 0], **o),
    "a sum of angles": lambda **o: qpr.expectation(turned(T[0] + T[1]), [1.7e308, 1.7e308], [0, 0], **o),
    "a sample of a batch": lambda **o: qpr.expectation(turned(T[0] ** 2), [[1, 0], [1e200, 0]], [0, 0], **o),
    "a product that vanishes on the way": lambda **o: qpr.expectation(
        turned(1e300 * T[0] * X[0]), [1e-200, 0], [1e-200, 0]
    ),
    "a coefficient that a derivative's factor brings back": lambda **o: qpr.value_and_grad(
        turned(1e-310 * T[0] * T[1], "X0"), [0.0, 1e300], [0, 0], **o
    ),
    "a product of parameters that vanishes on the way": lambda **o: qpr.value_and_grad(
        turned(T[0] * T[1] * X[0] * X[1]), [1e-200, 1e-200], [1e200, 1e200], **o
    ),
    "a second derivative": lambda **o: qpr.hvp(turned(1e200 * T[0]), [0, 0], [0, 0], v_theta=[1, 0], **o),
    "a metric": lambda **o: metric(turned(1e200 * T[0]), [0, 0], [0, 0], **o),
    "a value": lambda **o: qpr.expectation(_PAIR, [], **o),
    "a weighted value": lambda **o: qpr.value_and_grad(
        turned(T[0], ["Z0", "X0"]), [0.8, 0], [0, 0], weights=[1.7e308, 1.7e308]
    ),
    "a gradient": lambda **o: qpr.vjp(turned(T[0], "1e300*Z0"), [0.3, 0], [0, 0], **o)[1]([1e300]),
    "a gradient by tiny amplitudes": lambda **o: qpr.vjp(
        qpr.Model(qpr.Circuit(1, qpr.inputs("x", 2)), "Z0"), [], [5e-324, 5e-324], **o
    )[1]([1.0]),
}
BUILT = {
    "a sum of coefficients": lambda: qpr.PauliSum({"Z0": 1e308, "-Z0": -1e308}),
    "a sum of sums": lambda: qpr.PauliSum("1e308*Z0") + qpr.PauliSum("1e308*Z0"),
    "a multiple of a sum": lambda: qpr.PauliSum("1e308*Z0") * 10,
    "a quotient of a sum": lambda: qpr.PauliSum("Z0") / 1e-320 / 1e-320,
    "a coefficient of an angle": lambda: 1e308 * T[0] + 1e308 * T[0],
    "a quotient of an angle": lambda: T[0] / 1e-320,
    "a whole number": lambda: 10**400 * T[0],
    "a power of a constant": lambda: qpr.Angle(10.0) ** 400,
    "a division by zero": lambda: T[0] / 0,
    "a division of a sum by zero": lambda: qpr.PauliSum("Z0") / 0.0,
}


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("what", BEYOND)
def test_results_that_leave_the_range_of_doubles_are_refused(what, engine):
    with pytest.raises(qpr.QupropError) as caught:
        BEYOND[what](engine=engine)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("what", BUILT)
def test_angles_and_sums_that_leave_the_range_of_doubles_are_refused(what):
    with pytest.raises(qpr.QupropError, match=r"finite|zero") as caught:
        BUILT[what]()
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("engine", ENGINES)
def test_a_zero_beside_a_large_number_loses_nothing(engine):
    """<X0> = sin(a b) at a = 0: its derivative by a is b, however large."""
    value, grad = qpr.value_and_grad(turned(T[0] * T[1], "X0"), [0.0, 1e200], [0, 0], engine=engine)
    assert value == 0
    close(grad, [1e200, 0])


def test_quotients_by_tiny_numbers_are_exact():
    """1/divisor may overflow where the quotient does not."""
    assert (1e-310 * T[0] / 1e-310).terms == T[0].terms
    assert qpr.PauliSum({"Z0": 3e-310}) / 1e-310 == qpr.PauliSum({"Z0": 3e-310 / 1e-310})
    assert (T[0] * 3 / 3).terms == T[0].terms


# -- sizes that nothing holds ------------------------------------------------------------------------------------------

N = 20_000


def _file_of(n):
    data = json.loads(qpr.Model(qpr.Circuit(2).ry(T[0], 0), "Z0").to_text())
    return json.dumps({**data, "n_qubits": n})


def _from_qasm(text):
    pytest.importorskip("openqasm3")
    return qpr.from_qasm(text)


def _from_qiskit():
    qiskit = pytest.importorskip("qiskit")
    circuit = qiskit.QuantumCircuit(N)
    circuit.h(0)
    return qpr.from_qiskit(circuit)


def _from_pennylane():
    qml = pytest.importorskip("pennylane")

    def turn(angle):
        for q in range(N):
            qml.RY(angle, wires=q)
        return qml.expval(qml.PauliZ(0))

    return qpr.from_pennylane(turn, 0.3)


WAYS = {
    "a circuit": lambda: qpr.Circuit(N),
    "bits": lambda: qpr.Circuit(N, state="01" * (N // 2)),
    "rotations": lambda: qpr.Model.from_rotations(N, [("X0", T[0])], "Z0"),
    "a string": lambda: qpr.PauliString.parse("Z" * N),
    "a sum": lambda: qpr.PauliSum(f"Z{N - 1}"),
    "text": lambda: qpr.Model.from_text(_file_of(N)),
    "a million in text": lambda: qpr.Model.from_text(_file_of(10**6)),
    "OpenQASM 2": lambda: _from_qasm(f'OPENQASM 2.0; include "qelib1.inc"; qreg q[{N}]; h q;'),
    "OpenQASM 3": lambda: _from_qasm(f'OPENQASM 3; include "stdgates.inc"; qubit[{N}] q; h q;'),
    "stim": lambda: qpr.from_stim(stim.Circuit(f"H {N - 1}")),
    "Qiskit": _from_qiskit,
    "PennyLane": _from_pennylane,
}


@pytest.mark.parametrize("way", WAYS)
def test_qubits_without_end_are_refused_at_every_way_in(way):
    with pytest.raises(qpr.QupropError, match=r"1 to 10000 qubits|10000 qubits at most|0 to 9999 at most") as caught:
        WAYS[way]()
    assert "\n" not in str(caught.value)


def _text(**changes):
    data = json.loads(qpr.Model(qpr.Circuit(2).ry(T[0], 0), "Z0").to_text())
    return json.dumps({**data, **changes})


def _base64(*numbers):
    return base64.b64encode(np.array(numbers, complex).tobytes()).decode()


UNBOUNDED = {
    "a basis state beyond the qubits": lambda: qpr.Circuit(6, state=qpr.InputState("basis", 10**8)),
    "one set on a circuit": lambda: _with_state(qpr.InputState("basis", 10**8)),
    "two amplitudes of six qubits": lambda: _with_state(qpr.InputState.make(1, np.array([0.6, 0.8]))),
    "amplitudes that are not normalised": lambda: qpr.InputState("amplitudes", np.array([1, 1j]).tobytes()),
    "such in a file": lambda: qpr.Model.from_text(_text(state=["amplitudes", _base64(1, 1, 0, 0)])),
    "NaN in a file": lambda: qpr.Model.from_text(_text(state=["amplitudes", _base64(math.nan, 0, 0, 0)])),
    "numbers for a tableau": lambda: qpr.Model.from_text(_text(clifford=[[2**63, 1], [1, 1]])),
    "sizes for a tableau": lambda: qpr.Model.from_text(_text(clifford=[[10**10, 1], [1, 1]])),
    "a tableau that is none": lambda: qpr.Model.from_text(_text(clifford=[["+X_", "+X_"], ["+X_", "+X_"]])),
    "a qubit's number": lambda: qpr.PauliString.parse("Z9999999999"),
    "a rotation's qubit": lambda: qpr.Circuit(3).rotation("X9999999", 0.1),
    "a power of an angle": lambda: (X[0] + 1) ** 3000,
    "masks that are no whole numbers": lambda: qpr.PauliString(2.7, 1.2, 0),
    "negative masks": lambda: qpr.PauliString(-1, 0, 0),
    "a million qubits": lambda: qpr.Model(qpr.Circuit(10**6), "Z0"),
}


def _with_state(state):
    circuit = qpr.Circuit(6, params=[T]).rx(T[0], 0)
    circuit.state = state
    return qpr.Model(circuit, "Z0")


@pytest.mark.parametrize("what", UNBOUNDED)
def test_what_no_kernel_may_read_is_refused_at_once(what):
    start = time.process_time()
    with pytest.raises(qpr.QupropError) as caught:
        UNBOUNDED[what]()
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 400
    assert time.process_time() - start < 1


def test_states_of_many_qubits_are_refused_by_every_function():
    """Before a state is allocated; made, printed, hashed, saved and loaded such a model is."""
    n = 1000
    circuit = qpr.Circuit(n, params=[T]).h(0)
    for q in range(n - 1):
        circuit.cx(q, q + 1)
    model = qpr.Model(circuit.ry(T[0], 0), "Z0")
    assert qpr.Model.from_text(model.to_text()) == model and hash(model) == hash(qpr.Model.from_text(model.to_text()))
    assert len(str(model)) < 10_000
    theta = [0.3, 0.0]
    for ask in (qpr.expectation, qpr.value_and_grad, qpr.vjp, qpr.state, qpr.probabilities, metric):
        for engine in ENGINES:
            with pytest.raises(qpr.QupropError, match="fits no machine"):
                ask(model, theta, engine=engine)
    with pytest.raises(qpr.QupropError, match="fits no machine"):
        qpr.hvp(model, theta, v_theta=theta, engine="native")
    with pytest.raises(qpr.QupropError, match="fits no machine"):
        qpr.samples(model, theta, shots=3, rng=0)


# -- any of these, in any combination ---------------------------------------------------------------------------------

_SIZES = [0.0, 5e-324, 1e-310, 1e-300, 1e-160, 1e-20, 1e-9, 0.3, 0.5, 1.0, math.pi / 2, 2.0, 7.0, 1e4, 1e9, 1e16, 1e60]
_EXTREME = [1e154, 1e200, 1e300, 1.7e308]
_ordinary = st.floats(-4, 4, allow_nan=False, width=32)
_number = st.one_of(_ordinary, st.sampled_from(_SIZES + [-s for s in _SIZES]), st.sampled_from(_SIZES + _EXTREME))


@st.composite
def _angles(draw):
    """Polynomials of degree 2 at most, with terms that repeat and cancel."""
    variables = [T[0], T[1], X[0], X[1], 1.0]
    total = qpr.Angle(0.0)
    for _ in range(draw(st.integers(0, 3))):
        term = draw(_number) * (draw(st.sampled_from(variables)) * qpr.Angle(1.0)) * draw(st.sampled_from(variables))
        total = total + term
        if draw(st.booleans()) and draw(st.booleans()):
            total = total - term  # to nothing, or to what rounding leaves
    return total


@st.composite
def _cases(draw):
    n = draw(st.integers(1, 3))
    strings = st.text("IXYZ", min_size=n, max_size=n)
    rows = draw(st.lists(st.tuples(strings, _angles()), min_size=1, max_size=6))
    sums = draw(st.lists(st.dictionaries(strings, _number, min_size=1, max_size=3), min_size=1, max_size=2))
    encoded = n == 1 and draw(st.booleans())
    circuit = qpr.Circuit(n, X if encoded else None, params=[T], inputs=[X])
    for string, angle in rows:
        circuit.rotation(string, angle)
    pair = st.lists(_number, min_size=2, max_size=2)
    return circuit, [qpr.PauliSum(s) for s in sums], draw(pair), draw(pair), draw(st.sampled_from([1, 2, 20]))


def _exact(circuit, sums, theta, x):
    """Values (K,), the derivatives (K, P + D), and their sizes, (K,) and (P + D,): dense matrices fed with angles that
    are computed in fractions and rounded once; derivatives by angle from shifts by pi/2, by parameter in fractions."""
    numbers = [*map(Fraction, theta), *map(Fraction, x)]
    fixed = qpr.Circuit(circuit.n_qubits, params=[T], inputs=[X])
    slopes, slack = [], 0.0  # slopes: of each angle, by every number
    for op in circuit.operations:
        if not op.target.x | op.target.z:
            continue  # a global phase, whatever its angle
        terms = [(Fraction(c), [2 * v[0] + v[1] for v in monomial]) for monomial, c in op.angles[0].terms]
        products = [c * math.prod((numbers[v] for v in m), start=Fraction(1)) for c, m in terms]
        slopes.append([[], [], [], []])
        for c, m in terms:
            for k, v in enumerate(m):
                slopes[-1][v].append(c * math.prod((numbers[w] for w in m[:k] + m[k + 1 :]), start=Fraction(1)))
        slack += _float(sum(map(abs, products)))
        fixed.operations.append(op._replace(angles=(qpr.Angle(_float(sum(products))),)))
    encoded = hasattr(circuit.state, "indices")
    if encoded:
        fixed.state = qpr.InputState.make(1, np.array(x))
    right = dense.values(fixed, sums, theta, x)
    by_angle = np.zeros((len(sums), len(slopes)))
    for m, op in enumerate(list(fixed.operations)):
        for shift in (math.pi / 2, -math.pi / 2):
            fixed.operations.insert(m, op._replace(angles=(qpr.Angle(shift),)))
            by_angle[:, m] += dense.values(fixed, sums, theta, x) * math.copysign(0.5, shift)
            del fixed.operations[m]
    with np.errstate(over="ignore", invalid="ignore"):
        rates = np.array([[_float(sum(s)) for s in row] for row in slopes]).reshape(-1, 4)
        sizes = np.array([[_float(sum(map(abs, s))) for s in row] for row in slopes]).reshape(-1, 4).sum(axis=0)
        derivatives = (by_angle[:, :, None] * rates).sum(axis=1)
        if encoded:  # F = a.M.a of a = x/|x|, M the real part of what the circuit makes of the observable
            a, norm = fixed.state.array.real, math.hypot(*x)
            columns = []
            for k in range(2):
                fixed.state = qpr.InputState.make(1, k)
                columns.append(dense.final_state(fixed, theta, x))
            u = np.array(columns).T
            for k, total in enumerate(sums):
                matrix = (u.conj().T @ dense.sum_matrix(total, 1) @ u).real
                derivatives[k, 2:] += 2 * (matrix @ a - a * (a @ matrix @ a)) / norm
            sizes[2:] += 4 / norm
    return right, derivatives, sizes, slack


def _float(number):
    try:
        return float(number)
    except OverflowError:
        return math.inf


def _extreme(circuit, sums, theta, x):
    """Whether a number is so large or so small that products or sums with it may leave the range of doubles."""
    numbers = [*theta, *x, *(c for o in sums for _, c in o.items())]
    numbers += [c for op in circuit.operations for _, c in op.angles[0].terms]
    return any(not 1e-150 < abs(v) < 1e60 for v in numbers if v) or not any(x)


@seed(2026)
@settings(max_examples=150)
@given(_cases())
def test_any_numbers_give_what_dense_matrices_give_or_one_sentence(case):
    """Values of every row, and gradients with another weight in every row."""
    circuit, sums, theta, x, batch = case
    rows = np.tile(theta, (batch, 1))
    weights = np.random.default_rng(0).integers(-1, 2, (batch, len(sums))).astype(float)
    found = []
    for engine in ENGINES:
        try:
            model = qpr.Model(circuit, sums)
            values, pullback = qpr.vjp(model, rows, x, engine=engine)
            d_theta, d_x = pullback(weights)
            weighed, grad = qpr.value_and_grad(model, rows, x, weights=weights, engine=engine)
        except qpr.QupropError as refusal:
            assert "\n" not in str(refusal)
            assert _extreme(circuit, sums, theta, x), refusal
            return
        assert all(np.isfinite(a).all() for a in (values, d_theta, d_x, weighed, grad))
        found.append((values, np.hstack([d_theta, d_x]), weighed, grad))
    size = np.array([sum(abs(c) for _, c in o.items()) for o in sums])
    unit = [qpr.PauliSum({p: c / (s or 1) for p, c in o.items()}) for o, s in zip(sums, size, strict=True)]
    right, derivatives, reach, slack = _exact(circuit, unit, theta, x)
    limit = tolerance(200) * (1 + slack)
    scale = size.max() or 1.0
    weighed_size = np.abs(weights) @ (size / scale)
    for values, slopes, weighed, grad in found:
        assert np.all(np.abs(values / (size + (size == 0)) - right) <= limit + 1e-320 / (size + (size == 0)))
        with np.errstate(over="ignore", invalid="ignore"):
            expected = weights * (size / scale) @ derivatives
            bound = 10 * limit * weighed_size[:, None] * (reach + 1e-150) + 1e-300 / scale
            known = np.isfinite(expected) & np.isfinite(bound)
        assert np.all((np.abs(slopes / scale - expected) <= bound)[known])
        assert np.all((np.abs(grad / scale - expected[:, :2]) <= bound[:, :2])[known[:, :2]])
        assert np.all(
            np.abs(weighed / scale - weights * (size / scale) @ right) <= 2 * limit * weighed_size + 1e-300 / scale
        )
