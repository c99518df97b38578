"""The README's lines are run, and print what it says they print."""

import contextlib
import importlib.util
import io
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import recommended

README = Path(__file__).parent.parent / "README.md"
LOOK_UP = """
import functools, sys, quprop
for name in sys.argv[1:]:
    try:
        functools.reduce(getattr, name.split("."), quprop)
    except AttributeError as error:
        print(name, error)
    except quprop.QupropError as error:
        assert "not installed" in str(error), error
"""


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


def test_the_picture_shows_the_measured_ratios():
    """Its numbers are those of `benchmarks/results`, and the text's range is theirs."""
    spec = importlib.util.spec_from_file_location("speed_picture", README.parent / "tools/speed_picture.py")
    tool = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tool)
    ratios = [tool.ratio(of) for of in tool.times().values()]
    shown = re.findall(r">(\d+)×<", (README.parent / "docs/pictures/speed.svg").read_text(encoding="utf-8"))
    assert shown == [f"{r:.0f}" for r in ratios]
    assert f"{min(ratios):.0f} to {max(ratios):.0f} times faster" in README.read_text(encoding="utf-8")


def unknown(names) -> str:
    """What a new process that has said `import quprop` and nothing else does not find."""
    done = subprocess.run([sys.executable, "-c", LOOK_UP, *names], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.slow
def test_every_dotted_name_of_the_texts_exists_after_import_quprop():
    found = recommended.dotted_names()
    assert {"hybrid.jax.function", "QuantumLayer", "collective.search", "training.mmd", "adam"} <= found
    assert unknown(sorted(found | {"hybrid.torch.expectation", "modules.cutting.cut"})) == ""


def test_a_name_that_does_not_exist_is_an_attribute_error():
    assert unknown(["hybrid.jx", "nonsense", "hybrid.WHERE"]).splitlines() == [
        "hybrid.jx module 'quprop.hybrid' has no attribute 'jx'",
        "nonsense module 'quprop' has no attribute 'nonsense'",
    ]
