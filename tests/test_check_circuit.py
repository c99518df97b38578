"""The circuits of checks and readings: their gates are counted one by one, run, and compared with the instruments."""

import math

import numpy as np
import pytest

from quprop import PauliString, QupropError
from quprop.collective.check import Check, two_sided
from quprop.collective.check_circuit import circuit_cost, pointer_steps, reading_cost, window
from quprop.collective.check_gates import check_gates, reading_gates, reading_of
from quprop.collective.event import Event

Z = Event(PauliString.parse("Z0"))


def counted(listed, k):
    """(toffolis, cnots, rotations, measured, depth, qubits), gate by gate."""
    names = [g.name for g in listed.gates]
    times, begun = {}, 0
    for gate in listed.gates:
        if gate.name == "barrier":
            begun = max(times.values(), default=begun)
        on = gate.on if gate.given is None else (*gate.on, gate.given)
        done = max([begun, *(times.get(q, 0) for q in on)]) + (gate.name in ("toffoli", "ry"))
        times |= dict.fromkeys(on, done)
    return (
        names.count("toffoli"),
        names.count("cnot") + names.count("cz"),
        names.count("ry"),
        names.count("measure"),
        max(times.values()),
        len(set(times)) - k,
    )


def claimed(cost):
    return cost.toffolis, cost.cnots, cost.rotations, cost.measured, cost.depth, cost.qubits


def run_gates(listed, state, rng):
    """Amplitudes {bits of all qubits: amplitude}, not normalised, and what reads measured; outcomes are drawn."""
    last, reads = {}, []
    for name, on, angle, given in listed.gates:
        if given is not None and not last[given]:
            continue
        bits = [1 << q for q in on]
        if name in ("x", "cnot", "toffoli"):
            need, flip = sum(bits[:-1]), bits[-1]
            state = {s ^ flip if s & need == need else s: a for s, a in state.items()}
        elif name == "cz":
            state = {s: -a if s & sum(bits) == sum(bits) else a for s, a in state.items()}
        elif name in ("h", "ry"):
            c, d = (math.cos(angle / 2), math.sin(angle / 2)) if name == "ry" else (math.sqrt(0.5), math.sqrt(0.5))
            back, stay = (-d, c) if name == "ry" else (d, -c)
            after = {}
            for s, a in state.items():
                up = bool(s & bits[0])
                for t, amplitude in ((s & ~bits[0], back if up else c), (s | bits[0], stay if up else d)):
                    if amplitude:
                        after[t] = after.get(t, 0.0) + a * amplitude
            state = after
        elif name == "measure":
            total = sum(abs(a) ** 2 for a in state.values())
            ones = sum(abs(a) ** 2 for s, a in state.items() if s & bits[0])
            one = last[on[0]] = bool(rng.random() * total < ones)
            state = {s & ~bits[0]: a for s, a in state.items() if bool(s & bits[0]) == one}
            if on[0] in listed.reads:
                reads.append((int(one), (ones if one else total - ones) / total))
            else:  # an outcome of no meaning: both have probability 1/2, and so the amplitudes are made whole again
                assert ones == pytest.approx(total / 2, rel=1e-9)
                state = {s: a * math.sqrt(2) for s, a in state.items()}
    return state, reads


def some_copies(k, rng):
    """k entangled copies of one qubit, as amplitudes of their answers."""
    psi = rng.normal(size=2**k) + 1j * rng.normal(size=2**k)
    return dict(enumerate(psi / np.linalg.norm(psi)))


def counts_of(k):
    return np.array([s.bit_count() for s in range(2**k)])


REVERSED = pytest.mark.parametrize("reverse", [False, True])


@REVERSED
def test_every_gate_of_a_check_is_in_the_closed_form(reverse):
    windowed = 0
    for k in range(1, 41):
        for noise in (0.02, 0.4, 0.8, 2.0):
            both = two_sided(Z, 0.5, 0.02, noise, "gaussian")
            for sides in (1, 2):
                cost, found = (
                    circuit_cost(k, noise, sides, reverse=reverse),
                    check_gates(k, *both[:sides], reverse=reverse),
                )
                assert counted(found, k) == claimed(cost)
                windowed += window(k, noise) is not None
                assert (cost.counter, cost.carries) == (k.bit_length(), cost.qubits - 1)
        every = check_gates(k, *two_sided(Z, 0.5, 0.1, 3.0), reverse=reverse)
        assert counted(every, k) == claimed(circuit_cost(k, reverse=reverse))
    assert windowed > 60
    for noise in (17.0, 33.0, 64.0):  # steps of several counts, and with a last step but one, or two, in the window
        found = check_gates(3000, *two_sided(Z, 0.5, 0.1, noise, "gaussian"), reverse=reverse)
        assert counted(found, 3000) == claimed(circuit_cost(3000, noise, reverse=reverse))


@REVERSED
@pytest.mark.parametrize("threshold, fewer", [(0.02, True), (0.1, False), (0.97, False), (1.4, False)])
def test_only_a_window_that_begins_at_0_takes_fewer_gates(threshold, fewer, reverse):
    k, noise = 200, 1.3
    cost = claimed(circuit_cost(k, noise, 1, reverse=reverse))
    found = counted(check_gates(k, Check(Z, threshold, noise, "gaussian"), reverse=reverse), k)
    assert (found != cost) == fewer and all(f <= c for f, c in zip(found, cost, strict=True))


@REVERSED
def test_every_gate_of_a_reading_is_in_the_closed_form(reverse):
    for k in (*range(1, 41), 1000):
        for noise in (0.01, 0.3, 1.0, 5.0, 33.0, 700.0):
            cost = reading_cost(k, noise, reverse=reverse)
            assert counted(reading_gates(k, noise, reverse=reverse), k) == claimed(cost)
            assert cost.counter == k.bit_length()


def test_a_count_takes_a_toffoli_a_copy_and_rotations_stay_few():
    """k - w(k), a window of 2^8 or 2^9 steps, and a depth of log k for the count."""
    for k in (10**3, 10**5, 10**9):
        cost = circuit_cost(k, 0.3 * math.sqrt(k))
        steps = window(k, 0.3 * math.sqrt(k))
        assert k - k.bit_count() <= cost.toffolis < k + 4 * k.bit_length()
        if steps is not None and steps.size:
            assert cost.rotations in (2 * 2**8, 2 * 2**9)
            assert cost.depth < cost.rotations + 5 * k.bit_length()
    assert circuit_cost(2**20).depth == 20 + 2 * 2**21


@REVERSED
@pytest.mark.parametrize("kind, noise", [("gaussian", 1.1), ("gaussian", 0.02), ("exponential", 2.0)])
def test_the_circuit_of_a_check_is_its_square_root_instrument(kind, noise, reverse):
    """Seven entangled copies, random outcomes: probabilities, states and clean ancillas; narrow noise has a window."""
    k, rng, seen = 7, np.random.default_rng(5), set()
    s = counts_of(k)
    for _ in range(12):
        copies = some_copies(k, rng)
        for middle in (0.47, 0.1):  # the second window begins at 0
            up, down = two_sided(Z, middle, 0.1, noise, kind)
            out, reads = run_gates(check_gates(k, up, down, reverse=reverse), dict(copies), rng)
            expected = np.array([copies[i] for i in range(2**k)])
            for (one, probability), f in zip(reads, (up.trigger(s, k), down.trigger(k - s, k)), strict=True):
                before = np.linalg.norm(expected)
                expected = expected * np.sqrt(f if one else 1 - f)
                assert np.linalg.norm(expected) / before == pytest.approx(math.sqrt(probability), abs=1e-12)
            found = {i: a for i, a in out.items() if abs(a) > 1e-12}
            assert max(found) < 2**k  # every ancilla is back in 0
            np.testing.assert_allclose([found.get(i, 0.0) for i in range(2**k)], expected, atol=1e-12)
            seen.add((reads[0][0], reads[1][0]))
    assert len(seen) >= 3


def trigger_of_counts(k, checks, counts, rng):
    """Probabilities with which flags show 1, for copies of which so many accept: (sides, counts)."""
    listed, out = check_gates(k, *checks), []
    for s in counts:
        bits = sum(1 << int(q) for q in rng.choice(k, s, replace=False))
        _, reads = run_gates(listed, {bits: 1.0}, rng)
        out.append([p if one else 1 - p for one, p in reads])
    return np.array(out).T


@pytest.mark.parametrize("threshold", [0.0, 0.1, 0.4, 0.8, 1.2])
def test_a_window_of_single_counts_is_exact_wherever_it_is(threshold):
    k, noise, rng = 90, 1.3, np.random.default_rng(3)
    assert window(k, noise) == (0, 5)
    s = np.arange(0, k + 1, 3)
    checks = Check(Z, threshold, noise, "gaussian"), Check(Z.complement(), threshold + 0.05, noise, "gaussian")
    found = trigger_of_counts(k, checks, s, rng)
    np.testing.assert_allclose(found[0], checks[0].trigger(s, k), atol=1e-12)
    np.testing.assert_allclose(found[1], checks[1].trigger(k - s, k), atol=1e-12)


@pytest.mark.slow
def test_steps_cost_the_infidelity_that_is_stated():
    """Flag and batch, E cos of half the difference of angles: within the bound, which is nearly reached."""
    k, noise, rng = 4200, 80.0, np.random.default_rng(4)
    size, bits = window(k, noise)
    h = 2**size
    assert h == 4 and bits == 9
    check = Check(Z, 0.5, noise, "gaussian")
    s = np.array([0, 1499, *range(2096, 2104), 2700, 4200])
    theirs = np.arcsin(np.sqrt(trigger_of_counts(k, (check,), s, rng)[0]))
    ours = np.arcsin(np.sqrt(check.trigger(s, k)))
    bound = ((h - 1) / noise) ** 2 / (8 * math.pi)
    off = (ours - theirs) ** 2
    assert 0.95 * bound < off.max() <= bound <= 1.6e-4
    middle = (s >= 2096) & (s < 2104)
    assert off[middle].mean() == pytest.approx((h**2 - 1) / 12 / (2 * math.pi * noise**2), rel=0.02)
    assert np.all(off[(s < 1500) | (s > 2699)] < 1e-9)
    for count in (17, 31.9, 32, 100, 1e6):
        found = window(10**9, count)
        assert count / 32 < 2**found.size <= count / 16 and found.bits in (8, 9)
        assert ((2**found.size - 1) / count) ** 2 / (8 * math.pi) <= 1.6e-4


def test_a_window_keeps_superpositions():
    """Strings of 90 bits in superposition, of counts that the window holds: both Kraus operators of both sides."""
    k, noise, rng = 90, 1.3, np.random.default_rng(8)
    up, down = two_sided(Z, 0.5, 0.01, noise, "gaussian")
    listed, seen = check_gates(k, up, down), set()
    for _ in range(25):
        picks = [rng.choice(k, s, replace=False) for s in range(41, 50)]
        copies = {sum(1 << int(q) for q in p): complex(*rng.normal(size=2)) / 5 for p in picks}
        out, reads = run_gates(listed, dict(copies), rng)
        s = np.array([b.bit_count() for b in copies])
        expected = np.array(list(copies.values()))
        for (one, _), f in zip(reads, (up.trigger(s, k), down.trigger(k - s, k)), strict=True):
            expected = expected * np.sqrt(f if one else 1 - f)
        np.testing.assert_allclose([out[b] for b in copies], expected, atol=1e-12)
        assert sum(abs(a) > 1e-12 for a in out.values()) == len(copies)
        seen.add((reads[0][0], reads[1][0]))
    assert len(seen) >= 3


def amplitudes_of_pointer(noise):
    """On its grid, before the count is added: exp(-x^2/(4 s^2)) at the middle of each step, and the grid x itself."""
    size, bits = pointer_steps(noise)
    unit, each = 2.0 ** min(0, size), 2 ** max(0, size)
    n = np.arange(2**bits * each)
    middles = unit * ((n // each - 2 ** (bits - 1)) * each + each / 2)
    out = np.exp(-(middles**2) / (4 * noise**2))
    return out / np.linalg.norm(out), unit * (n - (len(n) - 1) / 2)


@REVERSED
@pytest.mark.parametrize("k, noise", [(3, 1.0), (3, 0.4), (1, 0.7), (4, 1.9), (2, 33.0)])
def test_the_circuit_of_a_reading_has_the_kraus_operators_of_its_pointer(k, noise, reverse):
    rng = np.random.default_rng(6)
    listed, s = reading_gates(k, noise, reverse=reverse), counts_of(k)
    pointer, grid = amplitudes_of_pointer(noise)
    for _ in range(2 if noise > 16 else 12):
        copies = some_copies(k, rng)
        out, reads = run_gates(listed, dict(copies), rng)
        y = reading_of(noise, sum(one << i for i, (one, _) in enumerate(reads)))
        at = np.rint((y - s - grid[0]) / (grid[1] - grid[0])).astype(int)
        kraus = np.where((at >= 0) & (at < len(pointer)), pointer[np.clip(at, 0, len(pointer) - 1)], 0.0)
        expected = np.array([copies[i] for i in range(2**k)]) * kraus
        found = {i: a for i, a in out.items() if abs(a) > 1e-12}
        assert max(found) < 2**k  # every ancilla is back in 0
        np.testing.assert_allclose([found.get(i, 0.0) for i in range(2**k)], expected, atol=1e-12)
        probability = math.prod(p for _, p in reads)
        assert probability == pytest.approx(float(np.linalg.norm(expected)) ** 2, rel=1e-9)


@pytest.mark.parametrize("noise", [0.1, 0.9, 1.0, 3.3, 15.9, 16.0, 31.0, 500.0, 1000.0])
def test_a_pointer_is_the_gaussian_that_was_asked_for(noise):
    """Variance s^2; infidelity (h/s)^2/48 at most with the Gaussian of the same grid; overlap of two counts
    exp(-1/(8 s^2)), which a staircase lowers by its jumps."""
    pointer, grid = amplitudes_of_pointer(noise)
    h = 2.0 ** pointer_steps(noise).size
    ideal = np.exp(-(grid**2) / (4 * noise**2))
    ideal /= np.linalg.norm(ideal)
    assert 1 - pointer @ ideal <= 8.3e-5
    infidelity = 1 - (pointer @ ideal) ** 2
    assert infidelity <= (h / noise) ** 2 / 48 * (1 + 1e-6)
    assert infidelity > (0.7 * (h / noise) ** 2 / 48 if h > 1 else -1e-12)
    assert pointer**2 @ grid**2 == pytest.approx(noise**2, rel=1e-3 if h > 1 else 1e-6)
    if noise < 16:
        one = round(1 / (grid[1] - grid[0]))
        assert pointer[one:] @ pointer[:-one] == pytest.approx(math.exp(-1 / (8 * noise**2)), abs=1e-6)


def test_bad_numbers_of_a_circuit_are_refused_with_the_mend():
    for wrong, words in [
        (lambda: circuit_cost(0), "whole number"),
        (lambda: circuit_cost(5, -1.0), "`noise` must be a positive number of copies"),
        (lambda: circuit_cost(5, sides=3), "`sides` of a check is 1 or 2"),
        (lambda: reading_cost(5, math.inf), "`noise` must be a positive number of copies"),
        (lambda: check_gates(2.5, Check(Z, 0.5, 1.0)), "whole number"),
    ]:
        with pytest.raises(QupropError, match=words):
            wrong()
