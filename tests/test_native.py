"""The native engine is the reference engine: all results, both precisions, every instruction set, tiny blocks, batches.

`block` forces blocks of that many dimensions, so that small models meet gathers, cosets and several runs; models with
few basis states are kept with the block kernels too (`support=False`), the other kernels have tests of their own.
"""

from functools import lru_cache

import cases
import checks
import numpy as np
import pytest
from engine_results import HERE, arguments, assert_same, results
from hypothesis import given, settings
from hypothesis import strategies as st
from native_models import segmented_model, start, text
from tolerances import assert_close

import quprop as qpr
from quprop.simulate.state_vector.native import NativeEngine, load_kernels
from quprop.simulate.state_vector.reference import ReferenceEngine

REFERENCE = ReferenceEngine()
DTYPES = {"double": np.float64, "single": np.float32}
BATCHES = (1, 3, 9, 17)  # one sample; less than, about, and more than one vector of lanes
NAMES = list(cases.CASES)


@lru_cache(maxsize=512)
def engine(precision="double", isa=None, block=None, threads=1):
    return NativeEngine(precision, threads, isa=isa, block=block, support=False)


@lru_cache(maxsize=256)
def reference_results(name, batch, shared_theta=False):
    model = cases.CASES[name].model
    return results(REFERENCE, model, *arguments(model, batch, shared_theta=shared_theta))


def test_every_instruction_set_has_kernels_of_its_own():
    assert HERE, "no kernels were built"
    evaluators = {id(load_kernels(isa)[1].Double) for isa in HERE}
    assert len(evaluators) == len(HERE)
    assert [engine(isa=isa).isa for isa in HERE] == HERE
    assert [engine("single", isa).lanes for isa in HERE] == [2 * engine("double", isa).lanes for isa in HERE]


@pytest.mark.parametrize("isa", HERE)
@pytest.mark.parametrize("precision", DTYPES)
@pytest.mark.parametrize("name", NAMES)
def test_native_is_the_reference(name, precision, isa):
    model = cases.CASES[name].model
    for batch in BATCHES:
        for shared_theta in (False, True):
            given_ = arguments(model, batch, shared_theta=shared_theta)
            expected = reference_results(name, batch, shared_theta)
            assert_same(model, results(engine(precision, isa), model, *given_), expected, DTYPES[precision])


@pytest.mark.parametrize("isa", HERE)
@pytest.mark.parametrize("block", [2, 3, 4])
@pytest.mark.parametrize("name", NAMES)
def test_tiny_blocks_change_nothing(name, block, isa):
    model = cases.CASES[name].model
    for batch in BATCHES:
        given_ = arguments(model, batch)
        for precision, dtype in DTYPES.items():
            actual = results(engine(precision, isa, block), model, *given_)
            assert_same(model, actual, reference_results(name, batch), dtype)


@pytest.mark.parametrize("n", range(1, 10))
@pytest.mark.parametrize("kind", ["basis", "product", "amplitudes"])
def test_native_is_the_reference_on_segmented_models(kind, n):
    for k in range(3):
        seed = 100 * n + 10 * k + len(kind)
        model = segmented_model(seed, n, 3 + 3 * k, start(seed, n, kind), terms=(2, 4, 40)[k], n_inputs=3 * (k % 2))
        for batch in (1, 3 if k else 9):
            given_ = arguments(model, batch, seed)
            expected = results(REFERENCE, model, *given_)
            for isa in HERE:
                for precision, dtype in DTYPES.items():
                    for block in (None, 3, 2 + k):
                        assert_same(model, results(engine(precision, isa, block), model, *given_), expected, dtype)


@pytest.mark.parametrize("isa", HERE)
@pytest.mark.parametrize("precision", DTYPES)
@pytest.mark.parametrize("name", NAMES)
def test_jets_of_values_and_states_are_the_reference(name, precision, isa):
    """Values, states (up to a phase) and pullbacks of every order."""
    model = cases.CASES[name].model
    factor = 2000 + 200 * model.n_rotations  # products of three polynomials a rotation
    rng = np.random.default_rng(3)
    for batch in (1, 3, 17):
        theta, x, _, v_theta, v_x = arguments(model, batch)
        for order in (1, 2):
            line = (model, theta, x, v_theta, v_x, order)
            values, pull = REFERENCE.jet(*line)
            cotangents = rng.normal(size=values.shape)
            expected = (values, *pull(cotangents))
            states, pull_states = REFERENCE.state_jet(*line)
            costates = rng.normal(size=states.shape) + 1j * rng.normal(size=states.shape)
            of_states = pull_states(costates)
            for block in (None, 2):
                ours, own = engine(precision, isa, block).jet(*line)
                for actual, wanted in zip((ours, *own(cotangents)), expected, strict=True):
                    assert_close(actual, wanted, factor, DTYPES[precision])
                summed = own(cotangents, True)
                assert_close(summed[0], expected[1].sum(axis=0), factor, DTYPES[precision])
                found, own = engine(precision, isa, block).state_jet(*line)
                phase = np.sum(states[0].conj() * found[0], axis=1)[None, :, None]
                assert_close(found / phase, states, factor, DTYPES[precision])
                for actual, wanted in zip(own(costates * phase / abs(phase)), of_states, strict=True):
                    assert_close(actual, wanted, factor, DTYPES[precision])


@pytest.mark.parametrize("isa", HERE)
@pytest.mark.parametrize("seed", range(12))
def test_a_start_that_commutes(seed, isa):
    """Backwards, rotations at the start that all commute are only read, not taken off, in whatever runs they are."""
    rng = np.random.default_rng(seed)
    n = int(rng.integers(3, 8))
    theta = qpr.params("theta", 30)
    rows: list[tuple[int, int]] = []
    while len(rows) < 12:
        x, z = map(int, rng.integers(1 << n, size=2))
        if all(((x & b).bit_count() + (z & a).bit_count()) % 2 == 0 for a, b in rows):
            rows.append((x, z))
    rows += [tuple(map(int, rng.integers(1 << n, size=2))) for _ in range(int(rng.integers(8)))]
    rotations = [(text(n, x, z), t) for (x, z), t in zip(rows, theta, strict=False)]
    observables = [cases.random_sum(rng, n, 4), cases.random_sum(rng, n, 4)]
    model = qpr.Model.from_rotations(n, rotations, observables, start(seed, n, "amplitudes"), params=theta)
    for batch in (1, 3, 16):
        given_ = arguments(model, batch, seed)
        expected = results(REFERENCE, model, *given_)
        for precision, dtype in DTYPES.items():
            for block in (None, 2, 4):
                assert_same(model, results(engine(precision, isa, block), model, *given_), expected, dtype)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(40))
def test_native_is_the_reference_on_many_models(seed):
    rng = np.random.default_rng(seed)
    n = int(rng.integers(1, 12))
    kind = ("basis", "product", "amplitudes")[seed % 3]
    model = segmented_model(seed, n, int(rng.integers(1, 14)), start(seed, n, kind), terms=int(rng.integers(1, 60)))
    for batch in (1, int(rng.integers(2, 40)) if n < 9 else 2):
        given_ = arguments(model, batch, seed, shared_theta=seed % 2 == 1)
        expected = results(REFERENCE, model, *given_)
        for isa in HERE:
            for precision, dtype in DTYPES.items():
                for block in (None, 2, 3, 5):
                    assert_same(model, results(engine(precision, isa, block), model, *given_), expected, dtype)


@st.composite
def rows_of_rotations(draw):
    """(n, [(x, z, angle form), ...]): small enough to read when Hypothesis has shrunk it."""
    n = draw(st.integers(1, 7))
    masks = st.integers(0, (1 << n) - 1)
    form = st.sampled_from(["a", "b", "2a+0.1", "-b", "ab", "0.3", "pi/2", "a+pi"])
    return n, draw(st.lists(st.tuples(masks, masks, form), max_size=24))


@given(
    rows_of_rotations(), st.sampled_from([None, 2, 3, 4]), st.sampled_from(list(DTYPES)), st.sampled_from([1, 3, 16])
)
@settings(max_examples=150)
def test_native_is_the_reference_on_any_list_of_rotations(rows, block, precision, batch):
    n, rotations = rows
    a, b = theta = qpr.params("theta", 2)
    forms = {
        "a": a,
        "b": b,
        "2a+0.1": 2 * a + 0.1,
        "-b": -b,
        "ab": a * b,
        "0.3": 0.3,
        "pi/2": np.pi / 2,
        "a+pi": a + np.pi,
    }
    rng = np.random.default_rng(n)
    observables = [cases.random_sum(rng, n, 3), {text(n, 0, (1 << n) - 1): 1.0}]
    rows = [(text(n, x, z), forms[form]) for x, z, form in rotations]
    model = qpr.Model.from_rotations(n, rows, observables, params=theta)
    given_ = arguments(model, batch)
    actual = results(engine(precision, block=block), model, *given_)
    assert_same(model, actual, results(REFERENCE, model, *given_), DTYPES[precision])


@pytest.mark.parametrize("name", NAMES)
def test_gradients_against_parameter_shift_and_differences(name):
    """The oracle of these two is the reference engine's values, never a gradient."""
    model = cases.CASES[name].model
    weights = np.random.default_rng(9).normal(size=model.n_observables)
    checks.check_parameter_shift(engine(), model, *cases.values_for(model), weights)
    checks.check_differences(engine(), model, *cases.values_for(model), weights)
    theta, x, cotangent, v_theta, v_x = arguments(model, 2, 1)
    checks.check_hvp(engine(), model, theta, x, cotangent, v_theta, v_x)


@pytest.mark.parametrize("scale", [1e-300, 1e-9, 1e3, 1e6, 1e9, 1e12])
@pytest.mark.parametrize("batch", [1, 9])
def test_small_and_large_angles(scale, batch):
    model = cases.CASES["hardware_efficient"].model
    theta = cases.values_for(model, batch)[0] * scale
    x, w = np.zeros((1, 0)), np.ones((batch, 1))
    values, pullback = REFERENCE.vjp(model, theta, x)
    ours, ours_pullback = engine().vjp(model, theta, x)
    assert_close(ours, values, 2000)
    assert_close(ours_pullback(w)[0], pullback(w)[0], 4000)


@pytest.mark.parametrize("quarter", range(-4, 5))
@pytest.mark.parametrize("nudge", [0.0, 1e-15, -1e-15, 1e-8])
def test_angles_at_and_around_quarter_turns(quarter, nudge):
    """Where the reduction of angles changes branch: the frame must carry what it takes out."""
    model = cases.random_model(5, 5, 30)
    theta = np.full((1, model.n_params), quarter * np.pi / 2 + nudge) * np.linspace(1, 2, 3)[:, None]
    x, w = np.zeros((1, 0)), np.ones((3, model.n_observables))
    values, pullback = REFERENCE.vjp(model, theta, x)
    for block in (None, 2):
        ours, ours_pullback = engine(block=block).vjp(model, theta, x)
        assert_close(ours, values, 2000)
        assert_close(ours_pullback(w)[0], pullback(w)[0], 4000)


def test_long_products_of_tangents_neither_overflow_nor_fade():
    """Half-angles of pi/4 have cosine 1/sqrt(2): 3,000 of them would leave single precision's range."""
    angle = qpr.params("angle", 1)[0]
    rows = [(pauli, angle) for pauli in ("XY", "ZX", "YI", "XX")] * 750
    model = qpr.Model.from_rotations(2, rows, ["Z0 + X1", "Y0 Z1"])
    theta, x = np.array([[np.pi / 2 - 1e-3]]), np.zeros((1, 0))
    expected = REFERENCE.vjp(model, theta, x)[0]
    assert_close(engine().values(model, theta, x), expected, 20_000)
    assert_close(engine("single").values(model, theta, x), expected, 20_000, np.float32)


@pytest.mark.parametrize("isa", HERE)
@pytest.mark.parametrize("precision", DTYPES)
@pytest.mark.parametrize("seed", range(2))
def test_blocks_done_piece_by_piece(seed, precision, isa):
    """13 qubits: blocks larger than their pieces in every instruction set, the directions of a run not alone unit
    vectors, and rotations that move along none; the same bits for any number of threads."""
    rng, n = np.random.default_rng(seed), 13
    theta, rows = qpr.params("theta", 60), []
    for k in range(60):
        q = k % n
        mixed = (1 << q | (int(rng.integers(1 << n)) if k % 3 == 0 else 0), int(rng.integers(1 << n)))
        rows.append(((0, int(rng.integers(1, 1 << n))) if k % 5 == 4 else mixed, theta[k]))
    circuit = qpr.Circuit(n)
    for (x, z), angle in rows:
        circuit.rotation(text(n, x, z), angle)
    model = qpr.Model(circuit, qpr.PauliSum({"Z0": 1.0, "X3 Y12": 0.5, "X0 Z5": -0.3, "Y1 Y7": 0.2}))
    at, none, weight = rng.uniform(-3, 3, (1, 60)), np.zeros((1, 0)), np.ones((1, 1))
    expected = REFERENCE.value_and_grad(model, at, none, weight)
    one, two = (engine(precision, isa, threads=t).value_and_grad(model, at, none, weight) for t in (1, 2))
    for a, b, c in zip(one, two, expected, strict=True):
        assert np.array_equal(a, b)
        assert_close(a, c, 20_000, DTYPES[precision])


@pytest.mark.parametrize("precision", DTYPES)
def test_large_states_of_many_runs(precision):
    """n = 18 has several blocks and chunks at the planner's own sizes; values against closed forms.

    Each qubit is turned by RY(a_q) alone, so <Z_q> = cos a_q and d<Z_q>/da_q = -sin a_q.
    """
    n = 18
    angles = qpr.params("a", n)
    circuit = qpr.Circuit(n)
    for q in range(n):
        circuit.ry(angles[q], q)
    model = qpr.Model(circuit, [f"Z{q}" for q in range(n)])
    a = np.linspace(-3, 3, n)
    w = np.linspace(1, 2, n)
    values, pullback = engine(precision).vjp(model, a[None], np.zeros((1, 0)))
    assert_close(values[0], np.cos(a), 500, DTYPES[precision])
    assert_close(pullback(w[None])[0][0], -w * np.sin(a), 500, DTYPES[precision])


# The tests above can fail: an engine that is off in one small way is caught by the comparison and by the laws.


class _Wrong(NativeEngine):
    """A native engine whose pullback is changed by `spoil`."""

    spoil = staticmethod(lambda d_theta: d_theta)

    def vjp(self, model, theta, x):
        values, pullback = super().vjp(model, theta, x)

        def wrong(cotangent, sum_theta=False):
            d_theta, d_x = pullback(cotangent, sum_theta)
            return type(self).spoil(d_theta.copy()), d_x

        return values, wrong


class FlippedSign(_Wrong):
    @staticmethod
    def spoil(d_theta):
        d_theta[..., 1] *= -1
        return d_theta


class SlightlyOff(_Wrong):
    spoil = staticmethod(lambda d_theta: 1.0005 * d_theta)


class DroppedFactor(NativeEngine):
    """Forgets the factor of a shared parameter's second use in the chain rule, not in the value."""

    def vjp(self, model, theta, x):
        values, _ = super().vjp(model, theta, x)
        rows = [(qpr.PauliString(r.x, r.z), r.angle) for r in model.rotations]
        k = next(k for k, (_, a) in enumerate(rows) if any(abs(c) == 2 and m for m, c in a.terms))
        flat = checks.rotation_level(model)
        jacobian = checks.angle_jacobian(model, theta[0], x[0])[:, : model.n_params]
        jacobian[k] /= 2
        _, pullback = super().vjp(flat, model.angle_table.evaluate(theta, x), x)
        return values, lambda c, sum_theta=False: (pullback(c)[0] @ jacobian, np.zeros_like(x))


@pytest.mark.parametrize("wrong", [FlippedSign, SlightlyOff, DroppedFactor])
def test_the_comparisons_catch_a_wrong_gradient(wrong):
    model = cases.CASES["shared_parameters"].model
    theta, x, weights, *_ = arguments(model, 1)
    law = (model, theta[0], x[0], weights[0])
    checks.check_parameter_shift(engine(), *law)
    checks.check_differences(engine(), *law)
    for check in (checks.check_parameter_shift, checks.check_differences):
        with pytest.raises(AssertionError, match="error"):
            check(wrong(), *law)
    expected = REFERENCE.vjp(model, theta, x)[1](weights)[0]
    assert_close(engine().vjp(model, theta, x)[1](weights)[0], expected, 500)
    with pytest.raises(AssertionError, match="error"):  # even with the tolerance of single precision
        assert_close(wrong().vjp(model, theta, x)[1](weights)[0], expected, 500, np.float32)
