"""Learn the error rates of a repetition code from its detection events, by gradient descent on a Markov chain.

A memory experiment flips detectors in patterns: every fault mechanism k of the circuit xors its mask into the syndrome
with probability q_k. That is a chain of M mixture layers (quprop.classical), and fitting the q_k to what detectors
were seen to do is its training: minimise sum_j (E Z_j - data_j)^2 over single detectors and pairs that share a fault.

stim stands for the device: circuit noise on most faults, with data qubit 1 made three times worse behind our back. Run

    python examples/markov_chain.py [--out FOLDER]

It prints the loss going down, the rates found, and what a gradient cost beside finite differences.
"""

import argparse
import math
import time
from pathlib import Path

import numpy as np
import stim

import quprop as qpr
from quprop.classical import MarkovChain
from quprop.plots import EXACT, panels, picture

DISTANCE, ROUNDS, SHOTS = 4, 4, 200_000
STEPS, TRAJECTORIES = 250, 2000


def device(noise):
    """Detector samples (shots, n) and the circuit's fault mechanisms: masks and true rates."""
    circuit = stim.Circuit.generated(
        "repetition_code:memory",
        distance=DISTANCE,
        rounds=ROUNDS,
        before_round_data_depolarization=noise,
        before_measure_flip_probability=noise,
        after_clifford_depolarization=noise,
    )
    worse = stim.Circuit()
    for part in circuit.flattened():
        worse.append(part)
        if part.name == "DEPOLARIZE1":  # before each round, on the data qubits
            worse.append("X_ERROR", [2], 2 * noise)  # qubit 2 of the circuit is data qubit 1
    rates = {}
    for error in worse.detector_error_model().flattened():
        if error.type == "error":
            mask = sum(1 << t.val for t in error.targets_copy() if t.is_relative_detector_id())
            p = error.args_copy()[0]
            rates[mask] = rates.get(mask, 0.0) * (1 - 2 * p) + p  # two faults of one mask: either, not both
    rates.pop(0, None)  # a fault that no detector sees cannot be learnt from detectors
    events = worse.compile_detector_sampler(seed=1).sample(SHOTS)
    return events, list(rates), np.array(list(rates.values()))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("."), help="folder of the figure")
    out = parser.parse_args().out
    events, masks, truth = device(0.02)
    n, m = events.shape[1], len(masks)

    # The moments that faults can reach: single detectors, and pairs within one fault's mask.
    bits = [[q for q in range(n) if mask >> q & 1] for mask in masks]
    strings = [1 << q for q in range(n)]
    strings += sorted({1 << a | 1 << b for row in bits for a in row for b in row if a < b})
    signs = 1.0 - 2.0 * events
    data = np.array([signs[:, [q for q in range(n) if z >> q & 1]].prod(axis=1).mean() for z in strings])
    paulis = [qpr.PauliString(0, z) for z in strings]

    def moments(samples):
        spins = 1.0 - 2.0 * samples
        return np.array([spins[:, [q for q in range(n) if z >> q & 1]].prod(axis=1).mean() for z in strings])

    def exact(theta):  # the loss's own value, by the closed form of a chain of flips, for the curve only
        q = 1 / (1 + np.exp(-theta))
        odd = np.array([[(z & mask).bit_count() & 1 for mask in masks] for z in strings])
        return float(np.sum((np.prod(np.where(odd, 1 - 2 * q, 1.0), axis=1) - data) ** 2))

    theta = np.full(m, math.log(0.03 / 0.97))  # all rates 3 % to begin with
    optimiser = qpr.adam(qpr.cosine(0.1, STEPS))
    state, rng = optimiser.init(theta), np.random.default_rng(0)
    chain = MarkovChain(n, masks, "Z0")
    losses, seconds = [exact(theta)], 0.0
    print(f"{m} fault mechanisms on {n} detectors, {len(strings)} moments, {SHOTS:,} shots of the device")
    print(f"step    0  loss {losses[0]:.3e}")
    for step in range(1, STEPS + 1):
        # d loss = sum_j 2 (E Z_j - data_j) d E Z_j: the factors from one set of trajectories, the gradient from
        # another, so that their product has no bias.
        factors = 2 * (moments(chain.sample(theta, TRAJECTORIES, rng)) - data)
        weighted = MarkovChain(n, masks, qpr.PauliSum(dict(zip(paulis, factors, strict=True))))
        begin = time.perf_counter()
        gradient = weighted.gradient(theta, trajectories=TRAJECTORIES, rng=rng, estimator="baseline").grad
        seconds += time.perf_counter() - begin
        updates, state = optimiser.update(gradient, state, theta)
        theta = theta + updates
        losses.append(exact(theta))
        if step % 50 == 0:
            print(f"step {step:4d}  loss {losses[-1]:.3e}")

    found = 1 / (1 + np.exp(-theta))
    print(f"rates: mean error {np.mean(np.abs(found - truth)):.4f}, of rates up to {truth.max():.3f}")

    # Central differences take two values a component, from independent samples: to the same standard error at the same
    # step in theta, each value needs as many trajectories as make sqrt(2) sd / sqrt(N) / (2 step) equal to it.
    final = weighted.gradient(theta, trajectories=TRAJECTORIES, rng=rng, estimator="baseline")
    width, values = 0.5, 2 * m
    alike = math.ceil(2 * TRAJECTORIES * (final.stderr / (2 * width * np.median(final.grad_stderr))) ** 2)
    layers = weighted.layers_executed(TRAJECTORIES, "baseline")
    print(f"a gradient of M = {m}: {layers:,} layers executed, as a value, in {1e3 * seconds / STEPS:.1f} ms")
    print(f"finite differences: {values * TRAJECTORIES * m:,} layers, {values} values of as many trajectories;")
    print(f"    and {values * alike * m:,} for its standard error at step {width}, truncation error not counted")

    figure, (left, right) = panels(2, 4.0, 3.4)
    left.plot(losses)
    left.set_yscale("log")
    left.set_xlabel("step")
    left.set_ylabel("loss (exact)")
    right.plot([0, truth.max()], [0, truth.max()], **EXACT, label="equal")
    right.plot(truth, found, "o", markersize=4, label="fault mechanisms")
    right.set_xlabel("true rate")
    right.set_ylabel("rate found")
    picture(figure, "Rates of faults, learnt from what detectors saw").save(out / "markov_chain.png")
    print(f"figure: {out / 'markov_chain.png'}")


if __name__ == "__main__":
    main()
