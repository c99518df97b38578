"""Engines for many copies: against explicit tensor products, against each other, and against what theory promises."""

import math

import numpy as np
import pytest
from dense import pauli_matrix
from scipy import linalg, optimize, stats

from quprop import PauliString, QupropError
from quprop.collective import engines
from quprop.collective.check import KINDS, Check, gentleness, trigger_probability
from quprop.collective.engines import COPY_ENGINES, auto, symmetric
from quprop.collective.engines.bosonic import BosonicEngine
from quprop.collective.engines.commuting import CommutingEngine
from quprop.collective.engines.fallback import FallbackEngine
from quprop.collective.engines.null import NullEngine
from quprop.collective.engines.product_sum import ProductSumEngine
from quprop.collective.engines.symmetric import SymmetricEngine
from quprop.collective.engines.symmetric_space import Space, dimension
from quprop.collective.event import Event
from quprop.collective.protocol import EngineError
from quprop.simulate.vectors import rotate

READERS = ["gaussian", "mean_field"]  # made for Gaussian readings of counts
Z = Event(PauliString.parse("Z0"))


def random_state(d, rng):
    psi = rng.normal(size=d) + 1j * rng.normal(size=d)
    return psi / np.linalg.norm(psi)


def random_pauli(n, rng, least=0):
    while True:
        p = PauliString(int(rng.integers(2**n)), int(rng.integers(2**n)))
        if p.weight >= least:
            return -p if rng.random() < 0.5 else p


class TensorProduct:
    """k copies as one vector of d^k amplitudes; operators by dense matrices on one copy after the other."""

    def __init__(self, psi, k):
        self.d, self.k = len(psi), k
        self.vector = psi
        for _ in range(k - 1):
            self.vector = np.kron(self.vector, psi)

    def on_all(self, u, vector):
        t = vector.reshape((self.d,) * self.k)
        for axis in range(self.k):
            t = np.moveaxis(np.tensordot(u, t, (1, axis)), 0, axis)
        return t.reshape(-1)

    def rotate(self, pauli, angle):
        u = linalg.expm(-0.5j * angle * pauli_matrix(pauli, self.d.bit_length() - 1))
        self.vector = self.on_all(u, self.vector)

    def measured(self, event, f):
        """The norm of sqrt(f(S)) on the batch, and the batch after it."""
        sign, v = np.linalg.eigh(pauli_matrix(event.pauli, self.d.bit_length() - 1))
        accepts = (sign > 0).astype(int)
        counts = np.zeros((self.d,) * self.k, int)
        for axis in range(self.k):
            counts += accepts.reshape([-1 if i == axis else 1 for i in range(self.k)])
        turned = self.on_all(v.conj().T, self.vector) * np.sqrt(f[counts.reshape(-1)])
        after = self.on_all(v, turned)
        size = np.linalg.norm(turned)
        return size**2, after / size


# --- the symmetric space ----------------------------------------------------------------------------------------------

SIZES = [(1, 1), (1, 12), (2, 1), (2, 4), (2, 8), (3, 2), (3, 5), (4, 3)]


def compared(n, k, seed, mutate=None):
    """The largest difference between the symmetric engine and the tensor product in a random course of checks."""
    rng = np.random.default_rng(seed)
    psi = random_state(2**n, rng)
    batch, full, worst = SymmetricEngine().prepare(psi, k), TensorProduct(psi, k), 0.0
    for step in range(5):
        p, angle = random_pauli(n, rng), rng.uniform(-7, 7)
        batch.rotate(p, -angle if mutate == step else angle)
        full.rotate(p, angle)
        check = Check(Event(random_pauli(n, rng)), rng.uniform(0.4, 1.0), rng.uniform(0.3, 2) * math.sqrt(k))
        check = Check(check.event, check.threshold, check.noise, str(rng.choice(KINDS)))
        f = check.trigger(np.arange(k + 1), k)
        probability, _ = full.measured(check.event, f)
        worst = max(worst, abs(probability - batch.probability(check)))
        if probability < 0.95:
            _, full.vector = full.measured(check.event, 1 - f)
            batch.survive(check)
    fidelity = abs(np.vdot(TensorProduct(batch._state, k).vector, full.vector)) ** 2
    return max(worst, abs(fidelity - batch.fidelity()))


@pytest.mark.parametrize("n, k", SIZES)
def test_the_symmetric_engine_is_the_tensor_product(n, k):
    assert compared(n, k, seed=10 * n + k) < 1e-10


@pytest.mark.slow
@pytest.mark.parametrize("n, k", [(1, 20), (2, 10), (4, 5)])  # 2^20 amplitudes
def test_the_symmetric_engine_is_the_tensor_product_of_a_million_amplitudes(n, k):
    assert compared(n, k, seed=3) < 1e-10


def test_a_flipped_sign_would_be_seen():
    assert compared(2, 4, seed=24, mutate=1) > 1e-3


def test_a_wrong_turning_of_events_would_be_seen(monkeypatch):
    right = symmetric._turning
    monkeypatch.setattr(symmetric, "_turning", lambda p: (right(p)[0], not right(p)[1]))
    assert compared(2, 4, seed=24) > 1e-3


@pytest.mark.parametrize("n, k", [(1, 7), (2, 9), (3, 4), (5, 2)])
def test_the_space_lists_every_configuration_once(n, k):
    space = Space(n, k)
    assert space.size == dimension(k, 2**n) == len({tuple(c) for c in space.occupations.T})
    assert np.all(space.occupations.sum(axis=0) == k) and np.all(space.occupations >= 0)
    rng = np.random.default_rng(0)
    vector = rng.normal(size=space.size)
    for old in range(1, 2**n):
        for new in (1, 2**n - 1):
            there = space.relabelled(vector, old, new)
            np.testing.assert_array_equal(space.relabelled(there, new, old), vector)


@pytest.mark.slow
def test_large_spins_turn_back_exactly_and_obey_the_binomial_law():
    """k = 10,000 copies of a qubit, rotated by a Chebyshev series; a first check has the closed form's law."""
    k, rng = 10_000, np.random.default_rng(3)
    psi = random_state(2, rng)
    batch = SymmetricEngine().prepare(psi, k)
    start = batch._vector.copy()
    for p, a in [("X0", 2.9), ("Y0", -0.7)]:
        batch.rotate(PauliString.parse(p), a)
    event = Event(PauliString.parse("-X0"))
    mean = batch.mean(event)
    check = Check(event, mean + 0.01, 60.0)
    assert batch.probability(check) == pytest.approx(check.probability(k, mean), abs=1e-10)
    np.testing.assert_allclose(batch.law(event), stats.binom.pmf(np.arange(k + 1), k, mean), atol=1e-11)
    assert 1 - batch.fidelity() < 1e-10
    for p, a in [("Y0", 0.7), ("X0", -2.9)]:
        batch.rotate(PauliString.parse(p), a)
    assert 1 - abs(np.vdot(start, batch._vector)) ** 2 < 1e-10


def test_the_series_is_the_matrix():
    """The same rotation of 700 copies by the eigenvectors of Jx and by the Chebyshev series."""
    from quprop.collective.engines import beam_splitter

    rng = np.random.default_rng(4)
    part = rng.normal(size=(2, 701, 1)) + 1j * rng.normal(size=(2, 701, 1))
    for angle in (0.3, -1.5, 3.0, -8.0, 0.0):
        by_matrix = beam_splitter.mixed(part, 700, 0, angle, {})
        np.testing.assert_allclose(beam_splitter._series(part, 700, angle), by_matrix, atol=1e-10)


@pytest.mark.parametrize("kind", KINDS)
def test_one_pass_costs_the_infidelity_of_the_classical_law(kind):
    """|<Psi|after>|^2 in the symmetric space is the binomial formula, and Var(f)/4 when P is small."""
    psi, k = random_state(4, np.random.default_rng(8)), 60
    for p in ("X0", "Z0 Z1", "Y0 X1"):
        batch = SymmetricEngine().prepare(psi, k)
        event = Event(PauliString.parse(p))
        mean = batch.mean(event)
        check = Check(event, mean + (0.5 if kind == "exponential" else 0.3), 7.0, kind)
        batch.survive(check)
        exact = gentleness(check, k, mean)
        assert 1 - batch.fidelity() == pytest.approx(exact.infidelity, rel=1e-6)
        assert batch.ledger.infidelity == pytest.approx(exact.infidelity, rel=1e-6)
        assert exact.infidelity == pytest.approx(check.variance(k, mean) / 4, rel=0.1)
        assert batch.ledger.trace_bound == pytest.approx(exact.pass_distance)


@pytest.mark.parametrize("c", [1.0, 2.0])
def test_damage_follows_the_sum_of_trigger_probabilities(c):
    """60 passes on non-commuting events, lambda = c sqrt(k): the batch is within sum P sigma/(2 lambda) of where it
    began, and so are its trajectories, in total variation, of those of undisturbed copies."""
    p, (exact, null) = course([SymmetricEngine(), NullEngine()], 1, 400, 60, 0.02, c, 5)
    assert exact.ledger.trace_distance < null.ledger.trace_bound < 1.2 * 0.02 * 60 / (4 * c)
    survival = np.cumprod(1 - p, axis=0)  # (checks, 2)
    ends = np.vstack([p[:1], survival[:-1] * p[1:], survival[-1:]])
    assert np.abs(ends[:, 0] - ends[:, 1]).sum() / 2 < null.ledger.error
    assert np.abs(p[:, 0] - p[:, 1]).max() > 1e-4  # the disturbance is there


@pytest.mark.slow
def test_readings_have_the_mean_and_variance_of_count_and_pointer():
    psi, k, s = random_state(4, np.random.default_rng(9)), 12, 4.0
    event, rng = Event(PauliString.parse("X0 Y1")), np.random.default_rng(1)
    values = np.array([SymmetricEngine().prepare(psi, k).read(event, s, rng) for _ in range(1500)])
    p = float(event.mean(psi))
    deviation = math.sqrt(k * p * (1 - p) + s**2)
    assert abs(values.mean() - k * p) < 5 * deviation / math.sqrt(1500)
    assert abs(values.std() / deviation - 1) < 5 / math.sqrt(3000)


def test_a_sharp_reading_repeats():
    psi = random_state(4, np.random.default_rng(9))
    batch, event = SymmetricEngine().prepare(psi, 12), Event(PauliString.parse("X0 Y1"))
    first = batch.read(event, 0.05, 3)
    assert abs(first - round(first)) < 0.3
    assert batch.law(event)[round(first)] == pytest.approx(1.0, abs=1e-9)


@pytest.mark.parametrize("c", [0.35, 0.5, 1.0, 2.0])
@pytest.mark.parametrize("probability", [0.01, 0.1, 0.5, 0.97])
def test_the_sum_of_exact_pass_distances_bounds_the_distance_of_the_batch(c, probability):
    """The same check over and over, both sides of one event, and events that do not commute; all pass."""
    k, rng = 300, np.random.default_rng(7)
    noise = c * math.sqrt(k)
    for kind in ("same", "sides", "any", "any"):
        batch = SymmetricEngine().prepare(random_state(2, rng), k)
        for step in range(12):
            event = Event(random_pauli(1, rng, 1)) if kind == "any" else Z
            event = event.complement() if kind == "sides" and step % 2 else event
            check = at_probability(event, batch.mean(event), probability, k, noise)
            if batch.probability(check) > 0.999:
                break
            batch.survive(check)
            ratio = batch.ledger.trace_distance / batch.ledger.trace_bound
            assert ratio <= 1 + 1e-6  # the square root of rounding
            assert step or ratio == pytest.approx(1, abs=1e-6)


# --- sums of product states -------------------------------------------------------------------------------------------


def at_probability(event, mean, probability, k, noise):
    """The check that triggers with this probability on undisturbed copies."""
    theta = optimize.brentq(lambda t: trigger_probability(k, mean, t, noise) - probability, mean - 1, mean + 5)
    return Check(event, theta, noise)


def course(engines, n, k, checks, probability, c, seed):
    """Random rotations and checks, all passing, each with this probability on undisturbed copies: (checks, engines)."""
    rng = np.random.default_rng(seed)
    psi = random_state(2**n, rng)
    batches, out = [e.prepare(psi, k) for e in engines], []
    noise = c * math.sqrt(k)
    for _ in range(checks):
        p, angle, event = random_pauli(n, rng), rng.uniform(-2, 2), Event(random_pauli(n, rng, 1))
        for b in batches:
            b.rotate(p, angle)
        mean = batches[0].mean(event)
        check = at_probability(event, mean, probability, k, noise)
        out.append([b.survive(check) for b in batches])
    return np.array(out), batches


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_a_sum_of_product_states_is_right_far_beyond_the_null_model(seed):
    """k = 200, 25 checks, sum P = 0.25: first order removes all but 6e-5 of 3.7e-4 of the null model's error."""
    engines = [SymmetricEngine(), ProductSumEngine(order=1), ProductSumEngine(order=2), ProductSumEngine()]
    p, batches = course(engines, 1, 200, 25, 0.01, 0.5, seed)
    deviation = np.abs(p[:, 0] - 0.01).max()
    first, second = np.abs(p[:, 1] - p[:, 0]).max(), np.abs(p[:, 2] - p[:, 0]).max()
    assert deviation > 2e-4
    assert first < 6e-5 / 3.7e-4 * deviation
    assert second < first / 3
    np.testing.assert_array_equal(p[:, 3], p[:, 1])  # sum P is below 0.5: first order is what is asked for
    for batch, error in ((batches[1], first), (batches[2], second)):
        assert error < batch.ledger.error < 0.01
        # E f^2 leans towards counts above the threshold, where the product form overshoots
        assert batch.ledger.infidelity == pytest.approx(batches[0].ledger.infidelity, rel=0.3)
    assert batches[1].terms == 26 and batches[2].terms > 300


def test_a_sum_of_product_states_on_two_qubits():
    p, batches = course([SymmetricEngine(), ProductSumEngine()], 2, 60, 20, 0.01, 0.5, 1)
    error = np.abs(p[:, 1] - p[:, 0]).max()
    assert error < 0.05 * np.abs(p[:, 0] - 0.01).max()
    assert error < batches[1].ledger.error


def test_second_order_begins_when_the_probabilities_have_added_up():
    engines = [SymmetricEngine(), ProductSumEngine(), ProductSumEngine(order=1)]
    p, batches = course(engines, 1, 200, 30, 0.05, 1.0, 1)
    assert batches[0].ledger.probability > 1.4
    by_default, first_only = np.abs(p[:, 1] - p[:, 0]).max(), np.abs(p[:, 2] - p[:, 0]).max()
    assert batches[1].ledger.infidelity == pytest.approx(batches[0].ledger.infidelity, rel=0.3)
    assert by_default < first_only / 2 and by_default < np.abs(p[:, 0] - 0.05).max() / 10
    assert batches[1].terms > 31 == batches[2].terms


def test_terms_below_the_cutoff_are_not_made_and_are_reported():
    rng = np.random.default_rng(0)
    batch = ProductSumEngine().prepare(random_state(8, rng), 500)
    event = Event(PauliString.parse("X0 Z1"))
    batch.survive(Check(event, batch.mean(event) + 0.6, 12.0))
    assert batch.terms == 1 and 0 < batch.ledger.error < 1e-6
    batch.survive(Check(event, batch.mean(event) + 0.1, 12.0))
    assert batch.terms == 2


def test_many_copies_of_many_qubits_stay_finite():
    rng = np.random.default_rng(0)
    k = 1_000_000
    batch = ProductSumEngine().prepare(random_state(2**10, rng), k)
    noise = math.sqrt(k) / 2
    for _ in range(4):
        event = Event(random_pauli(10, rng, 1))
        check = Check(event, batch.mean(event) + 3 * noise / k, noise)
        null = check.probability(k, batch.mean(event))
        assert batch.survive(check) == pytest.approx(null, rel=0.5)
        batch.rotate(random_pauli(10, rng), 0.3)
    assert batch.terms == 5 and math.isfinite(batch.ledger.error)


def test_a_sum_of_product_states_triggers_on_what_is_far_above_its_threshold():
    """There f as a product says e^70 and more: on a batch with one faint term the law is that of undisturbed copies."""
    psi, k = random_state(2, np.random.default_rng(3)), 400
    batch, exact = ProductSumEngine().prepare(psi, k), SymmetricEngine().prepare(psi, k)
    for b in (batch, exact):
        b.survive(at_probability(Event(PauliString.parse("X0")), b.mean(Event(PauliString.parse("X0"))), 1e-3, k, 10.0))
    assert batch.terms == 2
    for below in (0.8, 0.4, 0.1, 0.02, 0.0, -0.05):
        check = Check(Z, batch.mean(Z) - below, 10.0)
        assert batch.probability(check) == pytest.approx(exact.probability(check), abs=2e-3)
    assert batch.check(Check(Z, batch.mean(Z) - 0.8, 10.0), 0)
    assert batch.ledger.error <= batch.ledger.trace_bound


def violent(batch, psi, noise):
    """Checks that pass with probability 1/2 each, one after another; returns the refusal, or None."""
    rng = np.random.default_rng(5)
    for _ in range(12):
        pauli, angle, event = random_pauli(2, rng), rng.uniform(-2, 2), Event(random_pauli(2, rng, 1))
        batch.rotate(pauli, angle)
        psi = rotate(pauli, angle, psi)
        try:
            batch.survive(at_probability(event, float(event.mean(psi)), 0.5, batch.k, noise))
        except EngineError as refusal:
            return refusal
    return None


@pytest.mark.parametrize("engine", [ProductSumEngine, BosonicEngine])
def test_an_engine_that_estimates_itself_beyond_its_tolerance_refuses(engine):
    psi, k = random_state(4, np.random.default_rng(4)), 2000
    batch = engine(tolerance=0.01).prepare(psi, k)
    refusal = violent(batch, psi, math.sqrt(k) / 2)
    assert refusal is not None and "above its tolerance of 0.01" in str(refusal) and "\n" not in str(refusal)
    assert batch.ledger.error <= 0.01 and not batch.spent
    assert violent(engine(tolerance=math.inf).prepare(psi, k), psi, math.sqrt(k) / 2) is None
    with pytest.raises(QupropError, match="`tolerance` is the largest error"):
        engine(tolerance=0)


def test_a_batch_falls_back_on_the_next_engine_and_answers_as_if_it_had_begun_there():
    psi, k = random_state(4, np.random.default_rng(6)), 40
    engines = (ProductSumEngine(), SymmetricEngine())
    batch, exact = FallbackEngine(engines).prepare(psi, k), SymmetricEngine().prepare(psi, k)
    rng, names = np.random.default_rng(2), []
    for _ in range(10):
        pauli, angle, event = random_pauli(2, rng), rng.uniform(-2, 2), Event(random_pauli(2, rng, 1))
        for b in (batch, exact):
            b.rotate(pauli, angle)
        check = at_probability(event, exact.mean(event), 0.2, k, math.sqrt(k))
        assert batch.probability(check) == pytest.approx(exact.probability(check), abs=ProductSumEngine().tolerance)
        batch.survive(check), exact.survive(check)
        names.append(batch.name)
    assert names[0] == "product_sum" and names[-1] == "symmetric"
    assert batch.ledger.checks == 10 and batch.ledger.infidelity == pytest.approx(exact.ledger.infidelity, rel=1e-9)
    skipped = FallbackEngine((ProductSumEngine(), BosonicEngine(tolerance=1e-9), NullEngine())).prepare(psi, k)
    assert (
        violent(skipped, psi, math.sqrt(k)) is None and skipped.name == "null"
    )  # the second is beyond its own on the way
    alone = FallbackEngine(engines[:1]).prepare(psi, k)
    with pytest.raises(EngineError, match="product_sum engine estimates"):
        for _ in range(10):
            alone.survive(at_probability(Z, 0.5, 0.5, k, math.sqrt(k)))
    triggered = FallbackEngine(engines).prepare(psi, k)
    assert triggered.check(Check(Z, -1.0, 3.0), 0) and triggered.spent
    assert triggered.ledger.triggers == 1
    read = FallbackEngine((BosonicEngine(), NullEngine())).prepare(psi, k)
    assert abs(read.read(Z, 1.0, 0) - k * Z.mean(psi)) < 30


# --- commuting families -----------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_commuting_families_have_the_exact_joint_law():
    """The law of the answers to three checks, by sampling strings and from the symmetric space."""
    psi, k = random_state(4, np.random.default_rng(2)), 15
    family = tuple(PauliString.parse(t) for t in ("X0 X1", "Z0 Z1"))
    asked = [("X0 X1", 0.65), ("-Z0 Z1", 0.45), ("X0 X1", 0.6)]
    checks = [Check(Event(PauliString.parse(t)), c, 1.0) for t, c in asked]
    turn = (PauliString.parse("Z0 Z1"), 0.8)  # no Clifford, but it commutes with all of them
    expected, exact = [], SymmetricEngine().prepare(psi, k)
    exact.rotate(*turn)
    alive = 1.0
    for check in checks:
        p = exact.survive(check)
        expected.append(alive * p)
        alive *= 1 - p
    rng, runs = np.random.default_rng(3), 2500
    hits = np.zeros(4)
    for _ in range(runs):
        batch = CommutingEngine(family).prepare(psi, k)
        batch.rotate(*turn)
        at = next((i for i, check in enumerate(checks) if batch.check(check, rng)), 3)
        hits[at] += 1
    width = [5 * math.sqrt(p * (1 - p) / runs) for p in [*expected, alive]]
    assert np.all(np.abs(hits / runs - [*expected, alive]) < width)
    undisturbed = NullEngine().prepare(psi, k).probability(checks[2]) * (1 - sum(expected[:2]))
    assert abs(expected[2] - undisturbed) > 2 * width[2]  # the law of fresh copies would be seen


def test_commuting_batches_follow_clifford_frames():
    """Means in random families and Clifford rotations equal those of the state vector, where they are accepted."""
    rng, accepted, refused = np.random.default_rng(5), 0, 0
    for n in (1, 2, 4):
        for _ in range(25):
            family = []
            while len(family) < n + 1:
                p = random_pauli(n, rng)
                if all(p.commutes(q) for q in family):
                    family.append(p)
            psi = random_state(2**n, rng)
            batch, truth = CommutingEngine(tuple(family)).prepare(psi, 50), NullEngine().prepare(psi, 50)
            for _ in range(12):
                p, angle = random_pauli(n, rng), float(rng.integers(-5, 6)) * math.pi / 2
                if rng.random() < 0.1:
                    angle = rng.normal()
                batch.rotate(p, angle)
                truth.rotate(p, angle)
                event = Event(random_pauli(n, rng))
                try:
                    assert batch.mean(event) == pytest.approx(truth.mean(event), abs=1e-12)
                    accepted += 1
                except QupropError as refusal:
                    assert "symmetric" in str(refusal)
                    refused += 1
    assert accepted > 100 and refused > 100


def test_strings_that_are_given_are_counted():
    bits = np.array([0b0011, 0b0001, 0b1000, 0b1111])
    batch = CommutingEngine().prepare_strings(bits, 40)
    assert batch.mean(Event(PauliString.parse("Z0"))) == 1 / 4
    assert batch.mean(Event(PauliString.parse("-Z0 Z1"))) == 1 / 4
    batch.rotate(PauliString.parse("X39"), math.pi)
    assert batch.mean(Event(PauliString.parse("Z39"))) == 0
    sure = Check(Event(PauliString.parse("-Z0")), 0.74, 1e-6)
    assert batch.probability(sure) == 1.0
    batch.survive(Check(Event(PauliString.parse("-Z0")), 0.76, 1e-6))
    assert batch.read(Event(PauliString.parse("Z3")), 1e-9, 0) == pytest.approx(2)


# --- all of them ------------------------------------------------------------------------------------------------------


def test_the_earlier_name_of_the_dictionary_is_the_dictionary():
    assert engines.ENGINES is COPY_ENGINES


@pytest.mark.parametrize("name", [name for name in COPY_ENGINES if name not in READERS])
def test_every_engine_has_the_binomial_law_first_and_takes_the_same_calls(name):
    engine = COPY_ENGINES[name]()
    assert engine.name == name and engine.exact_for and engine.required_bytes(2, 30) > 0
    psi, k = random_state(4, np.random.default_rng(4)), 30
    batch = engine.prepare(psi, k)
    batch.rotate(PauliString.parse("-X0"), math.pi / 2)
    truth = NullEngine().prepare(psi, k)
    truth.rotate(PauliString.parse("X0"), -math.pi / 2)
    event = Event(PauliString.parse("-Y0" if name == "commuting" else "Z0"))
    mean = truth.mean(event)
    check = Check(event, mean + 0.1, 4.0)
    assert batch.mean(event) == pytest.approx(mean, abs=1e-12)
    assert batch.probability(check) == pytest.approx(check.probability(k, mean), abs=1e-9)
    triggered = batch.check(check, 0)
    assert batch.spent == triggered and batch.ledger.checks == 1 and batch.ledger.triggers == triggered
    with pytest.raises(QupropError, match="2 qubits"):
        engine.prepare(psi, k).rotate(PauliString.parse("X2"), 0.1)


@pytest.mark.parametrize("name", READERS)
def test_engines_of_readings_refuse_noise_they_have_no_law_for(name):
    batch = COPY_ENGINES[name]().prepare(np.array([1.0, 0.0]), 30)
    with pytest.raises(QupropError, match="bosonic engine"):
        batch.probability(Check(Z, 0.5, 3.0))
    assert abs(batch.read(Z, 0.5, 0) - 30) < 5


@pytest.mark.parametrize("name", list(COPY_ENGINES))
def test_every_engine_refuses_bad_states_in_one_sentence(name):
    engine = COPY_ENGINES[name]()
    for state, k, words in [
        (np.ones(4), 10, "norm 1"),
        (np.ones(3), 10, "shape \\(2\\^n,\\)"),
        (np.array([1.0, 0.0]), 0, "whole number"),
        (np.array([1.0, 0.0]), 2.5, "whole number"),
    ]:
        with pytest.raises(QupropError, match=words):
            engine.prepare(state, k)


def test_refusals_name_the_engine_that_could():
    psi = np.ones(64) / 8
    with pytest.raises(QupropError, match=r"bosonic engine .* product_sum engine"):
        SymmetricEngine().prepare(psi, 40)
    batch = ProductSumEngine().prepare(psi, 40)
    with pytest.raises(QupropError, match="symmetric, bosonic and gaussian"):
        batch.probability(Check(Z, 0.5, 3.0, "gaussian"))
    with pytest.raises(QupropError, match="symmetric, bosonic, gaussian and mean_field"):
        batch.read(Z, 3.0, 0)
    dense = Event.dense(np.diag([1.0, 0.0]))
    for engine in (SymmetricEngine(), CommutingEngine()):
        with pytest.raises(QupropError, match="null and mean_field"):
            engine.prepare(np.array([1.0, 0.0]), 5).probability(Check(dense, 0.5, 1.0))
    with pytest.raises(QupropError, match="must commute"):
        CommutingEngine((PauliString.parse("X0"), PauliString.parse("Z0")))
    with pytest.raises(QupropError, match="not diagonal"):
        CommutingEngine().prepare(psi, 5).probability(Check(Event(PauliString.parse("X0")), 0.5, 1.0))
    with pytest.raises(QupropError, match="call `check`"):
        CommutingEngine().prepare(psi, 5).survive(Check(Z, 0.5, 1.0))
    with pytest.raises(QupropError, match="raise its threshold"):
        SymmetricEngine().prepare(np.array([1.0, 0.0]), 5).survive(Check(Z, 0.1, 1.0))


def test_the_engine_is_chosen_by_size_and_by_damage():
    chosen = [
        auto(1, 1000, 5.0),
        auto(2, 150, 5.0),
        auto(9, 10_000, 0.001),
        auto(9, 10_000, 0.1),
        auto(9, 10_000, 0.1, "gaussian"),
        auto(9, 10_000, 2.0),
    ]
    names = ["symmetric", "symmetric", "null", "product_sum", "bosonic", "bosonic"]
    assert [engine.name for engine, _ in chosen] == names
    assert all(why for _, why in chosen)
    with pytest.raises(QupropError, match="sum of trace distances"):
        auto(3, 10, -1.0)
