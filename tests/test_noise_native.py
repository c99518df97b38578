"""The kernels of noise are the NumPy reference of noise: every channel, instruction set, block size, batch and thread.

`block` forces blocks of that many dimensions, so that small models meet gathers, cosets and several runs; `keep=0` has
vectors that strong damping would lose computed again.
"""

from functools import lru_cache

import cases
import numpy as np
import pytest
from test_native import HERE
from test_native_system import ends_by_control_c
from test_noise import noisy, random_state
from tolerances import assert_close

import quprop as qpr
from quprop.simulate.noise.density import DensityEngine
from quprop.simulate.noise.native import KEEP_BYTES
from quprop.simulate.noise.reference import NoisyReference

REFERENCE = NoisyReference()
NONE = np.zeros((1, 0))
FACTOR = 4000  # 1e-12
LETTERS = "IXZY"


@lru_cache(maxsize=256)
def engine(isa=None, block=None, threads=1, keep=KEEP_BYTES):
    return DensityEngine(threads=threads, isa=isa, block=block, keep=keep)


def results(eng, model, theta, x, weights):
    """Everything an engine can say of a noisy model."""
    values, pullback = eng.vjp(model, theta, x)
    value, gradient = eng.value_and_grad(model, theta, x, weights)
    assert eng.values(model, theta, x).shape == values.shape
    return {
        "values": eng.values(model, theta, x),
        "values before the pullback": values,
        "d_theta, d_x": np.concatenate(pullback(weights), axis=1),
        "summed d_theta": pullback(weights, True)[0],
        "weighted value": value,
        "gradient": gradient,
        "probabilities": eng.probabilities(model, theta, x),
    }


def assert_same(eng, model, theta, x, weights, factor=FACTOR):
    expected = results(REFERENCE, model, theta, x, weights)
    for name, value in results(eng, model, theta, x, weights).items():
        assert_close(value, expected[name], factor)


def random_noisy(seed, n, gates=10, channels=6, observables=2):
    rng = np.random.default_rng(seed)
    circuit, theta, x = noisy(seed, n, gates=gates, channels=channels, state=random_state(rng, n))
    model = qpr.Model(circuit, [cases.random_sum(rng, n, 3) for _ in range(observables)])
    return model, theta[None], x[None], rng.normal(size=(1, observables))


def layered(n, layers, damping=0.0, p=0.01):
    """RY and RZ on each qubit, CZ on neighbours; depolarising noise (and damping) after each gate."""
    theta = qpr.params("theta", 2 * n * layers)
    circuit, k = qpr.Circuit(n), 0
    for _ in range(layers):
        for q in range(n):
            for name in ("ry", "rz"):
                getattr(circuit, name)(theta[k], q)
                circuit.depolarising(p, q)
                if damping:
                    circuit.amplitude_damping(damping, q)
                k += 1
        for q in range(n - 1):
            circuit.cz(q, q + 1)
            circuit.depolarising(p, q)
            circuit.depolarising(p, q + 1)
    return circuit


@pytest.mark.parametrize("n", range(1, 7))
@pytest.mark.parametrize("isa", HERE)
def test_random_noisy_models_are_those_of_the_reference(isa, n):
    for seed in range(5 if n < 5 else 3):
        model, theta, x, weights = random_noisy(100 * n + seed, n, gates=14, channels=10)
        for block in (None, 1, 2, 4):
            assert_same(engine(isa, block), model, theta, x, weights)


@pytest.mark.parametrize("isa", HERE)
def test_channels_that_shift_are_not_taken_past_one_another(isa):
    """Damping and resets between CX gates, whose strings overlap, in the smallest blocks."""
    for seed in range(12):
        rng, n = np.random.default_rng(seed), 4
        theta = qpr.params("theta", 3)
        circuit = qpr.Circuit(n)
        for q in range(n):
            circuit.ry(theta[q % 2], q)
        for _ in range(24):
            a, b = map(int, rng.permutation(n)[:2])
            kind = rng.integers(4)
            if kind == 0:
                circuit.ry(float(rng.normal()), a)
            elif kind == 1:
                circuit.cx(a, b)
            elif kind == 2:
                circuit.amplitude_damping(theta[2], a)
            else:
                circuit.reset(a, 0.3)
        model = qpr.Model(circuit, [cases.random_sum(rng, n, 3)])
        for block in (1, 2, 3):
            assert_same(engine(isa, block), model, np.array([[0.7, -0.4, 0.2]]), NONE, np.ones((1, 1)))


@pytest.mark.parametrize("isa", HERE)
def test_what_is_computed_again_is_what_was_kept(isa, monkeypatch):
    """Segments: with no more kept than cannot be helped, with a few vectors, and with all."""
    monkeypatch.setattr("quprop.simulate.noise.native.STAGES", 2)
    monkeypatch.setattr("quprop.simulate.noise.native.WHOLE_BYTES", 0)
    theta = qpr.params("theta", 25)
    circuit, rng, n = qpr.Circuit(4), np.random.default_rng(0), 4
    for k in range(24):
        a, b = map(int, rng.permutation(n)[:2])
        circuit.rotation(f"X{a} Y{b}" if k % 2 else f"Y{a}", theta[k])
        circuit.phase_flip(0.45 if k % 3 else theta[24], b)
        circuit.amplitude_damping(0.1, a)
    model = qpr.Model(circuit, [cases.random_sum(rng, n, 4) for _ in range(2)])
    point = np.append(rng.normal(size=24), 0.4)[None]
    kept = []
    for keep in (0, 12 * 8 << 2 * n, KEEP_BYTES):
        found = DensityEngine(threads=1, isa=isa, block=2, keep=keep)
        assert_same(found, model, point, NONE, rng.normal(size=(1, 2)))
        kept.append(found._native._plan(model).evaluator.kept)
    assert kept[0] < kept[1] <= 12 < kept[2]


@pytest.mark.parametrize("isa", HERE)
@pytest.mark.parametrize("size", [4, 5])
def test_a_channel_of_many_strings_on_many_qubits(isa, size):
    """Up to 2^10 parities in one table, and probabilities by a Walsh-Hadamard transform."""
    rng = np.random.default_rng(size)
    n = 5
    strings = sorted({"".join(rng.choice(list(LETTERS), size)) for _ in range(60)} - {"I" * size})
    theta = qpr.params("theta", n + 2)
    circuit = qpr.Circuit(n)
    for q in range(n):
        circuit.rx(theta[q], q)
    circuit.pauli_channel(
        {s: theta[n + k % 2] / 60 for k, s in enumerate(strings)}, *map(int, rng.permutation(n)[:size])
    )
    for q in range(n - 1):
        circuit.cx(q, q + 1)
        circuit.ry(0.5 * theta[q], q)
    model = qpr.Model(circuit, [cases.random_sum(rng, n, 4) for _ in range(2)])
    point = np.concatenate([rng.normal(size=n), [0.3, 0.5]])[None]
    for block in (None, 2):
        assert_same(engine(isa, block), model, point, NONE, rng.normal(size=(1, 2)))


def test_what_is_lost_altogether_still_has_its_derivatives():
    """lambda = 0: depolarising with p = 3/4, phase flips with p = 1/2 and a reset, whose products are never divided."""
    theta = qpr.params("theta", 6)
    circuit = qpr.Circuit(2)
    circuit.ry(theta[0], 0)
    circuit.rx(theta[1], 1)
    circuit.depolarising(theta[3], 0)
    circuit.depolarising(theta[3], 0)
    circuit.phase_flip(theta[4], 1)
    circuit.cx(0, 1)
    circuit.ry(theta[2], 1)
    circuit.reset(1, theta[5])
    circuit.ry(0.3, 1)
    model = qpr.Model(circuit, ["Z0", "X1 + Z0 Z1"])
    for strong in ([0.75, 0.5, 1.0], [0.75, 0.2, 0.9], [0.1, 0.5, 1.0]):
        point = np.array([[0.4, 0.7, -0.2, *strong]])
        for block in (None, 1):
            assert_same(engine(None, block), model, point, NONE, np.array([[1.0, -0.5]]))


def test_strong_damping_costs_no_digits():
    """The inverse of all of it would amplify rounding errors by 1e30."""
    theta = qpr.params("theta", 30)
    circuit = qpr.Circuit(1)
    for angle in theta:
        circuit.ry(angle, 0)
        circuit.phase_flip(0.45, 0)
    model = qpr.Model(circuit, "Z0")
    point = np.full((1, 30), 0.3)
    expected = REFERENCE.value_and_grad(model, point, NONE, np.ones((1, 1)))[1]
    found = engine().value_and_grad(model, point, NONE, np.ones((1, 1)))[1]
    assert np.abs(expected).max() > 0.01 and np.abs(found - expected).max() < 1e-14


@pytest.mark.parametrize("batch", [2, 9])
def test_batches_are_their_samples(batch):
    for seed in range(4):
        model, theta, x, _ = random_noisy(seed, 3)
        rng = np.random.default_rng(seed)
        thetas = np.repeat(theta, batch, axis=0)
        thetas[:, : model.n_params - 6] += rng.normal(size=(batch, model.n_params - 6))
        xs, weights = np.repeat(x, batch, axis=0) * rng.uniform(0.5, 1, (batch, 1)), rng.normal(size=(batch, 2))
        for given in ((thetas, xs), (theta, xs), (thetas, x)):
            together = results(engine(block=2), model, *given, weights)
            assert_same(engine(block=2), model, *given, weights)
            for b in range(batch):
                rows = [a if len(a) == 1 else a[b : b + 1] for a in given]
                alone = results(engine(block=2), model, *rows, weights[b : b + 1])
                for name in ("values", "d_theta, d_x", "probabilities"):
                    assert np.array_equal(together[name][b], alone[name][0]), name


def test_amplitudes_from_inputs_in_several_calls_of_the_kernels(monkeypatch):
    """Their starts are made a few samples at a time."""
    monkeypatch.setattr("quprop.simulate.noise.native.START_BYTES", 3 * 8 << 6)
    x = qpr.inputs("x", 8)
    theta = qpr.params("theta", 2)
    circuit = qpr.Circuit(3, x)
    circuit.ry(theta[0], 0)
    circuit.amplitude_damping(theta[1], 0)
    circuit.cx(0, 2)
    circuit.depolarising2(0.1, 1, 2)
    model = qpr.Model(circuit, ["Z0 Z2", "X1"])
    rng = np.random.default_rng(0)
    points = np.stack([rng.normal(size=7), rng.uniform(0.1, 0.5, 7)], axis=1)
    assert_same(engine(), model, points, rng.normal(size=(7, 8)), rng.normal(size=(7, 2)))


@pytest.mark.parametrize("isa", HERE)
def test_results_do_not_depend_on_the_number_of_threads(isa):
    given = [(*random_noisy(seed, 5, gates=20), b) for seed in range(2) for b in (2, 4)]
    large = qpr.Model(layered(8, 1, 0.05), ["Z0 Z1", "X3"])
    theta = np.random.default_rng(0).normal(size=(1, large.n_params))
    given += [(large, theta, NONE, np.ones((1, 2)), None)]
    model = random_noisy(3, 4)[0]
    rng = np.random.default_rng(3)
    batch = np.concatenate([rng.normal(size=(11, model.n_params - 6)), rng.uniform(0.02, 0.3, (11, 6))], axis=1)
    given += [(model, batch, rng.uniform(0.1, 1, (11, 2)), rng.normal(size=(11, 2)), 2)]
    for *arguments, block in given:
        one = results(engine(isa, block), *arguments)
        for threads in (2, 3, 4):
            for name, value in results(engine(isa, block, threads), *arguments).items():
                assert np.array_equal(value, one[name]), f"{name} with {threads} threads"


def test_results_are_linear_in_observables_and_weights_to_the_ends_of_the_range():
    model, theta, x, weights = random_noisy(1, 3)
    d_theta, d_x = engine().vjp(model, theta, x)[1](weights)
    for power in (-900, 900):
        scaled = np.ldexp(weights, power)
        far, far_x = engine().vjp(model, theta, x)[1](scaled)
        assert np.array_equal(far, np.ldexp(d_theta, power)) and np.array_equal(far_x, np.ldexp(d_x, power))
        terms = [{str(p): np.ldexp(c, power) for p, c in o.items()} for o in model.original_observables]
        other = model.with_observables(terms)
        assert_close(np.ldexp(engine().values(other, theta, x), -power), engine().values(model, theta, x), 10)


def test_channels_that_nothing_keeps_apart_are_one_stage():
    """Depolarising noise commutes with all rotations of its own qubit: a layer of gates makes one stage or two."""
    model = qpr.Model(layered(6, 2), "Z0")
    assert len(model.channels) == 2 * (12 + 10)
    found = engine()._native._plan(model).evaluator.runs
    assert sum(stages for _, stages, _ in found) <= 4
    assert sum(operations for operations, *_ in found) == model.n_rotations + sum(stages for _, stages, _ in found)


def test_a_channel_of_more_parities_than_tables_hold_goes_to_the_reference():
    n = 9
    masks = [(1 << q, 0) for q in range(n)] + [(0, 1 << q) for q in range(n)]
    circuit = qpr.Circuit(n)
    circuit.ry(0.2, 0)
    circuit.rx(0.3, 0)
    circuit.depolarising(0.1, 0)
    model = qpr.Model(circuit, "Z0")
    wide = model.channels[0]._replace(strings=tuple(masks), strengths=(qpr.Angle(0.01),) * len(masks))
    model = model._replace(channels=(*model.channels, wide._replace(place=model.n_rotations)))
    point = np.zeros((1, 0))
    assert not engine()._native.takes(model)
    assert_close(engine().values(model, point, NONE), REFERENCE.values(model, point, NONE), 10)


def test_a_mixed_state_that_does_not_fit_is_refused_before_any_work():
    for n in (17, 40):
        circuit = qpr.Circuit(n)
        circuit.ry(qpr.params("theta", 1)[0], 0)
        for noise in (True, False):
            if noise:
                circuit.depolarising(0.1, 0)
            model = qpr.Model(circuit if noise else circuit.noiseless(), "Z0")
            for call in (qpr.expectation, qpr.value_and_grad):
                with pytest.raises(qpr.QupropError, match="fewer qubits"):
                    call(model, [0.1], engine="density")
            with pytest.raises(qpr.QupropError, match=f"a mixed state of {n} qubits needs"):
                engine().values(model, np.zeros((1, 1)), NONE)


def test_vectors_that_are_kept_for_the_way_back_are_counted_beforehand(monkeypatch):
    """Ten qubits: a value takes one vector of 8 MiB, a gradient with strong damping many."""
    circuit = layered(10, 2, 0.5)
    model, theta = qpr.Model(circuit, "Z0"), np.zeros((1, 40))
    needed = engine().memory(model, 1, "vjp")
    assert engine().memory(model, 1, "values") < 16 << 20 < 80 << 20 < needed
    monkeypatch.setattr("quprop.simulate.memory.available_bytes", lambda: needed - 1)
    engine().values(model, theta, NONE)
    with pytest.raises(qpr.QupropError, match="a mixed state of 10 qubits needs"):
        engine().value_and_grad(model, theta, NONE, np.ones((1, 1)))


INTERRUPTED = """
import numpy as np
import quprop as qpr
from test_noise_native import layered
model = qpr.Model(layered({n}, {layers}), "Z0 Z1")
theta = np.random.default_rng(0).normal(size=({batch}, model.n_params))
print("ready", flush=True)
try:
    while True:
        qpr.value_and_grad(model, theta)
except KeyboardInterrupt:
    print("interrupted", flush=True)
small = qpr.Model(layered(2, 1), "Z0")
print(np.isfinite(qpr.value_and_grad(small, np.zeros(small.n_params))[1]).all(), flush=True)
"""


@pytest.mark.parametrize(("n", "layers", "batch"), [(10, 100, 1), (4, 20, 30_000)], ids=["one_state", "batch"])
def test_control_c_ends_a_long_sweep(n, layers, batch):
    ends_by_control_c(INTERRUPTED.format(n=n, layers=layers, batch=batch))
