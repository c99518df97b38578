"""Lists of tasks: the same rows whatever runs them, none lost, none computed twice."""

import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from quprop.errors import QupropError
from quprop.runs.executor import Task, TaskFailed, Workers, open_executor, run_tasks

# Tasks are found by name in a module that a fresh interpreter can import.
TASKS = '''
import os, signal, time
from pathlib import Path
import numpy as np

def draw(settings, seed):
    rng = np.random.default_rng(seed)
    return {"value": rng.normal(size=2), "k": settings["k"], "pid": os.getpid()} if settings.get("pid") else {
        "value": rng.normal(size=2), "k": settings["k"]}

def once_fatal(settings, seed):
    """Kills its own process the first time it runs."""
    mark = Path(settings["folder"]) / str(settings["k"])
    first = not mark.exists()
    with open(mark, "a") as file:
        file.write("x")
    if settings["k"] in settings["fatal"] and first:
        os.kill(os.getpid(), signal.SIGKILL)
    return draw(settings, seed)

def always_fatal(settings, seed):
    if settings["k"] == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    return draw(settings, seed)

def fails(settings, seed):
    if settings["k"] == 2:
        raise ValueError("no such thing")
    return draw(settings, seed)

def slow(settings, seed):
    time.sleep(settings["seconds"])
    return draw(settings, seed)
'''


@pytest.fixture(scope="module")
def jobs(tmp_path_factory):
    """The module of tasks, importable here and (through PYTHONPATH) in the workers."""
    folder = tmp_path_factory.mktemp("jobs")
    (folder / "quprop_test_jobs.py").write_text(TASKS)
    before = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = os.pathsep.join([str(folder), *([before] if before else [])])
    sys.path.insert(0, str(folder))
    import quprop_test_jobs

    yield quprop_test_jobs
    sys.path.remove(str(folder))
    os.environ.pop("PYTHONPATH") if before is None else os.environ.update(PYTHONPATH=before)


def draws(jobs, count=5, seed=0, **settings):
    return [Task(jobs.draw, {"k": k, **settings}, seed) for k in range(count)]


def results(rows):
    return [row["result"] for row in rows]


def test_rows_come_in_the_order_of_the_tasks_and_depend_on_settings_and_seed_alone(jobs):
    rows = results(run_tasks(draws(jobs)))
    assert [r["k"] for r in rows] == [0, 1, 2, 3, 4]
    assert results(run_tasks(draws(jobs)[::-1])) == rows[::-1]
    assert len({tuple(r["value"]) for r in rows}) == 5  # every task has draws of its own
    assert all(a["value"] != b["value"] for a, b in zip(rows, results(run_tasks(draws(jobs, seed=1))), strict=True))


def test_the_seed_is_made_from_the_key(jobs):
    (task,) = draws(jobs, 1)
    expected = np.random.default_rng(np.random.SeedSequence(int(task.key, 16))).normal(size=2)
    assert results(run_tasks([task]))[0]["value"] == expected.tolist()


@pytest.mark.slow
def test_any_executor_and_any_number_of_workers_give_the_same_rows(jobs):
    alone = run_tasks(draws(jobs))
    with ThreadPoolExecutor(3) as threads:
        assert run_tasks(draws(jobs), threads) == alone
    with Workers(2) as pool:
        assert run_tasks(draws(jobs), pool) == alone


def test_a_file_of_rows_is_resumed_and_a_torn_line_dropped(jobs, tmp_path):
    out = tmp_path / "deep" / "rows.jsonl"
    all_of_it = run_tasks(draws(jobs), out=out)
    lines = out.read_bytes().splitlines(keepends=True)
    assert len(lines) == 5
    out.write_bytes(b"".join(lines[:2]) + lines[2][:-7])
    seen = []
    assert run_tasks(draws(jobs), out=out, progress=lambda done, total, row: seen.append((done, total))) == all_of_it
    assert seen == [(2, 5), (3, 5), (4, 5), (5, 5)]
    assert out.read_bytes() == b"".join(lines)
    # Rows of other settings stay in the file and are not taken for these.
    run_tasks(draws(jobs, 2, seed=9), out=out)
    assert len(out.read_bytes().splitlines()) == 7


def test_equal_tasks_are_computed_once(jobs, tmp_path):
    task = Task(jobs.once_fatal, {"k": 0, "folder": str(tmp_path), "fatal": []})
    again = Task(jobs.once_fatal, {"fatal": [], "folder": str(tmp_path), "k": 0})
    first, second = run_tasks([task, again])
    assert first == second and (tmp_path / "0").read_text() == "x"


@pytest.mark.slow
def test_a_killed_worker_loses_no_row(jobs, tmp_path):
    def made(folder, fatal):
        folder.mkdir()
        return [Task(jobs.once_fatal, {"k": k, "folder": str(folder), "fatal": fatal}) for k in range(6)]

    out = tmp_path / "rows.jsonl"
    with Workers(2) as pool:
        rows = run_tasks(made(tmp_path / "a", [1, 4]), pool, out=out)
    assert [r["result"]["k"] for r in rows] == list(range(6))
    assert sorted(json.loads(line)["result"]["k"] for line in out.read_text().splitlines()) == list(range(6))
    assert len((tmp_path / "a" / "1").read_text()) >= 2  # it did die the first time


@pytest.mark.slow
def test_a_task_that_kills_every_worker_is_given_up_and_the_others_are_kept(jobs, tmp_path):
    out = tmp_path / "rows.jsonl"
    with (
        Workers(2) as pool,
        pytest.raises(TaskFailed, match=r"1 of the tasks killed their worker 2 times.*always_fatal\(k=1\)"),
    ):
        run_tasks([Task(jobs.always_fatal, {"k": k}) for k in range(4)], pool, out=out)
    assert {json.loads(line)["result"]["k"] for line in out.read_text().splitlines()} == {0, 2, 3}


def test_a_task_that_raises_names_itself(jobs, tmp_path):
    tasks = [Task(jobs.fails, {"k": k}) for k in range(4)]
    with pytest.raises(TaskFailed, match=r"fails\(k=2\) failed: ValueError: no such thing"):
        run_tasks(tasks, out=tmp_path / "rows.jsonl")
    with ThreadPoolExecutor(2) as threads, pytest.raises(TaskFailed, match="no such thing"):
        run_tasks(tasks, threads)


def test_a_file_that_is_no_list_of_rows_is_refused(jobs, tmp_path):
    (tmp_path / "notes.txt").write_text("hello\n")
    with pytest.raises(QupropError, match=r"line 1 of .*notes\.txt is no row of results"):
        run_tasks(draws(jobs), out=tmp_path / "notes.txt")
    with pytest.raises(QupropError, match="cannot be written"):
        run_tasks(draws(jobs), out=tmp_path / "notes.txt" / "rows.jsonl")


def test_two_processes_do_not_write_one_file(jobs, tmp_path):
    out = tmp_path / "rows.jsonl"
    with pytest.raises(QupropError, match="another process is writing"):
        run_tasks(draws(jobs, 1), out=out, progress=lambda *_: run_tasks(draws(jobs, 2), out=out))


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_stopping_the_program_leaves_the_rows_and_no_processes(number, jobs, tmp_path):
    out = tmp_path / "rows.jsonl"
    script = f"""
        import quprop_test_jobs as jobs
        from quprop.runs.executor import Task, Workers, run_tasks
        if __name__ == "__main__":
            tasks = [Task(jobs.slow, {{"k": k, "seconds": 0.0 if k < 2 else 60.0}}) for k in range(6)]
            try:
                with Workers(2) as pool:
                    run_tasks(tasks, pool, out={str(out)!r})
            except KeyboardInterrupt:
                print("stopped")
    """
    file = tmp_path / "script.py"
    file.write_text(textwrap.dedent(script))
    process = subprocess.Popen([sys.executable, file], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    for _ in range(300):
        if out.exists() and len(out.read_text().splitlines()) == 2:
            break
        time.sleep(0.1)
    process.send_signal(number)
    stdout, stderr = process.communicate(timeout=20)  # ends when the workers, which share the pipes, have ended
    assert stdout == ("stopped\n" if number == signal.SIGINT else "")
    assert "Traceback" not in stderr, stderr
    assert len(out.read_text().splitlines()) == 2


def test_what_the_command_lines_options_open():
    with open_executor() as executor:
        assert executor is None
    with open_executor(1) as executor:
        assert executor is None
    with open_executor(2) as executor:
        assert isinstance(executor, Workers) and executor.count == 2
    with pytest.raises(QupropError, match="workers is a whole number"):
        Workers(0)


def test_dask_missing_is_one_sentence(monkeypatch):
    monkeypatch.setitem(sys.modules, "distributed", None)
    with (
        pytest.raises(QupropError, match=r"which is not installed: pip install 'distributed>="),
        open_executor(dask="local"),
    ):
        pass


@pytest.mark.slow
@pytest.mark.filterwarnings("default")
def test_a_local_dask_cluster_takes_tasks_from_its_own_client_only(jobs):
    pytest.importorskip("distributed", reason="distributed is not installed")
    pytest.importorskip("cryptography", reason="cryptography is not installed")
    with open_executor(2, "local") as executor:
        assert run_tasks(draws(jobs), executor) == run_tasks(draws(jobs))
        address = executor._client.scheduler.address
        assert address.startswith("tls://")
        for stranger in (address, address.replace("tls://", "tcp://")):
            with pytest.raises(QupropError, match="no dask scheduler"), open_executor(dask=stranger):
                pass


def test_cryptography_missing_is_one_sentence(monkeypatch):
    pytest.importorskip("distributed", reason="distributed is not installed")
    monkeypatch.setitem(sys.modules, "cryptography", None)
    with (
        pytest.raises(QupropError, match=r"cryptography, which is not .*: pip install 'distributed>="),
        open_executor(dask="local"),
    ):
        pass


def test_dask_is_imported_in_one_file_only():
    source = Path(__file__).parent.parent / "src" / "quprop"
    found = [
        f.name for f in source.rglob("*.py") if "from distributed" in f.read_text() or "import dask" in f.read_text()
    ]
    assert found == ["executor.py"]


@pytest.mark.slow
@pytest.mark.filterwarnings("default")
def test_a_dask_cluster_gives_the_same_rows(jobs):
    distributed = pytest.importorskip("distributed", reason="distributed is not installed")
    with (
        distributed.LocalCluster(n_workers=1, threads_per_worker=1, dashboard_address=None) as cluster,
        open_executor(dask=cluster.scheduler_address) as other,
    ):
        assert run_tasks(draws(jobs, seed=1), other) == run_tasks(draws(jobs, seed=1))
    with pytest.raises(QupropError, match="--dask is local or an address"), open_executor(dask="loca"):
        pass
