"""Online shadow tomography, its rivals, Theorem 12 both ways, and the search of Theorem 13."""

import math

import numpy as np
import pytest
from scipy import stats
from scipy.linalg import expm, logm

import quprop as qpr
from quprop.collective import reduction, rivals, search, sweep
from quprop.collective.check import Check
from quprop.collective.engines.commuting import CommutingEngine
from quprop.collective.event import Event
from quprop.collective.hypothesis import DenseHypothesis, LowRankHypothesis, mistake_bound
from quprop.collective.rivals import compare
from quprop.collective.shadow_tomography import ShadowTomography, Turn
from quprop.errors import QupropError
from quprop.gradients import METHODS, Adjoint
from quprop.gradients.sweeps.pair_copies import PairCircuit
from quprop.model.pauli import PauliString
from quprop.sampling.estimate import shown
from quprop.sampling.terms import Terms
from quprop.simulate.state_vector.reference import ReferenceEngine

Z0 = Event(PauliString.parse("Z0"))


def random_state(n, rng):
    psi = rng.normal(size=2**n) + 1j * rng.normal(size=2**n)
    return psi / np.linalg.norm(psi)


def ghz(n):
    psi = np.zeros(2**n, complex)
    psi[[0, -1]] = math.sqrt(0.5)
    return psi


def all_strings(n):
    return [PauliString(x, z) for x in range(2**n) for z in range(2**n) if x or z]


def random_projector(n, rank, rng):
    basis = np.linalg.qr(rng.normal(size=(2**n, rank)) + 1j * rng.normal(size=(2**n, rank)))[0]
    return basis @ basis.conj().T


def truths(psi, events):
    """<E> by matrices."""
    n = len(psi).bit_length() - 1
    matrices = [e.matrix if e.pauli is None else (np.eye(2**n) + e.pauli.matrix(n)) / 2 for e in events]
    return np.array([np.vdot(psi, m @ psi).real for m in matrices])


# -- the estimates, and what they cost -------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["ghz", "random"])
@pytest.mark.parametrize("eps", [0.05, 0.2])
def test_all_strings_are_right_within_eps_and_within_the_bounds(name, eps):
    rng = np.random.default_rng(3)
    psi = ghz(3) if name == "ghz" else random_state(3, rng)
    events = [Event(p if rng.random() < 0.5 else -p) for p in all_strings(3)]
    found = ShadowTomography(eps=eps).run(psi, events, rng)
    assert np.abs(found.estimates - truths(psi, events)).max() <= eps
    assert 0 < found.updates <= found.budget.updates and found.copies <= found.budget.copies
    assert found.copies == found.batches * found.budget.k + len(found.triggers) * found.budget.fresh
    assert found.batches in (len(found.triggers), len(found.triggers) + 1)
    assert found.budget.updates == math.floor(mistake_bound(3, eps / 4)) == math.floor(8 * 3 * math.log(2) / eps**2)


@pytest.mark.slow
def test_estimates_keep_eps_over_many_states():
    misses = 0
    for seed in range(60):
        rng = np.random.default_rng(seed)
        psi, events = random_state(3, rng), [Event(p) for p in all_strings(3)]
        found = ShadowTomography(eps=0.1, failure=0.05).run(psi, events, rng)
        misses += np.abs(found.estimates - truths(psi, events)).max() > 0.1
    assert misses <= 60 * 0.05 + 5


def test_dense_projectors_are_estimated_as_pauli_events_are():
    rng = np.random.default_rng(5)
    psi = random_state(2, rng)
    events = [Event.dense(random_projector(2, rank, rng)) for rank in (1, 2, 3) for _ in range(8)]
    found = ShadowTomography(eps=0.1).run(psi, events, rng)
    assert np.abs(found.estimates - truths(psi, events)).max() <= 0.1 and found.updates > 0
    as_paulis = [Event(p) for p in all_strings(2)]
    as_matrices = [Event.dense((np.eye(4) + p.matrix(2)) / 2) for p in all_strings(2)]
    one, two = (ShadowTomography(eps=0.1).run(psi, events, 7) for events in (as_paulis, as_matrices))
    np.testing.assert_allclose(one.estimates, two.estimates, atol=1e-12)
    assert [t.event for t in one.triggers] == [t.event for t in two.triggers]


def test_a_dense_update_is_the_exponential_of_the_logarithm():
    rng = np.random.default_rng(6)
    h = DenseHypothesis(2)
    for step in (0.7, -0.4, 1.3):
        projector = random_projector(2, 2, rng)
        grown = expm(logm(h.matrix()) + step * projector)
        h.update_matrix(projector, step)
        np.testing.assert_allclose(h.matrix(), grown / np.trace(grown), atol=1e-10)
        assert h.predict_matrix(projector) == pytest.approx(np.trace(h.matrix() @ projector).real, abs=1e-12)
    with pytest.raises(QupropError, match="matrices of size 4, got shape"):
        h.predict_matrix(np.eye(2))


def test_a_frame_that_turns_is_events_that_turn_back():
    """Turning copies and hypothesis by U and asking E is asking U† E U: the same draws, the same answers."""
    rng = np.random.default_rng(8)
    n, psi = 2, random_state(2, rng)
    stream, fixed, U = [], [], np.eye(4)
    for _ in range(25):
        turn, event = rng.choice(all_strings(n), 2)
        angle = float(rng.normal())
        stream += [Turn(turn, angle), Event(event)]
        U = expm(-0.5j * angle * turn.matrix(n)) @ U
        matrix = U.conj().T @ (np.eye(4) + event.matrix(n)) @ U / 2
        fixed.append(Event.dense((matrix + matrix.conj().T) / 2))
    one, two = (ShadowTomography(eps=0.08).run(psi, events, 1) for events in (stream, fixed))
    assert one.updates > 3
    np.testing.assert_allclose(one.estimates, two.estimates, atol=1e-9)
    k, fresh = one.budget.k, one.budget.fresh
    starts = [t.event + 1 for t in one.triggers if t.event + 1 < 25]  # the event a new batch is first asked about
    assert two.turns == 0
    prepared = k * (1 + sum(s + 1 for s in starts)) + fresh * sum(t.event + 1 for t in one.triggers)
    lived = sum(e - s for s, e in zip([0, *starts], [*(t.event for t in one.triggers), 24], strict=False))
    assert one.turns == prepared + k * lived


def test_the_exact_joint_law_of_commuting_events_gives_the_same_guarantee():
    rng = np.random.default_rng(9)
    psi = random_state(4, rng)
    events = [Event(PauliString(0, z)) for z in range(1, 16)] * 3
    engine = CommutingEngine(tuple(PauliString(0, 1 << q) for q in range(4)))
    found = ShadowTomography(eps=0.1, engine=engine).run(psi, events, rng)
    assert np.abs(found.estimates - truths(psi, events)).max() <= 0.1
    assert found.error == 0.0 and found.engine == "commuting"


def test_the_guarantee_holds_on_copies_that_are_really_disturbed():
    """The symmetric engine follows every pass exactly, here on events that do not commute."""
    rng = np.random.default_rng(13)
    events = [Event(PauliString.parse(p)) for p in ("X0", "-Y0", "Z0")] * 4
    for _ in range(2):
        psi = random_state(1, rng)
        found = ShadowTomography(eps=0.4, failure=0.05, engine="symmetric").run(psi, events, rng)
        assert np.abs(found.estimates - truths(psi, events)).max() <= 0.4
        assert found.engine == "symmetric" and found.error == 0.0


@pytest.mark.parametrize("runs", [8, pytest.param(100, marks=pytest.mark.slow)])
def test_the_engine_that_auto_takes_keeps_eps(runs):
    """All strings on random states of three qubits: an engine that is beyond its tolerance hands over to the next."""
    misses = fell_back = 0
    for seed in range(runs):
        rng = np.random.default_rng(seed)
        psi, events = random_state(3, rng), [Event(p) for p in all_strings(3)]
        found = ShadowTomography(eps=0.1, engine="auto").run(psi, events, rng)
        misses += np.abs(found.estimates - truths(psi, events)).max() > 0.1
        used = found.engine.split(", ")
        fell_back += len(used) > 1
        assert used[0] == "product_sum" and found.error <= (min(1.0, found.damage) if "null" in used else 0.1)
    assert misses <= runs // 100 and fell_back


def test_a_result_says_its_damage_and_when_it_makes_the_guarantee_void():
    """All truths just below their thresholds, c = 0.3: passes add up."""
    angle, said = math.acos(2 * 0.65 * 0.3), set()
    psi = np.array([math.cos(angle / 2), math.sin(angle / 2)], complex)  # <E> = 1/2 + 0.65 eps
    for seed in range(12):
        found = ShadowTomography(eps=0.3, c=0.3).run(psi, [Z0] * 30, seed)
        assert shown(found.damage) in str(found)
        assert ("guarantee is void" in str(found)) == (found.damage > 1)
        said.add(found.damage > 1)
    assert said == {True, False}


def test_false_triggers_number_a_quarter_a_list_at_most():
    """All truths are eps/2 from the prediction: the worst that is not to trigger."""
    eps, m, lists = 0.2, 30, 60
    angle = math.acos(eps)
    psi = np.array([math.cos(angle / 2), math.sin(angle / 2)], complex)
    assert truths(psi, [Z0])[0] == pytest.approx(0.5 + eps / 2)
    rng = np.random.default_rng(10)
    triggers = sum(len(ShadowTomography(eps=eps).run(psi, [Z0] * m, rng).triggers) for _ in range(lists))
    assert 0 < triggers < 0.25 * lists
    k, noise, *_ = ShadowTomography(eps=eps).budget(1, m)
    expected = m * Check(Z0, 0.5 + 0.75 * eps, noise).probability(k, 0.5 + eps / 2)
    assert triggers == pytest.approx(lists * expected, abs=5 * math.sqrt(lists * expected))


def test_what_was_predicted_rightly_is_not_corrected(monkeypatch):
    """Every check triggers: a gap that fresh copies cannot tell from none teaches nothing, a larger one does."""
    monkeypatch.setattr(sweep.Sweep, "_ask", lambda *_: (True, 1.0))
    plus, tilted = np.array([1, 1]) / math.sqrt(2), np.array([math.cos(0.6), math.sin(0.6)])  # <Z> = 0 and 0.362
    right = ShadowTomography(eps=0.1).run(plus, [Z0] * 20, 0)
    assert (right.updates, right.false_triggers) == (0, 20)
    wrong = ShadowTomography(eps=0.1).run(tilted, [Z0] * 20, 0)
    assert wrong.updates == 1 and wrong.triggers[0].updated


def test_what_is_wrong_by_eps_does_not_pass():
    for m, failure in ((1, 0.3), (100, 0.01), (10_000, 1e-4)):
        for eps in (0.02, 0.3):
            k, noise, *_ = ShadowTomography(eps=eps, failure=failure).budget(3, m)
            assert 1 - Check(Z0, 0.5 + 0.75 * eps, noise).probability(k, min(1.0, 0.5 + eps)) <= failure / (2 * m)


def test_a_check_that_never_triggers_and_a_wrong_sign_are_seen(monkeypatch):
    psi, events = ghz(3), [Event(p) for p in all_strings(3)]

    def error():
        found = ShadowTomography(eps=0.1).run(psi, events * 4, 0)
        late = sum(t.event >= len(events) for t in found.triggers)
        return np.abs(found.estimates - truths(psi, events * 4)).max(), late

    assert error()[0] <= 0.1 and error()[1] <= 2
    with monkeypatch.context() as patch:
        learn = sweep.Learner.learn
        patch.setattr(sweep.Learner, "learn", lambda self, e, mean, accuracy: learn(self, e, 1 - mean, accuracy))
        assert error()[0] <= 0.1 and error()[1] >= 8  # answers are measured, and stay right; sigma never learns
    with monkeypatch.context() as patch:
        patch.setattr(sweep.Sweep, "_ask", lambda *_: (False, 0.0))
        assert error()[0] > 0.4


def test_copies_do_not_grow_with_what_is_already_known():
    """Asked again, a list costs no further correction, and copies stay those of one batch."""
    rng = np.random.default_rng(12)
    psi, events = random_state(3, rng), [Event(p) for p in all_strings(3)]
    first = ShadowTomography(eps=0.15).run(psi, events * 2, rng)
    again = ShadowTomography(eps=0.15, hypothesis=first.hypothesis).run(psi, events * 2, rng)
    assert first.updates > 3 and again.updates <= 1
    assert first.hypothesis.updates == first.updates  # the instance passed in is not changed


def test_streams_are_read_one_by_one():
    seen = []

    def events():
        for p in all_strings(2):
            seen.append(p)
            yield Event(p)

    found = ShadowTomography(eps=0.2).run(ghz(2), events(), 0, events=15)
    assert len(found.estimates) == len(seen) == 15
    with pytest.raises(QupropError, match="more than the 3 events announced"):
        ShadowTomography(eps=0.2).run(ghz(2), events(), 0, events=3)


REFUSED = {
    "eps": (lambda: ShadowTomography(eps=0.7), "`eps` is an accuracy of probabilities"),
    "failure": (lambda: ShadowTomography(eps=0.1, failure=0), "`failure` must be a probability"),
    "engine": (lambda: ShadowTomography(eps=0.1, engine="nul"), "did you mean 'null'"),
    "hypothesis": (lambda: ShadowTomography(eps=0.1, hypothesis="dens"), "did you mean 'dense'"),
    "iterator": (lambda: ShadowTomography(eps=0.1).run(ghz(2), iter([Z0]), 0), "needs events="),
    "empty": (lambda: ShadowTomography(eps=0.1).run(ghz(2), [], 0), "`events` must be a whole number"),
    "item": (lambda: ShadowTomography(eps=0.1).run(ghz(2), ["Z0"], 0, events=1), "made of Events and Turns"),
    "size": (lambda: ShadowTomography(eps=0.1).run(ghz(2), [Event(PauliString(0, 4))], 0), "copies have 2 qubits"),
    "no seed": (lambda: ShadowTomography(eps=0.1).run(ghz(2), [Z0], None), "rng is a seed"),
    "other size": (
        lambda: ShadowTomography(eps=0.1, hypothesis=DenseHypothesis(3)).run(ghz(2), [Z0], 0),
        "the hypothesis has 3 qubits, and the state 2",
    ),
    "dense events": (
        lambda: ShadowTomography(eps=0.1, hypothesis=LowRankHypothesis(1, 1)).run(
            np.array([1, 0]), [Event.dense(np.diag([1, 0]))], 0
        ),
        "takes Pauli events, got a dense one; use hypothesis='dense'",
    ),
    "not a projector": (lambda: Event.dense(np.diag([0.5, 1])), "must be a Hermitian projector"),
    "rivals": (lambda: compare(ghz(2), [], eps=0.1, rng=0), "takes a list of Events"),
    "promise": (
        lambda: compare(ghz(2), [Z0], eps=0.1, rng=0, tomography=ShadowTomography(eps=0.2)),
        "all rivals keep one promise",
    ),
    "circuits": (lambda: reduction.gradient_model([], qpr.Circuit(2)), "one circuit at least"),
    "widths": (lambda: reduction.gradient_model([qpr.Circuit(3)], qpr.Circuit(2)), "on the 2 qubits of the state"),
    "items": (lambda: search.search(1, 10, 0.1), "`items` must be a whole number, 2 or more"),
    "window": (lambda: search.search(10, 10, 0.5), "`eps`, the window of the test"),
    "success": (lambda: search.copies_needed(64, 0.1, 0.9), "`success` must lie between"),
    "alpha": (lambda: search.gentle_copies(0.1, 0), "gentle_copies takes eps"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_bad_input_gets_one_sentence(name):
    call, words = REFUSED[name]
    with pytest.raises(QupropError, match=words) as caught:
        call()
    assert "\n" not in str(caught.value)


# -- rivals ----------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_all_rivals_keep_the_promise_at_the_copies_of_their_theorems():
    rng = np.random.default_rng(20)
    psi, events = random_state(3, rng), [Event(p) for p in all_strings(3)]
    rows = {r.name: r for r in compare(psi, events, eps=0.15, rng=rng)}
    assert set(rows) == {"shadow tomography", "one by one", "local shadows", "Clifford shadows", "Bell sampling"}
    assert all(r.error <= 0.15 for r in rows.values())
    groups = math.ceil(2 * math.log(2 * 63 / 0.01))
    assert rows["Clifford shadows"].copies == groups * math.ceil(34 * 9 / 0.3**2)  # norm 2^n + 1, error of <P> 0.3
    assert rows["local shadows"].copies == groups * math.ceil(34 * 27 / 0.3**2)
    assert rows["one by one"].copies == 63 * math.ceil(math.log(2 * 63 / 0.01) / (2 * 0.15**2))


def test_dense_events_have_the_rivals_that_take_them():
    rng = np.random.default_rng(21)
    psi, events = random_state(2, rng), [Event.dense(random_projector(2, 1, rng)) for _ in range(6)]
    rows = {r.name: r for r in compare(psi, events, eps=0.2, rng=rng)}
    assert set(rows) == {"shadow tomography", "one by one", "local shadows", "Clifford shadows"}
    assert all(r.error <= 0.2 for r in rows.values())
    assert rows["shadow tomography"].note.startswith("damage ")
    short = compare(psi, events, eps=0.2, rng=rng, most_copies=10)
    assert [r.error is None for r in short] == [False, False, True, True] and "not run" in str(short[2])


@pytest.mark.parametrize("mean", [0.6, -0.6, 0.0])
def test_votes_move_the_copies_by_the_root_of_what_they_err(mean):
    psi = np.sqrt([(1 + mean) / 2, (1 - mean) / 2])
    votes = rivals.voters(1, 0.6, 0.005)
    tail = stats.binom.cdf if mean >= 0 else stats.binom.sf
    wrong = tail((votes + 1) // 2 - 1, votes, (1 + mean) / 2)
    row = {r.name: r for r in compare(psi, [Z0], eps=0.3, rng=1)}["Bell sampling"]
    damage = math.sqrt(wrong) if mean else 0.0  # a string that is small is not voted on
    assert row.note == rivals.shown(damage)


# -- Theorem 12 ------------------------------------------------------------------------------------------------------


def random_circuit(n, rng, clifford):
    circuit = qpr.Circuit(n)
    if not clifford:
        for q in range(n):
            circuit.ry(float(rng.normal()), q).rz(float(rng.normal()), q)
    for _ in range(3):
        for q in range(n):
            circuit.gate(str(rng.choice(["h", "s", "x"])), q)
        a, b = (int(q) for q in rng.permutation(n)[:2])
        circuit.cx(a, b)
        if not clifford:
            circuit.ry(float(rng.normal()), a)
    return circuit


@pytest.fixture(scope="module")
def events():
    """Five circuits C_i, a state, and tr(E_i rho) from the state's own circuit followed by C_i."""
    rng, n = np.random.default_rng(30), 3
    state = random_circuit(n, rng, False)
    circuits = [random_circuit(n, rng, i % 2 == 0) for i in range(5)]
    engine = ReferenceEngine()
    z = [engine.values(qpr.Model(state + c, "Z0"), np.zeros((1, 0)), np.zeros((1, 0)))[0, 0] for c in circuits]
    return circuits, state, (1 - np.array(z)) / 2


def test_an_exact_gradient_is_shadow_tomography(events):
    circuits, state, truth = events
    found, gradient = reduction.shadow_tomography_by_gradient(circuits, state, Adjoint(), 0)
    np.testing.assert_allclose(found, truth, atol=1e-12)
    assert np.ptp(truth) > 0.1
    model = reduction.gradient_model(circuits, state)
    np.testing.assert_allclose(gradient.value, 1 - 2 * truth, atol=1e-12)
    # the convention of the paper, exp(-i theta P), has angles 2 theta: its derivative over <Z> is 2.000
    step = 1e-5
    engine = ReferenceEngine()
    shifts = 2 * step * np.eye(len(circuits))
    f = [engine.values(model, s * shifts, np.zeros((len(circuits), 0)))[:, 0] for s in (1, -1)]
    assert np.abs(1 - 2 * truth).max() > 0.3
    np.testing.assert_allclose((f[0] - f[1]) / (2 * step), 2.0 * (1 - 2 * truth), atol=1e-8)


@pytest.mark.parametrize("method", ["parameter_shift", "pair_state", "hadamard_test", "quantum_backprop"])
def test_any_gradient_method_is_a_shadow_tomography(events, method):
    circuits, state, truth = events
    found, gradient = reduction.shadow_tomography_by_gradient(circuits, state, METHODS[method](max_error=0.2), 1)
    assert np.abs(found - truth).max() <= 0.1 and gradient.cost.copies > 0


def test_the_events_of_the_theorem_are_these_projectors(events):
    circuits, state, truth = events
    amplitudes = state_of(state)
    accepted = [np.linalg.qr(unitary_of(c).conj().T[:, 1::2])[0] for c in circuits]  # stim's matrices are single
    projectors = [Event.dense(v @ v.conj().T) for v in accepted]
    found = ShadowTomography(eps=0.1).run(amplitudes, projectors, 3)
    assert np.abs(found.estimates - truth).max() <= 0.1 < np.ptp(truth)


def unitary_of(circuit):
    """Column j is the state from |j>, up to a phase for all of them: rotations one after another, then the Clifford."""
    model = qpr.Model(circuit, "I")
    u = np.eye(2**circuit.n_qubits)
    for r in model.rotations:
        u = expm(-0.5j * r.angle.constant * PauliString(r.x, r.z).matrix(circuit.n_qubits)) @ u
    return model.clifford.to_unitary_matrix(endian="little") @ u


def state_of(circuit):
    """The output state by measuring every |j><k|: from expectations of all strings."""
    n = circuit.n_qubits
    model = qpr.Model(circuit, [qpr.PauliSum(p) for p in all_strings(n)])
    values = ReferenceEngine().values(model, np.zeros((1, 0)), np.zeros((1, 0)))[0]
    rho = (np.eye(2**n) + sum(v * p.matrix(n) for v, p in zip(values, all_strings(n), strict=True))) / 2**n
    weights, vectors = np.linalg.eigh(rho)
    assert weights[-1] == pytest.approx(1)
    return vectors[:, -1]


def small_model(n, layers, rng, observable):
    circuit, m = qpr.Circuit(n), 0
    theta = qpr.params("theta", layers * n)
    for _ in range(layers):
        for _ in range(n):
            circuit.rotation(rng.choice(all_strings(n)), theta[m])
            m += 1
    return qpr.Model(circuit, observable), rng.uniform(-1, 1, m)


def pair_of(model, theta):
    """The pair state with a register of terms, the norm of the observable, and the stream of Theorem 9."""
    terms = Terms.of(model)
    u, angles = terms.coefficients(np.ones(1)), model.angle_table.evaluate(theta[None], np.zeros((1, 0)))[0]
    circuit, stream = PairCircuit(model, terms), []
    for m in reversed(range(model.n_rotations)):
        stream += [Event(circuit.read[m]), Turn(circuit.undo[m], -float(angles[m]))]
    return circuit.states(u, angles, np.zeros(0)), np.abs(u).sum(), stream


@pytest.mark.parametrize("observable", ["Z0", {"Z0 Z1": 0.6, "X1": -0.4, "Y2": 0.3}])
def test_shadow_tomography_is_a_gradient(observable):
    rng = np.random.default_rng(31)
    model, theta = small_model(3, 6, rng, observable)
    exact = qpr.value_and_grad(model, theta)[1]
    state, norm, stream = pair_of(model, theta)
    found = ShadowTomography(eps=0.1 / norm).run(state, stream, rng)
    g = norm * (1 - 2 * found.estimates[::-1])
    assert np.abs(g - exact).max() <= 0.2 < np.abs(exact).max()
    assert 0 < found.updates <= found.budget.updates and found.copies <= found.budget.copies


def test_a_gradient_of_three_hundred_components_costs_what_the_formulas_say():
    """n = 4, M = 300 and events to 0.15: batches of 12,198 copies, 1,232 corrections at most; a prototype of the sweep
    made 71 of them with 1.3e6 copies."""
    rng = np.random.default_rng(33)
    model, theta = small_model(4, 75, rng, "Z0 Z1")
    exact = qpr.value_and_grad(model, theta)[1]
    state, _, stream = pair_of(model, theta)
    found = ShadowTomography(eps=0.15).run(state, stream, rng)
    assert (found.held, found.budget.updates) == (12_198, 1_232)
    assert 20 <= found.updates <= 142 and 0.6e6 <= found.copies <= 2.6e6
    assert np.abs(1 - 2 * found.estimates[::-1] - exact).max() <= 0.3 and np.mean(np.abs(exact) > 0.15) > 0.2


def test_the_pair_state_has_minus_half_of_the_derivative_on_every_layer():
    """12 random layers on 3 qubits, rotations exp(-i theta P): dF/dtheta = -2.000 <Y_anc P>."""
    rng = np.random.default_rng(32)
    model, theta = small_model(3, 4, rng, "Z0 X2")
    state, _, stream = pair_of(model, theta)
    read = []
    for item in stream:
        if isinstance(item, Turn):
            state = expm(-0.5j * item.angle * item.pauli.matrix(4)) @ state
        else:
            read.append(np.vdot(state, item.pauli.matrix(4) @ state).real)
    shifts = np.pi / 2 * np.eye(12)
    f = [ReferenceEngine().values(model, theta + s * shifts, np.zeros((12, 0)))[:, 0] for s in (1, -1)]
    slopes = f[0] - f[1]  # by theta = angle/2: F(theta + pi/4) - F(theta - pi/4)
    np.testing.assert_allclose(slopes, -2.0 * np.array(read[::-1]), atol=1e-12)
    assert np.abs(slopes).max() > 0.5


def test_both_loops_are_one(monkeypatch):
    """Values of the wrong sign are values of the wrong sign in quantum backpropagation too."""
    model, theta = small_model(3, 8, np.random.default_rng(34), "Z0 Z1")
    plan = METHODS["quantum_backprop"](max_error=0.2).compile(model)

    def triggers():
        return plan.estimate(theta, rng=1).info["triggers"]

    before, learn = triggers(), sweep.Learner.learn
    monkeypatch.setattr(sweep.Learner, "learn", lambda self, e, mean, accuracy: learn(self, e, 1 - mean, accuracy))
    assert triggers() > before


# -- Theorem 13 ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("items", "k", "tests"), [(64, 40, 164), (32, 300, 41)])
def test_probabilities_of_the_search_are_those_of_draws(items, k, tests):
    exact = search.search(items, k, 0.1)
    assert exact.tests == tests
    none, one = search.simulate(items, k, 0.1, tests, 40_000, np.random.default_rng(40))
    edges = np.arange(tests + 2)
    laws = [np.histogram(d, edges)[0] / len(d) for d in (none, one)]
    assert 0.5 + np.abs(laws[0] - laws[1]).sum() / 4 == pytest.approx(exact.success, abs=0.015)


def test_bits_of_one_batch_come_from_one_count():
    """The commuting engine, exact, against `search`'s premise: the bits of r tests on one batch share their count."""
    k, eps, rng = 30, 0.1, np.random.default_rng(41)
    psi = np.array([math.sqrt(1 - 1 / 16), math.sqrt(1 / 16)], complex)
    triggers = []
    for _ in range(100):
        copies = CommutingEngine().prepare(psi, k)
        bits = 0
        for _ in range(40):
            bits += copies.check(search.flag_check(k, eps), rng)
            copies.spent = False  # here a trigger is read on, as the test is gentle on both outcomes
        triggers.append(bits)
    _, drawn = search.simulate(16, k, eps, 40, 20_000, rng)
    assert np.mean(triggers) == pytest.approx(np.mean(drawn), abs=5 * np.std(drawn) / math.sqrt(100))
    assert np.std(triggers) == pytest.approx(np.std(drawn), rel=0.25)
    p = np.mean(drawn) / 40
    assert np.std(drawn) > 1.5 * math.sqrt(40 * p * (1 - p))  # independent bits would spread less


def test_repeating_a_gentle_test_tells_no_more_than_the_copies_can():
    for items in (64, 1024, 8192):
        found = search.search(items, search.promised_copies(items, 0.1), 0.1)
        assert found.success <= found.limit + 1e-9 and found.promised > 0.74
    assert found.promised - found.success > 0.2  # what polylog(1/alpha) copies promise and do not keep
    assert found.alpha > 1e4 * found.needed  # and they are not gentle
    assert search.search(1024, 10**6, 0.1).success > 0.73  # with enough copies the promise holds


def test_copies_needed_grow_as_the_number_of_items():
    found = search.experiment([64, 128, 256, 512], 0.1)
    assert found.slope == pytest.approx(1.0, abs=0.05)
    for row in found.rows:
        assert row["copies needed"] > math.log(1.5) * (row["N"] - 1)  # (1 - 1/N)^k <= 2/3 for any use of E
        assert row["copies for alpha"] > 1000 * row["copies needed"]


def test_alpha_is_reached_with_the_copies_that_are_named():
    for alpha in (0.05, 0.01):
        k = search.gentle_copies(0.1, alpha)
        assert search.search(64, k, 0.1).alpha == pytest.approx(alpha, rel=0.01)
        assert k == pytest.approx(0.9 / (2 * math.pi * 0.1 * alpha**2), rel=0.05)


def test_copies_grow_with_the_logarithm_of_the_events():
    """On GHZ strings corrections stop growing with the number of events; a batch grows by its squared logarithm."""
    events = [Event(p) for p in all_strings(4)]
    few, many = (ShadowTomography(eps=0.2).run(ghz(4), events * repeats, 0) for repeats in (1, 4))
    assert few.updates == many.updates
    assert many.copies < 1.6 * few.copies
