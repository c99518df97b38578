"""Groups of Pauli strings: they are what they say, in the frame the user reads in."""

import numpy as np
import pytest
import stim
from cases import CASES, random_sum

import quprop as qpr
from quprop.errors import QupropError
from quprop.gradients import ParameterShift
from quprop.model.pauli import PauliString
from quprop.sampling.grouping import SCHEMES, group
from quprop.sampling.joint import diagonalise


def letters(string, n):
    return string.dense(n).lstrip("-")


@pytest.mark.parametrize("seed", range(5))
def test_groups_are_a_partition_and_can_be_read_together(seed):
    total = random_sum(np.random.default_rng(seed), 4, 20)
    for scheme in SCHEMES:
        found = group(total, scheme)
        members = [term for g in found.groups for term in g]
        assert sorted(map(str, members)) == sorted(str((p, c)) for p, c in total.items() if p.weight)
        for g in found.groups:
            strings = [p for p, _ in g]
            if scheme == "commuting":
                assert all(p.commutes(q) for p in strings for q in strings)
            if scheme == "qubit_wise":  # one letter on every qubit
                for column in zip(*(letters(p, 4) for p in strings), strict=True):
                    assert len(set(column) - {"I"}) <= 1


def test_the_identity_is_not_measured():
    found = group(qpr.PauliSum("2.5*I - Z0"))
    assert found.constant == 2.5 and len(found.groups) == 1
    assert group(qpr.PauliSum("3*I")).groups == ()


def test_auto_takes_the_least_variance():
    ising = qpr.PauliSum({**{f"Z{i} Z{i + 1}": 1.0 for i in range(5)}, **{f"X{i}": 1.0 for i in range(6)}})
    found = group(ising)
    assert found.scheme == "qubit_wise" and len(found.groups) == 2
    assert found.variance["qubit_wise"] == pytest.approx((np.sqrt(5) + np.sqrt(6)) ** 2)
    assert found.variance["sampled"] == 121
    clash = group(qpr.PauliSum("X0 + Y0 + Z0"))  # nothing can be read together: drawing terms is as good
    assert clash.variance["qubit_wise"] == pytest.approx(9) and len(clash.groups) == 3


def test_qubit_wise_is_judged_as_the_user_reads():
    """Z0 and Z1 are read together; behind a Clifford circuit, absorbed, they look like X0 Z1 and Z0 X1 or worse."""
    circuit = qpr.Circuit(3).ry(qpr.params("theta", 1)[0], 0).h(0).cx(0, 1).s(1).cx(1, 2).h(1).cz(0, 2)
    model = qpr.Model(circuit, "Z0 + Z1 + Z2 + 0.5*Z0 Z1")
    assert len(group(model.observables[0], "qubit_wise").groups) > 1
    assert len(group(model.observables[0], "qubit_wise", model.clifford).groups) == 1
    plan = ParameterShift(shots=10, grouping="qubit_wise").compile(model)
    assert len(plan.runs) == 1


@pytest.mark.parametrize("name", CASES)
def test_the_frame_of_the_user_is_undone_for_every_model(name):
    """Groups found behind the Cliffords are qubit-wise on the observable as it was given."""
    model = CASES[name].model
    for absorbed, original in zip(model.observables, CASES[name].observables, strict=True):
        found = group(absorbed, "qubit_wise", model.clifford)
        direct = group(original, "qubit_wise")
        assert sorted(len(g) for g in found.groups) == sorted(len(g) for g in direct.groups) or len(
            {round(abs(c), 12) for _, c in original.items()}
        ) < len(original)  # equal coefficients may be taken in another order


def test_an_unknown_scheme_gets_a_sentence():
    with pytest.raises(QupropError, match="grouping is auto, qubit_wise, commuting, sampled, got 'commute'"):
        group(qpr.PauliSum("Z0"), "commute")


@pytest.mark.parametrize("n", [63, 64, 127])
def test_a_common_basis_is_found_on_any_number_of_qubits(n):
    """D P D† = ±Z^mask by stim, also where a mask has more bits than an int64."""
    ghz = ["X" * n, *("I" * q + "ZZ" + "I" * (n - q - 2) for q in range(n - 1)), "Y" * 2 + "X" * (n - 2)]
    strings = [PauliString.parse(s) for s in ghz]
    tableau, masks, signs = diagonalise(strings, n)
    for p, mask, sign in zip(strings, masks, signs, strict=True):
        turned = tableau(stim.PauliString(p.dense(n)))
        read = "".join("Z" if int(mask) >> q & 1 else "_" for q in range(n))
        assert str(turned) == ("+" if sign > 0 else "-") + read
