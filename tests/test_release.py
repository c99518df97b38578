"""What a release says of itself agrees with itself."""

import re
import tomllib
from importlib import metadata
from pathlib import Path

import quprop

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
