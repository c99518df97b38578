"""Shared settings of the tests: Hypothesis draws the same examples in every run; what was skipped can be kept."""

import os
from pathlib import Path

import hypothesis
import pytest
from typer.testing import CliRunner

# Processes of tests share the processors: threads of BLAS in each would wait for one another. NumPy reads it once.
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")

from quprop.cli import app

hypothesis.settings.register_profile("quprop", derandomize=True, deadline=None, max_examples=50)
hypothesis.settings.load_profile("quprop")


def pytest_addoption(parser):
    parser.addoption("--skipped", metavar="FILE", help="add the skipped tests to this file, to be run by pytest @FILE")


def pytest_configure(config):
    if config.getoption("--skipped") and not hasattr(config, "workerinput"):
        config.pluginmanager.register(Skipped(Path(config.getoption("--skipped"))))


class Skipped:
    """Keeps the names of skipped tests and files, so that they are run where the libraries are that they want."""

    def __init__(self, path):
        self.path, self.names = path, set()

    def pytest_runtest_logreport(self, report):
        if report.skipped:
            self.names.add(report.nodeid)

    pytest_collectreport = pytest_runtest_logreport

    def pytest_sessionfinish(self):
        before = set(self.path.read_text(encoding="utf-8").splitlines()) if self.path.exists() else set()
        self.path.write_text("".join(f"{name}\n" for name in sorted(before | self.names)), encoding="utf-8")


@pytest.fixture
def quprop(tmp_path, monkeypatch):
    """Runs the program in an empty folder and checks its exit status; returns (stdout, stderr)."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments, status=0):
        result = CliRunner().invoke(app, [str(a) for a in arguments])
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        assert result.exit_code == status, result.output
        return result.stdout, result.stderr

    return run


@pytest.fixture
def quprop_in_80_columns(quprop):
    def run(*arguments, status=0):
        stdout, stderr = quprop(*arguments, status=status)
        assert max(map(len, stdout.splitlines()), default=0) <= 80, stdout
        return stdout, stderr

    return run
