"""What tests of devices share: random circuits of every gate, their exact distributions, and chi^2 of counts."""

import dense
import numpy as np
from scipy.special import gammaincc

import quprop as qpr
from quprop.model.gates import GATES
from quprop.model.pauli import PauliString
from quprop.sampling.devices.device import DeviceCircuit, Work

N = 4
STATES = [None, "0110", np.array([[0.6, 0.8j], [1, 0], [0.28, -0.96], [0, 1]])]  # asymmetric ones


def random_circuit(rng, state=None, measured=None, n=N):
    """Every gate of `GATES` once and some rotations about Pauli strings, in random order on random qubits, with angles
    made of the parameters. No symmetry hides a wrong order of qubits or a wrong sign."""
    angle = qpr.params("angle", 12)
    circuit = qpr.Circuit(n, state, params=angle)
    names = [*GATES, *["rotation"] * 6, "exp"]
    for q in range(n):
        circuit.ry(0.4 + 0.3 * q, q)
    k = iter(rng.permutation(12).tolist() * 5)
    for name in rng.permutation(names):
        if name == "rotation":
            x, z = (int(v) for v in rng.integers(1, 1 << n, 2))
            string = PauliString.parse(PauliString(x, z).dense(n).lstrip("-"))
            circuit.rotation(string, -0.7 * angle[next(k)] + 0.2)
        elif name == "exp":
            circuit.exp({"X0 X1": 0.5, "Y0 Y1": -0.4, "Z2": 1.5}, angle[next(k)])
        else:
            gate = GATES[name]
            qubits = rng.permutation(n)[: gate.n_qubits].tolist()
            circuit.gate(name, *[angle[next(k)] for _ in range(gate.n_angles)], *qubits)
    if measured is None:
        measured = tuple(rng.permutation(n)[: rng.integers(1, n + 1)].tolist())
    return DeviceCircuit(circuit, measured, 0)


def random_work(rng, circuit, settings=3, shots=(400, 3000)):
    values = rng.uniform(-np.pi, np.pi, (settings, circuit.n_params))
    return Work(circuit, values, rng.integers(*shots, settings))


def truth(circuit, row):
    """Probabilities (2^m,) of the measured bits by dense matrices, bit b that of measured[b]."""
    p = np.abs(dense.final_state(circuit.circuit, row)) ** 2
    return of_measured(p, circuit.measured)


def of_measured(p, measured):
    out = np.zeros(1 << len(measured))
    for index, probability in enumerate(p):
        out[sum((index >> q & 1) << b for b, q in enumerate(measured))] += probability
    return out


def chi_squared(p, outcomes, counts):
    """chi^2 and its degrees of freedom; bins of fewer than 5 expected counts are one."""
    shots = counts.sum()
    seen = np.zeros(len(p))
    seen[outcomes] = counts
    few = p * shots < 5
    if seen[p * shots < 1e-9].any():
        return np.inf, 1
    expected = np.append(p[~few], p[few].sum()) * shots
    observed = np.append(seen[~few], seen[few].sum())
    keep = expected > 1e-9
    terms = (observed[keep] - expected[keep]) ** 2 / np.maximum(expected[keep], 1.0)
    return float(terms.sum()), max(int(keep.sum()) - 1, 0)


def check_counts(work, counts, truth=truth):
    """Every setting has its shots, distinct outcomes, and all together a chi^2 that chance explains."""
    assert len(counts) == len(work)
    total = freedom = 0
    for item, settings in zip(work, counts, strict=True):
        assert len(settings) == len(item.shots)
        for row, shots, (outcomes, often) in zip(item.values, item.shots, settings, strict=True):
            assert often.sum() == shots and (often > 0).all() and len(np.unique(outcomes)) == len(outcomes)
            value, degrees = chi_squared(truth(item.circuit, row), outcomes, often)
            total, freedom = total + value, freedom + degrees
    assert freedom > 0
    assert gammaincc(freedom / 2, total / 2) > 1e-4, (total, freedom)  # the chance of such a chi^2 or a larger one


def same(first, second):
    return all(
        np.array_equal(a[k], b[k])
        for x, y in zip(first, second, strict=True)
        for a, b in zip(x, y, strict=True)
        for k in (0, 1)
    )
