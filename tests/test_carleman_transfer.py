"""Upload as circuits, download from shots, and the ledger of what both take."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

import quprop as qpr
from quprop.carleman.transfer import upload as upload_module
from quprop.carleman.transfer.controlled import GateCount, controlled_ry, count_gates, flip
from quprop.carleman.transfer.copies import (
    expected_copies,
    expected_copies_of,
    expected_error,
    expected_error_of,
    l2_copies,
    linf_copies,
    support_copies,
)
from quprop.carleman.transfer.download import read_out
from quprop.carleman.transfer.queries import QueryLedger, amplify, copies_ledger
from quprop.carleman.transfer.upload import upload, upload_bound, upload_entries, upload_history, upload_tower
from quprop.errors import QupropError
from quprop.model.circuit import Circuit


def final(circuit):
    return qpr.state(qpr.Model(circuit, "Z0"), [])


def fidelity(circuit, wanted):
    return abs(np.vdot(final(circuit), wanted)) ** 2 / np.vdot(wanted, wanted).real


def sparse(seed, qubits, entries, even=False):
    rng = np.random.default_rng(seed)
    v = np.zeros(2**qubits)
    values = rng.choice([-1.0, 1.0], entries) * rng.uniform(0.7, 1.3, entries) if even else rng.normal(size=entries)
    v[rng.choice(2**qubits, entries, replace=False)] = values
    return v


# --- upload


@pytest.mark.parametrize(
    ("qubits", "entries"),
    [(1, 1), (1, 2), (3, 1), (3, 5), (4, 16), (5, 31), (6, 10), (8, 100), (10, 60), (12, 12), (12, 200)],
)
def test_the_circuit_loads_the_vector(qubits, entries):
    v = sparse(entries, qubits, entries)
    made = upload(v)
    assert fidelity(made.circuit, v) == pytest.approx(1, abs=1e-12)
    assert (made.entries, made.circuit.n_qubits) == (entries, qubits)
    assert made.gates.all_cnots <= upload_bound(entries, qubits)
    assert made.gates.all_cnots <= 2 * entries * qubits
    helped = upload(v, clean=True)
    assert fidelity(helped.circuit, np.pad(v, (0, 2**helped.circuit.n_qubits - len(v)))) == pytest.approx(1, abs=1e-12)
    assert helped.gates.all_cnots <= min(made.gates.all_cnots, upload_bound(entries, qubits, clean=True))


@given(st.dictionaries(st.integers(0, 63), st.floats(-1, 1).filter(lambda v: abs(v) > 1e-3), min_size=1, max_size=20))
def test_any_sparse_vector_is_loaded(entries):
    made = upload_entries(list(entries), list(entries.values()), 6)
    wanted = np.zeros(64)
    wanted[list(entries)] = list(entries.values())
    assert fidelity(made.circuit, wanted) == pytest.approx(1, abs=1e-12)


def test_gates_grow_as_entries_times_qubits():
    """O(r m) CNOTs, as Gleinig and Hoefler say, at sizes that no engine would hold."""
    rng = np.random.default_rng(0)

    def cnots(entries, qubits):
        index = rng.choice(2**qubits, entries, replace=False)
        return upload_entries(index, rng.normal(size=entries), qubits).gates.all_cnots

    few = [cnots(r, 20) for r in (50, 200, 800)]
    slope = np.polyfit(np.log([50, 200, 800]), np.log(few), 1)[0]
    assert 0.9 < slope < 1.35  # r (m/2 + c log r); a dense loader would pay 2^20 whatever r
    assert all(0.3 < count / (r * 20) < 2 for r, count in zip((50, 200, 800), few, strict=True))
    many = [cnots(64, m) for m in (15, 30, 60)]
    assert 0.5 < np.polyfit(np.log([15, 30, 60]), np.log(many), 1)[0] < 1.05


def test_the_tower_holds_every_power_of_the_vector():
    v, order, scale = np.array([0.3, 0, -0.7, 0.2]), 3, 0.8
    made = upload_tower(v, order, scale)
    unit, rho, zero = v / np.linalg.norm(v), np.linalg.norm(v) / scale, np.eye(4)[0]
    wanted = np.zeros(2**8)
    for j, level in enumerate([0b00, 0b01, 0b11], start=1):
        factors = [unit if i < j else zero for i in range(order)]
        wanted[np.arange(64) * 4 + level] = rho**j * np.kron(factors[2], np.kron(factors[1], factors[0]))
    assert fidelity(made.circuit, wanted) == pytest.approx(1, abs=1e-12)
    # weights of levels do not under- or overflow
    assert fidelity(upload_tower(1e-200 * v, 2).circuit, np.kron(np.kron(zero, unit), [1, 0])) == pytest.approx(1)
    assert upload_tower(v, 1).gates == upload(v).gates


@pytest.mark.parametrize(("maps", "steps", "order"), [(1, 3, 2), (2, 3, 2), (3, 3, 1), (2, 5, 1), (4, 2, 2)])
def test_the_right_hand_side_holds_each_force_at_its_times(maps, steps, order):
    rng, n, scale = np.random.default_rng(maps), 4, 0.8
    table = rng.normal(size=(maps, n)) * rng.uniform(0.3, 2, (maps, 1))
    table[0, 1] = 0
    made = upload_history(table, order, scale, steps)
    levels, qubits = [0, 1][:order], order - 1 + 2 * order
    wanted = np.zeros(2**made.circuit.n_qubits)
    for t in range(steps):
        u = table[t % maps] / scale
        for j, level in enumerate(levels, start=1):
            lower, higher = u, u if j == 2 else np.eye(n)[0]
            amplitudes = np.kron(higher, lower) if order == 2 else lower
            wanted[(np.arange(n**order) << order - 1) + level + (t + 1 << qubits)] += amplitudes
    assert fidelity(made.circuit, wanted) == pytest.approx(1, abs=1e-12)


@pytest.mark.parametrize(("qubits", "controls"), [(5, 3), (6, 4), (8, 5), (9, 7), (8, 6), (12, 10)])
def test_a_flip_gives_back_what_it_borrows(qubits, controls):
    rng = np.random.default_rng(0)
    v = rng.normal(size=2**qubits) + 1j * rng.normal(size=2**qubits)
    circuit = Circuit(qubits, v)
    flip(circuit, range(controls), controls)
    j = np.arange(2**qubits)
    on = (j & (2**controls - 1)) == 2**controls - 1
    assert fidelity(circuit, v[np.where(on, j ^ (1 << controls), j)]) == pytest.approx(1, abs=1e-12)


@pytest.mark.parametrize("controls", range(10))
def test_a_controlled_rotation_turns_where_all_controls_are_one(controls):
    n = max(8, controls + 1)
    v, circuit = np.random.default_rng(1).normal(size=2**n), None
    circuit = Circuit(n, v)
    controlled_ry(circuit, 0.7, list(range(controls)), controls)
    j = np.arange(2**n)
    on = (j & (2**controls - 1)) == 2**controls - 1
    sign = np.where(j >> controls & 1, 1, -1)
    turned = np.cos(0.35) * v + np.sin(0.35) * sign * v[j ^ (1 << controls)]
    assert fidelity(circuit, np.where(on, turned, v)) == pytest.approx(1, abs=1e-12)


def test_gate_counts_add_up_and_unknown_gates_are_refused():
    assert count_gates(Circuit(3).x(0).cx(0, 1).ry(0.1, 2).cry(0.2, 0, 1).ccx(0, 1, 2)) == GateCount(3, 3, 1)
    assert GateCount(3, 3, 1).all_cnots == 9
    with pytest.raises(QupropError, match="counted"):
        count_gates(Circuit(1).t(0))
    v = sparse(3, 7, 20)
    made, three = upload(v), upload(v).ledger(3)
    assert three.loads == 3 and three.cnots == 3 * made.gates.cnots and three.qubits == 7


def test_a_flipped_sign_or_an_ignored_control_is_seen(monkeypatch):
    v = sparse(5, 5, 12)
    wrong = v.copy()
    wrong[np.flatnonzero(v)[4]] *= -1
    assert fidelity(upload(v).circuit, wrong) < 0.999
    monkeypatch.setattr(upload_module, "controlled_ry", lambda c, a, q, t, clean: controlled_ry(c, a, q[1:], t))
    assert fidelity(upload(v).circuit, v) < 0.999


@pytest.mark.parametrize(
    ("call", "word"),
    [
        (lambda: upload(np.zeros(4)), "not all zero"),
        (lambda: upload(np.ones((2, 2))), "the vector of an upload"),
        (lambda: upload(np.array([1j, 0])), "the vector of an upload"),
        (lambda: upload([np.nan, 1.0]), "finite"),
        (lambda: upload_entries([0, 0], [1.0, 2.0], 2), "different"),
        (lambda: upload_entries([4], [1.0], 2), "from 0"),
        (lambda: upload_entries([0.5], [1.0], 2), "whole"),
        (lambda: upload_entries([0], [1.0], 99), "qubits"),
        (lambda: upload_tower([1.0, 0.0], 0), "order"),
        (lambda: upload_history(np.zeros((2, 4)), 2, 1.0, 3), "not all zero"),
        (lambda: upload_history(np.ones(4), 2, 1.0, 3), "the vectors of an upload"),
        (lambda: upload_history(np.ones((1, 4)), 2, 1.0, 0), "steps"),
        (lambda: upload_tower([1.0, 0.0], 2, -1.0), "scale"),
        (lambda: upload_bound(9, 3), "entries"),
        (lambda: flip(Circuit(4), [0, 1, 2], 3), "borrows"),
    ],
)
def test_bad_uploads_get_one_sentence(call, word):
    with pytest.raises(QupropError, match=word):
        call()


# --- download


REPEATS = 200


def expected_linf(entries, copies):
    """Median of ||x - x'||_inf: z/(2 sqrt(C)) with (Pr |g| <= z)^r = 1/2 for a normal g."""
    return stats.norm.isf((1 - 0.5 ** (1 / entries)) / 2) / (2 * math.sqrt(copies))


def errors_of(x, **options):
    least = np.abs(x[x != 0]).min()
    runs = [read_out(x, threshold=least, rng=seed, **options) for seed in range(REPEATS)]
    difference = [run.vector - x for run in runs]
    return runs, np.linalg.norm(difference, axis=1), np.abs(difference).max(axis=1)


@pytest.mark.parametrize(("kind", "delta"), [("l2", 0.1), ("linf", 0.02)])
@pytest.mark.parametrize(("qubits", "entries"), [(10, 8), (12, 64)])
def test_errors_over_repeats_are_those_expected(kind, delta, qubits, entries):
    """Two constants each. Sharp, met within 20 %: sqrt((r - 1)/(4 C)) for l2, z_r/(2 sqrt(C)) for l_inf, C the copies.
    Proved, never exceeded: sqrt(7) delta with C = 36 r ln r/delta^2, (1 + sqrt(2)) delta with C = 36 ln r/delta^2
    (32 sqrt(ln r) and more times larger). Support and signs come out right in every repeat."""
    x = sparse(entries, qubits, entries, even=True)
    x /= np.linalg.norm(x)
    runs, l2, linf = errors_of(x, precision=delta, kind=kind)
    copies = runs[0].info["magnitudes"]
    assert copies == (l2_copies if kind == "l2" else linf_copies)(entries, delta)
    assert np.sqrt(np.mean(l2**2)) == pytest.approx(expected_error(entries, copies), rel=0.2)
    assert np.median(linf) == pytest.approx(expected_linf(entries, copies), rel=0.2)
    assert runs[0].bound == pytest.approx((math.sqrt(7) if kind == "l2" else 1 + math.sqrt(2)) * delta)
    assert np.all((l2 if kind == "l2" else linf) <= runs[0].bound)  # failures are 1/poly(r) at most
    assert all(np.array_equal(run.indices, np.flatnonzero(x)) for run in runs[:20])
    assert all(np.array_equal(np.sign(run.vector), np.sign(x)) for run in runs)


def test_small_entries_among_large_ones_stay_within_the_bound():
    x = sparse(1, 12, 64)
    x /= np.linalg.norm(x)
    _, l2, _ = errors_of(x, precision=0.1, kind="l2")
    assert np.sqrt(np.mean(l2**2)) == pytest.approx(expected_error(64, l2_copies(64, 0.1)), rel=0.2)
    assert np.all(l2 <= math.sqrt(7) * 0.1)


@pytest.mark.parametrize(("entries", "delta"), [(8, 0.1), (64, 0.1), (64, 0.02), (200, 0.05)])
@pytest.mark.parametrize("even", [True, False])
def test_expected_errors_and_copies_are_those_of_sampled_readouts(entries, delta, even):
    """By the number of entries where none is small; of a known vector with its small entries, signs and misses."""
    x = sparse(entries + 1, 9, entries, even=even)
    x /= np.linalg.norm(x)
    copies = expected_copies(entries, delta) if even else expected_copies_of(x, delta)
    reads = [read_out(x, copies=copies, rng=seed) for seed in range(300)]
    found = np.sqrt(np.mean([np.sum((r.vector - x) ** 2) for r in reads]))
    within = 0.07 if entries > 8 else 0.12
    assert found == pytest.approx(delta, rel=within)
    assert expected_error_of(x, copies, copies) == pytest.approx(found, rel=within)
    if even:
        assert expected_copies_of(x, delta) == pytest.approx(copies, rel=0.1)
        assert reads[0].expected_error == pytest.approx(delta, rel=0.01)
    proved = [read_out(x, precision=delta, kind="l2", rng=seed) for seed in range(100)]
    found = np.sqrt(np.mean([np.sum((r.vector - x) ** 2) for r in proved]))
    magnitudes, support = np.mean([r.info["magnitudes"] for r in proved]), proved[0].info["support"]
    assert expected_error_of(x, magnitudes, support) == pytest.approx(found, rel=0.1)
    assert 30 * found < proved[0].bound < 300 * found  # what is promised is far more than what comes


def test_half_the_error_takes_four_times_the_copies():
    x = sparse(2, 8, 16, even=True)
    x /= np.linalg.norm(x)
    copies = [4_000, 16_000, 64_000]
    errors = [np.sqrt(np.mean(errors_of(x, copies=c)[1] ** 2)) for c in copies]
    assert np.polyfit(np.log(copies), np.log(errors), 1)[0] == pytest.approx(-0.5, abs=0.05)
    np.testing.assert_allclose(errors, [expected_error(16, c) for c in copies], rtol=0.1)


def test_the_support_is_recovered_as_often_as_promised():
    entries, failure = 40, 0.3
    x = np.zeros(256)
    x[::6][:entries] = 1 / math.sqrt(entries)
    copies = support_copies(entries, 1 / math.sqrt(entries), failure)
    rng = np.random.default_rng(0)
    missed = np.mean([(rng.multinomial(copies, x**2) == 0)[x != 0].any() for _ in range(2000)])
    assert 0.7 * failure < missed < failure  # the union bound is nearly tight here
    # the coupon collector's probability that one of r equal outcomes is never drawn
    all_seen = sum((-1) ** k * math.comb(entries, k) * (1 - k / entries) ** copies for k in range(entries + 1))
    assert missed == pytest.approx(1 - all_seen, rel=0.2)
    seen = [
        len(read_out(x, precision=0.5, threshold=1 / math.sqrt(entries), failure=failure, rng=s).indices)
        for s in range(400)
    ]
    assert np.mean(np.less(seen, entries)) == pytest.approx(missed, abs=0.08)


def test_a_sign_errs_as_often_as_its_counts_do():
    """A small negative entry s: given its frequency m^2, flag 0 has weight (m - s)^2/4 and flag 1 (m + s)^2/4; the sign
    comes out wrong where flag 0 is seen as often as flag 1 or more."""
    copies, mean = 400, 2.0
    s = math.sqrt(mean / copies)
    x = np.array([math.sqrt(1 - s**2), -s])
    wrong = seen = 0
    for seed in range(4000):
        read = read_out(x, copies=copies, rng=seed)
        value = read.vector[1]
        seen += value != 0
        wrong += value > 0
    expected = 0.0
    for count in range(1, 20):  # of frequencies, Poisson(mean)
        m = math.sqrt(count / copies)
        low, high = copies * (m - s) ** 2 / 4, copies * (m + s) ** 2 / 4
        at_least = sum(
            math.exp(-low - high) * low**a * high**b / math.factorial(a) / math.factorial(b)
            for a in range(25)
            for b in range(a + 1)
        )
        expected += math.exp(-mean) * mean**count / math.factorial(count) * at_least
    assert seen > 2000
    assert wrong / 4000 == pytest.approx(expected * (1 - math.exp(-mean)), rel=0.2)  # if the support has it


def test_what_is_too_small_is_missed_and_said():
    x = np.zeros(64)
    x[[3, 17]] = 1.0, 1e-9
    read = read_out(x, precision=0.1, kind="l2", rng=0)
    assert list(read.indices) == [3]
    assert read.bound > math.sqrt(7) * 0.1
    assert np.linalg.norm(read.vector - x) <= read.bound


def test_length_and_sign_come_from_a_norm_or_a_known_entry():
    x = sparse(7, 6, 5, even=True)
    by_scale = read_out(-x, precision=1e-3, scale=float(np.linalg.norm(x)), rng=1)
    assert np.allclose(by_scale.vector, -x, atol=by_scale.bound)
    index = int(np.argmax(np.abs(x)))
    by_anchor = read_out(-x / 3, precision=1e-3, anchor=(index, x[index]), rng=1)
    assert np.allclose(by_anchor.vector, x, atol=0.01)
    assert by_anchor.vector[index] == x[index]


def test_expected_copies_are_those_of_the_proof_over_144_ln_r():
    for r, delta in ((100, 0.01), (10_000, 0.1)):
        assert l2_copies(r, delta) / expected_copies(r, delta) == pytest.approx(144 * math.log(r), rel=0.02)
        assert expected_error(r, expected_copies(r, delta)) <= delta
    assert expected_copies(1, 0.1) == 1 and expected_error(1, 5) == expected_error_of(np.array([0, 2.0]), 5, 5) == 0
    wide = np.array([1e200, 3e199, 1e-200])  # squares would over- and underflow
    assert expected_error_of(wide, 500, 500) == pytest.approx(expected_error(2, 500), rel=0.1)
    for call in (lambda: expected_copies(3, 0.0), lambda: expected_error(0, 5), lambda: expected_error(3, 0)):
        with pytest.raises(QupropError, match="got"):
            call()


def test_copies_at_the_size_of_real_networks():
    assert l2_copies(750_000, 1e-2) == pytest.approx(3.6e12, rel=0.02)
    assert linf_copies(750_000, 1e-4) == pytest.approx(4.9e10, rel=0.02)
    assert support_copies(10, 0.5, 0.01) == math.ceil(4 * math.log(1000))


def test_a_readout_repeats_with_its_seed_and_prints():
    x = sparse(1, 5, 4)
    first, again = (read_out(x, precision=0.05, rng=3) for _ in range(2))
    assert np.array_equal(first.vector, again.vector)
    assert first.copies == sum(first.info.values()) == first.ledger().copies
    assert "of 32 entries" in str(first)


@pytest.mark.parametrize(
    ("options", "word"),
    [
        ({}, "either"),
        ({"precision": 0.1, "copies": 5}, "either"),
        ({"precision": -1.0}, "precision"),
        ({"precision": 0.1, "scale": 0.0}, "scale"),
        ({"precision": 0.1, "kind": "l1"}, "kind"),
        ({"precision": 0.1, "entries": 1}, "entries"),
        ({"copies": 0}, "copies"),
        ({"precision": 1e-12}, "less precision"),
        ({"precision": 0.1, "scale": 1.0, "anchor": (0, 1.0)}, "not both"),
        ({"precision": 0.1, "anchor": (3, 1.0)}, "anchor"),
        ({"precision": 0.1, "failure": 0.0}, "failure"),
        ({"precision": 0.1, "rng": None}, "rng"),
    ],
)
def test_bad_readouts_get_one_sentence(options, word):
    with pytest.raises(QupropError, match=word):
        read_out([0.6, 0.8, 0.0, 0.0], **{"rng": 0, **options})
    for state in (np.zeros(3), np.ones((2, 2)), np.array([1j])):
        with pytest.raises(QupropError, match="amplitudes"):
            read_out(state, precision=0.1, rng=0)


# --- ledger


def test_ledgers_add_up_and_repeat():
    a = QueryLedger(queries=3, loads=2, copies=1, cnots=5, rotations=7, toffolis=1, classical_ops=11, qubits=4)
    b = QueryLedger(queries=10, classical_steps=6, qubits=9)
    assert sum([a, b]) == a + b == b + a
    assert (a + b).queries == 13 and (a + b).qubits == 9 and (a + b).classical_steps == 6
    assert 3 * a == a + a + a and 0 * a == QueryLedger() and a + QueryLedger() == a
    assert QueryLedger(queries=10**30).queries == 10**30
    assert "3 queries" in str(a) and "Toffoli" in str(a)
    for bad in ({"queries": -1}, {"copies": 0.5}, {"loads": True}):
        with pytest.raises(QupropError, match="whole numbers"):
            QueryLedger(**bad)
    with pytest.raises(QupropError, match="repeated"):
        a * -1


def test_a_ledger_becomes_a_cost_once_a_query_has_a_price():
    a = QueryLedger(queries=3, loads=2, copies=5, rotations=7, toffolis=1, classical_ops=11, qubits=4)
    cost = a.cost(rotations_per_query=100, rotations_per_load=10)
    assert cost == qpr.Cost(copies=2, measurements=5, rotations=300 + 20 + 7, toffolis=1, qubits=4, classical_ops=11)
    assert a.cost(rotations_per_query=1) + a.cost(rotations_per_query=1) == (a + a).cost(rotations_per_query=1)
    with pytest.raises(QupropError, match="rotations_per_query"):
        a.cost(rotations_per_query=-1)


@pytest.mark.parametrize("probability", [1.0, 0.6, 0.25, 0.1, 3e-3, 1e-7])
def test_amplification_takes_the_fewest_runs(probability):
    phi = math.asin(math.sqrt(probability))
    rounds = np.arange(0, math.ceil(2 / phi))
    with np.errstate(divide="ignore"):
        runs = (2 * rounds + 1) / np.sin((2 * rounds + 1) * phi) ** 2
    chosen = amplify(probability)
    assert chosen.runs == pytest.approx(runs.min())
    # the rotation picture: each round turns by 2 phi
    state = np.array([math.cos(phi), math.sin(phi)])
    turn = np.array([[math.cos(2 * phi), -math.sin(2 * phi)], [math.sin(2 * phi), math.cos(2 * phi)]])
    state = np.linalg.matrix_power(turn, chosen.rounds) @ state
    assert state[1] ** 2 == pytest.approx(chosen.probability)
    if probability < 1e-2:
        assert chosen.runs == pytest.approx(1.38 / math.sqrt(probability), rel=0.01)


def test_copies_are_charged_with_their_runs_and_loads():
    load = upload(sparse(1, 6, 9)).ledger()
    total = copies_ledger(1000, queries=50, loads=2, success=0.01, upload=load)
    runs = amplify(0.01).runs
    assert total.copies == 1000
    assert total.queries == math.ceil(1000 * runs * 50)
    assert total.loads == math.ceil(1000 * runs * 2)
    assert total.cnots == total.loads * load.cnots
    assert copies_ledger(0, queries=5) == QueryLedger()
    with pytest.raises(QupropError, match="success"):
        copies_ledger(1, queries=1, success=0.0)
    with pytest.raises(QupropError, match="one load"):
        copies_ledger(1, queries=1, upload=2 * load)
