"""Stim's circuits in: every unitary gate it has, against its own tableaus."""

import dense
import numpy as np
import pytest
import stim

import quprop as qpr
from quprop.errors import QupropError
from quprop.hybrid.stim import from_stim

UNITARY = sorted(name for name, data in stim.gate_data().items() if data.is_unitary)
START = "H 0 1 2\nS 0\nSQRT_X 1\nSQRT_Y_DAG 2\nCX 0 1 1 2\nS 2\n"  # no symmetry left


@pytest.mark.parametrize("name", UNITARY)
def test_every_clifford_gate_is_stim_s(name):
    circuit = stim.Circuit(START)
    if name.startswith("SPP"):
        circuit.append_from_stim_program_text(f"{name} !X0*Y2 Z1*X2")
    elif stim.gate_data(name).is_single_qubit_gate:
        circuit.append(name, [2, 0])
    else:
        circuit.append(name, [2, 0, 0, 1])
    ours = dense.final_state(from_stim(circuit), ())
    theirs = circuit.to_tableau().to_state_vector(endian="little")
    assert abs(np.vdot(theirs, ours)) == pytest.approx(1, abs=1e-6)  # stim gives single precision


def test_a_random_clifford_circuit_conjugates_observables_as_its_tableau():
    tableau = stim.Tableau.random(6)
    circuit = tableau.to_circuit("elimination")
    model = from_stim(circuit, ["Z0 X3", "Y5"])
    assert model.n_rotations == 0 and model.clifford == circuit.to_tableau()


def test_what_changes_nothing_is_left_out_and_blocks_are_written_out():
    text = "QUBIT_COORDS(0, 1) 0\nR 0 1\nTICK\nREPEAT 2 {\n H 0\n CX 0 1\n}\nI 1\nM 0\nDETECTOR rec[-1]"
    assert from_stim(text) == qpr.Circuit(2).h(0).cx(0, 1).h(0).cx(0, 1)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("H 0\nM 0\nX 0", "instruction 2, X: qubit 0 was measured before"),
        ("X_ERROR(0.1) 0", "instruction 0, X_ERROR: noise has no place"),
        ("M(0.1) 0", "noise has no place"),
        ("H 0\nR 0", "instruction 1, R: qubit 0 has been used"),
        ("M 0\nCX rec[-1] 0", "remove the feedback"),
        ("REPEAT 3 {\nH 0\nM 0\n}", "instruction 0 of the REPEAT block in instruction 0, H: qubit 0 was measured"),
        ("MR 0", "only M, MX and MY at the end"),
        ("SPP X0*Y0", "not Hermitian"),
        ("REPEAT 100000000000 {\nH 0\n}", "more than the 10,000,000 gates"),
        ("TICK", "no qubits"),
        ("HH 0", "no stim program"),
        (3, "takes a stim.Circuit or its text, got int"),
    ],
)
def test_everything_else_is_refused_with_its_place(text, sentence):
    with pytest.raises(QupropError) as caught:
        from_stim(text)
    assert sentence in str(caught.value) and "\n" not in str(caught.value)
