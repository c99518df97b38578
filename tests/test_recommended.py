"""Nothing that a text of quprop tells a reader to type fails: commands, options, names, paths, links."""

import pytest
import recommended
from recommended import Command

from quprop.cli.models import PLANNED
from quprop.cost import hardware, noise_of
from quprop.errors import QupropError
from quprop.gradients import COSTED, METHODS
from quprop.planning.classical import NETWORKS
from quprop.planning.measured.families import FAMILIES
from quprop.planning.named import named_shape
from quprop.problems.config import override
from quprop.problems.run import find
from quprop.problems.table import PROBLEMS


def unknown_names(path: str, given: dict) -> list[str]:
    """The names of problems, settings, methods, machines and experiments that are none."""
    wrong = []
    what = given.get("what")
    if path == "train" and not str(what).endswith(".toml") and what not in PROBLEMS:
        wrong.append(what)
    if path in ("compare", "plan") and what and what not in PLANNED and what != "model.json":
        if ":" in what:
            named_shape(what)
        elif path == "compare" or what not in NETWORKS:
            wrong.append(what)
    if path in ("train", "compare", "plan") and what in PROBLEMS:
        for text in given["set_"] or ():
            override({}, text, find(what).schema)
    if "machine" in given:
        hardware(given["machine"])
    if given.get("noise"):
        noise_of(given["noise"])
    for name in (given.get("methods") or "").split(",") if isinstance(given.get("methods"), str) else ():
        wrong += [] if name in METHODS or name in COSTED else [name]
    wrong += [given["family"]] if given.get("family") and given["family"] not in FAMILIES else []
    if path in ("reproduce", "carleman experiment") and given["name"] is not None:
        known = recommended.EVERY[path]["NAME"]()
        wrong += [] if given["name"] in known else [given["name"]]
    if path.startswith("carleman ") and "network" in given:
        wrong += [] if given["network"] in NETWORKS or given["network"].endswith(".py:make") else [given["network"]]
    return wrong


def test_every_command_that_a_text_names_is_read_by_the_program():
    lines = recommended.whole_lines()
    assert len(lines) > 150 and ("train", "digits") in lines and ("plan", "--preset", "figure2") in lines
    wrong = []
    for words, where in lines.items():
        try:
            names = unknown_names(*recommended.parsed(words)) if "--help" not in words else []
            wrong += [f"{where}: {Command(words, where)}: unknown {name}" for name in names]
        except (QupropError, Exception) as error:
            wrong.append(f"{where}: {Command(words, where)}: {type(error).__name__} {error}")
    assert wrong == []


def test_every_option_that_a_text_names_exists():
    assert {"--resume", "--json", "--quick"} <= recommended.options()
    assert recommended.unknown_options() == []


def test_every_script_and_extra_that_a_text_names_exists():
    assert recommended.unknown_scripts() == []
    assert recommended.unknown_extras() == []


def test_every_file_that_a_text_or_a_comment_names_exists():
    assert recommended.unknown_paths() == []


def test_every_link_of_a_page_leads_somewhere():
    assert recommended.broken_links() == []
