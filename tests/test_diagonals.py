"""Tables of diagonal sums are the sums, and models with tables, frames and sectors are the reference's.

`tables=True` makes a table of everything that can be one, so that small random models meet every branch.
"""

import itertools
from functools import lru_cache

import cases
import numpy as np
import pytest
from engine_results import HERE, arguments, assert_same, results
from tolerances import assert_close

import quprop as qpr
from quprop.simulate import memory
from quprop.simulate.state_vector import sectors
from quprop.simulate.state_vector.diagonals import LocalFrame
from quprop.simulate.state_vector.native import NativeEngine, load_kernels
from quprop.simulate.state_vector.reference import ReferenceEngine

REFERENCE = ReferenceEngine()
DTYPES = {"double": np.float64, "single": np.float32}
STATES = ("basis", "product", "plus", "amplitudes")


@lru_cache
def engine(precision="double", isa=None, block=None, threads=1, tables=True, symmetries=True):
    how = {"support": False, "tables": tables, "symmetries": symmetries}
    return NativeEngine(precision, threads, isa=isa, block=block, **how)


def state_of(kind, n, rng):
    if kind == "basis":
        return int(rng.integers(2**n))
    if kind == "plus":
        return np.array([[1, rng.choice([-1, 1])] if rng.random() < 0.8 else [1, 0] for _ in range(n)])
    rows = rng.normal(size=(n, 2) if kind == "product" else 2**n) * np.exp(1j * rng.normal(size=(n, 1)).sum())
    return rows + 0.3j


def sums_model(seed, n, kind, terms=5, sums=5):
    """Sums whose qubits have one letter each, parameters shared, between random rotations; observables likewise."""
    rng = np.random.default_rng(seed)
    theta, x = qpr.params("theta", 3), qpr.inputs("x", 2)
    circuit = qpr.Circuit(n, state_of(kind, n, rng), params=theta, inputs=x)
    angles = [theta[0], 2 * theta[1], -theta[2], theta[0] * x[1], 0.5 * theta[1] + 0.3, x[0] * np.pi]

    def one_letter_sum(letters, weights):
        items = {}
        for _ in range(terms):
            chosen = rng.random(n) < 0.5
            chosen[rng.integers(n)] = True
            items["".join(np.where(chosen, letters, "I"))] = float(rng.choice(weights))
        return qpr.PauliSum(items)

    for k in range(sums):
        letters = rng.choice(list("XYZ"), n) if k % 2 else np.full(n, "ZX"[k // 2 % 2])
        weights = [1.0, -1.0, 0.5] if rng.random() < 0.6 else list(rng.normal(size=terms))
        circuit.exp(one_letter_sum(letters, weights), angles[rng.integers(len(angles))])
        if rng.random() < 0.7:
            circuit.rotation("".join(rng.choice(list("IXYZ"), n)), angles[rng.integers(len(angles))])
    diagonal = one_letter_sum(np.full(n, "Z"), [1.0, 2.0])
    return qpr.Model(circuit, [diagonal, diagonal * 0.5 + cases.random_sum(rng, n, 3), cases.random_sum(rng, n, 2)])


@pytest.mark.parametrize("isa", HERE)
@pytest.mark.parametrize("weights", ["few", "many", "any", "negative", "thirds"])
def test_a_table_is_the_sum_of_its_strings_on_every_bit_string(weights, isa):
    rng = np.random.default_rng(1)
    draw = {
        "few": lambda k: rng.integers(1, 3, k) * 1.0,
        "many": lambda k: rng.integers(-60, 60, k) * 7.0,
        "any": lambda k: rng.normal(size=k),
        "negative": lambda k: -rng.integers(1, 4, k) * 0.25,
        "thirds": lambda k: rng.integers(1, 5, k) / 3,
    }[weights]
    for n, terms in itertools.product((1, 3, 6, 13, 14), (1, 7, 60)):
        z = rng.integers(0, 2**n, terms).astype(np.uint64)
        c = draw(terms)
        table = load_kernels(isa)[1].Diagonal(z, c, n, 2)
        found = np.empty(2**n)
        table.values(found)
        index = np.arange(2**n, dtype=np.uint64)
        wanted = sum(a * (1.0 - 2.0 * (np.bitwise_count(index & m) & 1)) for a, m in zip(c, z, strict=True))
        assert_close(found, wanted, 4 * terms)
        assert table.largest == pytest.approx(np.abs(wanted).max(), abs=1e-12)
        assert table.bytes == 2**n * (8 if not table.codes else 1 if table.codes <= 256 else 2)
        if weights == "any":
            assert not table.codes or len(set(abs(c))) < 3
        elif weights != "many":
            assert 0 < table.codes <= 256
            assert len(np.unique(np.round(wanted, 9))) <= table.codes


def test_a_table_of_many_whole_numbers_has_codes_of_two_bytes():
    rng = np.random.default_rng(3)
    z, c = rng.permutation(2**14)[:300].astype(np.uint64), rng.integers(1, 40, 300) * 1.0
    table = load_kernels()[1].Diagonal(z, c, 14, 1)
    assert 256 < table.codes <= 2**12 and table.bytes == 2**15


@pytest.mark.parametrize("kind", STATES)
@pytest.mark.parametrize("n", [1, 2, 3, 4, 5, 6])
def test_forced_tables_are_the_reference(n, kind):
    for seed in range(4):
        model = sums_model(100 * n + seed, n, kind)
        for batch in (1, 2):
            given = arguments(model, batch, seed)
            expected = results(REFERENCE, model, *given)
            for precision, dtype in DTYPES.items():
                assert_same(model, results(engine(precision), model, *given), expected, dtype)


@pytest.mark.parametrize("isa", HERE)
@pytest.mark.parametrize("block", [2, 3, 4])
def test_forced_tables_in_tiny_blocks_are_the_reference(block, isa):
    for n, kind in itertools.product((5, 7), STATES):
        model = sums_model(n + block, n, kind, terms=9)
        given = arguments(model, 1, block)
        expected = results(REFERENCE, model, *given)
        for precision, dtype in DTYPES.items():
            assert_same(model, results(engine(precision, isa, block), model, *given), expected, dtype)


@pytest.mark.parametrize("name", list(cases.CASES))
def test_forced_tables_are_the_reference_on_the_small_named_models(name):
    model = cases.CASES[name].model
    given = arguments(model, 1)
    expected = results(REFERENCE, model, *given)
    assert_same(model, results(engine(), model, *given), expected)
    assert_same(model, results(engine(tables=False, symmetries=False), model, *given), expected)


def qaoa(n, strings, layers, observables=None):
    cost = qpr.PauliSum({qpr.PauliString(0, z): c for z, c in strings.items()})
    mixer = qpr.PauliSum({qpr.PauliString(1 << q, 0): 1.0 for q in range(n)})
    gamma, beta = qpr.params("gamma", layers), qpr.params("beta", layers)
    circuit = qpr.Circuit(n, params=[gamma, beta])
    for q in range(n):
        circuit.h(q)
    for a, b in zip(gamma, beta, strict=True):
        circuit.exp(cost, a).exp(mixer, 2 * b)
    return qpr.Model(circuit, cost if observables is None else observables)


def ring(n, weight=lambda q: 1.0):
    return {1 << q | 1 << (q + 1) % n: weight(q) for q in range(n)}


def plan_of(eng, model):
    """The one plan of values that an engine has made of a model."""
    (plan,) = eng._plans[model].values()
    return plan


def test_layers_of_one_angle_become_tables_by_counting():
    rng = np.random.default_rng(0)
    model = qaoa(10, {int(z): 1.0 for z in rng.permutation(2**10)[:60] if z}, 3)
    native = NativeEngine(tables=None)
    native.values(model, np.full((1, 6), 0.1), np.empty((1, 0)))
    assert plan_of(native, model).table_bytes > 0
    own = qpr.Model(qpr.ansatz.by_name("hardware_efficient", 10, 4), "Z0")
    native.values(own, np.full((1, own.n_params), 0.1), np.empty((1, 0)))
    assert plan_of(native, own).table_bytes == 0


@pytest.mark.parametrize("precision", DTYPES)
def test_bits_are_the_same_for_any_number_of_threads(precision):
    rng = np.random.default_rng(4)
    for weight in (1.0, None):
        strings = {int(z): weight or float(rng.normal()) for z in rng.permutation(2**15)[:80] if z}
        model = qaoa(15, strings, 2)
        theta, x = rng.normal(size=(1, 4)), np.empty((1, 0))
        ways = [engine(precision, threads=t, tables=None) for t in (1, 2, 3)]
        found = [way.value_and_grad(model, theta, x, np.ones((1, 1))) for way in ways]
        assert plan_of(ways[0], model).table_bytes > 0
        values = [way.values(model, theta, x) for way in ways]
        for k in (1, 2):
            assert all(np.array_equal(a, b) for a, b in zip(found[0], found[k], strict=True))
            assert np.array_equal(values[0], values[k])


def test_angles_beyond_what_a_sum_bears_are_turned_one_by_one():
    model = qaoa(9, ring(9, lambda q: 1.0 + q), 1)
    for gamma, ways in ((543.21, {True}), (123456.7, {True, False})):
        theta, x = np.array([[gamma, 0.3]]), np.empty((1, 0))
        expected = REFERENCE.vjp(model, theta, x)
        found = engine().vjp(model, theta, x)
        assert_close(found[0], expected[0], 100 * gamma)
        assert_close(found[1](np.ones((1, 1)))[0], expected[1](np.ones((1, 1)))[0], 100 * gamma)
        assert {key[2] for key in engine()._plans[model]} == ways


def test_a_layer_of_many_terms_of_another_letter_is_a_table_between_two_changes_of_basis():
    n = 9
    pairs = list(itertools.combinations(range(n), 2))
    theta = qpr.params("theta", 6)
    circuit = qpr.Circuit(n, params=theta)
    for q in range(n):
        circuit.ry(0.3 + 0.1 * q, q)
    for k, letter in enumerate("XYZXYZ"):
        terms = {"".join(letter if q in p else "I" for q in range(n)): 1.0 for p in pairs}
        circuit.exp(qpr.PauliSum(terms), theta[k])
    model = qpr.Model(circuit, [qpr.PauliSum({"Z" * n: 1.0, "X0 X1": 0.5, "Y2": 0.1})])
    native = engine(tables=None)
    given = arguments(model, 1)
    assert_same(model, results(native, model, *given), results(REFERENCE, model, *given))
    rewritten = native._rewritten(model, False, "", True)
    assert rewritten is not None and np.count_nonzero(rewritten.table >= 0) == 6 and len(rewritten.sums) == 1
    assert len(rewritten.x) < n + 6 + 4 * 2 * n + 1 < model.n_rotations


# ------------------------------------------------------------------------------------------------- frames and sectors

PAULI = {"I": np.eye(2), "X": np.array([[0, 1], [1, 0]]), "Y": np.array([[0, -1j], [1j, 0]]), "Z": np.diag([1, -1])}


def dense(x, z, n):
    """The Hermitian string of two masks; qubit 0 is the last factor."""
    out = np.eye(1)
    for q in range(n):
        out = np.kron(PAULI["IXZY"[(int(x) >> q & 1) + 2 * (int(z) >> q & 1)]], out)
    return out


def test_a_frame_turns_strings_and_states():
    rng = np.random.default_rng(5)
    n = 3
    for x, y in ((1, 2), (5, 0), (0, 7), (2, 4)):
        frame = LocalFrame(x, y)
        v = np.eye(1)
        for q in range(n):
            p = "X" if x >> q & 1 else "Y" if y >> q & 1 else None
            v = np.kron(np.eye(2) if p is None else (PAULI[p] + PAULI["Z"]) / np.sqrt(2), v)
        masks = np.arange(64, dtype=np.uint64)
        tx, tz, signs = frame.turned(masks & np.uint64(7), masks >> np.uint64(3))
        for k in range(64):
            assert_close(signs[k] * dense(tx[k], tz[k], n), v @ dense(k & 7, k >> 3, n) @ v.conj().T, 20)
        for kind in ("basis", "product"):
            state = qpr.Circuit(n, state_of(kind, n, rng)).state
            rows = frame.start(state, n)
            product = np.kron(rows[2], np.kron(rows[1], rows[0]))
            assert_close(product, v @ state.vector(n), 20)


def random_symmetric(rng, n, rows):
    """Strings that commute with the symmetries found of them; the symmetries are made by hand first."""
    plus = [q for q in range(n) if rows[q][0] == rows[q][1] or rows[q][0] == -rows[q][1]]
    zero = [q for q in range(n) if 0 in rows[q]]
    m = sum(1 << q for q in plus if rng.random() < 0.8)
    k = sum(1 << q for q in zero if rng.random() < 0.8)
    found = [(0, 0)]
    while len(found) < 12:
        x, z = int(rng.integers(2**n)), int(rng.integers(2**n))
        if not (z & m).bit_count() & 1 and not (x & k).bit_count() & 1:
            found.append((x, z))
    return np.array(found, np.uint64).T


@pytest.mark.parametrize("n", [2, 3, 4, 5])
def test_in_a_sector_strings_do_what_they_do_in_the_whole_space(n):
    rng = np.random.default_rng(n)
    kinds = ([1, 1], [1, -1], [1, 0], [0, 1], [0.6, 0.8j])
    seen = 0
    for _ in range(30):
        rows = np.array([kinds[k] for k in rng.integers(len(kinds), size=n)], complex)
        rows /= np.linalg.norm(rows, axis=1, keepdims=True)
        x, z = random_symmetric(rng, n, rows)
        sector = sectors.find(x, z, rows)
        if sector is None:
            continue
        seen += 1
        tx, tz, signs = sector.of(x, z)
        assert sector.qubits == n - len(sector.left_out) >= 1
        assert tx.max() < 2**sector.qubits and tz.max() < 2**sector.qubits

        def state(of):
            out = np.eye(1)
            for row in of:
                out = np.kron(row[:, None], out)
            return out[:, 0]

        whole, small = state(rows), state(sector.state(rows))
        for a, b in itertools.product(
            range(len(x)), repeat=2
        ):  # <P_a P_b> and with it all that a circuit makes of them
            of = dense(x[a], z[a], n) @ dense(x[b], z[b], n)
            own = signs[a] * signs[b] * dense(tx[a], tz[a], sector.qubits) @ dense(tx[b], tz[b], sector.qubits)
            assert_close(small.conj() @ own @ small, whole.conj() @ of @ whole, 50)
    assert seen > 5


def test_every_mask_is_orthogonal_and_none_is_missed():
    rng = np.random.default_rng(6)
    for n in range(1, 9):
        for _ in range(20):
            masks = rng.integers(0, 2**n, rng.integers(1, n + 1)).astype(np.uint64)
            within = int(rng.integers(2**n))
            found = sectors.orthogonal(masks, within)
            all_of_them = {
                m for m in range(2**n) if not m & ~within and all(not (m & int(k)).bit_count() & 1 for k in masks)
            }
            spanned = {0}
            for m, q in found:
                assert m >> q & 1 and not any(other >> q & 1 for other, _ in found if other != m)
                spanned |= {s ^ m for s in spanned}
            assert spanned == all_of_them


@pytest.mark.parametrize("n", [9, 12])
def test_flips_of_all_spins_halve_the_state(n):
    model = qaoa(n, ring(n), 2)
    whole = NativeEngine(support=False, symmetries=False, tables=False)
    theta, x = np.random.default_rng(n).normal(size=(1, 4)), np.empty((1, 0))
    rewritten = engine(tables=None)._rewritten(model, False, "", True)
    assert rewritten is not None and rewritten.n == n - 1
    expected = whole.value_and_grad(model, theta, x, np.ones((1, 1)))
    for precision, dtype in DTYPES.items():
        found = engine(precision, tables=None).value_and_grad(model, theta, x, np.ones((1, 1)))
        for a, b in zip(found, expected, strict=True):
            assert_close(a, b, 2000, dtype)
    # one field breaks the symmetry
    broken = qaoa(n, ring(n) | {1: 0.5}, 2)
    assert engine(tables=False)._rewritten(broken, False, "", True) is None
    expected = whole.value_and_grad(broken, theta, x, np.ones((1, 1)))
    assert_close(engine().value_and_grad(broken, theta, x, np.ones((1, 1)))[1], expected[1], 2000)


def test_symmetries_that_an_observable_breaks_are_not_used():
    n = 10
    other = qaoa(n, ring(n), 1, ["Z0", "Z0 Z1"])
    assert engine(tables=False)._rewritten(other, False, "", True) is None
    theta, x = np.array([[0.4, 0.7]]), np.empty((1, 0))
    assert_close(engine().values(other, theta, x), REFERENCE.values(other, theta, x), 500)


def test_memory_for_tables_is_asked_for_and_refused_as_states_are(monkeypatch):
    rng = np.random.default_rng(8)
    n = 22
    model = qaoa(n, {int(z): float(rng.normal()) for z in rng.permutation(2**n)[:60] if z}, 1)
    native, without = NativeEngine(), NativeEngine(tables=False)
    more = native.memory(model, 1, "value_and_grad") - without.memory(model, 1, "value_and_grad")
    assert 8 << n <= more <= 4 * (8 << n)  # a table, and another one while it is made
    needed = native.memory(model, 1, "value_and_grad")
    monkeypatch.setattr(memory, "available_bytes", lambda: needed - 1)
    with pytest.raises(qpr.QupropError, match="free"):
        qpr.value_and_grad(model, np.full(2, 0.1), engine=native)
