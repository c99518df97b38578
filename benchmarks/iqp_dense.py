"""The loss of a generative IQP circuit as published: one dense product over operators, gates and samples, in JAX.

    python benchmarks/iqp_dense.py                                        # n = 64 and 128, all gates of 1 and 2 qubits
    python benchmarks/iqp_dense.py --qubits 256 --repeats 3 --out FILE    # n_ops = n_samples = 1,000: about 3 GB

For operators a (K, n), gates g (G, n), both of zeros and ones, and signs s (S, n) in {-1, +1},

    c_as = cos(2 sum_g theta_g (a . g mod 2) prod_{i in g} s_i),   <Z_a> = mean over s of c_as,
    loss = mean over a of (S <Z_a>^2 - mean_s c_as^2) / (S - 1) - 2 t_a <Z_a> + (m t_a^2 - 1) / (m - 1),

t_a the mean of Z_a over m samples of data: an unbiased estimate of MMD^2 (Recio-Armengol, Ahmed and Bowles,
arXiv:2501.04776 and 2503.02934). Time K G S multiply-adds, memory K G + S G + K S numbers; nothing is cut into blocks.
Before anything is timed, values are compared with the 2^n amplitudes at n = 10, gradients with central differences.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import sys
import time
from importlib.metadata import version
from itertools import combinations
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

sys.path.insert(0, str(Path(__file__).parent))

from environment import environment

jax.config.update("jax_enable_x64", True)


def dense_cosines(theta, gates, ops, s):
    """c (K, S)."""
    odd = (ops @ gates.T) % 2  # (K, G)
    signs = 1 - 2 * (((1 - s) / 2) @ gates.T % 2)  # (S, G)
    return jnp.cos((2 * theta * odd) @ signs.T)


def dense_loss(theta, gates, ops, data_means, s, data_samples=None):
    """The loss, a number. data_samples: m; None: the means are exact, the last term is t_a^2."""
    c = dense_cosines(theta, gates, ops, s)
    samples, mean = s.shape[0], c.mean(axis=1)
    square = (samples * mean**2 - (c**2).mean(axis=1)) / (samples - 1)
    t = data_means
    last = t**2 if data_samples is None else (data_samples * t**2 - 1) / (data_samples - 1)
    return jnp.mean(square - 2 * t * mean + last)


dense_value_and_gradient = jax.jit(jax.value_and_grad(dense_loss))


def all_gates(n: int, weight: int = 2) -> np.ndarray:
    """(G, n) of zeros and ones: all subsets of at most `weight` qubits, by size and then in lexicographic order."""
    subsets = [subset for size in range(1, weight + 1) for subset in combinations(range(n), size)]
    gates = np.zeros((len(subsets), n))
    for row, subset in zip(gates, subsets, strict=True):
        row[list(subset)] = 1
    return gates


def draw(n: int, sigma: float, ops: int, samples: int, seed: int) -> dict[str, np.ndarray]:
    """Arguments of the loss in order: small random angles, gates, operators of the kernel's law, means and signs."""
    rng, gates = np.random.default_rng(seed), all_gates(n)
    p = (1 - np.exp(-1 / (2 * sigma**2))) / 2
    return {
        "theta": 0.05 * rng.normal(size=len(gates)),
        "gates": gates,
        "ops": (rng.random((ops, n)) < p).astype(float),
        "data_means": rng.uniform(-1, 1, ops),
        "s": rng.choice([-1.0, 1.0], (samples, n)),
    }


def check(n: int = 10) -> dict[str, float]:
    """Largest differences: <Z_a> over all signs from that of the state's amplitudes, the loss from its double sum, the
    gradient from central differences."""
    work = draw(n, 0.9, 40, 64, 0)
    rng = np.random.default_rng(1)
    work["gates"] = np.concatenate([work["gates"], (rng.random((5, n)) < 0.5).astype(float)])
    work["theta"] = 0.4 * rng.normal(size=len(work["gates"]))
    states = np.arange(2**n)[:, None] >> np.arange(n) & 1
    phase = np.exp(1j * (1 - 2 * (states @ work["gates"].T.astype(int) % 2)) @ work["theta"])
    hadamard = (1 - 2 * (states @ states.T % 2)) / 2 ** (n / 2)
    probabilities = np.abs(hadamard @ phase / 2 ** (n / 2)) ** 2
    z = 1 - 2 * (work["ops"].astype(int) @ states.T % 2)
    all_signs = dense_cosines(work["theta"], work["gates"], work["ops"], 1.0 - 2 * states)
    value, gradient = dense_value_and_gradient(*work.values(), 50)
    total = 0.0
    for a, t in zip(work["ops"], work["data_means"], strict=True):
        c = []
        for s in work["s"]:
            each = zip(work["theta"], work["gates"], strict=True)
            c.append(np.cos(2 * sum(th * (a @ g % 2) * np.prod(s[g == 1]) for th, g in each)))
        pairs = (np.sum(c) ** 2 - np.sum(np.square(c))) / (len(c) * (len(c) - 1))  # of different samples
        total += (pairs - 2 * t * np.mean(c) + (50 * t * t - 1) / 49) / len(work["ops"])
    moves = 1e-5 * np.eye(len(gradient))[::7]
    f = lambda move: dense_value_and_gradient(*(work | {"theta": work["theta"] + move}).values(), 50)[0]  # noqa: E731
    central = np.array([(f(d) - f(-d)) / 2e-5 for d in moves])
    return {
        "expectations": float(np.max(np.abs(all_signs.mean(axis=1) - z @ probabilities))),
        "loss": float(abs(value - total)),
        "gradient": float(np.max(np.abs(gradient[::7] - central))),
    }


def measure(n: int, sigma: float, ops: int, samples: int, repeats: int) -> dict:
    work, times = draw(n, sigma, ops, samples, 2), []
    held = [jnp.asarray(array) for array in work.values()]
    for _ in range(repeats + 1):
        begin = time.perf_counter()
        jax.block_until_ready(dense_value_and_gradient(*held))
        times.append(time.perf_counter() - begin)
    return {
        "n": n,
        "sigma": sigma,
        "parameters": len(work["theta"]),
        "ops": ops,
        "samples": samples,
        "first_seconds": times[0],
        "seconds": statistics.median(times[1:]),
        "peak_bytes_of_the_process": 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--qubits", type=int, nargs="+", default=[64, 128])
    parser.add_argument("--ops", type=int, default=1000)
    parser.add_argument("--samples", type=int, default=1000)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    record = environment({"python": sys.executable}) | {"versions": {p: version(p) for p in ("jax", "jaxlib", "numpy")}}
    differences = check()
    if max(differences["expectations"], differences["loss"]) > 1e-12 or differences["gradient"] > 1e-8:
        raise SystemExit(f"the dense loss is wrong: {differences}")
    rows = []
    for n in options.qubits:
        rows.append(measure(n, float(np.sqrt(n) / np.sqrt(2)), options.ops, options.samples, options.repeats))
        print(json.dumps(rows[-1]))
    if options.out:
        found = {"environment": record, "check": differences, "rows": rows}
        options.out.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
