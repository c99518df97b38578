"""The README's lines are run, and print what it says they print."""

import contextlib
import io
import re
from pathlib import Path

import numpy as np
import pytest

README = Path(__file__).parent.parent / "README.md"


@pytest.mark.skipif(not README.exists(), reason="the README is not beside the tests")
def test_the_ten_lines_print_what_is_written():
    text = README.read_text(encoding="utf-8")
    code, output = re.search(r"```python\n(.*?)```\s*```text\n(.*?)```", text, re.DOTALL).groups()
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed), np.printoptions():
        exec(compile(code, "README.md", "exec"), {})
    assert printed.getvalue() == output


def test_every_python_snippet_runs():
    """All in one namespace, as a reader would paste them one after the other."""
    names: dict = {}
    with contextlib.redirect_stdout(io.StringIO()):
        for code in re.findall(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL):
            exec(compile(code, "README.md", "exec"), names)
    assert names["estimate"].cost == names["plan"].cost
    assert np.all(np.abs(names["estimate"].value - names["gradient"]) < 5 * names["estimate"].stderr)


def test_set_up_is_two_commands():
    block = re.search(r"## Set up.*?```sh\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)[1]
    first, second = block.strip().splitlines()
    assert first.endswith("quprop train digits")
    assert second.endswith("pytest -n auto")
