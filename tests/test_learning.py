"""Hypotheses that learn measured values: maximum entropy, earlier values kept, whatever the frame."""

import math
import pickle

import numpy as np
import pytest
import scipy.linalg
import scipy.optimize
from test_hypothesis import LOSSLESS, all_paulis, matrix, random_pauli, random_state, relative_entropy
from tolerances import tolerance

from quprop import Circuit, Model, params
from quprop.collective.hypothesis import (
    HYPOTHESES,
    DenseHypothesis,
    KernelHypothesis,
    TypicalityHypothesis,
    kernel,
    max_entropy,
    mistake_bound,
    round_trip,
)
from quprop.collective.hypothesis.round_trip import ROTATION_BYTES
from quprop.errors import QupropError
from quprop.model.pauli import PauliString
from quprop.simulate import vectors as vectors_by_hand
from quprop.simulate.state_vector.native import NativeEngine

# Those that keep all values: what is fitted exactly, and how near product form comes
KEEPING = {k: LOSSLESS[k][0] for k in ("dense", "kernel", "typicality_product")}


@pytest.fixture
def to_the_end(monkeypatch):
    """Fits are made to many digits, to compare them."""
    monkeypatch.setattr(max_entropy, "ACCURACY", 1e-6)
    monkeypatch.setattr(max_entropy, "STEPS", 200)


def turn_of(pauli, angle, n):
    return scipy.linalg.expm(-0.5j * angle * matrix(pauli, n))


def exp_state(log):
    out = scipy.linalg.expm(log)
    return out / np.trace(out).real


class EntropyTruth:
    """Maximum entropy by expm and a minimiser without gradients, every observable turned along with sigma."""

    def __init__(self, n):
        self.n = n
        self.base = np.zeros((2**n, 2**n), complex)
        self.told = []
        self.h = np.zeros(0)

    def rotate(self, pauli, angle):
        turn = turn_of(pauli, angle, self.n)
        self.base = turn @ self.base @ turn.conj().T
        self.told = [(turn @ a @ turn.conj().T, b, e) for a, b, e in self.told]

    def update(self, pauli, step):
        self.base = self.base + step / 2 * matrix(pauli, self.n)

    def learn(self, pauli, value, error):
        self.learn_matrix(matrix(pauli, self.n), value, error)

    def learn_matrix(self, observable, value, error):
        self.told.append((observable, value, error))
        self.h = np.append(self.h, 0.0)

        def objective(h):
            log = self.log(h)
            penalty = sum((e * x) ** 2 / 2 - x * b for x, (_, b, e) in zip(h, self.told, strict=True))
            return math.log(np.trace(scipy.linalg.expm(log)).real) + penalty

        options = {"xtol": 1e-9, "ftol": 1e-14}
        self.h = scipy.optimize.minimize(objective, self.h, method="Powell", options=options).x

    def log(self, h=None):
        return self.base + sum(x * a for x, (a, _, _) in zip(self.h if h is None else h, self.told, strict=True))

    def matrix(self):
        return exp_state(self.log())


def follow(hypotheses, n, seed, values=4, length=16, error=0.05, extra=None):
    """The same rotations for all, and `values` measured values of random strings in between."""
    rng = np.random.default_rng(seed)
    for t in range(length):
        pauli, amount = random_pauli(rng, n), float(rng.normal())
        for h in hypotheses:
            if t % (length // values) == 0:
                h.learn(pauli, 0.5 * math.tanh(amount), error * (1 + t / length))
            else:
                h.rotate(pauli, amount)
            if t == extra:
                h.update(pauli, 0.7)


@pytest.mark.parametrize("n, seed", [(1, 0), (2, 1), (2, 2), (3, 3)])
def test_dense_is_the_state_of_maximum_entropy(to_the_end, n, seed):
    truth, h = EntropyTruth(n), DenseHypothesis(n)
    h.update(random_pauli(np.random.default_rng(9), n), 0.6)
    truth.update(random_pauli(np.random.default_rng(9), n), 0.6)
    follow((truth, h), n, seed, extra=9)
    assert np.abs(h.matrix() - truth.matrix()).max() < 1e-5
    assert np.abs(truth.h).max() > 0.1, "nothing was learned: nothing is tested"


def test_events_that_are_no_strings_are_learned_likewise(to_the_end):
    n, rng = 2, np.random.default_rng(3)
    truth, h = EntropyTruth(n), DenseHypothesis(n)
    for value in (0.2, 0.6, 0.45):
        event = random_state(rng, n, 2)
        event /= np.linalg.eigvalsh(event)[-1]  # 0 <= E <= 1, with a trace
        for s in (truth, h):
            s.learn_matrix(event, value, 0.03)
            s.rotate(PauliString.parse("X0 Y1"), 0.4)
    assert np.abs(h.matrix() - truth.matrix()).max() < 1e-5
    as_string, as_matrix = DenseHypothesis(n), DenseHypothesis(n)
    string = PauliString.parse("-X0 Z1")
    as_string.learn(string, 0.3, 0.02)
    as_matrix.learn_matrix(matrix(string, n), 0.3, 0.02)
    assert np.abs(as_string.matrix() - as_matrix.matrix()).max() < tolerance(100)
    before = as_matrix.matrix()
    as_matrix.learn_matrix(0.5 * np.eye(4), 0.9, 0.0)  # the identity says nothing
    assert np.array_equal(as_matrix.matrix(), before)


@pytest.mark.parametrize("most", [1, 2])
def test_the_oldest_value_makes_room_as_it_is(to_the_end, most):
    n, truth, h = 2, EntropyTruth(2), DenseHypothesis(2, most_values=most)
    rng = np.random.default_rng(5)
    for _ in range(4):
        pauli, turn = random_pauli(rng, n), random_pauli(rng, n)
        value = float(rng.uniform(-0.5, 0.5))
        if len(truth.told) == most:
            truth.base = truth.base + truth.h[0] * truth.told[0][0]
            truth.told, truth.h = truth.told[1:], truth.h[1:]
        for s in (truth, h):
            s.learn(pauli, value, 0.05)
            s.rotate(turn, 0.6)
        assert np.abs(h.matrix() - truth.matrix()).max() < 1e-5
    assert h.classical_bytes < h.required_bytes(n, most_values=most)


@pytest.mark.parametrize("name", LOSSLESS)
@pytest.mark.parametrize("value, error", [(0.3, 0.0), (-0.6, 0.01), (0.9, 0.02), (0.05, 0.001)])
def test_a_measured_value_is_predicted(name, value, error):
    n, rng = 3, np.random.default_rng(2)
    h = LOSSLESS[name][0](n)
    for _ in range(3):
        pauli = random_pauli(rng, n)
        h.learn(pauli, value, error)
        # four steps, or an error that holds the value back by e^2 h
        assert abs(h.predict(pauli) - value) < max(2e-3, 1.5 * error)
        for _ in range(3):
            h.rotate(random_pauli(rng, n), float(rng.normal()))


def values_at_their_places(make, n, error, seed=7):
    """True values of a state that turns are learned; then how far off each is predicted at its place, in order."""
    rng = np.random.default_rng(seed)
    rho, h = random_state(rng, n, 2), make(n)
    told, turns = [], []
    for t in range(40):
        if t % 4 == 0:
            pauli = random_pauli(rng, n)
            while abs(value := float(np.trace(rho @ matrix(pauli, n)).real)) < 0.1:
                pauli = random_pauli(rng, n)
            h.learn(pauli, value, error)
            told.append((pauli, value, len(turns)))
        else:
            turns.append((random_pauli(rng, n), float(rng.normal())))
            h.rotate(*turns[-1])
            turn = turn_of(*turns[-1], n)
            rho = turn @ rho @ turn.conj().T
    errors, done = [], len(turns)
    for pauli, value, place in reversed(told):
        for turn, angle in reversed(turns[place:done]):
            h.rotate(turn, -angle)
        done = place
        errors.append(abs(h.predict(pauli) - value))
    return errors[::-1]


@pytest.mark.parametrize("name", KEEPING)
def test_earlier_values_are_kept(name, monkeypatch):
    n, error = 3, 0.02
    assert max(values_at_their_places(KEEPING[name], n, error)) < 2 * error
    if name == "typicality_product":  # without the way back they are not
        monkeypatch.setattr(round_trip.RoundTrip, "_way", lambda self: [len(self._places) - 1])
        assert max(values_at_their_places(KEEPING[name], n, error)) > 4 * error


@pytest.mark.parametrize("name", LOSSLESS)
def test_learning_and_turning_is_turning_and_learning_what_was_turned(name):
    n, rng = 3, np.random.default_rng(11)
    first, second = LOSSLESS[name][0](n), LOSSLESS[name][0](n)
    for _ in range(4):
        pauli, turn, angle = random_pauli(rng, n), random_pauli(rng, n), float(rng.normal())
        while turn.commutes(pauli):
            turn = random_pauli(rng, n)
        product = turn * pauli
        turned = PauliString(product.x, product.z, product.phase - 1)  # R P R† of a quarter turn, -i T P
        value = float(rng.uniform(-0.6, 0.6))
        first.learn(pauli, value, 0.01)
        first.rotate(turn, math.pi / 2)
        second.rotate(turn, math.pi / 2)
        second.learn(turned, value, 0.01)
        for h in (first, second):
            h.rotate(random_pauli(np.random.default_rng(1), n), angle)
        assert np.abs(first.matrix() - second.matrix()).max() < 1e-8
    assert np.abs(first.matrix() - np.eye(8) / 8).max() > 0.02


def test_a_trip_with_nothing_to_correct_changes_nothing():
    n, rng = 4, np.random.default_rng(4)
    for precision, factor in (("double", np.float64), ("single", np.float32)):
        h = TypicalityHypothesis(n, 5, 1, precision=precision)
        turns = [(random_pauli(rng, n), float(rng.normal())) for _ in range(30)]
        pauli = random_pauli(rng, n)
        h.learn(pauli, 0.4, 0.01)
        for turn in turns:
            h.rotate(*turn)
        before, here = h.matrix(), random_pauli(rng, n)
        h.learn(here, h.predict(here), 0.01)
        assert np.abs(h.matrix() - before).max() < tolerance(300, factor)


def relative_entropy_of(rho, h):
    """S(rho || sigma) from log sigma, where sigma is too near a pure state for its eigenvalues to say."""
    log = (h._vectors * h._logs) @ h._vectors.conj().T
    own = sum(v * math.log(v) for v in np.linalg.eigvalsh(rho) if v > 1e-14)
    return own - float(np.trace(rho @ log).real) + math.log(np.exp(h._logs).sum())


@pytest.mark.parametrize("rank", [1, 2, 8])
@pytest.mark.parametrize("gap", [0.05, 0.15])
def test_every_exact_value_lowers_the_relative_entropy_by_two_gap_squared(rank, gap):
    n, rng = 3, np.random.default_rng(rank)
    rho = random_state(rng, n, rank)
    paulis = [p if rng.random() < 0.5 else -p for p in all_paulis(n)]
    h, before = DenseHypothesis(n), relative_entropy(rho, np.eye(8) / 8)
    for _ in range(2):
        for pauli in paulis:
            value = float(np.trace(rho @ matrix(pauli, n)).real)
            seen = abs(value - h.predict(pauli)) / 2
            if seen > gap:
                h.learn(pauli, value, 0.0)
                after = relative_entropy_of(rho, h)
                assert after <= before - 2 * seen**2 + 1e-5  # an error of 1e-3 stands for 0
                before = after
    assert h.updates <= mistake_bound(n, gap) and (rank == 8 or h.updates > 3)
    assert max(abs(np.trace(rho @ matrix(p, n)).real - h.predict(p)) for p in paulis) <= 2 * gap


@pytest.mark.slow
def test_errors_of_values_cost_no_more_than_the_bound_allows():
    """sum of gap^2/(2 (1 + e^2)) <= n ln 2 + sum of |h d| - e^2 h^2/2."""
    n, e = 4, 0.05
    for seed in range(4):
        rng = np.random.default_rng(seed)
        rho, h = random_state(rng, n, 2), DenseHypothesis(n)
        spent, off = 0.0, []
        for _ in range(60):
            pauli = random_pauli(rng, n)
            value = float(np.trace(rho @ matrix(pauli, n)).real)
            off.append(float(rng.normal(0, e)))
            told = float(np.clip(value + off[-1], -1, 1))
            off[-1] = told - value
            spent += (told - h.predict(pauli)) ** 2 / (2 * (1 + e**2))
            h.learn(pauli, told, e)
            turn, angle = random_pauli(rng, n), float(rng.normal())
            h.rotate(turn, angle)
            rho = turn_of(turn, angle, n) @ rho @ turn_of(turn, angle, n).conj().T
        multipliers = h._values._known[0]
        assert spent <= n * math.log(2) + np.abs(multipliers * off).sum() - (e * multipliers) @ (e * multipliers) / 2
        assert spent > 0.5


@pytest.mark.parametrize("name", LOSSLESS)
def test_stabilisers_may_be_known_beforehand(name):
    """Two commuting strings of value 1, told out of range too, and what follows from them: their product."""
    h, again = LOSSLESS[name][0](3), LOSSLESS[name][0](3)
    strings = [PauliString.parse("X0 Z1"), PauliString.parse("-Z0 X1 Z2")]
    assert strings[0].commutes(strings[1])
    for string in strings:
        h.learn(string, 1.0, 1e-3)
        again.learn(string, 1.4, 1e-3)
    assert np.array_equal(h.matrix(), again.matrix())
    assert min(h.predict(s) for s in strings) > 0.99
    if name != "kernel":  # of first order
        assert h.predict(strings[0] * strings[1]) > 0.98
        assert np.linalg.eigvalsh(h.matrix())[0] > -tolerance(100)
    h.learn(PauliString.parse("Y2"), 0.2, 0.01)  # anticommutes with the second: 1 and 0.2 cannot both be
    assert np.isfinite(h.matrix()).all() and abs(h.predict(strings[0])) <= 1


@pytest.mark.parametrize("make", [DenseHypothesis, KernelHypothesis])
def test_values_that_contradict_one_another_are_averaged(make):
    h, string = make(2), PauliString.parse("X0 Y1")
    for value in (0.5, -0.1, 0.2):
        h.learn(string, value, 0.0)
    assert abs(h.predict(string) - 0.2) < 1e-3


@pytest.mark.parametrize("name", [*KEEPING, "low_rank", "matrix_product"])
def test_what_learns_is_copied_counted_and_kept(name):
    n = 3
    make = HYPOTHESES[name.removesuffix("_product") if "typicality" in name else name]
    h = make(n)
    h.learn(PauliString.parse("-I"), 0.3, 0.1)
    assert h.updates == 0
    follow((h,), n, 6)
    twin, before, ops, updates = h.copy(), h.matrix(), h.classical_ops, h.updates
    assert ops > 0 and updates >= 3 and 0 < h.classical_bytes <= make.required_bytes(n) + 20 * ROTATION_BYTES
    follow((twin,), n, 8)
    assert np.array_equal(h.matrix(), before) and (h.classical_ops, h.updates) == (ops, updates)
    assert twin.classical_ops > ops and twin.updates > updates and not np.allclose(twin.matrix(), before)
    other, twin = pickle.loads(pickle.dumps(h)), h.copy()
    for seed in (8, 10, 11):  # in turns with a copy that goes elsewhere
        follow((h, other), n, seed)
        follow((twin,), n, seed + 20)
    again = make(n)
    for seed in (6, 8, 10, 11):
        follow((again,), n, seed)
    assert np.array_equal(h.matrix(), again.matrix()) and np.array_equal(other.matrix(), again.matrix())


def test_many_values_of_a_kernel_make_room(monkeypatch):
    n, rng = 5, np.random.default_rng(0)
    h = KernelHypothesis(n)
    for _ in range(40):
        pauli, value = random_pauli(rng, n), float(rng.uniform(-0.2, 0.2))
        h.learn(pauli, value, 0.0)
        assert abs(h.predict(pauli) - value) < 1e-4
        h.rotate(random_pauli(rng, n), 0.2)
    assert h.updates == 40 and h.classical_bytes <= h.required_bytes(n)
    monkeypatch.setattr(kernel, "HELD", 1)
    h = KernelHypothesis(n)
    for text in ("X0", "Z1 Z2", "Y3"):  # of which none moves another
        h.learn(PauliString.parse(text), 0.3, 0.0)
    assert min(h.predict(PauliString.parse(text)) for text in ("X0", "Z1 Z2", "Y3")) > 0.299


def test_a_kernel_projects_on_the_planes_of_its_values():
    n, rng = 3, np.random.default_rng(1)
    rho, h = random_state(rng, n, 2), KernelHypothesis(n)
    distance = np.linalg.norm(rho - h.matrix()) ** 2
    for _ in range(8):
        pauli, turn, angle = random_pauli(rng, n), random_pauli(rng, n), float(rng.normal())
        value = float(np.trace(rho @ matrix(pauli, n)).real)
        seen = value - h.predict(pauli)
        h.learn(pauli, value, 0.0)
        after = np.linalg.norm(rho - h.matrix()) ** 2
        assert after <= distance - seen**2 / 2**n + 1e-6
        distance = after
        h.rotate(turn, angle)
        rho = turn_of(turn, angle, n) @ rho @ turn_of(turn, angle, n).conj().T


@pytest.mark.parametrize("name", ["dense", "typicality_exact"])
@pytest.mark.parametrize("factor", [0.0, 0.4, 1.0])
def test_tempering_multiplies_the_logarithm(name, factor):
    n, h = 3, LOSSLESS[name][0](3)
    h.temper(factor)  # of 1/2^n: nothing
    assert np.abs(h.matrix() - np.eye(8) / 8).max() < tolerance(10)
    follow((h,), n, 3, error=0.02)
    expected = exp_state(factor * scipy.linalg.logm(h.matrix()))
    h.temper(factor)
    assert np.abs(h.matrix() - expected).max() < 1e-9
    if name == "dense":  # earlier values are part of H0 now
        truth = EntropyTruth(n)
        truth.base = scipy.linalg.logm(expected)
        for s in (truth, h):
            s.learn(PauliString.parse("X0 Z2"), 0.3, 0.05)
        assert np.abs(h.matrix() - truth.matrix()).max() < 1e-3


def test_a_product_form_is_tempered_by_one_only():
    h = TypicalityHypothesis(3, 8)
    follow((h,), 3, 3)
    before = h.matrix()
    h.temper(1.0)
    assert np.array_equal(h.matrix(), before)
    with pytest.raises(QupropError, match=r"has no logarithm to multiply by 0\.5; temper a DenseHypothesis, or make"):
        h.temper(0.5)


def test_the_best_tempering_predicts_the_measured_values_best():
    n, rng = 3, np.random.default_rng(8)
    assert DenseHypothesis(n).best_temper() == 1.0
    start = DenseHypothesis(n)
    for text in ("X0", "Z1 Z2", "Y0 X1"):
        start.update(PauliString.parse(text), 2.0)
    candidates = [0.0, 0.25, 0.5, 0.65, 0.8, 0.9, 1.0]
    for true in (0.0, 0.3, 0.55, 1.0):
        truth = start.copy()
        truth.temper(true)
        h, tempered, errors = start.copy(), [start.copy() for _ in candidates], np.zeros(len(candidates))
        for s, c in zip(tempered, candidates, strict=True):
            s.temper(c)
        for _ in range(6):
            pauli, turn = PauliString.parse(str(rng.choice(["X0", "Z1 Z2", "Y0 X1", "X2"]))), random_pauli(rng, n)
            value = truth.predict(pauli)
            errors += [(s.predict(pauli) - value) ** 2 for s in tempered]
            h.learn(pauli, value, 0.01)
            for s in (h, truth, *tempered):
                s.rotate(turn, 0.1)
        assert h.best_temper(candidates) == candidates[int(np.argmin(errors))]
        assert abs(h.best_temper(candidates) - true) <= 0.1


@pytest.mark.parametrize(
    "call, words",
    [
        (lambda h: h.learn("X0", 0.1, 0.1), "a hypothesis works with PauliStrings, got str"),
        (lambda h: h.learn(PauliString.parse("X3"), 0.1, 0.1), "has 3 qubits, got X3"),
        (lambda h: h.learn(PauliString.parse("X0"), math.nan, 0.1), "`value` must be a finite number, got nan"),
        (lambda h: h.learn(PauliString.parse("X0"), 0.1, math.inf), "`error` must be a finite number, got inf"),
        (lambda h: h.learn(PauliString.parse("X0"), 0.1, -0.1), "`error` is a standard error, 0 or more, got -0.1"),
    ],
)
@pytest.mark.parametrize("name", HYPOTHESES)
def test_values_that_are_none_are_refused(name, call, words):
    h = HYPOTHESES[name](3)
    with pytest.raises(QupropError, match=words):
        call(h)
    assert h.updates == 0 and h.classical_ops == 0


@pytest.mark.parametrize(
    "call, words",
    [
        (lambda h: h.temper(1.5), r"`factor` must be in \[0, 1\], got 1.5"),
        (lambda h: h.temper(math.nan), "`factor` must be a finite number"),
        (lambda h: h.best_temper([]), "`candidates` are one or more numbers in"),
        (lambda h: h.best_temper([0.5, -0.1]), "`candidates` are one or more numbers in"),
        (lambda h: h.learn_matrix(np.eye(4), 0.5, 0.1), "takes matrices of size 8, got shape"),
        (lambda h: DenseHypothesis(3, most_values=0), "`most_values` must be an integer of at least 1"),
    ],
)
def test_dense_refuses_what_makes_no_sense(call, words):
    with pytest.raises(QupropError, match=words):
        call(DenseHypothesis(3))


@pytest.mark.parametrize("precision", ["double", "single"])
@pytest.mark.parametrize("n, batch", [(1, 1), (2, 3), (5, 16), (7, 1), (11, 3)])
def test_a_circuit_evolves_every_vector_given(precision, n, batch):
    """In place of the model's own state, of any norm, up to one phase for all."""
    rng = np.random.default_rng(n)
    theta = params("theta", 20)
    circuit, angles = Circuit(n, params=theta), rng.normal(size=(1, 20))
    vectors = rng.normal(size=(batch, 2**n)) + 1j * rng.normal(size=(batch, 2**n))
    vectors *= np.arange(1, batch + 1)[:, None]
    expected = vectors
    for t in range(20):
        pauli = random_pauli(rng, n)
        circuit.rotation(pauli, theta[t])
        expected = vectors_by_hand.rotate(pauli, angles[0, t], expected)
    found = NativeEngine(precision).evolve(Model(circuit, "Z0"), angles, np.zeros((1, 0)), vectors)
    phase = np.vdot(expected, found) / np.vdot(expected, expected)
    roundings = tolerance(200, np.float64 if precision == "double" else np.float32)
    assert abs(abs(phase) - 1) < roundings and np.abs(found - phase * expected).max() < roundings * 5 * batch
    with pytest.raises(QupropError, match="an engine takes vectors as an array of shape"):
        NativeEngine(precision).evolve(Model(circuit, "Z0"), angles, np.zeros((1, 0)), vectors[:, 1:])


def test_an_image_carries_what_was_learned_to_another():
    """sigma = T tau T†: values are of tau, and predictions under another map those of the tau that was found."""
    rng = np.random.default_rng(11)
    first, second = (np.linalg.qr(rng.normal(size=(8, 4)) + 1j * rng.normal(size=(8, 4)))[0] for _ in range(2))
    second = 0.8 * second  # need not be an isometry
    h = DenseHypothesis(3, image=first)
    assert np.allclose(h.matrix(), first @ first.conj().T / 4)
    strings = [PauliString(int(x), int(z)) for x, z in rng.integers(0, 8, (4, 2)) if x or z]
    h.rotate(PauliString(5, 1), 0.7)
    for p, value in zip(strings, (0.5, -0.3, 0.2, 0.1), strict=False):
        h.learn(p, value, 0.01)
    turn = PauliString(5, 1).matrix(3)
    turned = (np.cos(0.35) * np.eye(8) - 1j * np.sin(0.35) * turn) @ first
    tau = turned.conj().T @ h.matrix() @ turned
    assert np.allclose(turned @ tau @ turned.conj().T, h.matrix()) and np.trace(tau).real == pytest.approx(1)
    assert np.linalg.norm(tau - np.eye(4) / 4) > 0.05
    h.carry(second)
    assert np.allclose(h.matrix(), second @ tau @ second.conj().T, atol=1e-12)
    p = strings[0]
    assert h.predict(p) == pytest.approx(np.trace(second @ tau @ second.conj().T @ p.matrix(3)).real, abs=1e-12)
    before = h.copy()
    h.learn(strings[1], 0.4, 0.01)  # earlier values stay in force
    h.carry(turned)
    assert h.predict(p) == pytest.approx(0.5, abs=0.1)
    before.temper(0.0)
    assert np.allclose(before.matrix(), second @ second.conj().T / 4)
    for bad, words in (
        (lambda: h.carry(first[:4]), r"has shape \(8, 4\), got \(4, 4\)"),
        (lambda: h.predict_matrix(np.eye(8)), "takes Pauli strings, got a matrix"),
        (lambda: DenseHypothesis(3).carry(first), "made with an image"),
    ):
        with pytest.raises(QupropError, match=words):
            bad()
