"""Shared settings of the tests: Hypothesis draws the same examples in every run."""

import hypothesis
import pytest
from typer.testing import CliRunner

from quprop.cli import app

hypothesis.settings.register_profile("quprop", derandomize=True, deadline=None, max_examples=50)
hypothesis.settings.load_profile("quprop")


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
