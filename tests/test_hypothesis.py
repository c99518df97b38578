"""Hypothesis states against dense linear algebra, closed forms and the theorem's numbers."""

import inspect
import math

import numpy as np
import pytest
import scipy.linalg
from dense import PAULI
from tolerances import tolerance

from quprop.collective.hypothesis import (
    HYPOTHESES,
    DenseHypothesis,
    KernelHypothesis,
    LowRankHypothesis,
    MatrixProductHypothesis,
    TypicalityHypothesis,
    mistake_bound,
)
from quprop.collective.hypothesis.vectors import applied, combine, expectations
from quprop.errors import QupropError
from quprop.model.pauli import PauliString

# Every way of holding sigma without loss on n qubits, with the update that it does
LOSSLESS = {
    "dense": (DenseHypothesis, "exponential"),
    "low_rank": (lambda n: LowRankHypothesis(n, 2**n), "exponential"),
    "typicality_exact": (lambda n: TypicalityHypothesis(n, 2**n, refresh="exact", tolerance=1e-12), "exponential"),
    "typicality_product": (lambda n: TypicalityHypothesis(n, 2**n), "product"),
    "low_rank_product": (lambda n: LowRankHypothesis(n, 2**n, method="product"), "product"),
    "matrix_product": (lambda n: MatrixProductHypothesis(n, 4 ** (n // 2)), "product"),
    "matrix_product_in_order": (
        lambda n: MatrixProductHypothesis(n, 4 ** (n // 2), order=[*range(1, n, 2), *range(0, n, 2)]),
        "product",
    ),
    "kernel": (KernelHypothesis, "first_order"),
}
# and what of it stays a legitimate state when it is small
SMALL = {
    "typicality": lambda n: TypicalityHypothesis(n, 3, 1),
    "typicality_exact": lambda n: TypicalityHypothesis(n, 3, 1, refresh="exact"),
    "low_rank": lambda n: LowRankHypothesis(n, 3, 1),
    "matrix_product": lambda n: MatrixProductHypothesis(n, 3),
}


def matrix(pauli, n):
    """The textbook Kronecker product, qubit 0 the last factor; shares nothing with `PauliString.matrix`."""
    out = np.eye(1)
    for letter in (-pauli if pauli.sign < 0 else pauli).dense(n).lstrip("+"):
        out = np.kron(PAULI[letter], out)
    return pauli.sign * out


def random_pauli(rng, n):
    while True:
        pauli = PauliString(int(rng.integers(2**n)), int(rng.integers(2**n)))
        if pauli.weight:
            return pauli if rng.random() < 0.5 else -pauli


def all_paulis(n):
    return [PauliString(i >> n, i & (2**n - 1)) for i in range(1, 4**n)]


class DenseTruth:
    """The three update rules in plain matrices and scipy's expm."""

    def __init__(self, n, rule):
        self.n, self.rule = n, rule
        self.log = np.zeros((2**n, 2**n), complex)
        self.sigma = np.eye(2**n, dtype=complex) / 2**n

    def update(self, pauli, step):
        self.log = self.log + step * (np.eye(2**self.n) + matrix(pauli, self.n)) / 2
        if self.rule == "exponential":
            self.sigma = scipy.linalg.expm(self.log)
        elif self.rule == "product":
            boost = scipy.linalg.expm(step * (np.eye(2**self.n) + matrix(pauli, self.n)) / 4)
            self.sigma = boost @ self.sigma @ boost
        else:
            traceless = self.log - np.trace(self.log) / 2**self.n * np.eye(2**self.n)
            self.sigma = np.eye(2**self.n) + traceless
        self.sigma = self.sigma / np.trace(self.sigma).real

    def rotate(self, pauli, angle):
        turn = scipy.linalg.expm(-0.5j * angle * matrix(pauli, self.n))
        self.log, self.sigma = (turn @ m @ turn.conj().T for m in (self.log, self.sigma))


def follow(pairs, n, seed, length=60, step=0.5):
    """The same random rotations and, one time in six, updates for all."""
    rng = np.random.default_rng(seed)
    for t in range(length):
        pauli, amount = random_pauli(rng, n), float(rng.normal())
        for h in pairs:
            if t % 6 == 0:
                h.update(pauli, step * amount)
            else:
                h.rotate(pauli, amount)


def error_against_dense(hypothesis, rule, n, seed=0):
    """The largest error of sigma and of predictions after rotations and updates, both relative to a moved sigma."""
    truth = DenseTruth(n, rule)
    follow((hypothesis, truth), n, seed, step=1.5)
    error = np.abs(hypothesis.matrix() - truth.sigma).max()
    assert np.abs(truth.sigma - np.eye(2**n) / 2**n).max() > 0.02, "sigma never moved: nothing is tested"
    rng = np.random.default_rng(seed + 1)
    for _ in range(40):
        pauli = random_pauli(rng, n)
        expected = np.clip(np.trace(truth.sigma @ matrix(pauli, n)).real, -1, 1)
        error = max(error, abs(hypothesis.predict(pauli) - expected))
    return error


@pytest.mark.parametrize("n", [1, 3, 4])
@pytest.mark.parametrize("name", LOSSLESS)
def test_without_loss_every_hypothesis_is_its_dense_formula(name, n):
    make, rule = LOSSLESS[name]
    limit = 1e-10 if name == "typicality_exact" else tolerance(5000)  # Lanczos stops at 1e-12
    assert error_against_dense(make(n), rule, n) < limit


@pytest.mark.parametrize("name", LOSSLESS)
@pytest.mark.parametrize("method", ["rotate", "update"])
def test_a_flipped_sign_is_noticed(name, method):
    make, rule = LOSSLESS[name]
    hypothesis = make(4)
    right = getattr(hypothesis, method)
    setattr(hypothesis, method, lambda pauli, amount: right(pauli, -amount))
    assert error_against_dense(hypothesis, rule, 4) > 0.02


def test_product_and_exponential_updates_differ_unless_they_commute():
    """Otherwise the tests above could not tell the two rules apart."""
    n = 3
    exact, product = DenseHypothesis(n), TypicalityHypothesis(n, 2**n)
    for text in ("Z0 Z1", "X0 X1", "Z1 Z2"):  # X0 X1 and Z1 Z2 do not commute
        for h in (exact, product):
            h.update(PauliString.parse(text), 1.5)
        if text == "X0 X1":
            assert np.abs(exact.matrix() - product.matrix()).max() < tolerance(100)
    assert np.abs(exact.matrix() - product.matrix()).max() > 1e-3


@pytest.mark.parametrize("name", [*LOSSLESS, *(f"small_{k}" for k in SMALL if k != "matrix_product")])
def test_rotating_and_predicting_is_predicting_what_was_rotated_back(name):
    """tr(R sigma R† Q) = cos a tr(sigma Q) + sin a tr(sigma iPQ) for Q that anticommutes with P, whatever was cut."""
    n, rng = 4, np.random.default_rng(3)
    h = SMALL[name[6:]](n) if name.startswith("small_") else LOSSLESS[name][0](n)
    follow((h,), n, 5, 20)
    for _ in range(30):
        p, q, angle = random_pauli(rng, n), random_pauli(rng, n), float(rng.normal())
        before = h.predict(q)
        if not p.commutes(q):
            product = p * q
            ipq = PauliString(product.x, product.z, product.phase + 1)
            before = math.cos(angle) * before + math.sin(angle) * h.predict(ipq)
        h.rotate(p, angle)
        assert abs(h.predict(q) - before) < 1e-7 if "exact" in name else abs(h.predict(q) - before) < tolerance(500)


def expectation(psi, pauli, n):
    return float(np.vdot(psi, matrix(pauli, n) @ psi).real)


def ghz(n):
    psi = np.zeros(2**n, complex)
    psi[[0, -1]] = math.sqrt(0.5)
    return psi


def learn(hypothesis, paulis, truths, gap, most=1000, on_update=lambda: None):
    """Cycles through the checks, with steps 4 gap, until none fails; the number of updates."""
    while hypothesis.updates < most:
        before = hypothesis.updates
        for pauli, truth in zip(paulis, truths, strict=True):
            difference = (truth - hypothesis.predict(pauli)) / 2  # of the acceptance probabilities
            if abs(difference) > gap:
                hypothesis.update(pauli, math.copysign(4 * gap, difference))
                on_update()
        if hypothesis.updates == before:
            break
    return hypothesis.updates


@pytest.mark.parametrize("name", [k for k in LOSSLESS if k != "kernel"])
def test_ghz_on_five_qubits_takes_ten_updates(name):
    paulis = all_paulis(5)
    truths = [expectation(ghz(5), p, 5) for p in paulis]
    assert len(paulis) == 1023 and round(mistake_bound(5, 0.25), 1) == 27.7
    assert learn(LOSSLESS[name][0](5), paulis, truths, 0.25) == 10


def random_state(rng, n, rank):
    a = rng.normal(size=(2**n, rank)) + 1j * rng.normal(size=(2**n, rank))
    rho = a @ a.conj().T
    return rho / np.trace(rho).real


def relative_entropy(rho, sigma):
    values = np.linalg.eigvalsh(rho)
    logs, basis = np.linalg.eigh(sigma)
    own = sum(v * math.log(v) for v in values if v > 1e-14)
    weights = np.einsum("ij,ik,kj->j", basis.conj(), rho, basis).real
    return own - float(weights @ np.log(logs))


@pytest.mark.parametrize("rank", [1, 2, 8])
@pytest.mark.parametrize("gap", [0.05, 0.15])
def test_every_update_lowers_the_relative_entropy_by_two_gap_squared(rank, gap):
    n, rng = 3, np.random.default_rng(rank)
    rho = random_state(rng, n, rank)
    paulis = [p if rng.random() < 0.5 else -p for p in all_paulis(n)]
    truths = [float(np.trace(rho @ matrix(p, n)).real) for p in paulis]
    h = DenseHypothesis(n)
    entropies = [relative_entropy(rho, h.matrix())]
    updates = learn(h, paulis, truths, gap, on_update=lambda: entropies.append(relative_entropy(rho, h.matrix())))
    assert updates <= mistake_bound(n, gap)
    assert all(np.diff(entropies) <= -2 * gap**2 + 1e-12)
    assert rank == 8 or updates > 3


def test_the_entropy_argument_fails_for_a_wrong_sign():
    rho = random_state(np.random.default_rng(1), 3, 1)
    pauli = max(all_paulis(3), key=lambda p: np.trace(rho @ matrix(p, 3)).real)
    h = DenseHypothesis(3)
    start = relative_entropy(rho, h.matrix())
    h.update(-pauli, 0.4)
    assert relative_entropy(rho, h.matrix()) > start


@pytest.mark.parametrize("n, gap", [(2, 0.1), (4, 0.1), (5, 0.05)])
def test_mistake_bound_holds_over_random_states(n, gap):
    for seed in range(6):
        rng = np.random.default_rng(seed)
        rho = random_state(rng, n, int(rng.integers(1, 4)))
        paulis = [random_pauli(rng, n) for _ in range(200)]
        truths = [float(np.trace(rho @ matrix(p, n)).real) for p in paulis]
        assert 0 < learn(DenseHypothesis(n), paulis, truths, gap) <= mistake_bound(n, gap)


def test_bound_holds_while_state_and_hypothesis_are_rotated_together():
    """One backward sweep of a circuit: the layers' observables on a state that turns."""
    n, gap, rng = 4, 0.05, np.random.default_rng(2)
    psi = rng.normal(size=(2**n, 1)) + 1j * rng.normal(size=(2**n, 1))
    psi /= np.linalg.norm(psi)
    h, wrong = DenseHypothesis(n), 0
    for _ in range(300):
        pauli, turn, angle = random_pauli(rng, n), random_pauli(rng, n), float(rng.normal())
        truth = expectation(psi[:, 0], pauli, n)
        while abs(difference := (truth - h.predict(pauli)) / 2) > gap:
            h.update(pauli, math.copysign(4 * gap, difference))
        wrong += abs(truth) / 2 > gap
        psi = scipy.linalg.expm(-0.5j * angle * matrix(turn, n)) @ psi
        h.rotate(turn, angle)
    assert h.updates <= mistake_bound(n, gap) and wrong > 100


def test_product_updates_are_about_as_many_as_exponential_ones():
    n, rng = 5, np.random.default_rng(4)
    for psi in (ghz(n), random_state(rng, n, 1)[:, 0]):
        psi = psi / np.linalg.norm(psi)
        paulis = [random_pauli(rng, n) for _ in range(300)]
        truths = [expectation(psi, p, n) for p in paulis]
        exact, product = (learn(LOSSLESS[k][0](n), paulis, truths, 0.1) for k in ("dense", "typicality_product"))
        assert exact > 5 and abs(product - exact) <= 0.1 * exact + 2


@pytest.mark.parametrize("refresh", ["product", "exact"])
@pytest.mark.parametrize("vectors, expected", [(1, 0.06), (16, 0.015), (None, 0.015)])  # None: the default, 16
def test_typicality_error_is_the_root_of_purity_over_vectors(refresh, vectors, expected):
    n, rng = 8, np.random.default_rng(6)
    paulis = [random_pauli(rng, n) for _ in range(60)]
    moves = [(random_pauli(rng, n), 0.1) for _ in range(2)]
    exact = DenseHypothesis(n)
    for m in moves:
        exact.update(*m)
    truths = np.array([exact.predict(p) for p in paulis])
    errors = []
    for seed in range(12):
        h = TypicalityHypothesis(n, **({"vectors": vectors} if vectors else {}), rng=seed, refresh=refresh)
        for m in moves:
            h.update(*m)
        errors.append([h.predict(p) for p in paulis] - truths)
    root_mean_square = math.sqrt(np.mean(np.square(errors)))
    purity = np.vdot(exact.matrix(), exact.matrix()).real
    assert abs(root_mean_square / math.sqrt(purity / (vectors or 16)) - 1) < 0.15  # 720 errors, not all independent
    assert abs(root_mean_square / expected - 1) < 0.2


def test_exact_refresh_follows_multiplicative_weights_and_product_does_not():
    """The same random vectors: the difference is the rule, not the sampling."""
    n = 5
    truth = DenseTruth(n, "exponential")
    exact = TypicalityHypothesis(n, 4, 3, refresh="exact", tolerance=1e-12)
    seeds = exact._vectors.copy()
    product = TypicalityHypothesis(n, 4, 3)
    follow((truth, exact, product), n, 8, 40, step=2.0)
    # the random vectors turned along: a rotation only since the first update, which is the first event
    rng, turn = np.random.default_rng(8), np.eye(2**n)
    for t in range(40):
        pauli, amount = random_pauli(rng, n), float(rng.normal())
        if t % 6:
            turn = scipy.linalg.expm(-0.5j * amount * matrix(pauli, n)) @ turn
    w = scipy.linalg.expm(truth.log / 2) @ turn @ seeds
    expected = w @ w.conj().T / np.vdot(w, w).real
    assert np.abs(exact.matrix() - expected).max() < 1e-10
    assert np.abs(product.matrix() - expected).max() > 1e-3


def test_low_rank_learns_a_product_state_and_keeps_its_rank():
    n, rng = 6, np.random.default_rng(5)
    psi = np.ones(1)
    for _ in range(n):
        v = rng.normal(size=2) + 1j * rng.normal(size=2)
        psi = np.kron(v / np.linalg.norm(v), psi)
    paulis = [random_pauli(rng, n) for _ in range(150)]
    truths = [expectation(psi, p, n) for p in paulis]
    for method in ("exponentiated", "product"):
        h = LowRankHypothesis(n, 4, 2, method=method)
        assert learn(h, paulis, truths, 0.1, most=300) < 150
        assert max(abs(h.predict(p) - t) / 2 for p, t in zip(paulis, truths, strict=True)) <= 0.1
        values = np.linalg.eigvalsh(h.matrix())
        assert abs(values.sum() - 1) < tolerance(100) and values[-4] > 1e-9 and abs(values[:-4]).max() < tolerance(100)
        assert 0 < h.discarded < h.updates if method == "exponentiated" else h.discarded == 0


def test_a_low_rank_update_is_the_dense_one_with_a_floor_cut_to_rank():
    n, rank, floor, rng = 5, 3, 0.7, np.random.default_rng(16)
    h = LowRankHypothesis(n, rank, 4, floor=floor)
    h.update(PauliString.parse("X0 Z3"), 0.8)
    for _ in range(4):
        values, vectors = np.linalg.eigh(h.matrix())
        logs = np.full(2**n, math.log(values[-rank]) - floor)
        logs[-rank:] = np.log(values[-rank:])
        pauli, step = random_pauli(rng, n), float(rng.normal())
        full = scipy.linalg.expm((vectors * logs) @ vectors.conj().T + step / 2 * matrix(pauli, n))
        values, vectors = np.linalg.eigh(full)
        expected = (vectors[:, -rank:] * values[-rank:]) @ vectors[:, -rank:].conj().T
        h.update(pauli, step)
        assert np.abs(h.matrix() - expected / np.trace(expected)).max() < 1e-10


def test_matrix_product_spends_no_bonds_on_circuits_that_sigma_does_not_feel():
    n, rng = 6, np.random.default_rng(7)
    h = MatrixProductHypothesis(n, 8)
    h.update(PauliString.parse("X0 Y3 Z5"), 0.9)
    h.update(PauliString.parse("X0 Y3 Z5"), -0.9)  # back to the identity
    for _ in range(20):
        h.rotate(random_pauli(rng, n), float(rng.normal()))
    assert h.bonds == (1,) * (n - 1) and h.discarded < tolerance(100)
    h.update(PauliString.parse("X0 Y3 Z5"), 0.9)
    assert max(h.bonds) == 2


@pytest.mark.slow
def test_matrix_product_errors_fall_with_the_bond_dimension():
    n = 6
    truth = DenseTruth(n, "product")
    all_of_them = [MatrixProductHypothesis(n, chi) for chi in (2, 8, 32, 64)]
    follow((truth, *all_of_them), n, 9, 30)
    errors = [np.linalg.norm(h.matrix() - truth.sigma) for h in all_of_them]
    assert errors[0] > errors[1] > errors[2] > 1e3 * errors[3] and errors[3] < tolerance(1000)
    discarded = [h.discarded for h in all_of_them]
    assert discarded[0] > discarded[1] > discarded[2] > 0 and discarded[3] < 1e-20
    for h, chi in zip(all_of_them, (2, 8, 32, 64), strict=True):
        assert max(h.bonds) <= chi and np.linalg.eigvalsh(h.matrix())[0] > -tolerance(100)


def test_forty_qubits_follow_the_closed_form():
    """Commuting stabilisers: sigma is a product of (1 + tanh(step/2) S)/2, and so are predictions."""
    n, steps = 40, {"Z0 Z39": 1.0, "X0 X39": -0.6, "Z5 Z20": 2.0}
    hypotheses = [MatrixProductHypothesis(n, 8), KernelHypothesis(n)]
    for h in hypotheses:
        for text, step in steps.items():
            h.update(PauliString.parse(text), step)
        h.rotate(PauliString.parse("X0"), 0.7)  # RX(a) Z RX(a)† = cos(a) Z - sin(a) Y
    tanh = {t: math.tanh(s / 2) for t, s in steps.items()}
    mps, kernel = hypotheses
    for h, strength in ((mps, tanh), (kernel, {t: s / 2 for t, s in steps.items()})):
        assert abs(h.predict(PauliString.parse("Z0 Z39")) - math.cos(0.7) * strength["Z0 Z39"]) < tolerance(100)
        assert abs(h.predict(PauliString.parse("Y0 Z39")) + math.sin(0.7) * strength["Z0 Z39"]) < tolerance(100)
        assert abs(h.predict(PauliString.parse("X0 X39")) - strength["X0 X39"]) < tolerance(100)
    both = PauliString.parse("Z5 Z20") * PauliString.parse("X0 X39")
    assert abs(mps.predict(both) - tanh["Z5 Z20"] * tanh["X0 X39"]) < tolerance(100)
    assert kernel.predict(both) == 0.0  # second order


def test_kernel_is_the_gram_matrix_of_propagated_paulis():
    """q = K h with K_jl = tr(A_j A_l)/2^n, every A_l turned as a dense matrix."""
    n, rng = 3, np.random.default_rng(10)
    h, carried, steps = KernelHypothesis(n), [], []
    for t in range(24):
        pauli, amount = random_pauli(rng, n), float(rng.normal())
        if t % 4 == 0:
            h.update(pauli, 0.1 * amount)
            carried.append(matrix(pauli, n))
            steps.append(0.05 * amount)
        else:
            h.rotate(pauli, amount)
            turn = scipy.linalg.expm(-0.5j * amount * matrix(pauli, n))
            carried = [turn @ a @ turn.conj().T for a in carried]
    for pauli in all_paulis(n):
        kernel = [np.trace(matrix(pauli, n) @ a).real / 2**n for a in carried]
        assert abs(h.predict(pauli) - np.dot(kernel, steps)) < tolerance(200)


def test_kernel_of_clifford_and_commuting_rotations_keeps_one_term_on_two_hundred_qubits():
    n, rng = 200, np.random.default_rng(11)
    h = KernelHypothesis(n)
    tracked = PauliString.parse("X0 Y100 Z199")
    h.update(tracked, 0.6)
    for _ in range(200):
        x, z = (int.from_bytes(rng.bytes(25), "little") for _ in range(2))
        pauli, quarters = PauliString(x, z), int(rng.integers(-3, 4))
        h.rotate(pauli, quarters * math.pi / 2)
        if quarters % 2 and not pauli.commutes(tracked):  # R Q R† = -i P Q for a quarter turn
            product = pauli * tracked
            tracked = PauliString(product.x, product.z, product.phase - quarters)
        elif quarters % 4 == 2 and not pauli.commutes(tracked):
            tracked = -tracked
    assert len(h) == 1 and h.predict(tracked) == 0.3
    h.rotate(PauliString(tracked.x, tracked.z), 0.123)
    assert len(h) == 1 and h.predict(-tracked) == -0.3


def test_what_the_kernel_drops_bounds_its_error():
    n = 6
    full, cut = KernelHypothesis(n), KernelHypothesis(n, max_terms=150)
    follow((full, cut), n, 12, 80, step=0.1)
    error = max(abs(full.predict(p) - cut.predict(p)) for p in all_paulis(n)[::7])
    assert 0 < error <= cut.dropped_norm and cut.dropped_terms > 0 and len(cut) == 150
    assert full.dropped_terms < len(full) and full.dropped_norm < 1e-10


def test_kernel_makes_no_more_mistakes_than_the_perceptron():
    n, gap = 4, 0.1
    for rank in (1, 2, 5):
        rng = np.random.default_rng(rank)
        rho = random_state(rng, n, rank)
        paulis = all_paulis(n)
        truths = [float(np.trace(rho @ matrix(p, n)).real) for p in paulis]
        bound = (2**n * np.trace(rho @ rho).real - 1) / (4 * gap**2)
        assert 5 < learn(KernelHypothesis(n), paulis, truths, gap) <= bound


@pytest.mark.parametrize("name", HYPOTHESES)
def test_copies_are_independent_and_counters_count(name):
    make, n = HYPOTHESES[name], 3
    h = make(n)
    assert h.predict(PauliString.parse("X0")) == 0.0 and h.predict(PauliString.parse("-I")) == -1.0
    h.rotate(PauliString.parse("X0"), 0.3)
    h.update(PauliString.parse("I"), 1.0)
    h.update(PauliString.parse("Z0 X2"), 0.5)
    h.rotate(PauliString.parse("Y0"), 0.4)
    twin, before, ops = h.copy(), h.matrix(), h.classical_ops
    assert twin.updates == h.updates == 2 and twin.classical_ops == ops > 0
    twin.rotate(PauliString.parse("Y1"), 1.0)
    twin.rotate(PauliString.parse("X0"), 1.0)
    twin.update(PauliString.parse("Y1"), 0.7)
    twin.update(PauliString.parse("Y1"), 0.7)
    assert np.array_equal(h.matrix(), before) and h.updates == 2 and h.classical_ops == ops
    assert not np.allclose(twin.matrix(), before) and twin.updates == 4 and twin.classical_ops > ops
    assert 0 < h.classical_bytes <= make.required_bytes(n)


def test_dense_work_is_what_the_docstring_says():
    n = 5
    h = DenseHypothesis(n)
    h.rotate(PauliString.parse("X0"), 0.3)
    assert h.classical_ops == 0 and h.classical_bytes == 0  # sigma is the identity in any frame
    h.update(PauliString.parse("X1"), 0.3)
    assert h.classical_ops == 26 * 8**n
    h.rotate(PauliString.parse("X0"), 0.3)
    assert h.classical_ops == 26 * 8**n + 4 * 4**n
    h.predict(PauliString.parse("X0"))
    assert h.classical_ops == 26 * 8**n + 6 * 4**n and h.classical_bytes == 16 * 4**n + 16 * 2**n


@pytest.mark.parametrize("size", [4, 16, 64])
def test_blocks_do_not_change_what_a_pauli_does(monkeypatch, size):
    monkeypatch.setattr("quprop.collective.hypothesis.vectors.BLOCK_BYTES", size * 16 * 3)
    n, rng = 6, np.random.default_rng(13)
    v = rng.normal(size=(2**n, 3)) + 1j * rng.normal(size=(2**n, 3))
    for _ in range(30):
        p = random_pauli(rng, n)
        expected = 0.6 * v + 0.8j * (matrix(p, n) @ v)
        own = np.einsum("ij,ij->j", v.conj(), matrix(p, n) @ v).real
        positive = PauliString(p.x, p.z)
        assert np.abs(p.sign * expectations(v, positive) - own).max() < tolerance(1000)
        assert np.abs(applied(v, p) - matrix(p, n) @ v).max() < tolerance(100)
        combine(v, p, 0.6, 0.8j)
        assert np.abs(v - expected).max() < tolerance(100)
        v /= np.linalg.norm(v, axis=0)


@pytest.mark.parametrize("make", [TypicalityHypothesis, LowRankHypothesis])
def test_single_precision_agrees_with_double(make):
    double, single = make(5, 4, 1), make(5, 4, 1, precision="single")
    follow((double, single), 5, 14, 100)
    assert single.classical_bytes < 0.6 * double.classical_bytes
    assert np.abs(double.matrix() - single.matrix()).max() < tolerance(500, np.float32)


def test_many_large_steps_neither_overflow_nor_lose_the_trace():
    for name, (make, rule) in LOSSLESS.items():
        h = make(2)
        for _ in range(60):
            h.update(PauliString.parse("Z0 Z1"), 50.0)  # e^1500 in all
        h.update(PauliString.parse("-X0 X1"), 50.0)
        assert abs(h.predict(PauliString.parse("Z0 Z1")) - 1) < 1e-9, name
        assert abs(h.predict(PauliString.parse("X0 X1")) + 1) < 1e-9, name
        assert rule == "first_order" or abs(np.trace(h.matrix()) - 1) < 1e-9


@pytest.mark.parametrize("name", HYPOTHESES)
def test_nothing_but_paulis_and_numbers_goes_in(name):
    """No code path sees the truth: no argument of any public method could carry a state."""
    allowed = {
        "__init__": {"n", "vectors", "rank", "rng", "refresh", "tolerance", "precision", "method", "floor"}
        | {"bond_dimension", "cutoff", "order", "max_terms", "smallest", "most_values", "image"},
        "predict": {"pauli"},
        "update": {"pauli", "step"},
        "learn": {"pauli", "value", "error"},
        "predict_matrix": {"observable"},  # an event that is asked, of a dense hypothesis
        "update_matrix": {"observable", "step"},
        "learn_matrix": {"observable", "value", "error"},
        "temper": {"factor"},
        "best_temper": {"candidates"},
        "rotate": {"pauli", "angle"},
        "carry": {"image"},  # what the circuit makes of input states
    }
    public = {k for k, f in vars(HYPOTHESES[name]).items() if inspect.isfunction(f) and not k.startswith("_")}
    assert {"predict", "update", "learn", "rotate", "copy"} <= public <= {*allowed, "copy", "matrix"}
    for method in public | {"__init__"}:
        arguments = set(inspect.signature(getattr(HYPOTHESES[name], method)).parameters) - {"self"}
        assert arguments <= allowed.get(method, set())


@pytest.mark.parametrize("name", HYPOTHESES)
@pytest.mark.parametrize(
    "call, words",
    [
        (lambda h: h.predict("X0"), "a hypothesis works with PauliStrings, got str"),
        (lambda h: h.predict(PauliString.parse("X3")), "has 3 qubits, got X3, which acts on qubit 3"),
        (lambda h: h.update(PauliString.parse("iX0"), 0.1), "only a Hermitian Pauli string has a sign"),
        (lambda h: h.update(PauliString.parse("X0"), math.nan), "`step` must be a finite number, got nan"),
        (lambda h: h.rotate(PauliString.parse("X0"), math.inf), "`angle` must be a finite number, got inf"),
    ],
)
def test_bad_calls_are_refused_before_anything_happens(name, call, words):
    h = HYPOTHESES[name](3)
    with pytest.raises(QupropError, match=words):
        call(h)
    assert h.updates == 0 and h.classical_ops == 0


@pytest.mark.parametrize(
    "make, words",
    [
        (lambda: DenseHypothesis(0), "`n` must be an integer of at least 1, got 0"),
        (lambda: DenseHypothesis(2.0), "`n` must be an integer"),
        (lambda: TypicalityHypothesis(3, 0), "`vectors` must be an integer of at least 1"),
        (lambda: TypicalityHypothesis(3, refresh="fast"), "`refresh` must be 'product' or 'exact'"),
        (lambda: TypicalityHypothesis(3, tolerance=0.0), "`tolerance` must be in"),
        (lambda: TypicalityHypothesis(3, precision="half"), "`precision` must be 'double' or 'single'"),
        (lambda: LowRankHypothesis(3, method="svd"), "`method` must be 'exponentiated'"),
        (lambda: LowRankHypothesis(3, floor=-1.0), "`floor` must not be negative"),
        (lambda: MatrixProductHypothesis(3, 0), "`bond_dimension` must be an integer"),
        (lambda: MatrixProductHypothesis(3, cutoff=1.0), "`cutoff` must be in"),
        (lambda: MatrixProductHypothesis(3, order=[0, 2, 2]), "`order` names each of the 3 qubits once"),
        (lambda: KernelHypothesis(3, smallest=-1.0), "`smallest` must not be negative"),
        (lambda: KernelHypothesis(3, max_terms=0), "`max_terms` must be an integer"),
        (lambda: mistake_bound(3, 0.0), "`gap` must be in"),
        (lambda: DenseHypothesis(20), r"of 20 qubits needs .*; TypicalityHypothesis\(20, vectors=8\) fits in"),
        (lambda: DenseHypothesis(60), r"MatrixProductHypothesis\(60, bond_dimension=16\) or KernelHypothesis\(60\)"),
        (lambda: TypicalityHypothesis(50), r"TypicalityHypothesis of 50 qubits needs .*MatrixProductHypothesis\(50"),
        (lambda: LowRankHypothesis(50), r"LowRankHypothesis of 50 qubits, rank 16 needs .*KernelHypothesis\(50"),
        (lambda: MatrixProductHypothesis(60, 10**6), "take a smaller bond_dimension"),
        (lambda: KernelHypothesis(60, max_terms=10**12), "take fewer max_terms"),
    ],
)
def test_bad_settings_and_sizes_are_refused_in_one_sentence(make, words):
    with pytest.raises(QupropError, match=words) as raised:
        make()
    assert "\n" not in str(raised.value)


@pytest.mark.slow
def test_a_sweep_at_the_sizes_that_are_promised():
    """Commuting updates, where both rules agree, at n = 9; and seventeen qubits learn what they are told."""
    rng = np.random.default_rng(15)
    n = 9
    dense, vectors = DenseHypothesis(n), TypicalityHypothesis(n, 512)
    for t in range(600):
        pauli = random_pauli(rng, n)
        for h in (dense, vectors):
            h.rotate(pauli, 0.3)
            if t % 30 == 0:
                h.update(PauliString.parse("Z0 Z8"), 0.2)
    for p in (PauliString.parse("Z0 Z8"), *(random_pauli(rng, n) for _ in range(20))):
        assert abs(dense.predict(p) - vectors.predict(p)) < 0.02
    large = TypicalityHypothesis(17, 8)
    told = PauliString.parse("Z0 Z16")
    large.update(told, 1.0)
    for t in range(256):
        large.rotate(random_pauli(rng, 17), 0.1)
        if t % 10 == 0:
            before = large.predict(told)
            large.update(told, 1.0)
            after = (before + math.tanh(0.5)) / (1 + before * math.tanh(0.5))  # K sigma K, of one Pauli
            assert abs(large.predict(told) - after) < 1e-12
