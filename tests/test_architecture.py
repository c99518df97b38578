"""The package's rooms, read off the code."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest
import rooms
from rooms import OPTIONAL, ROOMS, ROOT, circles, edges, imports, modules, picture, room, tree

from quprop.gradients import COSTED

LONGEST = 500  # lines of a file, unless it says why
DESIGN = ROOT.parent.parent / "docs" / "design.md"


def test_every_file_stands_in_a_room():
    assert {room(m) for m in modules()} - {""} == set(ROOMS)


def test_no_import_runs_upwards():
    upwards = [
        f"{i.module}:{i.line} imports {i.name}"
        for (lower, upper), found in edges().items()
        if ROOMS.index(upper) > ROOMS.index(lower)
        for i in found
    ]
    assert not upwards


def test_no_files_import_one_another_in_a_circle():
    assert not circles()


def test_outside_worlds_are_imported_by_nobody_but_the_commands():
    assert {a for a, b in edges() if b == "hybrid"} <= {"cli"}


@pytest.mark.parametrize("library", OPTIONAL)
def test_a_library_that_may_be_missing_is_imported_in_its_rooms_only(library):
    found = [i for i in imports() if i.name.split(".")[0] == library]
    assert found and {room(i.module) for i in found} <= OPTIONAL[library]


def test_import_quprop_imports_no_library_that_may_be_missing():
    code = "import sys, quprop; print(*(n for n in sys.modules if '.' not in n))"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert "quprop" in loaded and not set(loaded) & OPTIONAL.keys()


def test_a_long_file_says_why_it_is_one():
    long = {m: p for m, p in modules().items() if len(p.read_text().splitlines()) > LONGEST}
    assert not [m for m, p in long.items() if "One file because" not in (ast.get_docstring(tree(p)) or "")]


def test_no_function_of_the_package_hides_a_module():
    import quprop

    hidden = [n for n in quprop.__all__ if f"quprop.{n}" in modules() and not hasattr(getattr(quprop, n), "__path__")]
    assert not [n for n in hidden if type(getattr(quprop, n)).__name__ != "module"]


def test_packages_say_what_is_public():
    """`__all__`, or names that are modules found when they are asked for."""
    packages = [p for p in modules().values() if p.name == "__init__.py"]
    silent = [p for p in packages if "__all__" not in p.read_text() and "lazy" not in p.read_text()]
    assert not [str(p.relative_to(ROOT)) for p in silent]


def test_the_document_shows_the_rooms_as_they_are():
    assert picture() in DESIGN.read_text()


def test_an_import_that_runs_upwards_is_seen(monkeypatch):
    upward = rooms.Import("quprop.model.model", "quprop.simulate.metric", 1, True)
    monkeypatch.setattr(rooms, "imports", lambda: (upward,))
    assert rooms.edges() == {("model", "simulate"): [upward]} and ROOMS.index("simulate") > ROOMS.index("model")


def test_a_circle_is_seen(monkeypatch):
    there, back = (
        rooms.Import(a, b, 1, True) for a, b in (("quprop.arrays", "quprop.errors"), ("quprop.errors", "quprop.arrays"))
    )
    monkeypatch.setattr(rooms, "imports", lambda: (there, back))
    assert rooms.circles() == [["quprop.arrays", "quprop.errors"]]
    assert Path(modules()["quprop.arrays"]).name == "arrays.py"


def test_no_class_name_stands_in_two_files():
    where = {}
    for name, path in modules().items():
        for node in tree(path).body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                where.setdefault(node.name, []).append(name)
    assert not {name: places for name, places in where.items() if len(places) > 1}


def test_what_plans_and_compares_has_no_list_of_methods():
    """A method's own file says what they know of it. What stands here by name is a circuit of that name, or a published
    figure's two methods."""
    named = {"quprop.planning.presets": {"parameter_shift", "quantum_backprop"}}
    circuits = {"commuting_blocks"}
    for name, path in modules().items():
        if room(name) not in ("sampling", "planning", "report", "cli"):
            continue
        constants = [n.value for n in ast.walk(tree(path)) if isinstance(n, ast.Constant)]
        found = {value for value in constants if isinstance(value, str)}
        assert not found & set(COSTED) - circuits - named.get(name, set()), name
