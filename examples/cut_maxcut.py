"""A 40-qubit max-cut, trained on a laptop by cutting the circuit into four modules of ten qubits.

A graph of four clusters, each a ring with chords, that single edges join into a chain; its vertices come shuffled, so
nothing but the search knows the clusters. The QAOA circuit on 40 qubits is far beyond a state vector (16 TiB). Its
search for cuts finds the three bridges; three gates are cut in every layer, and the value and the gradient come from
four modules of ten qubits, exactly. Run

    python examples/cut_maxcut.py [--layers 2] [--out FOLDER]

It prints where the circuit was cut and what sampling that would cost, trains, compares with the best cut there is
(found by adding up the clusters' own, which a chain allows), and estimates the trained value from shots of the modules.
"""

import argparse
import itertools
import time
from pathlib import Path

import numpy as np
from scipy.optimize import minimize

import quprop as qpr
from quprop.model import ansatz
from quprop.modules.cutting import cut
from quprop.plots import EXACT, panels, picture

CLUSTERS, SIZE, CHORDS = 4, 10, 0.25
SHOTS = 200_000
MOST = 1e5  # overhead beyond which these shots would say nothing


def clustered_graph(rng):
    """The edges (shuffled names), and for each vertex its cluster."""
    edges = []
    for c in range(CLUSTERS):
        for i, j in itertools.combinations(range(SIZE), 2):
            if j - i in (1, SIZE - 1) or rng.random() < CHORDS:
                edges.append((c * SIZE + i, c * SIZE + j))
        if c:
            edges.append(((c - 1) * SIZE + int(rng.integers(SIZE)), c * SIZE + int(rng.integers(SIZE))))
    names = rng.permutation(CLUSTERS * SIZE)
    cluster = np.empty(CLUSTERS * SIZE, int)
    cluster[names] = np.arange(CLUSTERS * SIZE) // SIZE
    return [(int(names[a]), int(names[b])) for a, b in edges], cluster


def best_cut(edges, cluster):
    """The largest cut. A cluster may be flipped as a whole, so every bridge of a chain can be cut too."""
    total = 0
    for c in range(CLUSTERS):
        place = {int(v): k for k, v in enumerate(np.flatnonzero(cluster == c))}
        sides = np.arange(2 ** (SIZE - 1))
        inside = [(place[a], place[b]) for a, b in edges if a in place and b in place]
        total += max(sum((sides >> a ^ sides >> b) & 1 for a, b in inside))
    return total + sum(cluster[a] != cluster[b] for a, b in edges)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--layers", type=int, default=2, help="layers of QAOA; every one cuts three gates more")
    parser.add_argument("--out", type=Path, default=Path("."), help="folder of the figure")
    arguments = parser.parse_args()
    layers = arguments.layers
    edges, cluster = clustered_graph(np.random.default_rng(7))
    n = CLUSTERS * SIZE
    circuit = ansatz.qaoa(n, edges, layers)
    cut_size = qpr.PauliSum({"I": len(edges) / 2} | {f"Z{a} Z{b}": -0.5 for a, b in edges})

    begin = time.perf_counter()
    plan = cut(circuit, cut_size, max_qubits=SIZE, max_overhead=float("inf"))  # training draws no shots
    print(f"{n} qubits, {len(edges)} edges, {layers} layers; cut in {time.perf_counter() - begin:.2f} s")
    print(plan)

    # The linear ramp that good angles are known to resemble: Zhou et al., Phys. Rev. X 10, 021067 (2020).
    ramp = (np.arange(layers) + 0.5) / layers
    start = np.concatenate([0.5 * ramp, 0.5 * (1 - ramp)])
    seen = []

    def loss(theta):
        value, grad = plan.value_and_grad(theta)
        seen.append(float(value))
        return -value, -grad

    begin = time.perf_counter()
    found = minimize(loss, start, jac=True, method="L-BFGS-B", options={"maxiter": 60})
    seconds = time.perf_counter() - begin
    best = best_cut(edges, cluster)
    print(f"trained in {seconds:.1f} s: {len(seen)} values with gradients, {1e3 * seconds / len(seen):.0f} ms each")
    print(f"expected cut {seen[0]:.2f} -> {-found.fun:.3f} of {best} (ratio {-found.fun / best:.3f})")

    overhead = plan.overhead_at(found.x)
    print(f"sampling overhead gamma^2 at these angles {overhead:.3g}, {plan.overhead:.3g} at the worst")
    if overhead < MOST:
        begin = time.perf_counter()
        shots = plan.estimate(found.x, shots=SHOTS, rng=0)
        off = abs(shots.value[0] + found.fun) / shots.stderr[0]
        print(f"from {SHOTS:,} shots {shots.value[0]:.3f} ± {shots.stderr[0]:.2g}, off by {off:.1f} standard errors")
        print(f"    ({shots.cost}; {time.perf_counter() - begin:.1f} s to simulate)")

    figure, (axes,) = panels(1, 5.0, 3.4)
    axes.plot(np.maximum.accumulate(seen), label="expected cut, best so far")
    axes.axhline(best, **EXACT, label="best cut")
    axes.axhline(len(edges) / 2, color="gray", linestyle=":", linewidth=1, label="a random cut")
    axes.set_xlabel("values with gradients")
    axes.set_ylabel("edges cut")
    title = f"{n} qubits in modules of {SIZE}, {layers} layers"
    picture(figure, title).save(arguments.out / "cut_maxcut.png")
    print(f"figure: {arguments.out / 'cut_maxcut.png'}")


if __name__ == "__main__":
    main()
