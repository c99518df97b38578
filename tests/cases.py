"""Small named models that every engine and gradient method is tested on, n = 1 to 6.

`CASES[name]` is a `Case` with its circuit, observables (as the user gives them) and model; `random_model` makes more.
`values_for(model, batch, seed)` draws theta and x for a model.
"""

from typing import NamedTuple

import numpy as np

import quprop as qpr
from quprop.model import ansatz
from quprop.model.gates import GATES


class Case(NamedTuple):
    circuit: qpr.Circuit
    observables: tuple[qpr.PauliSum, ...]
    model: qpr.Model


def values_for(model, batch=None, seed=0):
    """theta (P,) and x (D,), or with a batch (batch, P) and (batch, D); away from zero for encoded amplitudes."""
    rng = np.random.default_rng(seed)
    lead = () if batch is None else (batch,)
    return rng.uniform(-np.pi, np.pi, (*lead, model.n_params)), rng.normal(size=(*lead, model.n_inputs))


def random_sum(rng, n, terms):
    """A sum of random Pauli strings, identities among them now and then."""
    return qpr.PauliSum({"".join(rng.choice(list("IXYZ"), n)): float(rng.normal()) for _ in range(terms)})


def random_circuit(seed, n, gates, state=None, n_params=5, n_inputs=3):
    """Gates drawn from the whole table, Pauli rotations and exponentials, with affine, shared and product angles."""
    rng = np.random.default_rng(seed)
    theta, x = qpr.params("theta", n_params), qpr.inputs("x", n_inputs)
    circuit = qpr.Circuit(n, state, params=theta, inputs=x)

    def angle():
        t, u = theta[int(rng.integers(n_params))], x[int(rng.integers(n_inputs))]
        forms = [t, 2 * t + 0.1, -t, u * np.pi, t * u, (np.pi - u) * t + 0.5, 0.3, np.pi / 2 * int(rng.integers(5))]
        return forms[rng.integers(len(forms))]

    names = [name for name, gate in GATES.items() if gate.n_qubits <= n] + ["rotation", "exp"]
    for name in rng.choice(names, gates):
        if name == "rotation":
            circuit.rotation("".join(rng.choice(list("IXYZ"), n)), angle())
        elif name == "exp":
            circuit.exp(ansatz.commuting_groups(random_sum(rng, n, 4) + qpr.PauliSum("Z0"))[0], angle())
        else:
            qubits = rng.permutation(n)[: GATES[name].n_qubits]
            circuit.gate(name, *(angle() for _ in range(GATES[name].n_angles)), *map(int, qubits))
    return circuit


def random_model(seed, n, m, n_observables=2, state=None, n_params=None):
    """m random Pauli rotations with shared and own parameters, and observables of a few random terms."""
    rng = np.random.default_rng(seed)
    count = n_params or max(1, (2 * m) // 3)
    theta = qpr.params("theta", count)
    rows = []
    for _ in range(m):
        angle = float(rng.choice([1.0, 2.0, -0.5])) * theta[int(rng.integers(count))] + float(rng.normal())
        rows.append(("".join(rng.choice(list("IXYZ"), n)), angle))
    observables = [random_sum(rng, n, 3) for _ in range(n_observables)]
    return qpr.Model.from_rotations(n, rows, observables, state, params=theta)


def _all_gates():
    theta = iter(vector := qpr.params("theta", sum(g.n_angles for g in GATES.values())))
    circuit = qpr.Circuit(3, params=vector)
    circuit.ry(0.4, 0).ry(1.1, 1).rx(0.7, 2)
    for k, (name, gate) in enumerate(GATES.items()):
        qubits = [(k + i) % 3 for i in range(gate.n_qubits)]
        circuit.gate(name, *(next(theta) for _ in range(gate.n_angles)), *(qubits[::-1] if k % 2 else qubits))
    return circuit


def _circuits():
    t, x = qpr.params("theta", 6), qpr.inputs("x", 4)
    rng = np.random.default_rng(7)
    product = rng.normal(size=(3, 2)) + 1j * rng.normal(size=(3, 2))
    amplitudes = rng.normal(size=16) + 1j * rng.normal(size=16)
    pixels = qpr.inputs("pixel", 8)
    C = qpr.Circuit

    yield "one_qubit", C(1).rx(t[0], 0).h(0).rz(t[1], 0).u(t[2], t[3], t[4], 0), ["Z0", "X0 + 0.5*Y0"]
    yield "all_gates", _all_gates(), ["Z0 Z1", "X0 Y2 - 0.3*Z2"]
    yield (
        "shared_parameters",
        (
            C(3)
            .ry(t[0], 0)
            .ry(2 * t[0] + 0.1, 1)
            .cx(0, 1)
            .rz(-t[0], 1)
            .rx(t[1], 2)
            .cz(1, 2)
            .rzz(0.5 * t[1] - t[0], 0, 2)
        ),
        "Z0 Z1 + 0.7*X2",
    )
    yield (
        "products_of_angles",
        (
            C(2)
            .h(0)
            .h(1)
            .rz(t[0] * x[1], 0)
            .ry(t[1] * t[2], 1)
            .rzz((np.pi - x[0]) * (np.pi - x[1]), 0, 1)
            .rx(t[3] ** 2 - 0.3 * t[3], 0)
            .ry(t[0] * t[0] * x[2], 1)
        ),
        ["X0", "Z1"],
    )
    yield (
        "several_observables",
        (C(4).ry(t[0], 0).cx(0, 1).ry(t[1], 1).cx(1, 2).rx(t[2], 2).cx(2, 3).rz(t[3], 3).ry(t[4], 3)),
        ["Z0", "Z1", "Z2 Z3", "X0 X1 X2 X3", "Y1 - 2*Z0 Z2"],
    )
    yield "unused_parameters", C(2, params=t, inputs=x).ry(t[4], 1).rx(x[2], 0), "Z0 Z1"
    yield "inputs", ansatz.data_reuploading(2, 2, 5), ["Z0", "Z1"]
    yield "basis_state", C(3, "101").rx(t[0], 0).rxx(t[1], 0, 2).ryy(t[2], 1, 2).s(0).h(1), ["Z0", "X1 Y2"]
    yield "product_state", C(3, product).rz(t[0], 0).cx(0, 1).ry(t[1], 2).crx(t[2], 2, 0), "X0 Z1 + Y2"
    yield "amplitude_state", C(4, amplitudes).rx(t[0], 3).cx(3, 0).rzz(t[1], 0, 2).ecr(1, 2).ry(t[2], 1), "Z3 + X0"
    yield "encoded_state", C(3, pixels).ry(t[0], 0).cz(0, 1).ry(t[1], 1).cz(1, 2).ry(t[2], 2).rx(t[3], 0), ["Z0", "Z2"]
    yield (
        "encoded_and_rotated",
        (C(2, qpr.inputs("pixel", 6)[1:5], inputs=x).ry(t[0] * x[1], 0).cx(0, 1).rz(qpr.inputs("pixel", 6)[2], 1).h(1)),
        ["Z0", "X1 Y0"],
    )
    yield "commuting_sums", ansatz.uccsd(4, 2), "Z0 Z1 + 0.3*X0 X1 Y2 Y3 - 0.2*Y0 X1 X2 Y3"
    yield (
        "diagonal_run",
        (
            C(4)
            .h(0)
            .h(1)
            .h(2)
            .h(3)
            .rzz(t[0], 0, 1)
            .rz(t[1], 2)
            .cp(t[2], 2, 3)
            .rotation("ZZZZ", t[3])
            .rz(t[0], 0)
            .rx(t[4], 1)
        ),
        ["X0 X1", "Y2 Y3"],
    )
    yield (
        "qaoa",
        ansatz.qaoa(5, [(0, 1), (1, 2, 0.5), (2, 3), (3, 4, -1.5), (4, 0)], 2),
        "Z0 Z1 + 0.5*Z1 Z2 - 1.5*Z3 Z4",
    )
    yield "ising", ansatz.tfim_variational(6, 2), {f"Z{q} Z{q + 1}": -1.0 for q in range(5)} | {"X0": -1.0, "X5": -1.0}
    yield (
        "observables_with_y",
        C(3).rx(t[0], 0).cy(0, 1).ry(t[1], 2).rz(t[2], 0).iswap(1, 2),
        ["Y0", "Y0 Y1 Y2", "X0 Y1"],
    )
    yield (
        "identity_terms",
        (C(2).ry(t[0], 0).rotation("I", t[1]).exp({"I": 0.5, "Z0 Z1": 1.0, "X0 X1": -0.7}, t[2])),
        ["I", "2.5*I - Z0", "0"],
    )
    yield (
        "constant_angles",
        C(3).rx(0.3, 0).t(1).ry(np.pi / 2, 1).rxx(-np.pi, 0, 2).rotation("YZX", 1.5 * np.pi).tdg(2).rx(t[0], 2),
        ["Z0", "Y1 Z2"],
    )
    yield "clifford_only", C(4).h(0).cx(0, 1).cx(1, 2).cx(2, 3).s(3), ["X0 X1 X2 Y3", "Z0 Z3", "Z0"]
    yield "hardware_efficient", ansatz.hardware_efficient(6, 2), {f"Z{q} Z{(q + 1) % 6}": 1.0 for q in range(6)}
    yield "strongly_entangling", ansatz.strongly_entangling(5, 2), ["Z0 X4", "Y2"]
    yield "iqp", ansatz.commuting_generator(4), ["Z0", "Z1 Z2", "Z3 - 0.5*Y0 X2"]
    yield "random_paulis", ansatz.random_pauli_rotations(6, 30, 3), ["XYZXYZ", "Z0 Z5 + 0.25*X3"]
    yield "random_gates", random_circuit(11, 4, 40), ["X0 Z2", "Y1 Y3 + 0.1*Z0"]


def _case(circuit, observables):
    model = qpr.Model(circuit, observables)
    given = [observables] if isinstance(observables, str | dict) else observables
    return Case(circuit, tuple(qpr.PauliSum(o) for o in given), model)


CASES: dict[str, Case] = {name: _case(circuit, observables) for name, circuit, observables in _circuits()}
