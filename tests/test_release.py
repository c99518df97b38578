"""What a release says of itself agrees with itself."""

import ast
import re
import shlex
import tomllib
from importlib import metadata
from pathlib import Path

import quprop
from quprop.lazy import install, missing

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def test_there_is_one_version():
    """pyproject.toml has it; the others must follow."""
    version = PROJECT["project"]["version"]
    assert re.search(r"^version: (.+)$", (ROOT / "CITATION.cff").read_text(encoding="utf-8"), re.M)[1] == version
    assert re.search(r"^## (\S+)", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.M)[1] == version
    assert metadata.version("quprop") == version


def test_the_installed_package_ships_its_types_and_its_data():
    package = Path(quprop.__file__).parent
    for name in (
        "py.typed",
        "model/gate_methods.pyi",
        "experiments/claims/measured.json",
        "problems/data/h2.json",
        "report/template.html",
    ):
        assert (package / name).is_file(), name


def test_an_sdist_takes_what_git_takes():
    """`sdist.include` would win over .gitignore: kernels compiled here would travel, and into wheels too."""
    settings = PROJECT["tool"]["scikit-build"]
    assert "include" not in settings.get("sdist", {}) and "sdist.include" not in settings
    assert "*.so" in (ROOT / ".gitignore").read_text(encoding="utf-8").splitlines()


def test_one_platform_is_named_everywhere():
    """What is tested: the classifier, the sentence of the README, what wheels are built for."""
    systems = [c for c in PROJECT["project"]["classifiers"] if c.startswith("Operating System")]
    assert systems == ["Operating System :: POSIX :: Linux"]
    assert {key for key in PROJECT["tool"]["cibuildwheel"] if key in ("linux", "macos", "windows")} == {"linux"}
    assert "Linux is what is tested" in (ROOT / "README.md").read_text(encoding="utf-8")


def test_what_is_missing_is_advised_in_one_place_and_by_the_requirements_of_its_extra(monkeypatch):
    """True from a checkout and from an index: no advice names quprop itself."""
    extras = PROJECT["project"]["optional-dependencies"]
    built = [f'{r}; extra == "{extra}"' for extra, given in extras.items() for r in given]  # as a wheel has it
    monkeypatch.setattr(metadata, "requires", lambda name: built)
    advised, alone = set(), set()
    for path in Path(quprop.__file__).parent.rglob("*.py"):
        text = path.read_text(encoding="utf-8")
        assert path.name == "lazy.py" or "pip install" not in text, path
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") in ("missing", "install"):
                given = [a.value for a in node.args if isinstance(a, ast.Constant)][-1:]
                (advised if not node.keywords else alone).update(given)
    assert advised == extras.keys() - {"docs", "test", "dev"} and len(alone) <= 1
    for extra in advised:
        words = shlex.split(install(extra))
        assert words[:2] == ["pip", "install"] and words[2:] == extras[extra], extra


def test_advice_of_a_source_tree_that_is_not_installed(monkeypatch):
    def unknown(name):
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "requires", unknown)
    assert install("torch") == "pip install '.[torch]' in the folder of its source"
    assert install(package="qiskit-algorithms") == "pip install qiskit-algorithms"
    assert str(missing("reading needs a parser", "qasm")).startswith("reading needs a parser, which is not installed: ")
