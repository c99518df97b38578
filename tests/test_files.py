"""Files: old or new as a whole whatever fails, one sentence that names the file, runs that go on to the same bits."""

import json
import os
import re
import stat
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from faults import KINDS, calls_of, failing, killed_at, leftovers, stopped
from test_train import comparable, energy_model, samples

import quprop as qpr
from quprop import runs
from quprop.files import FileError, JsonLines, check_outputs, read_bytes, read_toml, write_atomically
from quprop.model.ansatz import data_reuploading
from quprop.runs import RunFolder, write_json
from quprop.runs.executor import Task, run_tasks
from quprop.training.optimise import LBFGS, adam
from quprop.training.train import TrainingFailed, train

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="processes are forked")

OLD, NEW = energy_model(2, 1), energy_model(3, 1)
WRITERS = {
    "write_json": (lambda path, new: write_json(path, {"new": new, "long": list(range(500))}), json.loads),
    "Model.save": (lambda path, new: (NEW if new else OLD).save(path), qpr.Model.from_text),
    "Module.save": (lambda path, new: qpr.Module(NEW if new else OLD).save(path), qpr.Module.from_text),
    "write_atomically": (lambda path, new: write_atomically(path, b"new" if new else b"old"), str),
}


# -- one file ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", WRITERS)
def test_a_failure_at_any_call_leaves_the_old_file_or_the_new_one(name, kind, tmp_path):
    write, read = WRITERS[name]
    file = tmp_path / "file.json"
    write(file, True)
    new = file.read_bytes()
    write(file, False)
    old = file.read_bytes()
    count = calls_of(lambda: write(file, False))
    assert count >= 6
    failed = 0
    for k in range(1, count + 1):
        write(file, False)
        with failing(kind, k):
            try:
                write(file, True)
            except FileError as error:
                failed += 1
                assert str(file) in str(error) and "\n" not in str(error)
        assert file.read_bytes() in (old, new)
        read(file.read_text())
        write(file, True)  # sweeps, should removing the temporary file be what failed
        assert file.read_bytes() == new and [p.name for p in tmp_path.iterdir()] == ["file.json"]
    assert failed >= 3


@pytest.mark.parametrize("name", ["write_json", "Model.save"])
def test_a_death_at_any_call_leaves_the_old_file_or_the_new_one(name, tmp_path):
    write, _ = WRITERS[name]
    file = tmp_path / "file.json"
    write(file, True)
    new = file.read_bytes()
    write(file, False)
    old = file.read_bytes()
    found = set()
    for k in range(1, calls_of(lambda: write(file, False)) + 1):
        write(file, False)
        assert killed_at(k, lambda: write(file, True))
        found.add((file.read_bytes() == new, bool(leftovers(tmp_path))))
        assert file.read_bytes() in (old, new)
        write(file, False)
        assert not leftovers(tmp_path)
    assert found >= {(False, True), (True, False)}


def test_many_threads_and_processes_write_one_file(tmp_path):
    file = tmp_path / "model.json"
    texts = [energy_model(n, 1) for n in range(2, 10)]
    texts[0].save(file)
    errors, torn = [], []

    def write(i):
        try:
            for _ in range(15):
                texts[i].save(file)
        except Exception as error:
            errors.append(error)

    def read():
        known = {model.to_text() for model in texts}
        while any(t.is_alive() for t in writers):
            if file.read_text() not in known:
                torn.append(1)

    children = []
    for i in range(3):
        child = os.fork()
        if not child:
            write(i)
            os._exit(len(errors))
        children.append(child)
    writers = [threading.Thread(target=write, args=(i,)) for i in range(8)]
    for thread in writers:
        thread.start()
    read()
    assert [os.waitpid(child, 0)[1] for child in children] == [0, 0, 0]
    assert not errors and not torn and [p.name for p in tmp_path.iterdir()] == ["model.json"]


def test_a_temporary_file_of_a_living_writer_is_not_swept(tmp_path, monkeypatch):
    file, names = tmp_path / "file", []
    real = os.fsync

    def slow(descriptor):
        if not names:
            names.extend(leftovers(tmp_path))
            write_atomically(file, b"other")  # sweeps, and must leave the first one's alone
            assert leftovers(tmp_path) == names
        real(descriptor)

    monkeypatch.setattr(os, "fsync", slow)
    write_atomically(file, b"first")
    assert names and file.read_bytes() == b"first" and not leftovers(tmp_path)


def test_temporary_names_cannot_be_guessed_and_links_are_not_followed(tmp_path, monkeypatch):
    victim = tmp_path / "victim"
    victim.write_text("mine")
    seen = []
    real = os.replace
    monkeypatch.setattr(os, "replace", lambda a, b: (seen.append(Path(a).name), real(a, b)))
    for _ in range(3):
        write_atomically(tmp_path / "file", b"x")
    assert len(set(seen)) == 3 and not any(str(os.getpid()) == part for name in seen for part in name.split("."))
    names = iter(["a" * 16, "a" * 16, "b" * 16])
    (tmp_path / f".file.{'a' * 16}.tmp").symlink_to(victim)
    monkeypatch.setattr("quprop.files.secrets.token_hex", lambda n: next(names))
    write_atomically(tmp_path / "file", b"y")
    assert victim.read_text() == "mine" and (tmp_path / "file").read_bytes() == b"y"


@pytest.mark.parametrize("mask", [0o022, 0o077])
def test_files_have_the_mode_that_the_umask_says(mask, tmp_path):
    before = os.umask(mask)
    try:
        OLD.save(tmp_path / "model.json")
        JsonLines(tmp_path / "rows.jsonl", "busy").close()
    finally:
        os.umask(before)
    assert {stat.S_IMODE(p.stat().st_mode) for p in tmp_path.iterdir()} == {0o666 & ~mask}


def test_only_files_are_replaced(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "folder").mkdir()
    for name, words in [("pipe", "no ordinary file"), ("folder", "is a folder"), ("no/where.json", "make it first")]:
        with pytest.raises(qpr.QupropError, match=words):
            OLD.save(tmp_path / name)
    with pytest.raises(qpr.QupropError, match="no ordinary file"):
        OLD.save("/dev/null")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["folder", "pipe"]


def test_names_of_any_length_and_letters_can_be_written(tmp_path):
    for name in ("x" * 250, "é" * 120, "a b\n[c]*", ".hidden"):
        write_atomically(tmp_path / name, b"1")
        write_atomically(tmp_path / name, b"2")
    assert {p.read_bytes() for p in tmp_path.iterdir()} == {b"2"} and len(list(tmp_path.iterdir())) == 4


# -- the growing log --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_a_row_that_cannot_be_written_leaves_no_trace(kind, tmp_path):
    def opened(name):
        return JsonLines(tmp_path / name, "busy")

    rows = [{"k": k, "text": "x" * 50} for k in range(4)]

    def write(log, kept):
        for row in rows:
            log.append(row)
            kept.append(row)

    log = opened("count")
    log.load()
    count = calls_of(lambda: write(log, []))
    log.close()
    for k in range(1, count + 1):
        log, kept = opened(f"{k}"), []
        log.load()
        with failing(kind, k), pytest.raises(FileError, match="cannot be written"):
            write(log, kept)
        assert [json.loads(line) for line in (tmp_path / f"{k}").read_text().splitlines()] == kept
        for row in rows[len(kept) :]:  # the same process may go on when there is room again
            log.append(row)
        log.close()
        again = opened(f"{k}")
        assert again.load() == rows
        again.close()


def test_a_row_cut_short_twice_is_cut_off_before_the_next(tmp_path, monkeypatch):
    """Where not even cutting off works, the next row begins where the last whole one ended."""
    log = JsonLines(tmp_path / "rows", "busy")
    log.append({"k": 1})
    with monkeypatch.context() as patch:
        real = os.write
        patch.setattr(os, "write", lambda d, data: real(d, bytes(data)[:3]) if len(data) > 5 else real(d, b""))
        patch.setattr(os, "ftruncate", lambda *_: (_ for _ in ()).throw(OSError(5, "Input/output error")))
        with pytest.raises(FileError):
            log.append({"k": 2})
    log.append({"k": 3})
    log.close()
    assert (tmp_path / "rows").read_text() == '{"k": 1}\n{"k": 3}\n'


# -- training runs ----------------------------------------------------------------------------------------------------

RUNS = {
    "minibatch": lambda **kw: train(
        qpr.Model(data_reuploading(2, 1, 3), ["Z0", "Z1", "Z0 Z1"]),
        "cross_entropy",
        data=samples(6),
        head=True,
        optimiser=adam(0.05),
        epochs=2,
        batch_size=4,
        rng=3,
        threads=1,
        **{"checkpoint_seconds": 0.0} | kw,
    ),
    "lbfgs": lambda **kw: train(OLD, optimiser=LBFGS(), steps=3, rng=3, threads=1, **{"checkpoint_seconds": 0.0} | kw),
}


def same_run(folder, whole, run):
    """Continue, or start where nothing had begun: nothing shows that it was disturbed."""
    again = run(out=folder, resume=(folder / "run.toml").exists())
    for key, value in whole.params.items():
        assert np.array_equal(again.params[key], value), key
    assert comparable(folder) == comparable(folder.parent / "whole")
    assert not leftovers(folder)


def spread(count, most):
    """Some of 1..count, evenly."""
    return range(1, count + 1) if most is None else sorted({round(k) for k in np.linspace(1, count, most)})


def disturbed(name, kind, tmp_path, most):
    run = RUNS[name]
    whole = run(out=tmp_path / "whole")
    count = calls_of(lambda: run(out=tmp_path / "counted"))
    failed = 0
    for k in spread(count, most):
        folder = tmp_path / str(k)
        with failing(kind, k):
            try:
                run(out=folder)
            except FileError as error:
                failed += 1
                assert str(folder) in str(error) and "\n" not in str(error)
        same_run(folder, whole, run)
    assert failed


def killed(name, tmp_path, most):
    run = RUNS[name]
    whole = run(out=tmp_path / "whole")
    for k in spread(calls_of(lambda: run(out=tmp_path / "counted")), most):
        folder = tmp_path / str(k)
        assert killed_at(k, lambda: run(out=folder))
        same_run(folder, whole, run)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", RUNS)
def test_a_run_disturbed_at_some_call_goes_on_to_the_same_bits(name, kind, tmp_path):
    disturbed(name, kind, tmp_path, 8)


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", RUNS)
def test_a_run_disturbed_at_any_call_goes_on_to_the_same_bits(name, kind, tmp_path):
    disturbed(name, kind, tmp_path, None)


@pytest.mark.parametrize("name", RUNS)
def test_a_run_killed_at_some_call_goes_on_to_the_same_bits(name, tmp_path):
    killed(name, tmp_path, 8)


@pytest.mark.slow
@pytest.mark.parametrize("name", RUNS)
def test_a_run_killed_at_any_call_goes_on_to_the_same_bits(name, tmp_path):
    killed(name, tmp_path, None)


def test_of_two_runs_on_one_new_folder_one_is_refused_and_changes_nothing(tmp_path):
    for turn in range(5):
        folder = tmp_path / str(turn)
        at = time.monotonic() + 0.03
        children = {}
        for seed in (1, 2):
            child = os.fork()
            if not child:
                while time.monotonic() < at:
                    pass
                try:
                    train(OLD, steps=2, rng=seed, out=folder, threads=1)
                    os._exit(0)
                except qpr.QupropError:
                    os._exit(2)
                finally:
                    os._exit(1)
            children[seed] = child
        ended = {seed: os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for seed, child in children.items()}
        assert sorted(ended.values()) == [0, 2], ended
        winner = next(seed for seed, code in ended.items() if code == 0)
        assert RunFolder.open(folder).definition["train"]["seed"] == winner
        again = train(OLD, steps=2, rng=winner, out=folder, resume=True)
        assert np.array_equal(again.theta, train(OLD, steps=2, rng=winner).theta)


def test_the_lock_is_taken_before_anything_is_written(tmp_path):
    folder = RunFolder.create(tmp_path / "a", {"train": {"seed": 1}})
    before = (tmp_path / "a" / "run.toml").read_bytes()
    (tmp_path / "a" / "run.toml").unlink()  # as if the other process had not come so far
    with pytest.raises(qpr.QupropError, match="another process is training"):
        RunFolder.create(tmp_path / "a", {"train": {"seed": 2}})
    assert not (tmp_path / "a" / "run.toml").exists() and b"seed = 1" in before
    folder.close()


# -- damage -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("file", ["checkpoint.npz", "metrics.jsonl", "run.toml"])
@pytest.mark.parametrize("name", RUNS)
def test_a_flipped_bit_is_one_sentence_or_changes_nothing(name, file, tmp_path):
    run = RUNS[name]
    whole = run(out=tmp_path / "a")
    kept = {p.name: p.read_bytes() for p in (tmp_path / "a").iterdir()}
    rng = np.random.default_rng(0)
    refused = 0
    for _ in range(30):
        for other, content in kept.items():
            (tmp_path / "a" / other).write_bytes(content)
        content = bytearray(kept[file])
        content[rng.integers(len(content))] ^= 1 << int(rng.integers(8))
        (tmp_path / "a" / file).write_bytes(content)
        try:
            again = run(out=tmp_path / "a", resume=True)
        except qpr.QupropError as error:
            refused += 1
            assert "\n" not in str(error)
        else:
            assert all(np.array_equal(again.params[key], value) for key, value in whole.params.items())
            assert [{**line, "seconds": 0} for line in again.history] == [
                {**line, "seconds": 0} for line in whole.history
            ]
    assert refused > (10 if file != "run.toml" else 2)


def rewritten(folder, change):
    """The checkpoint with changed entries, its sums right."""
    with np.load(folder / "checkpoint.npz") as file:
        arrays = {key: file[key] for key in file.files}
    meta = json.loads(arrays.pop("meta").tobytes())
    change(arrays, meta)
    np.savez(folder / "checkpoint.npz", meta=np.frombuffer(json.dumps(meta).encode(), np.uint8), **arrays)


@pytest.mark.parametrize(
    ("section", "line"), [("train", "train = 3"), ("model", 'model = "x"'), ("train", 'train = ["a\\nb"]')]
)
def test_a_run_toml_whose_sections_are_no_tables_is_one_sentence(section, line, tmp_path):
    run = RUNS["minibatch"]
    run(out=tmp_path / "a")
    (tmp_path / "a" / "run.toml").write_text(line)
    with pytest.raises(qpr.QupropError, match=rf"(\[{section}\] in .*run.toml must be a table|has model.sha256)"):
        run(out=tmp_path / "a", resume=True)
    with pytest.raises(qpr.QupropError, match=r"must be a table, got"):
        RunFolder.open(tmp_path / "a").section(section)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_parameters_of_a_checkpoint_that_are_no_numbers_are_refused(value, tmp_path):
    run = RUNS["minibatch"]
    run(out=tmp_path / "a")
    rewritten(tmp_path / "a", lambda arrays, meta: arrays["params/theta"].put(1, value))
    with pytest.raises(qpr.QupropError, match=r"checkpoint in .* is damaged"):
        run(out=tmp_path / "a", resume=True)


@pytest.mark.parametrize("value", [np.nan, -1.0, 1e308])
def test_an_optimiser_s_state_that_leads_nowhere_ends_the_run_in_a_sentence_or_in_numbers(value, tmp_path):
    x, y = samples(6)
    options = {"data": (x, y), "head": True, "epochs": 4, "rng": 3, "threads": 1, "out": tmp_path / "a"}
    model = qpr.Model(data_reuploading(2, 1, 3), ["Z0", "Z1", "Z0 Z1"])
    with pytest.raises(KeyboardInterrupt):
        train(model, "cross_entropy", optimiser=stopped(adam(0.05), 2), checkpoint_seconds=0.0, **options)

    def change(arrays, meta):
        for key in arrays:
            if key.startswith("state/") and arrays[key].shape:
                arrays[key].flat[0] = value

    rewritten(tmp_path / "a", change)
    try:
        result = train(model, "cross_entropy", optimiser=adam(0.05), resume=True, **options)
    except (TrainingFailed, qpr.QupropError) as failed:
        assert str(failed).isprintable()
    else:
        assert np.isfinite(result.loss) and all(np.isfinite(v).all() for v in result.params.values())


@pytest.mark.parametrize("name", RUNS)
def test_missing_and_mistyped_entries_of_a_checkpoint_are_one_sentence(name, tmp_path):
    run = RUNS[name]
    run(out=tmp_path / "a")
    good = (tmp_path / "a" / "checkpoint.npz").read_bytes()
    folder = tmp_path / "a"
    found = []
    rewritten(folder, lambda arrays, meta: found.extend([*((True, k) for k in arrays), *((False, k) for k in meta)]))
    unread = {"lbfgs": ("params/theta",), "minibatch": ()}[name]  # for a person; a replay gives it again
    for is_array, key in found:
        wrong = [np.zeros(99), np.array("x"), None] if is_array else ["x", [], {}, -1, 1e300, None]
        for value in wrong:
            (folder / "checkpoint.npz").write_bytes(good)

            def change(arrays, meta):
                table = arrays if is_array else meta
                if value is None:
                    del table[key]
                else:
                    table[key] = value

            rewritten(folder, change)
            older = (key == "metrics_sha256" and value is None) or (key == "cost" and value in (None, {}))
            if not is_array and (older or (key == "seconds" and value == 1e300)):
                run(out=folder, resume=True)
                continue
            if key in unread:
                continue
            with pytest.raises(qpr.QupropError, match=r"checkpoint|metrics") as caught:
                run(out=folder, resume=True)
            assert "\n" not in str(caught.value), (key, value)


def test_folders_without_hashes_still_load(tmp_path):
    whole = RUNS["minibatch"](out=tmp_path / "a")
    rewritten(tmp_path / "a", lambda arrays, meta: meta.pop("metrics_sha256"))
    again = RUNS["minibatch"](out=tmp_path / "a", resume=True)
    assert again.loss == whole.loss
    (tmp_path / "a" / "metrics.jsonl").write_bytes(
        (tmp_path / "a" / "metrics.jsonl").read_bytes().replace(b'"step"', b'"stop"')
    )
    with pytest.raises(qpr.QupropError, match=r"metrics\.jsonl"):
        RUNS["minibatch"](out=tmp_path / "a", resume=True)


# -- lists of tasks ---------------------------------------------------------------------------------------------------


def draw(settings, seed):
    return {"value": np.random.default_rng(seed).normal(size=3)}


TASKS = [Task(draw, {"k": k}) for k in range(4)]


@pytest.mark.parametrize("kind", [*KINDS, "death"])
def test_a_list_of_tasks_disturbed_at_any_call_is_resumed_to_the_same_rows(kind, tmp_path):
    whole = run_tasks(TASKS, out=tmp_path / "whole" / "rows.jsonl")
    for k in range(1, calls_of(lambda: run_tasks(TASKS, out=tmp_path / "counted" / "rows.jsonl")) + 1):
        out = tmp_path / str(k) / "rows.jsonl"
        if kind == "death":
            assert killed_at(k, lambda: run_tasks(TASKS, out=out))
        else:
            with failing(kind, k):
                try:
                    run_tasks(TASKS, out=out)
                except FileError as error:
                    assert str(out.parent) in str(error)
        assert run_tasks(TASKS, out=out) == whole
        assert out.read_bytes() == (tmp_path / "whole" / "rows.jsonl").read_bytes()


def test_a_changed_row_is_noticed(tmp_path):
    out = tmp_path / "rows.jsonl"
    run_tasks(TASKS, out=out)
    good = out.read_bytes()
    for old, new in [(b'"k": 2', b'"k": 3'), (b'"result"', b'"resulu"'), (b'"value"', b'\xff\xfealue"')]:
        out.write_bytes(good.replace(old, new))
        with pytest.raises(qpr.QupropError, match=r"line \d of .*rows\.jsonl is no row of results"):
            run_tasks(TASKS, out=out)


# -- places and bounds ------------------------------------------------------------------------------------------------


def test_places_for_output_are_tried_without_a_trace(tmp_path):
    (tmp_path / "file").write_text("x")
    check_outputs(out=tmp_path / "new" / "deep", json=tmp_path / "a.json", plot=None)
    for places, words in [
        ({"json": tmp_path}, "--json .* is a folder"),
        ({"plot": tmp_path / "no" / "a.png"}, "make it first"),
        ({"json": Path("/dev/null")}, "no ordinary file"),
        ({"out": tmp_path / "file"}, "--out .* is a file; give a folder"),
        ({"out": tmp_path / "file" / "deeper"}, "below .*file, a file"),
        ({"json": tmp_path / "a", "plot": tmp_path / "a"}, "--json and --plot are both"),
        ({"json": Path("/proc/a.json")}, "cannot be written"),
    ]:
        with pytest.raises(qpr.QupropError, match=words):
            check_outputs(**places)
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


def test_a_file_too_large_is_refused_before_it_is_read(tmp_path):
    with open(tmp_path / "zeros", "wb") as file:
        file.truncate(1 << 36)  # no room is taken for a hole
    start = time.process_time()
    for call in (lambda: read_bytes(tmp_path / "zeros"), lambda: read_toml(tmp_path / "zeros")):
        with pytest.raises(qpr.QupropError, match=r"larger than the .* MiB"):
            call()
    with pytest.raises(qpr.QupropError, match="larger than the 1 MiB"):
        read_bytes("/dev/zero", 1 << 20)
    with pytest.raises(qpr.QupropError, match="larger than"):
        qpr.Model.load(tmp_path / "zeros")
    assert time.process_time() - start < 2


def test_all_that_the_package_writes_goes_through_one_writer():
    source = Path(qpr.__file__).parent
    writing = re.compile(
        r"""\bopen\([^)\n]*, ["'][rwabx+]*[wax+]|\.open\(["'][wax]|write_(text|bytes)\("""
        r"""|np\.(save|savez)\((?!content|buffer)|savefig\((?!buffer)|\.dump\((?!.*content)|os\.(replace|rename)\("""
    )
    found = [
        f"{file.relative_to(source)}: {line.strip()}"
        for file in source.rglob("*.py")
        for line in file.read_text().splitlines()
        if writing.search(line) and file.name != "files.py"
    ]
    assert not found
    assert runs.write_atomically is write_atomically
