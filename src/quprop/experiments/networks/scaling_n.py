"""What T steps of n parameters cost as n grows, by the structure of the Hessian: is it polylogarithmic in n?

A solver's queries are linear in kappa_eff = alpha(L)/sigma_min(L), L the history matrix at N = 2, T steps and T idle
copies, alpha the normalisation of its block encoding:

    ideal      alpha = ||L||: no general method gives it
    access     sparse access to L, as the theorems assume: alpha = sqrt(most entries of a row, of a column) max|entry|
    factors    G_0 prepared as a state, G_1 (its diagonal apart) and G_2 by sparse access, products factor by factor:
               alpha(L) = 1 + max(1, max(a_1, a_1^2 + 2 a_0 a_2) + max(a_2, 2 a_0 a_1)); of low rank r, a_1 and a_2 by
               preparing the r vectors, whose loads are not counted here

Structures are one kind of descent in different coordinates: u -> Q u multiplies L by orthogonal matrices from both
sides, so that kappa with ||L|| is the same and may be found where L is sparsest. Q is 1 (a chain of neighbours), of
equal 8 x 8 blocks, or drawn at random (dense); the low-rank one has four curved directions.
Beside them the survivors of a pruned network on digits, wider and wider: entries of the Hessian are all measured, those
of G_2 on sampled pairs, and sigma_min is that of the diagonal blocks.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import numpy as np
from scipy import sparse
from scipy.linalg import eigh_tridiagonal, qr

from quprop.carleman.block_cost import readout_copies, upload_formula
from quprop.carleman.maps.dynamics import Polynomial, gathered
from quprop.carleman.spectra.sparsity import SecondOrder, measure_second, measure_sparsity
from quprop.carleman.spectra.survivors import SurvivorsProduct
from quprop.carleman.system.history import HistorySystem
from quprop.carleman.system.solver import SOLVERS
from quprop.carleman.transfer.queries import amplify
from quprop.errors import QupropError
from quprop.experiments.experiment import LIU, Experiment, Progress, Result, drawn, exponent, silent

FULLY, ALMOST = CASES = ("fully dissipative", "almost dissipative")
CHAIN, BLOCKS, LOW_RANK, DENSE, NETWORK = STRUCTURES = ("chain", "blocks", "low rank", "dense", "pruned network")
ENCODINGS = ("ideal", "access", "factors")
RATE, STEPS, SCALE, BLOCK, RANK = 0.5, 20, 0.3, 8, 4
FORCE, CUBIC, EPS = 0.05, 0.2, 1e-4
KAPPA_UP_TO = 256  # parameters up to which kappa with ||L|| is computed; it is flat long before
DENSITY, PRECISION = 0.1, 1e-2


@dataclass(frozen=True)
class Access:
    """Most entries of a row and of a column of L, and the largest entry."""

    rows: int
    columns: int
    largest: float

    @property
    def alpha(self) -> float:
        return math.sqrt(self.rows * self.columns) * self.largest


@dataclass(frozen=True)
class Parts:
    """What the normalisations are made of: sparse-access alphas a_1 and a_2 of the step matrices, ||G_0|| (in units of
    u/scale, as a_2), and the access to L."""

    force: float
    first: float
    second: float
    access: Access

    @property
    def factors(self) -> float:
        a0, a1, a2 = self.force, self.first, self.second
        return 1 + max(1.0, max(a1, a1**2 + 2 * a0 * a2) + max(a2, 2 * a0 * a1))


def base(structure: str, case: str, n: int, steps: int = STEPS) -> Polynomial:
    """The descent in the coordinates in which it is sparsest: curvatures 0.5 to 1.5 along a chain (cut every BLOCK
    parameters, or RANK curved directions over a flat 0.5), a cubic term on each parameter, a force on all of them;
    almost dissipative: one parameter of curvature -1/(eta T), which grows by 1 + 1/T a step and feeds on nothing."""
    hessian = np.ones(n)
    beside = np.full(n - 1, 0.25)
    active = n
    if structure == BLOCKS:
        beside[BLOCK - 1 :: BLOCK] = 0
    if structure == LOW_RANK:
        active = min(n, RANK)
        hessian[active:] = 0.5
        beside[:] = 0
        hessian[:active] = np.linspace(0.75, 1.5, active)
    cubic = np.where(np.arange(n) < active, -0.5 * RATE * CUBIC, 0.0)
    force = np.where(np.arange(n) < active, FORCE / math.sqrt(active), 0.0)
    if case == ALMOST:
        hessian[0], cubic[0], beside[:1] = -1 / (RATE * steps), 0.0, 0.0
        force[0] = 0.1 * FORCE
        force[1:active] = FORCE * math.sqrt(0.99 / (active - 1))
    at = np.arange(n)
    near = np.flatnonzero(beside)
    rows = np.concatenate([at, near, near + 1])
    legs = np.concatenate([at, near + 1, near])
    values = np.concatenate([1 - RATE * hessian, -RATE * beside[near], -RATE * beside[near]])
    curved = np.flatnonzero(cubic)
    parts = {1: gathered(rows, legs[:, None], values, n)}
    parts[2] = gathered(curved, np.stack([curved, curved], axis=1), cubic[curved], n)
    return Polynomial(force, parts)


def turn(structure: str, n: int) -> np.ndarray | None:
    """Q (n, n), or None for the identity."""
    rng = np.random.default_rng(7)
    if structure in (DENSE, LOW_RANK):
        return np.asarray(qr(rng.normal(size=(n, n)), overwrite_a=True, check_finite=False)[0])
    if structure != BLOCKS:
        return None
    return np.kron(np.eye(n // BLOCK), np.linalg.qr(rng.normal(size=(BLOCK, BLOCK)))[0])


def turned(step: Polynomial, q: np.ndarray | None) -> Polynomial:
    """The same descent in coordinates Q u, written out: for small n."""
    if q is None:
        return step
    n = step.dimension
    second = step.matrix(2).toarray().reshape((n,) * 3)
    tensors = {1: q @ step.matrix(1).toarray() @ q.T, 2: np.einsum("ia,jb,kc,abc->ijk", q, q, q, second, optimize=True)}
    parts = {}
    for k, tensor in tensors.items():
        tensor[np.abs(tensor) < 1e-14] = 0
        at = np.nonzero(tensor)
        parts[k] = gathered(at[0], np.sort(np.stack(at[1:], axis=1), axis=1), tensor[at], n)
    return Polynomial(q @ step.constant(), parts)


def parts_of(structure: str, case: str, n: int) -> Parts:
    """Normalisations of the turned descent, from its step matrices; L is never written down."""
    step, q = base(structure, case, n), turn(structure, n)
    first, curved = step.matrix(1), step.parts[2][0][:, 0]
    weights = step.matrix(2).data
    force = np.abs(step.constant() if q is None else q @ step.constant())
    if q is not None:
        first = sparse.csr_array(q @ first.toarray() @ q.T) if structure != BLOCKS else _blocks(first, q)
    largest = float(np.abs(first.data).max())
    if q is None:
        entries, rows2, columns2 = int(np.diff(first.indptr).max()), 1, 1
        second, patterns = float(np.abs(weights).max()), _chain(first, curved)
    elif structure == BLOCKS:
        size = min(n, BLOCK)
        entries, rows2, columns2 = size, size**2, size
        second, patterns = _largest_cubic(q, curved, weights, range(min(n, 4 * BLOCK))), None
    else:
        entries, rows2, columns2 = n, n**2, n
        second, patterns = _largest_cubic(q, curved, weights, range(min(n, 24))), None
    a1 = entries * largest
    a2 = SCALE * math.sqrt(rows2 * columns2) * second
    if structure == LOW_RANK:
        inert = 1 - RATE * 0.5
        a1 = inert + float(np.abs(step.matrix(1).diagonal() - inert).sum())
        a2 = SCALE * float(np.abs(weights).sum())
    else:  # the diagonal apart
        beside = sparse.csr_array(first - sparse.diags_array(first.diagonal()))
        a1 = min(a1, float(np.abs(first.diagonal()).max()) + entries * float(np.abs(beside.data).max()))
    if patterns is None:
        rows, columns = _block_counts(n, min(n, BLOCK)) if structure == BLOCKS else (1 + n + n**2,) * 2
    else:
        rows, columns = patterns
    f = float(force.max())
    entry = max(1.0, largest, SCALE * second, 2 * f * largest / SCALE, largest**2 + 2 * f * second)
    return Parts(float(np.linalg.norm(force)) / SCALE, a1, a2, Access(rows, columns, entry))


def _blocks(first: Any, q: np.ndarray) -> Any:
    turn_ = sparse.csr_array(q)
    return sparse.csr_array(turn_ @ first @ turn_.T)


def _largest_cubic(q: np.ndarray, curved: np.ndarray, weights: np.ndarray, rows: Any) -> float:
    """max |sum_a w_a Q_ia Q_ja Q_ka| over these i (those at j = k = i among them) and all j, k."""
    legs = q[:, curved]
    return max(float(np.abs((legs * (legs[i] * weights)) @ legs.T).max()) for i in rows)


def _chain(first: Any, curved: np.ndarray) -> tuple[int, int]:
    """Most entries of a row and of a column of L for a sparse G_1, a G_2 on the squares of the parameters ``curved``
    and a force on all parameters: unions of the patterns of its terms, for the pairs around some parameters."""
    n = first.shape[0]
    pattern = sparse.csr_array(first)
    near = [set(map(int, pattern.indices[a:b])) for a, b in zip(pattern.indptr[:-1], pattern.indptr[1:], strict=True)]
    square = set(map(int, curved))
    looked = sorted({*range(min(n, 6)), *range(max(0, n // 2 - 3), min(n, n // 2 + 3)), *range(max(0, n - 3), n)})
    rows = columns = 0
    for a in looked:
        own = int(a in square)
        rows = max(rows, 1 + len(near[a]) + own)
        columns = max(columns, 1 + len(near[a]) + 2 * n * len(near[a]) - len(near[a]) ** 2)
        for b in looked:
            pairs = {(c, d) for c in near[a] for d in near[b]} | {(c, c) for c in (a, b) if c in square}
            rows = max(rows, 1 + len(near[a] | near[b]) + len(pairs))
            fed = {a} if a == b and own else set()
            apart = sum(c not in fed and d not in fed for c in near[a] for d in near[b])
            columns = max(columns, 1 + len(fed) + apart + 2 * n * len(fed) - len(fed) ** 2)
    return rows, columns


def _block_counts(n: int, size: int) -> tuple[int, int]:
    """The same for full blocks, n of them or a multiple: a pair of blocks has its products and the squares of both."""
    far = n >= 2 * size
    rows = max(1 + size + size**2, 1 + (1 + far) * size + (1 + 2 * far) * size**2)
    return rows, 1 + size + 2 * n * size - size**2


def condition(step: Polynomial, steps: int = STEPS, basis: str = "kronecker") -> tuple[float, float, float]:
    """||L||, sigma_min(L), and the chance of level 1 at the last time, for u(0) = 0."""
    history = HistorySystem(step, np.zeros(step.dimension), 2, steps, scale=SCALE, basis=basis)
    if history.shape[0] <= 1500:
        found = history.condition("dense")
        top, bottom = found.sigma_max, found.sigma_min
    else:
        top = _lanczos(lambda v: history.rmatvec(history.matvec(v)), history.shape[0]) ** 0.5
        bottom = _lanczos(lambda v: history.solve(history.solve_transposed(v)), history.shape[0]) ** -0.5
    return top, bottom, history.success_probability(history.solve())


def _lanczos(product: Any, size: int, most: int = 60, tolerance: float = 1e-6) -> float:
    """The largest eigenvalue by a three-term recurrence, from below: three vectors, whatever the number of iterations.

    SciPy's `eigsh` asks for a converged vector, which takes 5,461 products in place of 22 where the top of the spectrum
    is dense (chain, n = 56, two minutes); the eigenvalue is the same to 2e-4, of which a norm has half."""
    v = np.random.default_rng(1).normal(size=size)
    v /= np.linalg.norm(v)
    before, value = np.zeros(size), 0.0
    diagonal: list[float] = []
    beside: list[float] = []
    for _ in range(most):
        w = product(v)
        diagonal.append(float(v @ w))
        w -= diagonal[-1] * v
        if beside:
            w -= beside[-1] * before
        found = float(eigh_tridiagonal(diagonal, beside, eigvals_only=True)[-1])
        if abs(found - value) < tolerance * found:
            return found
        value = found
        beside.append(float(np.linalg.norm(w)))
        before, v = v, w / beside[-1]
    return value


def run(quick: bool, rng: Any, progress: Progress = silent) -> Result:
    sizes = (8, 16, 32) if quick else (8, 16, 32, 64, 128, 256, 512, 1024)
    widths = (2, 3, 4) if quick else (2, 4, 8, 16, 32, 56)
    rows: list[dict[str, Any]] = []
    left_out = ""
    total = len(CASES) * (4 * len(sizes) + len(widths))
    for case in CASES:
        spectra: dict[tuple[str, int], tuple[float, float, float]] = {}
        for structure in STRUCTURES[:4]:
            for n in sizes:
                progress(len(rows), total, f"{case}, {structure}, n = {n}")
                at = CHAIN if structure == DENSE else structure, min(n, RANK + 2 if structure == LOW_RANK else _most(n))
                if at not in spectra:
                    spectra[at] = condition(base(at[0], case, at[1]))
                parts = parts_of(structure, case, n)
                rows.append(_row(case, structure, n, spectra[at], parts) | {"kappa_at": at[1]})
        try:
            for width in widths:
                progress(len(rows), total, f"{case}, pruned network, {width} units")
                rows.append(_network_row(case, width))
        except QupropError as error:  # PyTorch is not installed
            left_out = str(error)
    slopes = {
        f"{case}, {structure}, {encoding}": _slope(rows, case, structure, f"kappa_{encoding}")
        for case in CASES
        for structure in STRUCTURES
        for encoding in ENCODINGS
        if any(r["case"] == case and r["structure"] == structure for r in rows)
    }
    survivors = [10**k for k in range(2, 8)]
    reading = [readout_copies(round(DENSITY * n), PRECISION) for n in survivors]
    loading = [upload_formula(round(DENSITY * n), n, 2, STEPS).cnots for n in survivors]
    fixed = {"copies": exponent(survivors, reading), "load": exponent(survivors, loading)}
    return {
        "rows": rows,
        "exponents": slopes,
        "fixed_density": fixed | {"density": DENSITY},
        "left_out": left_out,
        "panels": _panels(rows, slopes),
        "findings": _findings(rows, slopes, fixed, left_out),
    }


def _most(n: int) -> int:
    return min(n, KAPPA_UP_TO)


def _slope(rows: list[dict[str, Any]], case: str, structure: str, what: str) -> dict[str, float]:
    mine = [r for r in rows if r["case"] == case and r["structure"] == structure]
    return exponent([r["n"] for r in mine], [r[what] for r in mine])


def _row(case: str, structure: str, n: int, found: tuple[float, float, float], parts: Parts) -> dict[str, Any]:
    top, bottom, success = found
    access = parts.access
    alphas = {"ideal": top, "access": access.alpha, "factors": parts.factors}
    solver = SOLVERS["kernel_reflection"]()
    row: dict[str, Any] = {"case": case, "structure": structure, "n": n, "rows": access.rows, "columns": access.columns}
    row |= {"largest": access.largest, "success": success, "a_1": parts.first, "a_2": parts.second}
    for name, alpha in alphas.items():
        kappa = max(1.0, alpha / bottom)
        row |= {f"alpha_{name}": alpha, f"kappa_{name}": kappa}
        row[f"queries_{name}"] = solver.queries(min(kappa, 1e15), EPS) * amplify(success).runs
    return row


@cache
def _survivors(width: int) -> tuple[np.ndarray, int, SecondOrder]:
    """The Hessian (r, r) of what survives in a network with `width` units between digits and classes, parameters, and
    the second step matrix at learning rate 1."""
    from quprop.carleman.networks import networks
    from quprop.carleman.networks.data import load
    from quprop.carleman.networks.plain import descend
    from quprop.carleman.networks.prune import prune
    from quprop.carleman.spectra.hessian import derivative, split_batches

    data = load("digits")
    net = networks.make("mlp", data.input_shape, data.classes, seed=0, hidden=(width,))
    x, y = data.train()
    net.set_parameters(descend(net, net.parameters(), [(x, y)], 50, RATE))
    kept, n = np.flatnonzero(prune(net.module, 1 - DENSITY).kept), net.n_parameters
    pieces = split_batches(x[:256], y[:256])
    product = SurvivorsProduct(net, kept, pieces)
    columns = np.array([product(e) for e in np.eye(len(kept))])
    second = measure_second(derivative(net, pieces), kept, n, 0, learning_rate=1.0, pairs=16)
    return 0.5 * (columns + columns.T), n, second


def _network_row(case: str, width: int) -> dict[str, Any]:
    """The survivors of a pruned network. Their Hessian is indefinite: a weight decay takes its least eigenvalue to a
    tenth of the greatest, or to where that mode grows by 1 + 1/T at learning rate 1/greatest."""
    columns, n, at_one = _survivors(width)
    values, r = np.linalg.eigvalsh(columns), len(columns)
    share = 0.1 if case == FULLY else -1 / STEPS  # of the greatest eigenvalue, what the least is
    decay = (share * values[-1] - values[0]) / (1 - share)
    values, columns = values + decay, columns + decay * np.eye(r)
    rate = 1 / values[-1]
    growth = float(np.abs(1 - rate * values).max())
    found = measure_sparsity(lambda v: columns @ v, r, 0, learning_rate=rate, columns=r)
    second = replace(at_one, largest=rate * at_one.largest)
    s1, s2 = found.most, second.density
    most = min(r**2, s1**2 + 2 * s2 * r**2)
    rows = 1 + min(r, 2 * s1) + most
    access = Access(round(rows), round(1 + s1 + max(2 * r * s1 - s1**2, min(r**2, s1**2 + 2 * s2 * r**2))), 1.0)
    entry = max(1.0, found.largest_step, found.largest_step**2)
    parts = Parts(FORCE / SCALE, found.alpha, SCALE * second.alpha, Access(access.rows, access.columns, entry))
    factor = max(growth, growth**2)
    chain = np.eye(2 * STEPS + 1)
    chain[np.arange(1, STEPS + 1), np.arange(STEPS)] = -factor
    chain[np.arange(STEPS + 1, 2 * STEPS + 1), np.arange(STEPS, 2 * STEPS)] = -1
    sigma = np.linalg.svd(chain, compute_uv=False)
    row = _row(case, NETWORK, r, (float(sigma[0]), float(sigma[-1]), 0.3), parts)
    return row | {
        "parameters": n,
        "density": found.density,
        "density_2": second.density,
        "growth": growth,
        "rate": rate,
    }


def _panels(rows: list[dict[str, Any]], slopes: dict[str, Any]) -> list[dict[str, Any]]:
    panels = []
    for case in CASES:
        curves: list[Any] = []
        for i, structure in enumerate(STRUCTURES):
            mine = [r for r in rows if r["case"] == case and r["structure"] == structure]
            for encoding, style in zip(ENCODINGS, (":", "o-", "^--"), strict=True):
                if mine:
                    slope = slopes[f"{case}, {structure}, {encoding}"]["slope"]
                    label = f"{structure}, {encoding}: n^{slope:z.2f}"
                    curves.append(
                        (label, [r["n"] for r in mine], [r[f"kappa_{encoding}"] for r in mine], f"C{i}{style}")
                    )
        shape = {"x": "parameters n", "y": "alpha(L)/sigma_min(L)", "log": "xy", "legend": "below"}
        panels.append(shape | {"title": case, "curves": curves})
    return panels


def _findings(rows: list[dict[str, Any]], slopes: dict[str, Any], fixed: dict[str, Any], left_out: str) -> list[str]:
    found = []
    for structure in STRUCTURES:
        mine = [r for r in rows if r["case"] == FULLY and r["structure"] == structure]
        if not mine:
            continue
        parts = []
        for encoding in ENCODINGS:
            s = slopes[f"{FULLY}, {structure}, {encoding}"]
            ends = mine[0][f"kappa_{encoding}"], mine[-1][f"kappa_{encoding}"]
            parts.append(
                f"{encoding} {ends[0]:.3g} to {ends[1]:.3g}, n^{s['slope']:.2f} ({s['low']:.2f} to {s['high']:.2f})"
            )
        found.append(f"{structure}, n = {mine[0]['n']} to {mine[-1]['n']}, kappa_eff: " + "; ".join(parts))
    networks = [r for r in rows if r["structure"] == NETWORK and r["case"] == FULLY]
    if networks:
        last = networks[-1]
        found.append(
            f"{last['n']} survivors of {last['parameters']:,} parameters: their Hessian has {last['density']:.0%} of "
            "its entries above a thousandth of the largest"
        )
    found.append(
        f"a load and a readout of {DENSITY:.0%} of n parameters: CNOTs ~ n^{fixed['load']['slope']:.2f}, copies ~ "
        f"n^{fixed['copies']['slope']:.2f}, by formula"
    )
    if left_out:
        found.append(f"the pruned network was left out: {left_out}")
    return found


EXPERIMENT = Experiment(
    "scaling_n",
    "With n varied, what a solver is charged for is flat only where step matrices are sparse and encoded factor by "
    "factor.",
    LIU + ", theorems 1 and 2",
    3.0,
    run,
    drawn("Normalised condition number against the number of parameters"),
)
