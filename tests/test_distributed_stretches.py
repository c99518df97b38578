"""Stretches of a model over ranks, by their laws: coordinates, order, locality, exchanges, and how few there are."""

from itertools import pairwise

import numpy as np
import pytest
from cases import CASES, random_model
from dense import pauli_matrix

import quprop as qpr
from quprop import QupropError
from quprop.model import ansatz
from quprop.model.pauli import PauliString
from quprop.simulate.distributed.coordinates import Coordinates
from quprop.simulate.distributed.stretches import LANE_BITS, cut, least_qubits, rank_bits_of, stretches


def parity(mask):
    return bin(mask).count("1") % 2


def invertible(rng, n):
    """Rows of a random invertible matrix over GF(2): sums of rows, from those of the identity."""
    rows = [1 << i for i in range(n)]
    for _ in range(4 * n):
        i, k = rng.integers(n, size=2)
        if i != k:
            rows[i] ^= rows[k]
    return [rows[i] for i in rng.permutation(n)]


def found_for(model, rank_bits):
    """A model's stretches, in however few qubits there are."""
    strings = [p.x for o in model.observables for p, _ in o.items()]
    return cut(model.x_masks, model.z_masks, model.n_qubits, rank_bits, strings)


# Coordinates ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(20))
def test_rows_and_columns_are_inverse_of_one_another(seed):
    rng = np.random.default_rng(seed)
    n = int(rng.integers(1, 63))
    at = Coordinates.of(invertible(rng, n))
    for k in range(n):
        assert at.x(at.columns[k]) == at.z(at.rows[k]) == 1 << k
    x, z = rng.integers(2**n, size=(2, 50), dtype=np.uint64)
    assert at.xs(x).tolist() == [at.x(v) for v in x.tolist()] == [at.index(v) for v in x.tolist()]
    assert at.zs(z).tolist() == [at.z(v) for v in z.tolist()] == [at.functional(v) for v in z.tolist()]


@pytest.mark.parametrize("n", [1, 2, 3])
def test_strings_in_coordinates_are_those_of_the_permuted_matrix(n):
    rng = np.random.default_rng(n)
    for _ in range(3):
        at = Coordinates.of(invertible(rng, n))
        permutation = np.zeros((2**n, 2**n))
        for j in range(2**n):
            permutation[sum(parity(row & j) << i for i, row in enumerate(at.rows)), j] = 1
        masks = np.array([(x, z) for x in range(2**n) for z in range(2**n)], np.uint64)
        for (x, z), new_x, new_z, sign in zip(
            masks.tolist(), at.xs(masks[:, 0]), at.zs(masks[:, 1]), at.signs(*masks.T), strict=True
        ):
            there = permutation @ pauli_matrix(PauliString(x, z), n) @ permutation.T
            assert np.array_equal(there, sign * pauli_matrix(PauliString(int(new_x), int(new_z)), n))


# What stretches are ---------------------------------------------------------------------------------------------------


def exchanged(exchange, there):
    """Where an exchange takes an index."""
    to = there
    for _, rank, f in zip(*exchange, strict=True):
        to = to & ~(1 << rank) | parity(f & there) << rank
    for pivot, rank, f in zip(*exchange, strict=True):
        to = to & ~(1 << pivot) | ((there >> rank & 1) ^ parity(f & to & ~(1 << pivot))) << pivot
    return to


def check(model, found, rank_bits):
    """Every law that the ranks rely on."""
    n, local = model.n_qubits, model.n_qubits - rank_bits
    x, z = model.x_masks, model.z_masks
    order = np.concatenate([s.order for s in found]).tolist()
    assert sorted(order) == list(range(len(x)))
    last = max((k for k, s in enumerate(found) if len(s.order)), default=0)
    assert all(len(s.order) for s in found[1:last])  # the others are for observables
    xs, zs = np.array(x, np.uint64)[order], np.array(z, np.uint64)[order]
    for k, i in enumerate(order):  # whoever is overtaken commutes
        overtaken = np.array(order[k:]) < i
        apart = np.bitwise_count(xs[k:] & np.uint64(z[i])) + np.bitwise_count(zs[k:] & np.uint64(x[i]))
        assert not (apart[overtaken] % 2).any()
    rng = np.random.default_rng(0)
    assert found[0].exchange is None
    for s in found:
        assert [s.coordinates.x(c) for c in s.coordinates.columns] == [1 << k for k in range(n)]
        assert all(s.coordinates.x(x[i]) >> local == 0 for i in s.order)
    for before, after in pairwise(found):
        pivots, ranks, functionals = after.exchange
        assert 1 <= len(pivots) == len(ranks) == len(functionals) <= rank_bits
        assert all(0 <= b < local for b in pivots) and all(local <= b < n for b in ranks)
        for pivot, f in zip(pivots, functionals, strict=True):
            assert [f >> b & 1 for b in pivots] == [int(b == pivot) for b in pivots]
            assert pivot >= LANE_BITS or not (f & (1 << local) - 1) >> LANE_BITS or len(pivots) > 1
        for j in rng.integers(2**n, size=40).tolist() if n > 6 else range(2**n):
            there = before.coordinates.index(j)
            moved = exchanged(after.exchange, there)
            if moved >> local == there >> local:
                assert moved == there  # what stays with its rank stays in its place
            assert moved == after.coordinates.index(j)


def over_ranks(model, found, rank_bits, theta, x):
    """The final state in the last coordinates, by ranks that mix nothing but their own amplitudes between exchanges."""
    n, local = model.n_qubits, model.n_qubits - rank_bits
    start = model.state.vector(n, x)[0] if model.state.kind != "basis" else np.eye(2**n)[model.state.index]
    psi = np.zeros(2**n, complex)
    for j in range(2**n):
        psi[found[0].coordinates.index(j)] = start[j]
    values = rotation_angles(model, theta, x)
    for s in found:
        if s.exchange is not None:
            moved = np.zeros_like(psi)
            for there in range(2**n):
                moved[exchanged(s.exchange, there)] = psi[there]
            psi = moved
        for i in s.order.tolist():
            masks = np.array([[model.x_masks[i]], [model.z_masks[i]]], np.uint64)
            sign = float(s.coordinates.signs(*masks)[0])
            new_x, new_z = s.coordinates.x(model.x_masks[i]), s.coordinates.z(model.z_masks[i])
            turn = np.exp(-0.5j * sign * values[i])
            for rank in range(2**rank_bits):
                own = slice(rank << local, rank + 1 << local)
                block = pauli_matrix(PauliString(new_x, new_z), n)[own, own]
                psi[own] = turn.real * psi[own] + 1j * turn.imag * (block @ psi[own])
    return psi


def rotation_angles(model, theta, x):
    out = []
    for r in model.rotations:
        total = 0.0
        for monomial, c in r.angle.terms:
            total += c * np.prod([(x if kind else theta)[k] for kind, k in monomial])
        out.append(total)
    return out


@pytest.mark.parametrize("name", list(CASES))
def test_the_laws_hold_for_every_case(name):
    model = CASES[name].model.noiseless()
    for rank_bits in range(model.n_qubits // 2 + 1):
        check(model, found_for(model, rank_bits), rank_bits)


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize(("n", "rank_bits"), [(2, 1), (4, 2), (6, 3), (7, 2), (9, 1), (12, 3)])
def test_the_laws_hold_for_random_rotations(seed, n, rank_bits):
    model = random_model(seed, n, 150)
    check(model, found_for(model, rank_bits), rank_bits)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("rank_bits", [1, 2])
def test_ranks_that_mix_their_own_amplitudes_only_reach_the_circuits_state(seed, rank_bits):
    n = 5
    model = random_model(seed, n, 30)
    theta = np.random.default_rng(seed).normal(size=model.n_params)
    found = found_for(model, rank_bits)
    assert len(found) > 2
    psi = over_ranks(model, found, rank_bits, theta, np.zeros(0))
    wanted = np.eye(2**n, dtype=complex)[0]
    for r, angle in zip(model.rotations, rotation_angles(model, theta, ()), strict=True):
        turned = pauli_matrix(PauliString(r.x, r.z), n) @ wanted
        wanted = np.cos(angle / 2) * wanted - 1j * np.sin(angle / 2) * turned
    moved = np.array([psi[found[-1].coordinates.index(j)] for j in range(2**n)])
    np.testing.assert_allclose(moved, wanted, atol=1e-13)


def test_stretches_are_the_same_every_time():
    model = random_model(3, 10, 120)
    once, again = stretches(model, 2), stretches(model, 2)
    assert repr(once) == repr(again)


# How few there are ----------------------------------------------------------------------------------------------------


def entanglers(n):
    chain = [(q, q + 1) for q in range(n - 1)]
    ring = [(q, (q + 1) % n) for q in range(n)]
    back = {"chain back": [p[::-1] for p in chain], "ring back": [p[::-1] for p in ring]}
    pairs = {"chain": chain, "ring": ring} | back
    pairs |= {name + " from the end": gates[::-1] for name, gates in pairs.items()}
    return pairs | {
        "cz": chain[::2] + chain[1::2],
        "all": [(a, b) for a in range(n) for b in range(a + 1, n)],
    }


def layered(n, layers, turns, name):
    theta = iter(vector := qpr.params("theta", layers * n * len(turns)))
    circuit = qpr.Circuit(n, params=vector)
    for _ in range(layers):
        for turn in turns:
            for q in range(n):
                circuit.gate(turn, next(theta), q)
        for a, b in entanglers(n)[name]:
            circuit.gate("cz" if name == "cz" else "cx", a, b)
    return qpr.Model(circuit, "Z0")


TURNS = [("ry",), ("ry", "rz"), ("rx", "ry", "rz"), ("rz", "rx", "rz")]


@pytest.mark.parametrize("name", list(entanglers(3)))
@pytest.mark.parametrize("turns", TURNS)
def test_a_hardware_efficient_layer_costs_one_exchange_at_most(turns, name):
    for n, layers in ((12, 10), (16, 4)):
        model = layered(n, layers, turns, name)
        for rank_bits in (1, 2, 3):
            found = stretches(model, rank_bits)
            assert len(found) - 1 <= layers
    check(model, found, rank_bits)


@pytest.mark.slow
@pytest.mark.parametrize("name", list(entanglers(3)))
@pytest.mark.parametrize("turns", TURNS)
@pytest.mark.parametrize(("n", "layers"), [(12, 30), (20, 4), (20, 30), (28, 10), (28, 30)])
def test_a_layer_of_a_large_circuit_costs_one_exchange_at_most(n, layers, turns, name):
    model = layered(n, layers, turns, name)
    for rank_bits in (1, 2, 3):
        found = stretches(model, rank_bits)
        assert len(found) - 1 <= layers
        check(model, found, rank_bits)


def test_diagonal_rotations_cost_no_exchange():
    theta = qpr.params("theta", 200)
    circuit = qpr.Circuit(10)
    for k in range(200):
        circuit.rotation(PauliString(0, 1 + k * 5 % 1023), theta[k])
    assert len(stretches(qpr.Model(circuit, "Z0"), 3)) == 1


def test_what_a_circuit_keeps_costs_no_exchange():
    """The parity of a Heisenberg chain, and of each spin's electrons, are bits that no rotation changes."""
    terms = {f"{p}{q} {p}{q + 1}": 1.0 for p in "XYZ" for q in range(9)}
    heisenberg = qpr.Model(qpr.Circuit(10).evolve(terms, qpr.params("t", 1)[0], steps=5), terms)
    (only,) = stretches(heisenberg, 1)
    assert only.coordinates.rows[-1] == 2**10 - 1
    assert len(stretches(qpr.Model(ansatz.uccsd(8, 4), "Z0"), 2)) == 1


def test_what_a_circuit_keeps_stays_with_the_ranks():
    """Of two bits of the rank one is the parity throughout, so that an exchange moves half and not three quarters."""
    terms = {f"{p}{q} {p}{q + 1}": 1.0 for p in "XYZ" for q in range(11)}
    found = stretches(qpr.Model(qpr.Circuit(12).evolve(terms, qpr.params("t", 1)[0], steps=10), "Z0"), 2)
    assert len(found) > 2
    assert all(2**12 - 1 in s.coordinates.rows[10:] for s in found)
    assert all(len(s.exchange.ranks) == 1 for s in found[1:])


@pytest.mark.parametrize(("name", "rank_bits", "most"), [("all", 3, 3), ("chain from the end", 3, 3), ("ring", 1, 6)])
def test_a_layers_rotations_join_those_of_layers_before(name, rank_bits, most):
    """Order holds up few of the rotations of CX layers, so that ten of them cost far fewer exchanges than ten."""
    assert len(stretches(layered(12, 10, ("ry",), name), rank_bits)) - 1 <= most


def test_commuting_rotations_share_few_stretches():
    """Every pair of qubits once: those a bit cuts come second, and those that both bits cut third."""
    n = 12
    theta = qpr.params("theta", n * n)
    circuit = qpr.Circuit(n)
    for a in range(n):
        for b in range(a):
            circuit.rotation(f"X{a} X{b}", theta[n * a + b])
    assert len(stretches(qpr.Model(circuit, "Z0"), 1)) <= 3


def test_observables_are_local_where_functionals_are_left_for_them():
    circuit = qpr.Circuit(10).rx(qpr.params("t", 1)[0], 9)
    observables = [f"X{q}" for q in range(4, 10)] + ["X4 X5 Y6"]
    (only,) = stretches(qpr.Model(circuit, observables), 2)
    assert all(only.coordinates.x(1 << q) >> 8 == 0 for q in range(4, 10))


def test_a_stretch_for_observables_moves_less_than_their_swaps():
    """Bits 6 and 7 are free for the rotations; one more of the pairs' parities is kept by all observables."""
    n = 8
    theta = qpr.params("theta", 2 * n)
    circuit = qpr.Circuit(n)
    for q in range(6):
        circuit.ry(theta[q], q).rx(theta[n + q], q)
    model = qpr.Model(circuit, [f"X{a} X{b}" for a in range(2, 8) for b in range(2, a)])
    found = stretches(model, 2)
    check(model, found, 2)
    assert not len(found[-1].order) and len(found) == 2
    classes = [{s.coordinates.x(p.x) >> 6 for o in model.observables for p, _ in o.items()} - {0} for s in found]
    assert 3 * (1 - 1 / 2 ** len(found[-1].exchange.ranks)) + len(classes[1]) + bool(classes[1]) < len(classes[0]) + 1


def test_rotations_beyond_those_in_view_are_taken_and_stay_in_order():
    theta = qpr.params("theta", 1500)
    circuit = qpr.Circuit(8)
    for k in range(1500):
        circuit.gate(("rx", "rz")[k // 7 % 2], theta[k], k % 7)
    model = qpr.Model(circuit, "Z0")
    found = stretches(model, 1)
    check(model, found, 1)
    assert len(found) == 1


# Refusals -------------------------------------------------------------------------------------------------------------


def test_what_ranks_cannot_share_is_refused():
    assert [least_qubits(p) for p in (0, 1, 2, 3)] == [6, 7, 8, 10]
    assert [rank_bits_of(r, 30) for r in (1, 2, 8)] == [0, 1, 3]
    assert rank_bits_of(1, 1) == 0
    for ranks in (0, 3, -2, 2.0, True, "4"):
        with pytest.raises(QupropError, match="power of two"):
            rank_bits_of(ranks, 30)
    with pytest.raises(QupropError, match="8 ranks share a state of 10 qubits at least, and this model has 9"):
        rank_bits_of(8, 9)
    with pytest.raises(QupropError, match="62 qubits at most"):
        rank_bits_of(2, 63)
    with pytest.raises(QupropError, match="takes no noise"):
        stretches(qpr.Model(qpr.Circuit(9).depolarising(0.1, 0), "Z0"), 1)
    with pytest.raises(QupropError, match="4 qubits at least"):
        cut((1,), (0,), 3, 2)
