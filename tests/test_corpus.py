"""Files of every format that is read: what fuzzing tried and found is refused in one sentence or works, for ever."""

import io
import os
import pickle
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from formats import FORMATS
from fuzzing import Format, Wrong, fuzz, judge, kind_of, known

import quprop as qpr
from quprop.errors import QupropError, UnknownGateError
from quprop.files import FileError
from quprop.problems.run import configure

SHOWN = "a\nb\t\x1b[31m\u2028c"


@pytest.mark.parametrize(
    "refused",
    [
        lambda: QupropError(SHOWN),
        lambda: UnknownGateError("no " + SHOWN),
        lambda: FileError(5, SHOWN),
        lambda: caught(lambda: qpr.Circuit(1).gate(SHOWN, 0)),
        lambda: caught(lambda: configure("tfim", {"problem": {SHOWN: 1}})),
        lambda: caught(lambda: configure("tfim", {"x" * 10**6: {}})),
        lambda: caught(lambda: qpr.Model.load(SHOWN)),
    ],
)
def test_a_refusal_is_one_printable_line_whatever_it_repeats(refused):
    error = refused()
    assert str(error).isprintable() and 0 < len(str(error)) < 1100
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is type(error) and str(again) == str(error)


@pytest.mark.parametrize("kind", [QupropError, UnknownGateError, FileError])
def test_a_refusal_comes_back_from_a_worker_of_dask(kind):
    """Dask has every error pickled by tblib, from its first import on."""
    tblib = pytest.importorskip("tblib.pickling_support")
    buffer = io.BytesIO()
    pickler = pickle.Pickler(buffer)
    pickler.dispatch_table = {kind: tblib.pickle_exception}
    pickler.dump(kind("no room on /disk"))
    again = pickle.loads(buffer.getvalue())
    assert type(again) is kind and str(again) == "no room on /disk"


def caught(action):
    with pytest.raises(QupropError) as found:
        action()
    return found.value


TOOL = Path(__file__).parent.parent / "tools" / "fuzz.py"
LEAST = {"qasm2": 0.5, "qasm3": 0.5}  # of the corpus that is accepted; elsewhere


@pytest.mark.parametrize("name", FORMATS)
def test_every_known_file_works_or_is_refused_in_one_sentence(name, tmp_path):
    accepted = []
    for path in known(name):
        begun = time.process_time()
        try:
            accepted.append(judge(FORMATS[name], path.read_bytes(), tmp_path))
        except Exception as error:
            raise AssertionError(f"{path.name}: {kind_of(error)}") from error
        assert time.process_time() - begun < 5, path.name
    assert len(accepted) >= 12
    assert LEAST.get(name, 0.2) <= sum(accepted) / len(accepted) < 1


@pytest.mark.slow
def test_what_the_grammars_make_is_accepted_and_works():
    """In a process of its own: libraries that keep threads cannot be forked after use."""
    command = [sys.executable, TOOL, "--inputs", "10", "--minutes", "4", "--seed", "1", "--no-keep"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stdout + done.stderr
    lines = [line.split() for line in done.stdout.splitlines()]
    assert [line[0] for line in lines] == list(FORMATS)
    assert all(line[1] == "10" and int(line[4].rstrip("%")) >= 30 for line in lines), done.stdout


def endless() -> None:
    while True:
        pass


FAULTS = {
    "KeyError at test_corpus.py:read": lambda: {}["no"],
    "wrong: a value": lambda: (_ for _ in ()).throw(Wrong("a value")),
    "wrong: the refusal is not one printable line": lambda: (_ for _ in ()).throw(QupropError(" ")),
    "longer than a second": endless,
    "MemoryError at test_corpus.py:read": lambda: bytearray(1 << 30),
    "the process ends with status -11": lambda: os.kill(os.getpid(), signal.SIGSEGV),
}


@pytest.mark.parametrize("kind", FAULTS)
def test_the_fuzzer_finds_faults_that_are_planted_and_goes_on(kind, monkeypatch):
    monkeypatch.setattr("fuzzing.SECONDS", 0.05)

    def read(data: bytes, folder: Path, dear: bool) -> bool:
        if data == b"7":
            FAULTS[kind]()
        return True

    form = Format(".txt", lambda rng: b"%d" % rng.randrange(10), lambda rng, data, other: data, read)
    out = fuzz("planted", form, 3, inputs=60)
    (found,) = out.findings
    assert found.split(":<")[0].startswith(kind.split(":read")[0]) and out.findings[found][0] == b"7"
    assert out.tried == 60 and out.accepted == 60 - out.times[found] and out.times[found] >= 1
