"""What a state over ranks sends, by hand for small circuits and by its bounds for others."""

import numpy as np
import pytest
from cases import random_model

import quprop as qpr
from quprop import QupropError
from quprop.model import ansatz
from quprop.model.gates import GATES
from quprop.model.pauli import PauliString
from quprop.simulate.distributed.traffic import traffic


def one_exchange():
    """Two layers that turn every qubit twice: a rank's bit is turned in the first or in the second, never alone."""
    theta = iter(vector := qpr.params("theta", 4 * 8))
    circuit = qpr.Circuit(8, params=vector)
    for _ in range(2):
        for q in range(8):
            circuit.ry(next(theta), q).rz(next(theta), q)
    return circuit


def test_the_numbers_of_two_ranks_by_hand():
    found = traffic(qpr.Model(one_exchange(), "Z0"), 2, chunk=1 << 10)
    part = 16 * 2**7
    assert (found.ranks, found.local_qubits, found.stretches, found.exchanges, found.swaps) == (2, 7, 2, 1, 0)
    assert found.bytes_value == found.lower_bound_value == part // 2
    assert found.bytes_gradient == found.lower_bound_gradient == 3 * part // 2
    # four pieces of 16 amplitudes: of psi alone, or with lambda (a buffer holds 16 of each, for both ranks)
    assert found.messages_gradient == 4 + 4
    assert found.gate_exchanges == 2  # an RY on qubit 7 in each layer
    assert found.memory == 2 * part + 4 * 1024 + 3072 * 32


def test_single_precision_sends_half():
    model = random_model(1, 10, 60)
    double, single = traffic(model, 4), traffic(model, 4, "single")
    assert double.exchanges == single.exchanges > 1
    assert (double.bytes_value, double.bytes_gradient) == (2 * single.bytes_value, 2 * single.bytes_gradient)


def test_observables_of_one_qubit_each_take_one_exchange():
    """X on each of 8 qubits: two are outside any six bits, and inside others; nothing else is done."""
    found = traffic(qpr.Model(qpr.Circuit(8), {f"X{q}": 1.0 for q in range(8)}), 4)
    assert (found.stretches, found.exchanges, found.swaps) == (2, 1, 0)
    assert found.bytes_value == found.lower_bound_value == 16 * 2**6 * 3 // 4
    assert found.bytes_gradient == found.lower_bound_gradient == 3 * found.bytes_value


def test_observables_of_all_masks_move_a_rank_s_part_once_for_each_other_rank_and_back():
    strings = {" ".join(f"X{q}" for q in range(8) if mask >> q & 1): 1.0 for mask in range(1, 256)}
    found = traffic(qpr.Model(qpr.Circuit(8), strings), 4)
    assert (found.stretches, found.exchanges, found.swaps) == (1, 0, 4)
    assert found.bytes_value == found.bytes_gradient == 4 * 16 * 2**6
    assert found.lower_bound_gradient == 0


def test_one_rank_sends_nothing():
    found = traffic(random_model(0, 5, 40), 1)
    assert (found.stretches, found.exchanges, found.swaps) == (1, 0, 0)
    assert (found.bytes_value, found.bytes_gradient, found.messages_gradient, found.gate_exchanges) == (0, 0, 0, 0)


@pytest.mark.parametrize("ranks", [2, 4, 8])
@pytest.mark.parametrize("build", ["random", "layers", "chain", "ising"])
def test_exchanges_move_no_more_than_the_lower_bound(build, ranks):
    n = 12
    terms = {f"{p}{q} {p}{q + 1}": 1.0 for p in "XYZ" for q in range(n - 1)}
    model = {
        "random": lambda: random_model(5, n, 150),
        "layers": lambda: qpr.Model(ansatz.hardware_efficient(n, 8), [f"Z{q}" for q in range(n)]),
        "chain": lambda: qpr.Model(qpr.Circuit(n).evolve(terms, 0.3, steps=5), terms),
        "ising": lambda: qpr.Model(ansatz.tfim_variational(n, 10), {"X3": 1.0, "Z0 Z1": 1.0}),
    }[build]()
    found = traffic(model, ranks)
    part = 16 * 2**n // ranks
    assert found.bytes_value - found.swaps * part <= found.lower_bound_value
    assert found.bytes_gradient - found.swaps * part <= found.lower_bound_gradient
    assert found.exchanges <= found.gate_exchanges


def test_layers_need_fewer_exchanges_than_their_gates():
    found = traffic(qpr.Model(ansatz.hardware_efficient(16, 6), "Z0"), 4)
    assert found.exchanges <= 6
    assert found.gate_exchanges == 6 * 2 * (1 + 1)  # an RY and the target of a CX on each of two qubits


# The user's gates -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", GATES)
def test_a_gate_counts_where_its_matrix_is_not_diagonal(name):
    gate = GATES[name]
    k = gate.n_qubits
    angles = [0.3, 0.8, 1.9][: gate.n_angles]
    unitary = columns(name, angles, k)
    index = np.arange(2**k)
    for local in range(k):
        differ = (index[:, None] ^ index) >> local & 1
        turned = np.abs(unitary[differ == 1]).max() > 1e-12
        qubits = list(range(1, k + 1))
        qubits[local] = 9
        found = traffic(qpr.Model(qpr.Circuit(10).gate(name, *angles, *qubits), "Z0"), 2)
        assert found.gate_exchanges == int(turned)


def columns(name, angles, k):
    """The matrix of a gate up to a phase of each column, which says where it is zero."""
    out = []
    for j in range(2**k):
        circuit = qpr.Circuit(k, state=j).gate(name, *angles, *range(k))
        out.append(qpr.state(qpr.Model(circuit, "Z0"), [], engine="reference"))
    return np.array(out).T


def test_strings_count_once_where_they_flip_an_upper_qubit():
    theta = qpr.params("theta", 3)
    circuit = qpr.Circuit(10)
    circuit.rotation("X0 X8 Y9", theta[0]).rotation("Z8 Z9 X0", theta[1]).rotation(PauliString(1 << 7, 0), theta[2])
    circuit.exp({"Z0 Z1": 1.0, "X8": 0.5, "X3": 1.0, "X9": 2.0}, theta[0])
    subsets = qpr.params("block", 3)
    circuit.x_rotations([[0], [9], [8, 9]], subsets)
    assert traffic(qpr.Model(circuit, "Z0"), 4).gate_exchanges == 1 + 2 + 2
    assert traffic(qpr.Model(circuit, "Z0"), 1).gate_exchanges == 0


def test_a_model_without_its_gates_says_so():
    model = qpr.Model(one_exchange(), "Z0")
    again = traffic(qpr.Model.from_text(model.to_text()), 2)
    assert again == traffic(model, 2)._replace(gate_exchanges=None)


def test_what_cannot_be_counted_is_refused():
    model = random_model(0, 9, 10)
    for arguments, words in [
        ((3,), "power of two of ranks, got 3"),
        ((8,), "10 qubits at least, and this model has 9"),
        ((2, "half"), "precision is one of double, single, got 'half'"),
    ]:
        with pytest.raises(QupropError, match=words):
            traffic(model, *arguments)
