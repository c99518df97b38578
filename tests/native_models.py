"""Models that lead the native engine through every kind of pass: each seed strings together segments of one kind.

A segment is a run of diagonal rotations, commuting or mixed rotations of one x mask, rotations along single qubits,
lane-only rotations, an excitation (one angle turns all), Clifford angles, or anything at all; angles are plain,
shared, scaled, products of parameters and inputs, constants, or large.
"""

import cases
import numpy as np

import quprop as qpr

LETTERS = {(0, 0): "I", (1, 0): "X", (0, 1): "Z", (1, 1): "Y"}
SEGMENTS = ("diagonal", "same_x", "commuting_x", "singles", "lanes", "excitation", "cliffords", "anything")


def text(n, x, z):
    """A dense Pauli text from masks."""
    return "".join(LETTERS[x >> q & 1, z >> q & 1] for q in range(n))


def _strings(rng, kind, n):
    """(x, z) masks of one segment."""
    top, count = 1 << n, int(rng.integers(2, 16))
    draw = lambda below: int(rng.integers(below))  # noqa: E731
    if kind == "diagonal":
        return [(0, draw(top)) for _ in range(count)]
    if kind in ("same_x", "commuting_x", "excitation"):
        x, parity = draw(top) or 1, draw(2)
        zs = [draw(top) for _ in range(count)]
        if kind != "same_x":  # strings of one x commute if |x & z| have one parity
            zs = [z for z in zs if (x & z).bit_count() % 2 == parity]
        return [(x, z) for z in zs]
    if kind == "singles":
        return [(1 << q, draw(2) << q) for q in range(n)] + [(0, 1 << q) for q in range(n) if draw(2)]
    if kind == "lanes":
        return [(draw(min(top, 16)), draw(top)) for _ in range(count)]
    return [(draw(top), draw(top)) for _ in range(count)]


def segmented_model(seed, n, segments=5, state=None, n_observables=3, terms=4, n_params=9, n_inputs=3):
    """A model of a few segments; with `n_inputs` = 0 it reads no inputs."""
    rng = np.random.default_rng(seed)
    theta, x = qpr.params("theta", n_params), qpr.inputs("x", n_inputs)

    def angle(kind):
        t, u = theta[int(rng.integers(n_params))], theta[int(rng.integers(n_params))]
        if kind == "cliffords":
            return float(np.pi / 2 * rng.integers(-3, 4)) + (t if rng.random() < 0.3 else 0 * t)
        forms = [t, t, 2 * t + 0.1, -0.5 * t, t * u - u, 0.7, 30 * t]
        if n_inputs:
            v = x[int(rng.integers(n_inputs))]
            forms += [t * v, np.pi * v, (1 - v) * (v + t)]
        return forms[rng.integers(len(forms))]

    rows = []
    for kind in rng.choice(SEGMENTS, segments):
        shared = angle(kind) if kind == "excitation" else None
        for x_mask, z_mask in _strings(rng, kind, n):
            a = angle(kind) if shared is None else float(rng.choice([1.0, -1.0, 0.25])) * shared
            rows.append((text(n, x_mask, z_mask), a))
    observables = [cases.random_sum(rng, n, terms) for _ in range(n_observables)]
    observables[-1] = qpr.PauliSum({text(n, 0, int(rng.integers(1 << n))): float(rng.normal()) for _ in range(40)})
    return qpr.Model.from_rotations(n, rows, observables, state, params=theta, inputs=x)


def start(seed, n, kind):
    """A state of the given kind to start from."""
    rng = np.random.default_rng(seed)
    if kind == "basis":
        return int(rng.integers(1 << n))
    shape = (n, 2) if kind == "product" else (1 << n,)
    return rng.normal(size=shape) + 1j * rng.normal(size=shape)
