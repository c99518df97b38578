"""The public functions: shapes and broadcasting, probabilities and samples, and one sentence for every mistake."""

import warnings

import cases
import numpy as np
import pytest
from scipy import stats
from tolerances import assert_close

import quprop as qpr
from quprop.cost import short_bytes
from quprop.simulate import ENGINES, memory
from quprop.simulate.state_vector.reference import ReferenceEngine

WHOLE = ["auto", "native", "reference"]  # those that have the state
theta, x = qpr.params("theta", 3), qpr.inputs("x", 2)
TWO = qpr.Model(
    qpr.Circuit(2).ry(theta[0] * x[0], 0).cx(0, 1).rx(theta[1], 1).rzz(theta[2] + x[1], 0, 1), ["Z0", "X1 - Z0 Z1"]
)
ONE = qpr.Model(qpr.Circuit(2).ry(theta[0], 0).cx(0, 1).rx(theta[1], 1).ry(theta[2], 1), "Z0 Z1")
T, X = np.array([0.3, -0.4, 1.1]), np.array([0.7, 0.2])


# -- shapes -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("engine", WHOLE)
@pytest.mark.parametrize(
    ("theta_lead", "x_lead"),
    [((), ()), ((4,), ()), ((), (4,)), ((4,), (4,)), ((2, 1), (3,)), ((1,), (5,)), ((2, 3), (2, 3))],
)
def test_batch_axes_broadcast(theta_lead, x_lead, engine):
    rng = np.random.default_rng(1)
    t, u = rng.normal(size=(*theta_lead, 3)), rng.normal(size=(*x_lead, 2))
    shape = np.broadcast_shapes(theta_lead, x_lead)
    weights = rng.normal(size=(*shape, 2))
    values = qpr.expectation(TWO, t, u, engine=engine)
    value, grad = qpr.value_and_grad(TWO, t, u, weights=weights, engine=engine)
    again, pullback = qpr.vjp(TWO, t, u, engine=engine)
    d_theta, d_x = pullback(weights)
    h = qpr.hvp(TWO, t, u, v_theta=t, v_x=u, weights=weights, engine=engine)
    state = qpr.state(TWO, t, u, engine=engine)
    assert values.shape == again.shape == (*shape, 2)
    assert value.shape == shape
    assert grad.shape == d_theta.shape == h[0].shape == h[2].shape == (*shape, 3)
    assert d_x.shape == h[1].shape == h[3].shape == (*shape, 2)
    assert state.shape == (*shape, 4)
    assert pullback(weights, sum_theta=True)[0].shape == (3,)
    assert_close(pullback(weights, sum_theta=True)[0], d_theta.reshape(-1, 3).sum(axis=0), 100)
    full_t, full_x = np.broadcast_to(t, (*shape, 3)), np.broadcast_to(u, (*shape, 2))
    for at in np.ndindex(shape):
        one = (TWO, full_t[at], full_x[at])
        assert_close(values[at], qpr.expectation(*one), 100)
        assert_close(grad[at], qpr.value_and_grad(*one, weights=weights[at])[1], 100)
        assert_close(h[2][at], qpr.hvp(*one, v_theta=full_t[at], v_x=full_x[at], weights=weights[at])[2], 100)
        assert_close(np.abs(np.vdot(state[at], qpr.state(*one))), 1.0, 100)


def test_one_observable_needs_no_weights():
    value, grad = qpr.value_and_grad(ONE, T)
    assert np.ndim(value) == 0
    assert grad.shape == (3,)
    assert_close(value, qpr.expectation(ONE, T)[0], 50)
    assert_close(grad, qpr.vjp(ONE, T)[1]([1.0])[0], 50)


def test_a_cotangent_and_weights_broadcast_over_the_batch():
    rng = np.random.default_rng(4)
    t, w = rng.normal(size=(5, 3)), rng.normal(size=2)
    each = qpr.vjp(TWO, t, X)[1](np.tile(w, (5, 1)))
    for actual, expected in zip(qpr.vjp(TWO, t, X)[1](w), each, strict=True):
        assert_close(actual, expected, 50)
    assert_close(qpr.value_and_grad(TWO, t, X, weights=w)[1], each[0], 50)


@pytest.mark.parametrize("kind", [list, tuple, np.float32, np.asfortranarray])
def test_arrays_of_any_make_are_taken(kind):
    t = np.random.default_rng(3).normal(size=(4, 3)).astype(np.float32).astype(float)
    given = t.astype(np.float32) if kind is np.float32 else kind(t.tolist() if kind in (list, tuple) else t)
    assert_close(qpr.expectation(ONE, given), qpr.expectation(ONE, t), 50)
    strided = np.repeat(t, 2, axis=1)[:, ::2]
    assert_close(qpr.expectation(ONE, strided), qpr.expectation(ONE, t), 50)


def test_arguments_are_left_alone():
    t, u, w = np.tile(T, (3, 1)), np.tile(X, (3, 1)), np.ones((3, 2))
    before = [a.copy() for a in (t, u, w)]
    for array in (t, u, w):
        array.flags.writeable = False
    qpr.vjp(TWO, t, u)[1](w)
    qpr.hvp(TWO, t, u, v_theta=t, v_x=u, weights=w)
    qpr.value_and_grad(TWO, t, u, weights=w)
    qpr.state(TWO, t, u)
    assert all(np.array_equal(a, b) for a, b in zip((t, u, w), before, strict=True))


def test_a_pullback_can_be_called_again_and_after_other_work():
    _, pullback = qpr.vjp(TWO, T, X)
    first = pullback([1.0, 0.0])
    qpr.vjp(TWO, T + 1, X)[1]([1.0, 2.0])
    qpr.value_and_grad(TWO, T - 1, X, weights=[3.0, 1.0])
    for a, b in zip(first, pullback([1.0, 0.0]), strict=True):
        assert np.array_equal(a, b)


@pytest.mark.parametrize("engine", WHOLE)
@pytest.mark.parametrize("batch", [(), (3,)])
@pytest.mark.parametrize("name", ["products_of_angles", "encoded_and_rotated", "ising"])
def test_a_pullback_remembers_where_it_was_taken(name, batch, engine):
    """Whatever the caller does to its arrays in the meantime."""
    model = cases.CASES[name].model
    t, u = (np.array(np.broadcast_to(a, (*batch, a.size))) for a in cases.values_for(model))
    weights = np.ones((*batch, model.n_observables))
    x_given = u if model.n_inputs else None
    expected = qpr.vjp(model, t, x_given, engine=engine)[1](weights)
    _, pullback = qpr.vjp(model, t, x_given, engine=engine)
    t += 1.0
    u *= -2.0
    for actual, wanted in zip(pullback(weights), expected, strict=True):
        assert np.array_equal(actual, wanted)


def test_a_model_without_parameters():
    bell = qpr.Model(qpr.Circuit(2).h(0).cx(0, 1), ["X0 X1", "Z0", "Y0 Y1"])
    for engine in ENGINES:
        assert_close(qpr.expectation(bell, [], engine=engine), [1.0, 0.0, -1.0], 50)
        assert qpr.value_and_grad(bell, [], weights=[1, 1, 1], engine=engine)[1].shape == (0,)
        assert qpr.expectation(bell, np.empty((4, 0)), engine=engine).shape == (4, 3)


# -- probabilities and samples ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["all_gates", "clifford_only", "amplitude_state", "random_gates", "encoded_state"])
def test_probabilities_are_those_of_the_state_and_sum_to_one(name):
    model = cases.CASES[name].model
    t, u = cases.values_for(model, 5)
    u = u if model.n_inputs else None
    p = qpr.probabilities(model, t, u)
    assert p.shape == (5, 2**model.n_qubits)
    assert_close(p.sum(axis=1), np.ones(5), 10)
    assert_close(p, np.abs(qpr.state(model, t, u, engine="reference")) ** 2, 200)
    assert_close(qpr.probabilities(model, t, u, precision="single").sum(axis=1), np.ones(5), 10)


def test_samples_follow_the_probabilities():
    """Chi-square of 20,000 draws; the seed is fixed, so this passes or fails once and for all."""
    model = cases.CASES["random_gates"].model
    t, u = cases.values_for(model)
    p = qpr.probabilities(model, t, u)
    bits = qpr.samples(model, t, u, shots=20_000, rng=5)
    assert bits.shape == (20_000, 4)
    assert bits.dtype == np.uint8
    counts = np.bincount(bits @ (1 << np.arange(4)), minlength=16)
    likely = p * 20_000 >= 5
    assert counts[~likely].sum() <= 5 * max(1, (~likely).sum())
    observed, expected = counts[likely], p[likely] / p[likely].sum() * counts[likely].sum()
    assert stats.chisquare(observed, expected).pvalue > 1e-3
    wrong = np.roll(expected, 1)
    assert stats.chisquare(observed, wrong).pvalue < 1e-6, "the test can fail"


def test_samples_mean_the_expectation_values():
    bits = qpr.samples(ONE, T, shots=40_000, rng=np.random.default_rng(8))
    signs = 1.0 - 2.0 * bits
    assert abs(np.mean(signs[:, 0] * signs[:, 1]) - qpr.expectation(ONE, T)[0]) < 5 / np.sqrt(40_000)


def test_the_same_seed_gives_the_same_samples():
    batch = np.tile(T, (2, 1))
    first = qpr.samples(ONE, batch, shots=50, rng=1)
    assert first.shape == (2, 50, 2)
    assert np.array_equal(first, qpr.samples(ONE, batch, shots=50, rng=1))
    assert not np.array_equal(first, qpr.samples(ONE, batch, shots=50, rng=2))
    assert not np.array_equal(first[0], first[1]), "samples of a batch are drawn independently"


def test_a_certain_outcome_is_always_drawn():
    model = qpr.Model(qpr.Circuit(3).x(0).x(2), "Z0")
    assert np.array_equal(qpr.samples(model, [], shots=7, rng=0), np.tile([1, 0, 1], (7, 1)))


# -- what bad input gets ----------------------------------------------------------------------------------------------

FUNCTIONS = {
    "expectation": lambda m, t, u=None, **o: qpr.expectation(m, t, u, **o),
    "value_and_grad": lambda m, t, u=None, **o: qpr.value_and_grad(m, t, u, weights=np.ones(m.n_observables), **o),
    "vjp": lambda m, t, u=None, **o: qpr.vjp(m, t, u, **o),
    "hvp": lambda m, t, u=None, **o: qpr.hvp(m, t, u, v_theta=np.ones(3), weights=np.ones(m.n_observables), **o),
    "state": lambda m, t, u=None, **o: qpr.state(m, t, u, **o),
    "probabilities": lambda m, t, u=None, **o: qpr.probabilities(m, t, u, **o),
    "samples": lambda m, t, u=None, **o: qpr.samples(m, t, u, shots=3, rng=0, **o),
}
NAN, INF = [0.1, np.nan, 0.2], [[0.1, 0.2, 0.3], [np.inf, 0.2, 0.3]]
BAD = [  # (model, theta, x, options, what the sentence says)
    (ONE, T[:2], None, {}, r"theta must have shape \(\.\.\., 3\), got \(2,\)"),
    (ONE, 0.5, None, {}, r"theta must have shape \(\.\.\., 3\), got \(\)"),
    (ONE, np.ones((3, 4)), None, {}, r"theta must have shape \(\.\.\., 3\), got \(3, 4\)"),
    (ONE, NAN, None, {}, r"theta must be finite, got nan at index \(1,\)"),
    (ONE, INF, None, {}, r"theta must be finite, got inf at index \(1, 0\)"),
    (ONE, ["a", "b", "c"], None, {}, r"theta must be an array of real numbers"),
    (ONE, None, None, {}, r"theta must "),
    (ONE, [[1.0, 2.0, 3.0], [1.0]], None, {}, r"theta must be an array of real numbers"),
    (ONE, np.array([1j, 0, 0]), None, {}, r"theta must be an array of real numbers"),
    (ONE, np.empty((0, 3)), None, {}, r"the batch is empty"),
    (ONE, T, X, {}, r"this model has no inputs; leave x out"),
    (TWO, T, None, {}, r"this model has 2 inputs; pass x with shape \(\.\.\., 2\)"),
    (TWO, T, np.ones(3), {}, r"x must have shape \(\.\.\., 2\), got \(3,\)"),
    (TWO, T, [0.1, np.nan], {}, r"x must be finite"),
    (TWO, T, np.empty((0, 2)), {}, r"the batch is empty"),
    (TWO, np.ones((2, 3)), np.ones((3, 2)), {}, r"batch axes of theta \(2,\) and x \(3,\) must be equal or broadcast"),
    ("a model", T, None, {}, r"model must be a quprop Model, got str; build one with"),
    (
        ONE,
        T,
        None,
        {"engine": "natvie"},
        r"engine is one of auto, native, .*, got 'natvie'; did you mean 'native'",
    ),
    (ONE, T, None, {"engine": 3}, r"engine is one of auto, native"),
    (ONE, T, None, {"precision": "half"}, r'precision is "double" or "single", got \'half\''),
    (ONE, T, None, {"precision": "single", "engine": "reference"}, r'computes in "double" only'),
    (ONE, T, None, {"threads": 0}, r"threads is a positive integer or None"),
    (ONE, T, None, {"threads": 1.5}, r"threads is a positive integer or None"),
    (ONE, T, None, {"threads": True}, r"threads is a positive integer or None"),
]


@pytest.mark.parametrize("function", FUNCTIONS)
@pytest.mark.parametrize(("model", "t", "u", "options", "sentence"), BAD, ids=[b[-1][:40] for b in BAD])
def test_bad_input_gets_one_sentence(function, model, t, u, options, sentence):
    if not isinstance(model, qpr.Model) and function in ("value_and_grad", "hvp"):
        pytest.skip("the shorthand of this test reads the model first")
    with warnings.catch_warnings(), pytest.raises(qpr.QupropError, match=sentence) as caught:
        warnings.simplefilter("error")
        FUNCTIONS[function](model, t, u, **options)
    assert "\n" not in str(caught.value)


def test_a_zero_sample_cannot_be_encoded():
    model = cases.CASES["encoded_state"].model
    u = np.ones((3, model.n_inputs))
    u[1] = 0
    for engine in WHOLE:
        with pytest.raises(qpr.QupropError, match="sample 1 of x encodes its amplitudes but they are all zero"):
            qpr.value_and_grad(model, np.ones(model.n_params), u, weights=[1.0, 0.0], engine=engine)


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda: qpr.value_and_grad(TWO, T, X), r"this model has 2 observables; pass weights="),
        (lambda: qpr.hvp(TWO, T, X, v_theta=T), r"this model has 2 observables; pass weights="),
        (lambda: qpr.value_and_grad(TWO, T, X, weights=[1.0]), r"weights must have shape \(\.\.\., 2\), got \(1,\)"),
        (lambda: qpr.value_and_grad(TWO, T, X, weights=[1.0, np.nan]), r"weights must be finite"),
        (lambda: qpr.value_and_grad(TWO, T, X, weights=np.ones((3, 2))), r"weights must have shape"),
        (lambda: qpr.value_and_grad(TWO, [T, T], X, weights=np.ones((3, 2))), r"weights must have shape"),
        (lambda: qpr.vjp(TWO, T, X)[1]([1.0]), r"cotangent must have shape \(\.\.\., 2\), got \(1,\)"),
        (lambda: qpr.vjp(TWO, T, X)[1](np.ones((3, 2))), r"cotangent must have shape \(2,\), got \(3, 2\)"),
        (lambda: qpr.vjp(TWO, [T, T], X)[1](np.ones((3, 2))), r"cotangent must have shape \(2, 2\), got \(3, 2\)"),
        (lambda: qpr.vjp(TWO, T, X)[1]([1.0, np.inf]), r"cotangent must be finite"),
        (lambda: qpr.hvp(ONE, T, v_theta=T[:2]), r"v_theta must have shape \(\.\.\., 3\), got \(2,\)"),
        (lambda: qpr.hvp(ONE, T, v_theta=[T, T]), r"v_theta must have shape"),
        (
            lambda: qpr.hvp(TWO, T, X, v_theta=T, v_x=T, weights=[1, 1]),
            r"v_x must have shape \(\.\.\., 2\), got \(3,\)",
        ),
        (lambda: qpr.samples(ONE, T, shots=0, rng=0), r"shots must be a positive integer, got 0"),
        (lambda: qpr.samples(ONE, T, shots=2.5, rng=0), r"shots must be a positive integer, got 2.5"),
        (lambda: qpr.samples(ONE, T, shots=True, rng=0), r"shots must be a positive integer, got True"),
        (lambda: qpr.samples(ONE, T, shots=3, rng="seed"), r"rng is a seed .* or a numpy Generator, got 'seed'"),
        (lambda: qpr.samples(ONE, T, shots=3, rng=-1), r"rng is a seed .* or a numpy Generator, got -1"),
    ],
)
def test_bad_weights_directions_and_shots(call, sentence):
    with pytest.raises(qpr.QupropError, match=sentence):
        call()


def test_misspelt_options_are_refused_by_python():
    with pytest.raises(TypeError):
        qpr.expectation(ONE, T, precison="single")
    with pytest.raises(TypeError):
        qpr.probabilities(ONE, T, engin="native")


# -- too large for the machine ----------------------------------------------------------------------------------------


def wide(n):
    """All basis states are reached, so that no engine can do with fewer."""
    return qpr.Model(qpr.ansatz.hardware_efficient(n, 1), "Z0")


def at_zero(model):
    return np.zeros(model.n_params)


@pytest.mark.parametrize("function", ["expectation", "value_and_grad", "vjp", "state"])
@pytest.mark.parametrize("engine", ["native", "reference"])
def test_a_state_too_large_is_refused_before_anything_is_allocated(function, engine):
    model = wide(38)
    with pytest.raises(
        qpr.QupropError, match=r"of 38 qubits needs .* TiB and this machine has .* free; use precision="
    ):
        FUNCTIONS[function](model, at_zero(model), engine=engine)


@pytest.mark.parametrize("n", [41, 60])
def test_beyond_any_machine(n):
    with pytest.raises(qpr.QupropError, match=f"{n} qubits fits no machine; state vectors end at 40"):
        qpr.expectation(wide(n), at_zero(wide(n)), engine="native")


def test_what_is_free_decides(monkeypatch):
    """Single precision halves the need; a batch of a large model multiplies it."""
    model = wide(23)
    double = memory_of(model, "double")
    monkeypatch.setattr(memory, "available_bytes", lambda: double - 1)
    with pytest.raises(qpr.QupropError, match=r"the gradient of 23 qubits needs .* and this machine has .* free"):
        qpr.value_and_grad(model, at_zero(model), engine="native")
    assert memory_of(model, "single") < 0.6 * double
    model = wide(16)
    monkeypatch.setattr(memory, "available_bytes", lambda: 100 << 20)
    with pytest.raises(qpr.QupropError, match=r"the state of 16 qubits for 100 samples needs"):
        qpr.state(model, np.zeros((100, model.n_params)))


def memory_of(model, precision):
    from quprop.simulate import get_engine

    return get_engine("native", precision).memory(model, 1, "value_and_grad")


def test_the_free_memory_is_read_from_the_system():
    free = memory.available_bytes()
    assert 1 << 20 < free <= 1 << 62
    assert short_bytes(3 * 2**40) == "3 TiB"
    assert short_bytes(1023) == "1.02e+03 B"


def test_an_engine_of_a_line_in_the_table_is_the_one_that_runs(monkeypatch):
    made = []

    class Counted(ReferenceEngine):
        def __init__(self, precision, threads):
            super().__init__(precision, threads)
            made.append((precision, threads))
            self.calls = []

        def values(self, model, theta, x):
            self.calls.append("values")
            return super().values(model, theta, x) + 10

        def value_and_grad(self, model, theta, x, weights):
            value, grad = super().value_and_grad(model, theta, x, weights)
            return value, grad + 10

    monkeypatch.setitem(ENGINES, "counted", Counted)
    t = qpr.params("t", 1)
    model = qpr.Model(qpr.Circuit(1).ry(t[0], 0), "Z0")
    np.testing.assert_allclose(qpr.expectation(model, [0.3], engine="counted"), [10 + np.cos(0.3)])
    np.testing.assert_allclose(qpr.value_and_grad(model, [0.3], engine="counted", threads=2)[1], [10 - np.sin(0.3)])
    batch = np.array([[0.3], [0.5]])
    for engine in ENGINES:
        pullback = qpr.vjp(model, batch, engine=engine)[1]
        np.testing.assert_allclose(pullback([[1.0], [2.0]], sum_theta=True)[0], [-np.sin(0.3) - 2 * np.sin(0.5)])
    assert made == [("double", None), ("double", 2)]
    with pytest.raises(qpr.QupropError, match='in "double" only'):
        qpr.expectation(model, [0.3], engine="counted", precision="single")


def test_a_class_in_the_table_is_the_engine_that_runs(monkeypatch):
    """As docs/extending.md has it: `Kind(precision, threads)` and a line in `ENGINES`."""
    made, asked = [], []

    class Mine(ReferenceEngine):
        name = "mine"

        def __init__(self, precision, threads):
            super().__init__(precision, threads)
            made.append((precision, threads))

        def values(self, *arguments):
            asked.append("values")
            return super().values(*arguments)

        def value_and_grad(self, *arguments):
            asked.append("value_and_grad")
            return super().value_and_grad(*arguments)

    monkeypatch.setitem(ENGINES, "mine", Mine)
    model = cases.CASES["hardware_efficient"].model
    theta, _ = cases.values_for(model)
    value = qpr.expectation(model, theta, engine="mine", threads=3)
    _, gradient = qpr.value_and_grad(model, theta, engine="mine", threads=3)
    assert made == [("double", 3)] and asked[0] == "values" and asked[-1] == "value_and_grad"
    assert_close(value, qpr.expectation(model, theta, engine="reference"), 1)
    assert_close(gradient, qpr.value_and_grad(model, theta, engine="reference")[1], 1)
