"""Files that quprop 0.1 wrote (`old_files.py` says how) are read, say the same numbers, and go on to the same end."""

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from old_files import COMMANDS, RUNS, SWEEP, models, numbers, shots_run

import quprop as qpr
from quprop.cost import Cost
from quprop.planning.measured.sweep import tasks

SAMPLES = Path(__file__).parent / "samples"
# Measured anew at every run, the memory that the engine of today needs, and what it was made with.
ANEW = {"seconds", "value_seconds", "gradient_seconds", "omega_time", "versions", "date"}
ANEW |= {"value_bytes", "gradient_bytes", "omega_memory"}

CHARGED = {
    "plan_network": [
        *("condition_number", "queries_a_run", "rotations_a_query", "block", "carleman_seconds", "advice"),
    ],
    "carleman_analyse": [
        *(
            "spectrum",
            "proxy",
            "bound",
            "bound_block_length",
            "growth",
            "radius",
            "condition_number",
            "cost",
            "verdict",
        ),
        *("queries_per_run", "queries", "break_even", "emulated"),
    ],
}


def read(name):
    return json.loads((SAMPLES / name).read_text())


def assert_said(old, new, where=""):
    """All that the old result says, the new one says too."""
    assert isinstance(new, type(old)) or {type(old), type(new)} == {int, float}, where
    if isinstance(old, dict):
        for key in old.keys() - ANEW:
            assert_said(old[key], new[key], f"{where}/{key}")
    elif isinstance(old, list):
        assert len(old) == len(new), where
        for i, (a, b) in enumerate(zip(old, new, strict=True)):
            assert_said(a, b, f"{where}/{i}")
    elif isinstance(old, float):
        assert new == pytest.approx(old, rel=1e-7, abs=1e-12), where
    elif isinstance(old, str):
        assert re.sub(r"\b1 (\w{3,})s\b", r"1 \1", old) == new, where  # one has no plural
    else:
        assert old == new, where


@pytest.mark.parametrize("name", dict(models()))
def test_a_saved_model_says_the_same_numbers_and_is_written_as_it_was(name):
    loaded = qpr.Model.load(SAMPLES / "models" / f"{name}.json")
    assert loaded == dict(models())[name]
    assert loaded.to_text() == (SAMPLES / "models" / f"{name}.json").read_text()
    assert_said(read("models/numbers.json")[name], numbers(loaded))


def test_a_saved_module_is_what_it_was():
    loaded = qpr.Module.load(SAMPLES / "models" / "module.json")
    assert loaded.model == dict(models())["basis"] and loaded.name == "part" and loaded.frozen
    assert loaded.theta.tolist() == [0, 1 / 7, 2 / 7]
    assert loaded.to_text() == (SAMPLES / "models" / "module.json").read_text()


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_still_says_all_that_it_said(name, quprop):
    if name.startswith("carleman"):
        pytest.importorskip("torch")
    quprop(*COMMANDS[name].split(), "--json", "now.json", "--quiet")
    old, new = read(f"results/{name}.json"), json.loads(Path("now.json").read_text())
    if name == "compare":  # tells such times
        assert old.pop("advice")[:20] == new.pop("advice")[:20]
    if name == "plan_circuit":  # by Bernstein's inequality the mean needs fewer copies than medians of means did
        (before, _), (now, _) = (
            (r["methods"].pop("classical_shadows"), [m.pop("classical_shadows", None) for m in r["machines"].values()])
            for r in (old, new)
        )
        assert now["cost"]["copies"] < before["cost"]["copies"] / 30
        # What no number of parameters changed is feasible up to one.
        assert new.pop("advice").startswith(old.pop("advice").split(", and no M")[0] + ", feasible up to P = ")
    if name == "plan_model":  # an exact gradient of a model at hand was 12 multiply-adds a rotation, and is timed
        then, now = (r["methods"]["adjoint"] for r in (old, new))
        assert (then.pop("basis"), now.pop("basis")) == ("counted", "measured")
        for key in ("classical_seconds", "training"):
            assert now.pop(key) > then.pop(key)
    for result in (old, new) if isinstance(old, dict) else ():
        # Batches that outlive their triggers are fewer; what rests on their number is another one.
        result.get("bases", {}).pop("bound", None)
        measured_anew = [
            c for c, v in result.items() if c.startswith(("theorem_9", "carleman")) and isinstance(v, dict)
        ]
        for claim in (*measured_anew, "theorem_13_sweep", "figure_1", "figure_2", "theorem_12"):
            for key in ("expected", "measured", "verdict", "why", "quick"):
                result.get(claim, {}).pop(key, None)
        if "with_constants" not in old and "quantum_backprop" not in old.get("methods", ()):
            continue
        result.get("methods", {}).pop("quantum_backprop", None)
        result.get("with_constants", {}).pop("break_even_of_quprop", None)
        for kept in result.get("machines", {}).values():
            kept.pop("quantum_backprop", None)
        for key in ("changes", "advice"):
            result.pop(key, None)
    if name in ("plan_network", "carleman_analyse"):
        # A query is charged for access and an upload for all its times; an analysis is of the survivors' map.
        for key in CHARGED[name]:
            assert old.pop(key, True) is not None and new.pop(key, True) is not None
    if isinstance(old, dict) and "source" in old.get("hardware", ()):  # goes on to say what a Toffoli takes
        assert new["hardware"].pop("source").startswith(old["hardware"].pop("source"))
    assert_said(old, new)


@pytest.mark.parametrize("name", [*COMMANDS, "scaling"])
def test_a_result_that_does_not_name_its_kind_is_shown(name):
    pytest.importorskip("jinja2")
    from quprop.report import collect
    from quprop.report.sources import recognise

    report = collect([SAMPLES / "results" / f"{name}.json"])
    assert len(report.sections) == 1 and report.sections[0].blocks
    assert not [note for note in report.all_notes() if "cannot be shown" in note]
    kinds = {"reproduce": "claim", "reproduce_one": "experiment", "train": "summary", "compare": "comparison"}
    kinds |= {"carleman_analyse": "carleman_analysis", "scaling_figure2": "figure2", "plan_check": "check"}
    assert recognise(read(f"results/{name}.json")) == kinds.get(name, name.split("_")[0])


@pytest.mark.parametrize("name", RUNS)
def test_a_run_that_was_cut_goes_on_to_the_end_of_one_that_was_not(name, quprop):
    if name == "carleman":
        pytest.importorskip("torch")
    folder = Path("run")
    shutil.copytree(SAMPLES / "runs" / name, folder)
    before = (folder / "metrics.jsonl").read_bytes()
    command, lines = RUNS[name]
    assert before.count(b"\n") >= lines
    quprop(*command.split(), "--out", folder, "--resume", "--json", "now.json", "--quiet")
    after = (folder / "metrics.jsonl").read_bytes()
    if name == "carleman":  # blocks are charged more than they were, and say more
        for then, now in zip(rows(before[: before.rindex(b"\n")]), rows(after), strict=False):
            assert_said(then, now)
    else:
        assert after.startswith(before)
    old, new = read(f"runs/{name}.json"), json.loads(Path("now.json").read_text())
    for result in (old, new) if name == "carleman" else ():
        for block in result["blocks"]:
            block.pop("cost")
        for key in ("ledger", "emulation", "break_even"):
            result.pop(key)
    assert_said(old, new)


def rows(metrics):
    """A run's rows without what a block is charged."""
    return [{k: v for k, v in json.loads(line).items() if k != "cost"} for line in metrics.splitlines()]


def test_a_run_by_shots_that_was_cut_draws_the_shots_of_one_that_was_not(tmp_path):
    shutil.copytree(SAMPLES / "runs" / "shots", tmp_path / "run")
    found = shots_run(tmp_path / "run", resume=True)
    old = read("runs/shots.json")
    assert found.steps == 24 and found.cost == Cost(**old["cost"])
    np.testing.assert_allclose(found.theta, old["theta"], rtol=1e-9)


def test_a_sweep_that_was_cut_goes_on_with_the_same_seeds(quprop):
    """Rows that were there are kept as they are; the others have the keys, and so the seeds, that they had."""
    shutil.copytree(SAMPLES / "sweep", "sweep")
    before = Path("sweep/rows.jsonl").read_bytes()
    kept = before[: before.rindex(b"\n") + 1]
    quprop(*SWEEP.split(), "sweep", "--resume", "--json", "now.json", "--quiet")
    assert Path("sweep/rows.jsonl").read_bytes().startswith(kept) and len(kept) < len(before)
    old, new = read("results/scaling.json"), json.loads(Path("now.json").read_text())
    assert [row["key"] for row in new["rows"]] == [row["key"] for row in old["rows"]]
    assert_said(old, new)


def test_tasks_of_a_sweep_have_the_keys_they_had():
    options = {"m_min": 16, "m_max": 64, "instances": 1, "max_error": 0.3}
    found = tasks(["commuting_generator", "random_pauli"], ["commuting_blocks", "parameter_shift"], **options)
    assert {task.key for task in found} == {row["key"] for row in read("results/scaling.json")["rows"]}
