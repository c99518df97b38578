"""The table of claims: every claim has an experiment, verdicts follow the numbers, results in a folder come first."""

import json

import numpy as np
import pytest

from quprop import claims
from quprop.claims import CLAIMS, table
from quprop.claims.claim import HOLDS, IN_PART, NOT_SEEN
from quprop.experiments.experiment import Experiment


def quick(name):
    """A quick result, as a file has it."""
    return json.loads(json.dumps(claims.experiments()[name].run(True, 0, lambda *step: None)))


def changed(result, path, value):
    """A copy with one entry, or one entry of every row, replaced."""
    copy = json.loads(json.dumps(result))
    *keys, last = path
    for entry in copy[keys[0]] if keys and isinstance(copy[keys[0]], list) else [copy]:
        for key in keys if entry is copy else ():
            entry = entry[key]
        entry[last] = value
    return copy


def test_every_claim_says_what_where_and_how_to_see_it():
    for name, c in CLAIMS.items():
        assert c.name == name and c.experiment in claims.experiments()
        assert c.statement.endswith(".") and c.source and c.expected


def test_every_claim_was_measured_and_what_does_not_hold_says_why():
    for row in table.rows():
        assert row.found is not None, row.claim.name
        assert row.found.measured and row.found.verdict in (HOLDS, IN_PART, NOT_SEEN)
        assert row.found.verdict == HOLDS or row.found.why
        assert row.where == "with quprop" and {"date", "quick", "versions"} <= row.run.keys()


@pytest.mark.parametrize(
    ("claim", "path", "value", "verdict"),
    [
        ("definition_6", ("fit", "slope"), -0.5, NOT_SEEN),
        ("proposition_7", ("rows", "error"), 0.5, IN_PART),
        ("proposition_5", ("rows", "layers_per_trajectory"), 9.0, NOT_SEEN),
        ("proposition_5", ("rows", "largest_z"), 60.0, IN_PART),
        ("theorem_12", ("rows", "exact_difference"), 1e-3, NOT_SEEN),
        ("forum_shift", ("rows", "parameter_shift"), 1.0, IN_PART),
        ("theorem_13", ("slope",), 0.2, NOT_SEEN),
    ],
)
def test_a_verdict_falls_with_its_numbers(claim, path, value, verdict):
    c = CLAIMS[claim]
    result = quick(c.experiment)
    assert c.judge(result).verdict == HOLDS
    worse = c.judge(changed(result, path, value))
    assert worse.verdict == verdict and worse.why


def test_markov_chains_have_unbiased_gradients_and_bell_pairs_a_logarithm():
    for row in quick("markov_chain")["rows"]:
        assert row["largest_z"] < 5.5 and row["layers_per_trajectory"] == 1
    result = quick("pauli_list")
    copies = [r["bell_sampling"] for r in result["rows"]]
    steps = np.diff(copies) / np.diff(np.log([r["M"] for r in result["rows"]]))
    np.testing.assert_allclose(steps, steps[0], rtol=0.01)


def test_modules_give_the_joint_circuits_numbers():
    assert all(j["difference"] < 1e-12 for j in quick("modules")["joint"])


def test_results_in_a_folder_come_before_those_of_the_package(quprop, tmp_path):
    quprop("reproduce", "gentleness", "--quick", "--out", "here")
    row = {r.claim.name: r for r in table.rows(tmp_path / "here")}["definition_6"]
    assert row.where.endswith("gentleness.json") and row.run["quick"] and row.found.verdict == HOLDS
    (tmp_path / "here" / "gentleness.json").write_text('{"experiment": "gentl')  # cut off
    row = {r.claim.name: r for r in table.rows(tmp_path / "here")}["definition_6"]
    assert row.where == "with quprop"


def test_all_runs_what_is_missing_and_goes_on_past_what_cannot_run(quprop_in_80_columns, tmp_path, monkeypatch):
    ran = []

    def run(name):
        def call(quick, seed, progress):
            progress(0, 1, name)
            if name == "needs":
                raise claims_error
            ran.append(name)
            return {"findings": [f"{name} was seen"]}

        return call

    from quprop.errors import QupropError

    claims_error = QupropError("torch is not installed")
    few = {n: Experiment(n, "claim", "arXiv:0", 0.1, run(n), lambda r: b"\x89PNG") for n in ("one", "needs", "two")}
    monkeypatch.setattr("quprop.cli.reproduce.experiments", lambda: few)
    out, _ = quprop_in_80_columns("reproduce", "--all", "--quick", "--out", "here")
    assert ran == ["one", "two"] and "needs: left out, torch is not installed" in " ".join(out.split())
    quprop_in_80_columns("reproduce", "--all", "--quick", "--out", "here")
    assert ran == ["one", "two"]  # both were there
    quprop_in_80_columns("reproduce", "--all", "--out", "here")
    assert ran == ["one", "two", "one", "two"]  # the full size was not


def test_claims_can_be_asked_for_by_name_and_slips_are_named(quprop):
    out, _ = quprop("reproduce", "definition_6", "--quick", "--out", "here")
    assert "gentleness.png and gentleness.json in here" in out and "definition_6  holds" in out
    _, err = quprop("reproduce", "definition_7", status=2)
    assert "did you mean 'definition_6'" in err or "definition_1" in err
    _, err = quprop("reproduce", "gates", "--all", status=2)
    assert "give a NAME or --all" in err
