"""The support engine (support.py and support.hpp of the state vector): the same numbers as the reference on models that
reach few basis states, and no attempt at others."""

import numpy as np
import pytest
from cases import CASES, random_model, random_sum, values_for
from checks import ORACLE, check_differences, check_parameter_shift
from tolerances import assert_close

import quprop as qpr
from quprop.model import ansatz
from quprop.problems import chem
from quprop.simulate.state_vector import blocks, support
from quprop.simulate.state_vector.native import NativeEngine

DTYPES = {"double": np.float64, "single": np.float32}


@pytest.fixture(params=DTYPES)
def precision(request):
    return request.param


def hop(n, a, b, odd=False):
    """X_a X_b + Y_a Y_b, or X_a Y_b - Y_a X_b with a string of Z between: moves a particle."""
    if odd:
        between = dict.fromkeys(range(min(a, b) + 1, max(a, b)), "Z")
        letters = [({a: "X", b: "Y"} | between, 0.5), ({a: "Y", b: "X"} | between, -0.5)]
    else:
        letters = [({a: "X", b: "X"}, 0.5), ({a: "Y", b: "Y"}, 0.5)]
    return qpr.PauliSum({" ".join(f"{p}{q}" for q, p in sorted(t.items())): c for t, c in letters})


def conserving(seed, n, particles, kinds, terms=12, n_observables=3, state=None, qubits=None, n_inputs=0):
    """Random hops ("even", "odd"), doubles ("double") and "diagonal" rotations, with shared and product angles."""
    rng = np.random.default_rng(seed)
    qubits = list(range(n)) if qubits is None else qubits
    width = max(qubits) + 1
    theta, x = qpr.params("theta", 6), qpr.inputs("x", max(n_inputs, 1))
    if state is None:
        bits = ["0"] * width
        for q in rng.permutation(n)[:particles]:
            bits[qubits[q]] = "1"
        state = "".join(bits)
    circuit = qpr.Circuit(width, state, params=theta, inputs=x if n_inputs else ())
    for kind in rng.choice(kinds, terms):
        t = theta[int(rng.integers(6))]
        forms = [t, -0.7 * t, t * theta[0] + 0.3, t * t - 0.5 * theta[1]] + [t * x[0] + 0.2] * bool(n_inputs)
        angle = forms[rng.integers(len(forms))]
        q = [qubits[i] for i in rng.permutation(n)]
        if kind == "diagonal":
            circuit.rotation(f"Z{q[0]} Z{q[1]}" if rng.integers(2) else f"Z{q[2]}", angle)
        elif kind == "double":
            circuit.exp(ansatz.excitation_generator(tuple(sorted(q[:2])), tuple(sorted(q[2:4]))), angle)
        else:
            circuit.exp(hop(width, q[0], q[1], kind == "odd"), angle)
    observables = [random_sum(rng, n, 3) for _ in range(n_observables - 2)]
    observables += [hop(n, 0, 1) + hop(n, 1, 2, True) + qpr.PauliSum("Z0 Z1 - 0.4*Z2"), qpr.PauliSum("X0 + 0.3*Z1")]
    if qubits != list(range(n)):
        observables = [_moved(o, qubits) for o in observables]
    return qpr.Model(circuit, observables)


def _moved(total, qubits):
    def move(mask):
        return sum(1 << q for i, q in enumerate(qubits) if mask >> i & 1)

    return qpr.PauliSum({qpr.PauliString(move(p.x), move(p.z)): c for p, c in total.items()})


def chain(n):
    """Hops between neighbours by XX + YY, whose pairs mix with -i: real in another frame, as a chain is bipartite."""
    theta = qpr.params("theta", 4)
    circuit = qpr.Circuit(n, "101" + "0" * (n - 3), params=theta)
    for k in range(3 * n):
        circuit.exp(hop(n, (k + k // 4) % (n - 1), (k + k // 4) % (n - 1) + 1), theta[k % 4] + 0.1 * k)
    return qpr.Model(circuit, ["Z0 Z1 + 0.3*X0 X1", hop(n, 0, 1, True) + hop(n, 2, 4), "Y1 X2 - X3"])


MODELS = {
    "real": lambda: conserving(1, 6, 2, ["odd", "double"]),
    "turned": lambda: chain(6),
    "real_or_turned": lambda: conserving(3, 6, 3, ["even", "odd"]),
    "complex": lambda: conserving(4, 6, 2, ["even", "odd", "double"], terms=20),
    "diagonal": lambda: conserving(5, 6, 2, ["even", "odd", "diagonal", "double"], terms=25),
    "diagonal_only": lambda: conserving(6, 5, 2, ["diagonal"]),
    "inputs": lambda: conserving(7, 6, 2, ["even", "odd", "diagonal"], terms=20, n_inputs=2),
    "several_start_states": lambda: conserving(8, 5, 0, ["odd", "double", "diagonal"], state=_few(5)),
    "real_start_states": lambda: conserving(9, 5, 0, ["odd", "double"], state=_few(5).real),
    "product_start": lambda: conserving(
        10, 5, 0, ["odd", "diagonal"], state=[[1, 0], [0, 1j], [0.6, 0.8j], [1, 0], [0, 1]]
    ),
    "uccsd": lambda: qpr.Model(
        ansatz.uccsd(6, 2, 2), ["Z0 Z1 + 0.3*X0 X1 Y2 Y3 - 0.2*Y0 X1 X2 Y3", "X0 Z1", "Y2 Z3 X4"]
    ),
    "no_rotations": lambda: qpr.Model(qpr.Circuit(3, "101"), ["Z0 - 2*Z1", "X0"]),
}


def _few(n):
    amplitudes = np.zeros(1 << n, complex)
    amplitudes[[3, 5, 9]] = [1, 0.5j, -0.3 + 0.2j]
    return amplitudes


def engine(precision="double", threads=1, **options):
    return NativeEngine(precision, threads, support=True, **options)


@pytest.fixture(params=MODELS)
def model(request):
    return MODELS[request.param]()


def compare(model, tested, theta, x, dtype=np.float64, factor=300, reference=ORACLE):
    """Values, weighted value with gradient, and pullbacks of two cotangents; the gradients over x too."""
    rng = np.random.default_rng(3)
    batch = max(len(theta), len(x))
    values, pullback = tested.vjp(model, theta, x)
    expected, expected_pullback = reference.vjp(model, theta, x)
    assert_close(values, expected, factor, dtype)
    assert_close(tested.values(model, theta, x), expected, factor, dtype)
    for _ in range(2):
        cotangent = rng.normal(size=(batch, model.n_observables))
        d_theta, d_x = pullback(cotangent)
        e_theta, e_x = expected_pullback(cotangent)
        assert_close(d_theta, e_theta, factor, dtype)
        assert_close(d_x, e_x, factor, dtype)
        summed, _ = pullback(cotangent, True)
        assert_close(summed, e_theta.sum(axis=0), factor, dtype)
    value, gradient = tested.value_and_grad(model, theta, x, cotangent)
    assert_close(value, (expected * cotangent).sum(axis=1), factor, dtype)
    assert_close(gradient, e_theta, factor, dtype)


def test_support_equals_reference(model, precision):
    tested = engine(precision)
    assert tested._support(model) is not None
    theta, x = values_for(model)
    compare(model, tested, theta[None], x[None], DTYPES[precision])


def test_gradients_are_those_of_the_values(model):
    theta, x = values_for(model)
    weights = np.linspace(1, -0.5, model.n_observables)
    check_parameter_shift(engine(), model, theta, x, weights)
    check_differences(engine(), model, theta, x, weights)


@pytest.mark.parametrize("shared", [True, False])
def test_batches_equal_their_samples_with_any_number_of_threads(model, precision, shared):
    theta, x = values_for(model, 70)
    if shared and model.n_inputs:
        theta = theta[:1]
    compare(model, engine(precision, 2), theta, x if model.n_inputs else np.empty((1, 0)), DTYPES[precision], 3000)
    one, two = (
        qpr.vjp(model, theta, x if model.n_inputs else None, engine=engine(precision, threads)) for threads in (1, 2)
    )
    cotangent = np.ones((70, model.n_observables))
    assert np.array_equal(one[0], two[0])
    assert np.array_equal(one[1](cotangent, sum_theta=True)[0], two[1](cotangent, sum_theta=True)[0])


@pytest.mark.parametrize("name", ["h2", "lih"])
def test_molecules(name, precision):
    molecule, _ = chem.load(name)
    model = qpr.Model(ansatz.uccsd(molecule.n_qubits, molecule.n_electrons), molecule.hamiltonian)
    assert support.plan(model, force=True)["real"]
    theta = 0.1 * values_for(model)[0]
    compare(model, NativeEngine(precision), theta[None], np.empty((1, 0)), DTYPES[precision], 3000)
    if name == "lih":
        assert NativeEngine()._support(model) is not None
        assert support.plan(model)["n_states"] == 225  # two of six orbitals for either spin


def test_real_arithmetic_is_found_and_only_where_it_holds():
    real = {"real", "turned", "real_start_states", "uccsd", "no_rotations"}
    complex_ = {"complex", "diagonal", "diagonal_only", "several_start_states"}
    for name in real | complex_ - {"diagonal_only"}:
        assert support.plan(MODELS[name](), force=True)["real"] == (name in real), name


def test_global_phases_are_dropped():
    flat = support.plan(MODELS["diagonal_only"](), force=True)
    assert flat["real"] and len(flat["step_f"]) == 0


@pytest.mark.parametrize(
    "name", ["hardware_efficient", "qaoa", "ising", "random_paulis", "encoded_state", "amplitude_state", "all_gates"]
)
def test_models_that_reach_much_are_left_to_blocks(name):
    assert support.plan(CASES[name].model) is None
    assert NativeEngine()._support(CASES[name].model) is None


@pytest.mark.parametrize("name", [name for name, case in CASES.items() if case.model.state.kind != "encoded"])
def test_any_model_computed_on_what_it_reaches(name, precision):
    """Forced on models of all kinds, the support being everything or less."""
    model = CASES[name].model
    theta, x = values_for(model)
    compare(model, engine(precision), theta[None], x[None] if len(x) else np.empty((1, 0)), DTYPES[precision], 3000)


@pytest.mark.parametrize("seed", range(6))
def test_random_rotations_computed_on_what_they_reach(seed):
    model = random_model(seed, 4, 20, state=int(seed))
    compare(model, engine(), values_for(model, seed=seed)[0][None], np.empty((1, 0)))


def masks_of(model):
    return tuple(np.array(m, np.uint64) for m in (model.x_masks, model.z_masks))


def moves_at_least(model):
    """What `plan` counts before it walks."""
    groups = blocks.planner.groups(*masks_of(model), model.drivers.driver, support.LOOK_AHEAD)
    return blocks.planner.least_moves(*masks_of(model), model.drivers.coefficient, support.TINY, *groups)


@pytest.mark.parametrize("seed", range(8))
def test_no_walk_moves_less_than_is_counted_before_it(seed):
    """A walk moves at least as many pairs; exactly as many where every rotation has a parameter of its own, from a
    basis state."""
    shared = random_model(seed, 5, 25, state=seed)
    assert moves_at_least(shared) <= len(support.plan(shared, force=True)["pair"])
    theta = qpr.params("theta", 20)
    strings = [qpr.PauliString(*np.random.default_rng([seed, k]).integers(0, 32, 2).tolist()) for k in range(20)]
    rows = [(p, t) for p, t in zip(strings, theta, strict=True) if p.weight]
    alone = qpr.Model.from_rotations(5, rows, "Z0", seed, params=theta)
    assert moves_at_least(alone) == len(support.plan(alone, force=True)["pair"]) > 0


@pytest.mark.parametrize("seed", range(4))
def test_masks_that_stand_alone_with_their_driver(seed):
    rng = np.random.default_rng(seed)
    x, driver = rng.integers(0, 200, 300, dtype=np.uint64), rng.integers(0, 4, 300).astype(np.int32)
    pairs, count = np.unique(np.stack([x, driver]), axis=1, return_counts=True)
    alone = pairs[0, count == 1].astype(int).tolist()
    reduced = []
    for mask in alone:
        for row in reduced:
            mask = min(mask, mask ^ row)
        reduced += [mask] if mask else []
    assert blocks.planner.rank_alone(x, driver) == len(reduced)
    twice = np.tile(x, 2), np.tile(driver, 2)
    assert blocks.planner.rank_alone(*twice) == 0


def test_a_support_that_cannot_pay_is_not_walked(monkeypatch):
    """Cost layers of four-body terms on all of an even sector: a quarter of the states, moved by every term."""
    n, layers = 12, 4
    angles = qpr.params("angles", 2 * layers)
    circuit = qpr.Circuit(n)
    for layer in range(layers):
        for a in range(n - 3):
            for b in range(1, (n - a - 1) // 2 + 1):
                circuit.rotation(f"X{a} X{a + 2}" if b == 1 else f"X{a} X{a + b} X{a + b + 1} X{n - 1}", angles[layer])
        for q in range(n):
            circuit.rz(angles[layers + layer], q)
    model = qpr.Model(circuit, "Z0 Z1")
    expected = support.plan(model)
    assert expected is None
    monkeypatch.setattr(blocks.planner, "Walk", None)
    assert support.plan(model) is None


def test_switched_off():
    model = MODELS["uccsd"]()
    off = NativeEngine(support=False)
    assert off._support(model) is None
    compare(model, off, values_for(model)[0][None], np.empty((1, 0)))


def test_rotations_are_brought_together_past_those_they_commute_with():
    """The halves of two hops, interleaved: each alone would leave the sector."""
    theta = qpr.params("theta", 2)
    rows = [("X0 X1", theta[0]), ("X2 X3", theta[1]), ("Y0 Y1", theta[0]), ("Y2 Y3", theta[1])]
    model = qpr.Model.from_rotations(5, rows, ["Z0 + X0 X1", "Z3"], "10100", params=theta)
    assert support.plan(model, force=True)["n_states"] == 4
    compare(model, engine(), np.array([[0.7, -1.9]]), np.empty((1, 0)))


def test_unequal_multipliers_in_one_group():
    theta = qpr.params("theta", 1)
    rows = [("X0 Y1", 1.0 * theta[0]), ("X0 Y1 Z2", 0.5 * theta[0]), ("X0 X1", theta[0]), ("X0 X1 Z2", -0.3 * theta[0])]
    model = qpr.Model.from_rotations(4, rows, ["Z0", "X0 X1", "Y0 X1"], "0010", params=theta)
    compare(model, engine(), np.array([[0.9]]), np.empty((1, 0)))


def test_forty_qubits_equal_the_six_they_use(precision):
    spread = [1, 7, 12, 25, 33, 39]
    kinds = ["even", "odd", "double", "diagonal"]
    small, large = (conserving(11, 6, 2, kinds, qubits=q) for q in (None, spread))
    theta, _ = values_for(small)
    weights = np.array([0.3, -1.0, 0.7])
    expected = qpr.value_and_grad(small, theta, weights=weights, engine="reference")
    actual = qpr.value_and_grad(large, theta, weights=weights, precision=precision)
    for a, e in zip(actual, expected, strict=True):
        assert_close(a, e, 300, DTYPES[precision])
    assert NativeEngine().memory(large, 1, "vjp") < 1 << 20
    with pytest.raises(qpr.QupropError, match="TiB"):
        qpr.state(large, theta)


def test_beyond_the_qubits_of_any_state():
    small, large = (conserving(12, 6, 2, ["odd", "diagonal"], qubits=q) for q in (None, [1, 7, 12, 25, 33, 61]))
    theta, _ = values_for(small)
    assert_close(qpr.expectation(large, theta), qpr.expectation(small, theta, engine="reference"), 300)
    with pytest.raises(qpr.QupropError, match="state vectors end at 40 qubits"):
        qpr.state(large, theta)
    wide = qpr.Model(qpr.Circuit(64).rx(qpr.params("t", 1)[0], 3), "Z3")
    with pytest.raises(qpr.QupropError, match="state vectors end at 40 qubits"):
        qpr.expectation(wide, [0.1], engine="native")


def test_a_plan_too_large_is_not_made(monkeypatch):
    model = MODELS["diagonal"]()
    monkeypatch.setattr(support, "MAX_BYTES", 512)
    assert support.plan(model, force=True) is None
    monkeypatch.setattr(support, "MAX_STATES", 2)
    assert support.plan(model, force=True) is None


def test_positions_with_and_without_a_table(monkeypatch):
    model = MODELS["diagonal"]()
    expected = support.plan(model, force=True)
    monkeypatch.setattr(support, "TABLE_QUBITS", 0)
    actual = support.plan(model, force=True)
    for key, value in expected.items():
        assert np.array_equal(value, actual[key]), key
