"""The HTML report: numbers are the files' own, figures lose no extreme, bad input is a sentence, markup stays out."""

import fcntl
import json
import math
import os
import re
import sys
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("jinja2", reason="the extra report")
pytest.importorskip("plotly", reason="the extra report")

import report_samples as samples
from sklearn import datasets

import quprop as qpr
from quprop import plots
from quprop.errors import QupropError
from quprop.gradients import COSTED
from quprop.model.drawing import circuit_svg, model_svg
from quprop.report import check_out, collect, generic, render, sources, write
from quprop.report.figure import SYMBOLS, Curve, Figure
from quprop.report.models import blocks
from quprop.report.parts import Fields, readable, seconds
from quprop.report.thin import thin
from quprop.report.watch import watch
from quprop.report.wording import WORDS, phrase


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    return samples.everything(tmp_path_factory.mktemp("results"))


@pytest.fixture(scope="module")
def text(results):
    return render(collect(results))


@pytest.fixture(scope="module")
def page(text):
    return samples.Page(text)


NAMED = {
    "train tfim --set n=3 --set layers=1 --set steps=2 --out run": "summary",
    "compare tfim --set n=3 --set layers=1 --precision 1 --methods adjoint,spsa": "comparison",
    "plan tfim --precision 0.1": "plan",
    "plan mlp --precision 0.1": "plan",
    "plan --preset talk": "plan",
    "plan --preset figure2": "figure2",
    "plan --check --methods adjoint": "check",
    "methods": "method",
    "scaling --m-min 16 --m-max 16 --methods parameter_shift --family random_pauli --out sweep": "scaling",
    "reproduce": "claim",
    "reproduce shifted_circuits --quick --out done": "experiment",
}


@pytest.mark.parametrize("command", ["compare tfim --set n=3 --set layers=1 --run-limit 0", "plan tfim"])
@pytest.mark.parametrize("methods", ["adjoint,gentle_sweep", "adjoint,parameter_shift"])
def test_tables_have_toffolis_where_a_method_takes_some(command, methods, quprop, tmp_path):
    quprop(*command.split(), "--precision", "0.5", "--methods", methods, "--json", "result.json", "--quiet")
    spent = json.loads((tmp_path / "result.json").read_text())["methods"][methods.split(",")[1]]
    shown = render(collect([tmp_path / "result.json"]))
    assert (">Toffolis<" in shown) == (spent["cost"]["toffolis"] > 0) == ("gentle" in methods)
    assert ("/cost/toffolis" in shown) == ("gentle" in methods)


@pytest.mark.parametrize("command", ["plan --preset figure2", "scaling --figure2 --constants"])
def test_figure_2_shows_where_each_law_of_quantum_backpropagation_meets_parameter_shift(command, quprop, tmp_path):
    quprop(*command.split(), "--json", "result.json", "--quiet")
    shown = render(collect([tmp_path / "result.json"]))
    assert "In the theorem" in shown and "With two batches that are read where they trigger it" in shown
    assert "quantum backpropagation, two batches, with constants" in shown


@pytest.mark.parametrize("command", ["compare tfim --set n=3 --set layers=1 --run-limit 0", "plan tfim"])
def test_held_copies_are_set_beside_single_ones_on_the_page(command, quprop, tmp_path):
    methods = "parameter_shift,gentle_sweep,quantum_backprop"
    quprop(*command.split(), "--precision", "0.5", "--methods", methods, "--json", "result.json", "--quiet")
    said = json.loads((tmp_path / "result.json").read_text())["rivalry"]
    assert "quantum_backprop" in said and said in render(collect([tmp_path / "result.json"]))


@pytest.mark.parametrize("command", NAMED)
def test_what_a_command_writes_names_its_kind_and_the_report_shows_it(command, quprop, monkeypatch, tmp_path):
    """Not guessed by its keys; and the kind itself is no number of the result."""
    quprop(*command.split(), "--json", "result.json", "--quiet")
    monkeypatch.setattr(sources, "_guess", lambda data: None)
    data = json.loads((tmp_path / "result.json").read_text())
    rows = data if isinstance(data, list) else [data] if "kind" in data else list(data.values())
    assert {row["kind"] for row in rows} == {NAMED[command]} and sources.recognise(data) == NAMED[command]
    report = collect([tmp_path / "result.json"])
    assert len(report.sections) == 1 and report.sections[0].blocks and not render(report).count(">kind<")
    assert not [n for n in report.all_notes() if "cannot be shown" in n]


# -- numbers ----------------------------------------------------------------------------------------------------------


def test_every_number_is_what_its_source_says(page):
    seen = {}
    for element in page.all("data"):
        source, value = element["data-source"], element["value"]
        assert element["title"] == f"{value} – {source}"
        if source.startswith("computed"):
            seen["computed"] = seen.get("computed", 0) + 1
            continue
        found = samples.looked_up(source)
        assert not isinstance(found, dict | list), source
        same = json.loads(value) == found if isinstance(found, bool | int | float) else value == found
        assert same, (source, value, found)
        seen[Path(source.partition("#")[0]).name] = seen.get(Path(source.partition("#")[0]).name, 0) + 1
    # Files that results were made of: none of them is without numbers.
    for file in (
        "summary.json",
        "metrics.jsonl",
        "checkpoint.npz",
        "run.toml",
        "compare.json",
        "sweep.json",
        "plan.json",
    ):
        assert seen[file] > 3, seen
    for file in ("analysis.json", "training.json", "damage.json", "model.json", "claims.json"):
        assert seen[file] > 0, seen


def test_computed_numbers_name_what_they_are_computed_of(page):
    """Those of the form `A / B` are recomputed from the files."""
    quotients = 0
    for element in page.all("data"):
        match = re.fullmatch(r"computed: (\S+) / (\S+)", element["data-source"])
        if match:
            above, below = (samples.looked_up(source) for source in match.groups())
            assert float(element["value"]) == above / below
            quotients += 1
    assert quotients >= 3


def test_figures_hold_what_the_files_hold(page):
    """All traces whose source is a file: y and, where it has one, x."""
    compared = set()
    for title, spec in page.figures().items():
        for trace in spec["data"]:
            horizontal = trace.get("orientation") == "h"
            for axis, key in (("x" if horizontal else "y", "source"), ("x", "x_source")):
                source = trace["meta"][key]
                if not source or source.startswith("computed") or (horizontal and key == "x_source"):
                    continue
                found = samples.looked_up(source)
                found = found if isinstance(found, list) else [found]
                drawn = trace[axis]
                if trace.get("mode") == "lines" and len(set(drawn)) == 1 and len(found) == 1:
                    drawn = drawn[:1]  # a level
                if len(drawn) < len(found) and ("layers" in source or horizontal):
                    assert set(drawn) <= set(found)  # of triggers, or of methods that hardware runs, alone
                    compared.add(title)
                    continue
                if horizontal or "scaling" in source:
                    drawn, found = sorted(drawn), sorted(found)
                if "exact" in source:
                    found = [found[m] for m in samples.looked_up(trace["meta"]["x_source"])]
                if trace["name"].startswith("proved"):
                    found = found[: len(drawn)]
                assert drawn == found, (title, trace["name"], source)
                compared.add(title)
    assert len(compared) >= 15, compared


def test_numbers_read_well_and_keep_their_digits():
    assert [readable(v) for v in (0.1234567, 12, 1234567, 3e-7, -2.5e12, 20_000_000, True)] == [
        "0.12346", "12", "1,234,567", "3×10⁻⁷", "-2.5×10¹²", "2×10⁷", "yes",
    ]  # fmt: skip
    assert readable(math.inf) == "∞" and readable(math.nan) == "not a number"
    assert seconds(1.6e13 * 3600) == "1.8×10⁹ years"
    value = Fields("a.json", {"a": [{"b/c": 0.1}]}).at("a", 0).value("b/c")
    assert value.source == "a.json#/a/0/b~1c" and value.exact == "0.1"


# -- words ------------------------------------------------------------------------------------------------------------


# Keys that are English as they stand.
PLAIN = re.findall(
    r"\w+",
    """
    ansatz assumed assumption bias blocks bound circuits class condition_number constant copies counted damping
    depth edges encoding energy engine epochs error expected_cut family formula gates k largest layers learning_rate
    loss machine measured measurements method minutes model momentum name network noise optimiser parameters problem
    qubits queries quprop ratio ring rotations samples schedule seed shots solver source status steps summary
    ten_thousand_parameters terms tolerance train trained vertices years
    """,
)


def test_every_key_on_the_pages_of_commands_is_in_words(results, monkeypatch, quprop, tmp_path):
    """In the one table, or English as it stands: a new key of a result has to be given its words."""
    met = set()
    monkeypatch.setattr(generic, "phrase", lambda key: met.update(key.split("/")) or phrase(key))
    for i, command in enumerate(("plan mlp --precision 0.1", "plan --preset figure2", "compare h2 --precision 1 "
                                 "--run-limit 0 --methods spsa", "train maxcut --set steps=1 --out run")):  # fmt: skip
        quprop(*command.split(), "--json", f"{i}.json", "--quiet")
    collect([*(r for r in results if "reproduce" not in str(r) and "claims" not in str(r)), tmp_path])
    methods = set(COSTED) | {m.replace("_", " ") for m in COSTED}
    laws = {key for key in met if re.match("M[ ²]", key) or "backpropagation" in key}
    assert sorted(met - set(WORDS) - set(PLAIN) - methods - laws) == []
    assert "cnots" in met and phrase("block/cnots") == "one block: CNOT gates"


def test_lists_of_numbers_are_rounded():
    assert generic.short_list(Fields("a", [0.29999999999999966, 1 / 3, 2])) == "0.3, 0.33333, 2"


# -- what a result is about -------------------------------------------------------------------------------------------


def test_the_picture_of_an_experiment_stands_for_the_data_that_it_is_drawn_from(tmp_path):
    folder = samples.experiment(tmp_path / "reproduce")
    data = json.loads((folder / "damage.json").read_text())
    curve = ["a", [1, 2], [0.29999999999999966, 0.1], "C0o-"]
    data |= {"panels": [{"x": "steps", "y": "error", "curves": [curve]}], "steps": [0.29999999999999966] * 3}
    (folder / "damage.json").write_text(json.dumps(data))
    shown = render(collect([folder]))
    assert "panels" not in shown and "C0o-" not in shown and "0.3, 0.3, 0.3" in shown
    assert "0.29999999999999966" not in shown and shown.count("<img") == 1


def test_a_cut_is_told_and_drawn(quprop, tmp_path):
    (tmp_path / "square.txt").write_text("a b\nb c\nc d\nd a\nd <e>\n")
    quprop("train", "maxcut", "--set", "file=square.txt", "--set", "steps=20", "--out", "run", "--quiet")
    one = json.loads((tmp_path / "run/summary.json").read_text())["one_side"]
    assert set(one) in ({"a", "c", "<e>"}, {"b", "d"})  # all five edges are cut: the graph has two sides
    shown = render(collect([tmp_path / "run"]))
    page = samples.Page(shown)
    assert f"On one side: {', '.join(one)}.".replace("<e>", "&lt;e&gt;") in shown
    edges = [e for e in page.all("line") if e.get("class") in ("cut", "kept")]
    assert [e["class"] for e in edges] == ["cut"] * 5
    sides = {name: e.get("text-anchor") for e in page.all("text") for name in [e["text"]] if name in "abcd<e>"}
    assert {name for name, anchor in sides.items() if anchor == "end"} == set(one) and len(sides) == 5
    (tmp_path / "square.txt").unlink()
    assert "the cut is not drawn" in render(collect([tmp_path / "run"]))


@pytest.mark.parametrize("problem", ["breast-cancer", "digits"])
def test_a_classifier_says_what_it_took_for_what(problem, quprop, tmp_path):
    quprop("train", problem, "--set", "epochs=1", "--set", "layers=1", "--out", "run", "--quiet")
    summary = json.loads((tmp_path / "run/summary.json").read_text())
    for part in ("train", "test"):
        counts = np.array(summary["confusion"][part])
        assert np.trace(counts) / counts.sum() == pytest.approx(summary[f"{part}_accuracy"], abs=1e-12)
    loaded = getattr(datasets, f"load_{problem.replace('-', '_')}")()
    together = np.array(summary["confusion"]["train"]) + np.array(summary["confusion"]["test"])
    assert together.sum(axis=1).tolist() == np.bincount(loaded.target).tolist()
    names = ["malignant", "benign"] if problem == "breast-cancer" else [str(k) for k in range(10)]
    tables = [b for s in collect([tmp_path / "run"]).sections for b in s.blocks if "true class" in str(b)]
    assert [t.columns for t in tables] == [("", *names)] * 2
    assert [[v.raw for v in row[1:]] for row in tables[0].rows] == summary["confusion"]["test"]


def _runs(folder, count):
    """Runs of one problem that differ in two settings."""
    for k in range(count):
        at = folder / f"run{k}"
        at.mkdir(parents=True)
        settings = f'[problem]\nname = "tfim"\nn = 4\n[model]\nlayers = {k}\n[train]\nlearning_rate = {0.1 * 3 * k}\n'
        (at / "run.toml").write_text(settings)
        (at / "summary.json").write_text(json.dumps({"status": "finished", "energy_error": 0.1 + k, "seconds": 1.5}))
        (at / "metrics.jsonl").write_text('{"step": 1, "epoch": 1, "loss": 1.0}\n')


@pytest.mark.parametrize("count", [3, 12])
def test_the_contents_say_what_varied_and_the_time(count, tmp_path):
    """And of many results each is folded, of few none."""
    _runs(tmp_path, count)
    shown = render(collect([tmp_path]))
    contents = shown.split("<nav")[1].split("</nav>")[0]
    heads = re.findall(r'<th scope="col">([^<]*)</th>', contents)
    assert heads == ["result", "kind", "layers", "learning rate", "energy error", "time", "from"]
    assert (
        contents.count("1.5 s") == count
        and ">0.3<" in contents
        and "0.30000000000000004" not in re.sub(r'(value|title)="[^"]*"', "", contents)
    )
    folds = samples.Page(shown).all("details")
    assert sum("result" in e.get("class", "") for e in folds) == (count if count > 8 else 0)


def test_a_method_has_the_colour_and_mark_of_the_pictures_on_every_page(page):
    looks = {}
    for title, spec in page.figures().items():
        for trace in spec["data"]:
            for name in COSTED:
                if name.replace("_", " ") == trace["name"].split(",")[0] and trace.get("mode") == "markers":
                    looks[title, name] = trace["meta"]["colour"], trace["marker"]["symbol"]
            if trace["type"] == "bar" and "colours" in trace["meta"]:
                for label, colour in zip(trace["y"], trace["meta"]["colours"], strict=True):
                    if label.replace(" ", "_") in COSTED:
                        looks[title, label.replace(" ", "_")] = colour, None
    assert len({title for title, _ in looks}) >= 4 and len(looks) >= 10
    for (_, name), (colour, mark) in looks.items():
        wanted, letter = plots.LOOKS[name]
        assert plots.PALETTE[colour] == wanted
        assert mark is None or list(SYMBOLS).index(mark) == plots.MARKS.index(letter)


def test_training_and_test_have_their_colours_on_every_page(page):
    seen = set()
    for spec in page.figures().values():
        for trace in spec["data"]:
            part = trace["name"].split(" ")[0].split(",")[0]
            if trace["name"] in ("training", "test", "training accuracy", "test accuracy"):
                assert plots.PALETTE[trace["meta"]["colour"]] == {"training": plots.TRAINING, "test": plots.TEST}[part]
                seen.add(trace["name"])
    assert {"training", "test"} <= seen


# -- long runs --------------------------------------------------------------------------------------------------------


@given(st.lists(st.floats(allow_infinity=False), min_size=1, max_size=300), st.integers(6, 60))
def test_thinning_keeps_ends_and_extremes(values, most):
    y = np.array(values)
    kept = thin(y, most)
    assert len(kept) <= max(most, 2) and (np.diff(kept) > 0).all() and {0, len(y) - 1} <= set(kept)
    if not np.isnan(y).all():
        assert np.nanmin(y[kept]) == np.nanmin(y) and np.nanmax(y[kept]) == np.nanmax(y)


def test_each_bucket_keeps_its_own_extremes():
    y = np.random.default_rng(0).normal(size=5000)
    kept = set(thin(y, 102))
    for part in np.split(np.arange(5000), 50):
        assert {part[np.argmin(y[part])], part[np.argmax(y[part])]} <= kept


def test_ten_thousand_steps_are_small_and_lose_no_spike(tmp_path):
    loss = samples.long_run(tmp_path / "run")
    size = write(collect([tmp_path / "run"]), tmp_path / "report.html")
    assert size < 5_000_000
    page = samples.Page((tmp_path / "report.html").read_text())
    trace = page.figures()["Loss against steps"]["data"][0]
    assert len(trace["y"]) <= 2000 and trace["y"] == [loss[x - 1] for x in trace["x"]]
    assert {25.0, -9.0, loss[0], loss[-1]} <= set(trace["y"])
    last = [e for e in page.all("data") if e["data-source"].endswith("metrics.jsonl#/9999/step")]
    assert last and last[0]["value"] == "10000"
    copies = page.figures()["Loss against copies"]["data"][0]
    assert copies["x"][-1] == 370_000  # totals are not thinned


# -- the page ---------------------------------------------------------------------------------------------------------


def test_plotly_accepts_every_figure(page):
    graph_objects = pytest.importorskip("plotly.graph_objects")
    for title, spec in page.figures().items():
        graph_objects.Figure(spec), title


def test_the_page_needs_no_network(page, text):
    for element in page.elements:
        for name in ("src", "href", "srcset", "action", "data"):
            value = element.get(name) or ""
            assert value.startswith(("data:", "#")) or not value, element
    policy = next(e["content"] for e in page.all("meta") if e.get("http-equiv") == "Content-Security-Policy")
    assert policy.startswith("default-src 'none'") and "http" not in policy
    assert "@import" not in text and "url(" not in re.sub(
        r'<script type="application/octet-stream".*?</script>', "", text
    )


def test_headings_landmarks_and_names(page):
    levels = [int(e["tag"][1]) for e in page.elements if re.fullmatch("h[1-6]", e["tag"])]
    assert levels[0] == 1 and levels.count(1) == 1 and all(b <= a + 1 for a, b in pairwise(levels))
    sections = page.all("section")
    assert sections and all(e.get("aria-labelledby") for e in sections)
    assert len(page.all("main")) == len(page.all("header")) == len(page.all("footer")) == len(page.all("nav")) == 1
    ids = [e["id"] for e in page.elements if e.get("id")]
    assert len(ids) == len(set(ids))
    assert all(e["aria-labelledby"] in ids for e in page.elements if e.get("aria-labelledby"))
    targets = [e["href"][1:] for e in page.all("a")]
    assert set(targets) <= set(ids) and targets[0] == "main"
    assert all(e.get("alt") for e in page.all("img"))
    assert all(len(e["aria-label"]) > 30 for e in page.elements if e.get("class") == "plot")
    assert all(e.get("tabindex") == "0" and e.get("aria-label") for e in page.elements if e.get("class") == "scroll")
    assert all(e.get("scope") in ("col", "row") for e in page.all("th"))
    assert page.all("html")[0]["lang"] == "en" and page.all("title")[0]["text"]


def test_each_figure_has_its_numbers_as_a_table(page):
    for figure in (e for e in page.all("figure") if e.get("class") == "chart"):
        index = figure["id"].removeprefix("figure-")
        assert any(e["tag"] == "details" and e.get("id") == f"numbers-{index}" for e in page.elements)


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_colours_have_contrast(theme):
    """4.5 for text and 3 for curves, on the page and on panels (WCAG 2.2, 1.4.3 and 1.4.11)."""
    style = (Path(qpr.__file__).parent / "report" / "style.css").read_text()
    rule = style.split(":root {")[1] if theme == "light" else style.split(':root[data-theme="dark"] {')[1]
    colours = dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6})", rule.split("}")[0]))

    def luminance(colour):
        parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        linear = [v / 12.92 if v <= 0.04045 else ((v + 0.055) / 1.055) ** 2.4 for v in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    def contrast(a, b):
        high, low = sorted((luminance(colours[a]), luminance(colours[b])), reverse=True)
        return (high + 0.05) / (low + 0.05)

    for back in ("back", "panel"):
        for name in ("fore", "soft", "link"):
            assert contrast(name, back) >= 4.5, (theme, name, back)
        for index in range(8):
            assert contrast(f"c{index}", back) >= 3, (theme, index)
    assert contrast("warn", "warn-back") >= 4.5


def test_names_cannot_become_markup(tmp_path):
    folder = tmp_path / "<script>alert(1)<"
    folder.mkdir()
    row = {"step": 1, "epoch": 1, "loss": 1.0, "</script><b>&": 0.5, "seconds": 0.1}
    (folder / "metrics.jsonl").write_text("".join(json.dumps(row | {"step": i}) + "\n" for i in range(1, 4)))
    (folder / "run.toml").write_text('[train]\nloss = "<img src=x onerror=alert(1)>"\n')
    page = samples.Page(render(collect([folder])))
    assert not page.all("b") and not page.all("img")
    assert {e.get("type") for e in page.all("script")} == {"application/json", "application/octet-stream", None}
    assert len([e for e in page.all("script") if e.get("type") is None]) == 1
    assert [t["name"] for t in page.figures()["Metric against steps"]["data"]] == ["</script><b>&"]


# -- circuits ---------------------------------------------------------------------------------------------------------


def test_a_drawing_has_every_letter_once_and_keeps_the_order():
    model = samples.small_model(3, 2)
    svg = model_svg(model)
    letters = re.findall(r'<text class="letter"[^>]*>(\w+)</text>', svg)
    strings = [str(qpr.PauliString(r.x, r.z)) for r in model.rotations]
    assert sorted(letters) == sorted(c for s in strings for c in re.findall("[XYZ]", s))
    # Gates on one wire stand in their order: by line, then by column.
    boxes = re.findall(r"<g><title>rotation (\d+):.*?</title>(.*?)</g>", svg)
    assert [int(m) for m, _ in boxes] == list(range(model.n_rotations))
    last = {}
    for m, body in boxes:
        rotation = model.rotations[int(m)]
        x = float(re.search(r'<text class="letter" x="([\d.]+)"', body)[1])
        top = float(re.search(r'<rect class="box[^>]* y="([\d.-]+)"', body)[1])
        place = (top // (3 * 40 + 18), x)
        for q in range(3):
            if (rotation.x | rotation.z) >> q & 1:
                assert last.get(q, (-1, -1)) < place, (m, q)
                last[q] = place


def test_a_circuit_is_drawn_with_its_own_gates():
    theta = qpr.params("theta", 3)
    circuit = qpr.Circuit(3).h(0).cx(0, 2).swap(0, 1).crz(theta[0], 1, 2).rotation("X0 Y2", 2 * theta[1]).t(1)
    circuit.exp({"X0 X1": 1.0, "Y0 Y1": 1.0}, theta[2])
    svg = circuit_svg(circuit)
    assert svg.count('class="dot"') == 2 and svg.count('class="plus"') == 1  # cx and crz; cx
    assert svg.count("l12 12M") == 2  # both ends of the swap
    for word in ("H", "RZ", "X", "Y", "T", "exp"):
        assert f">{word}</text>" in svg, word
    assert ">θ[0]</text>" in svg and ">2*θ[1]</text>" in svg and "rotation(2*theta[1]) X0 Y2" in svg


def test_a_circuit_stands_beside_its_canonical_list():
    circuit = qpr.Circuit(2).h(0).cx(0, 1).ry(qpr.params("theta", 1)[0], 1)
    shown = blocks(qpr.Model(circuit, "Z1"), "computed: here", circuit)
    assert [b.title for b in shown if b.kind == "drawing"] == ["The circuit", "Its canonical list of Pauli rotations"]


def test_long_lists_show_both_ends_and_say_what_is_left_out():
    theta = qpr.params("theta", 300)
    circuit = qpr.Circuit(2)
    for i in range(300):
        circuit.rx(theta[i], i % 2)
    svg = model_svg(qpr.Model(circuit, "Z0"))
    assert "… 244" in svg and svg.count('class="letter"') == 56
    assert "theta[0]" in svg and "theta[299]" in svg and "theta[150]" not in svg
    assert model_svg(qpr.Model(qpr.Circuit(30).rx(qpr.params("t", 1)[0], 29), "Z0")) == ""


# -- what cannot be read ----------------------------------------------------------------------------------------------


def damaged(folder):
    """name -> (path, a word of the sentence)."""
    folder.mkdir()
    (folder / "cut.json").write_text('{"methods": {"adjoint": {"na')
    (folder / "foreign.json").write_text('{"hello": "world"}')
    (folder / "list.json").write_text("[1, 2]")
    (folder / "binary.json").write_bytes(b"\xff\xfe\x00\x81")
    (folder / "empty").mkdir()
    (folder / "model.json").write_text('{"format": "quprop-model", "version": 99}')
    (folder / "shape.json").write_text('{"spectrum": 3, "verdict": ["no"], "proxy": 4}')
    return {
        "cut.json": "cut short", "foreign.json": "no result", "list.json": "no result", "binary.json": "not text",
        "empty": "nothing that quprop wrote", "missing": "does not exist",
    }  # fmt: skip


@pytest.mark.parametrize("name", ["cut.json", "foreign.json", "list.json", "binary.json", "empty", "missing"])
def test_a_report_of_nothing_readable_is_refused_with_a_sentence(tmp_path, name):
    word = damaged(tmp_path / "bad")[name]
    with pytest.raises(QupropError) as caught:
        collect([tmp_path / "bad" / name])
    said = str(caught.value)
    assert word in said and str(tmp_path / "bad" / name) in said and "\n" not in said and ": " in said


def test_a_report_is_made_of_what_is_readable_and_says_what_is_not(tmp_path, results):
    names = damaged(tmp_path / "bad")
    report = collect([results[2], *(tmp_path / "bad" / n for n in names), tmp_path / "bad" / "model.json"])
    assert [s.label for s in report.sections] == ["comparison", "model"]
    notes = report.all_notes()
    assert len(notes) == len(names) + 1
    for name, word in names.items():
        assert any(name in note and word in note for note in notes), (name, notes)
    assert any("version 99" in note for note in notes)
    shown = samples.Page(render(report))
    box = next(e for e in shown.all("section") if e.get("class") == "notes")
    assert all(note in box["text"] for note in notes)


def test_a_result_of_the_wrong_shape_is_a_sentence(tmp_path):
    damaged(tmp_path / "bad")
    report = collect([tmp_path / "bad" / "shape.json"])
    render(report)  # what can be shown is shown, and nothing raises


@pytest.mark.parametrize("key", ["value", "scale", "theory", "points"])
@pytest.mark.parametrize("value", [1e308, -1e308, 0.0, 0])
def test_a_sweep_of_any_numbers_makes_a_report(tmp_path, key, value):
    data = json.loads((samples.scaling(tmp_path / "sweep") / "summary.json").read_text())
    fit = data["fits"][0]
    if key == "points":
        fit["points"][0][0] = fit["points"][1][2] = value
    else:
        (fit if key == "theory" else fit["raw"])[key] = value
    (tmp_path / "one.json").write_text(json.dumps(data))
    report = collect([tmp_path / "one.json"])
    render(report)
    assert all(note.isprintable() for note in report.all_notes())
    assert bool(report.all_notes()) == (key == "points" and value == 0)  # which has no logarithm


@pytest.mark.parametrize("file", ["run.toml", "metrics.jsonl", "summary.json", "checkpoint.npz"])
@pytest.mark.parametrize("how", ["cut", "foreign", "gone"])
def test_a_damaged_run_folder_still_makes_a_report(tmp_path, file, how):
    folder = samples.problem_run(tmp_path / "run")
    content = (folder / file).read_bytes()
    if how == "cut":
        (folder / file).write_bytes(content[: len(content) // 2])
    elif how == "foreign":
        (folder / file).write_bytes(b"\x89PNG not this\n\xff\xfe\n")
    else:
        (folder / file).unlink()
    report = collect([folder])
    notes = report.all_notes()
    render(report)
    if how == "foreign" or (how == "gone" and file in ("run.toml", "metrics.jsonl")):
        assert any(file in note for note in notes), notes
    assert all("\n" not in note for note in notes)


def test_a_sweep_without_its_summary_shows_the_rows_so_far(tmp_path):
    folder = samples.scaling(tmp_path / "sweep")
    (folder / "summary.json").unlink()
    os.utime(folder / "rows.jsonl", (0, 0))
    report = collect([folder])
    page = samples.Page(render(report))
    assert "Not finished" in page.all("main")[0]["text"]
    drawn = page.figures()["Rotations of one gradient"]["data"]
    assert sum(len(trace["y"]) for trace in drawn) == 8
    for element in page.all("data"):
        assert json.loads(element["value"]) == samples.looked_up(element["data-source"])


def test_mixed_versions_are_said(tmp_path):
    for name, version in (("a", "0.1.0"), ("b", "0.2.0")):
        samples.long_run(tmp_path / name, 5)
        text = (tmp_path / name / "run.toml").read_text()
        (tmp_path / name / "run.toml").write_text(text.replace("0.1.0", version))
    report = collect([tmp_path / "a", tmp_path / "b"])
    assert any("different versions of quprop (0.1.0, 0.2.0)" in note for note in report.notes)
    assert [f.title for f in report.overview] == ["Loss of runs from Python, all runs"]


def test_two_runs_of_one_problem_have_two_names_and_one_figure(tmp_path):
    for seed in ("0", "1"):
        samples.problem_run(tmp_path / seed)
    report = collect([tmp_path])
    assert [s.title for s in report.sections] == [f"tfim ({tmp_path / seed})" for seed in ("0", "1")]
    assert [f.title for f in report.overview] == ["Loss of tfim, all runs"] and len(report.overview[0].curves) == 2


def test_a_model_that_the_settings_no_longer_give_is_not_drawn(tmp_path):
    folder = samples.problem_run(tmp_path / "run")
    text = (folder / "run.toml").read_text()
    (folder / "run.toml").write_text(re.sub('model_sha256 = "..', 'model_sha256 = "00', text))
    assert any("another model" in note for note in collect([folder]).all_notes())


def test_a_folder_of_results_is_looked_through(tmp_path, results):
    damaged(tmp_path / "bad")
    (tmp_path / "bad" / "runs").mkdir()
    samples.long_run(tmp_path / "bad" / "runs" / "one", 5)
    report = collect([results[0].parent, tmp_path / "bad"])
    kinds = [s.label for s in report.sections]
    assert kinds.count("training run") == 3 and {"comparison", "scaling", "experiment", "sweep", "plan"} <= set(kinds)
    assert any("cut.json" in note for note in report.notes) and not any("foreign" in note for note in report.notes)


@pytest.mark.parametrize("package", ["plotly", "jinja2"])
def test_a_missing_extra_is_a_sentence(monkeypatch, results, package):
    from quprop.report import bundle

    bundle.plotly_gzip.cache_clear()
    for name in [n for n in sys.modules if n.split(".")[0] == package]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(QupropError, match=rf"the package {package}, which is not installed: pip install 'plotly>="):
        render(collect([results[2]]))


def test_only_a_report_is_replaced(tmp_path, results):
    out = tmp_path / "report.html"
    check_out(out)
    out.write_text("my thesis")
    with pytest.raises(QupropError, match="no report of quprop"):
        check_out(out)
    out.unlink()
    write(collect([results[2]]), out)
    check_out(out)
    with pytest.raises(QupropError, match="is a folder"):
        check_out(tmp_path)
    with pytest.raises(QupropError, match="no folder"):
        check_out(tmp_path / "none" / "report.html")


def test_a_figure_says_what_it_does_not_draw():
    curve = Curve("a", [1, 2, 3, 4], [1.0, 0.0, math.nan, 5.0], "f#/*/a")
    assert "not positive: 1 of" in Figure("t", "x", "y", (curve,), "y").drawn()
    assert "no finite number: 1 of" in Figure("t", "x", "y", (curve,)).drawn()
    assert Figure("t", "x", "y", (curve,)).plotly()["data"][0]["y"] == [1.0, 0.0, None, 5.0]


# -- a run that is going ----------------------------------------------------------------------------------------------


def test_watching_follows_a_run_to_its_end(tmp_path):
    """The lock on metrics.jsonl is what a training process holds; here the test holds it."""
    folder, out = tmp_path / "run", tmp_path / "run" / "report.html"
    samples.long_run(folder, 5)
    file = open(folder / "metrics.jsonl", "a")  # noqa: SIM115
    fcntl.flock(file, fcntl.LOCK_EX)
    if not Path("/proc/locks").exists():
        pytest.skip("locks cannot be seen on this system")
    os.utime(folder / "metrics.jsonl", (0, 0))  # a step may take hours
    turns = []

    def sleep(seconds):
        page = out.read_text()
        turns.append((seconds, 'data-reload="0.5"' in page, "metrics.jsonl#/5/step" in page, out.stat().st_mtime_ns))
        if len(turns) == 2:
            row = {"step": 6, "epoch": 6, "loss": 0.5, "seconds": 0.1}
            file.write(json.dumps(row) + "\n")
            file.flush()
        if len(turns) == 4:
            fcntl.flock(file, fcntl.LOCK_UN)
            (folder / "summary.json").write_text('{"status": "finished", "loss": 0.5, "steps": 6}')
        assert len(turns) < 6

    report, _ = watch([folder], out, every=0.5, sleep=sleep)
    file.close()
    assert [t[1] for t in turns] == [True] * 4 and [t[2] for t in turns] == [False, False, True, True]
    assert turns[0][3] == turns[1][3] and turns[2][3] == turns[3][3]  # not written anew without need
    assert not report.going and "data-reload" not in out.read_text().split("<head>")[0]


def test_control_c_leaves_a_report_of_the_moment(tmp_path):
    samples.long_run(tmp_path / "run", 5)  # just written, no summary: it may be going
    said = []

    def interrupted(seconds):
        raise KeyboardInterrupt

    watch([tmp_path / "run"], tmp_path / "report.html", every=2.0, say=said.append, sleep=interrupted)
    assert "stopped" in said[-1] and 'data-reload="' not in (tmp_path / "report.html").read_text()


def test_looking_at_a_run_takes_no_lock(tmp_path):
    samples.long_run(tmp_path / "run", 5)
    with open(tmp_path / "run" / "metrics.jsonl", "a") as file:
        collect([tmp_path / "run"])
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


# -- the command ------------------------------------------------------------------------------------------------------


def test_the_command_writes_a_report_and_says_what_it_holds(quprop_in_80_columns, results, tmp_path):
    out, _ = quprop_in_80_columns("report", results[0], results[2], tmp_path / "no", "--json", "made.json")
    assert "2 results: report.html" in out and "does not exist" in " ".join(out.split())
    made = json.loads((tmp_path / "made.json").read_text())
    assert made["bytes"] == (tmp_path / "report.html").stat().st_size
    assert [s["kind"] for s in made["sections"]] == ["training run", "comparison"] and len(made["notes"]) == 1
    quiet, _ = quprop_in_80_columns("report", results[0], "--quiet")
    assert quiet == ""


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (["missing"], "does not exist"),
        (["missing", "--every", "0"], "half a second"),
        (["missing", "--out", "no/r.html"], "no folder"),
        (["missing", "--out", "."], "is a folder"),
    ],
)
def test_bad_use_is_one_sentence(quprop, arguments, word):
    _, said = quprop("report", *arguments, status=2)
    assert said.startswith("quprop: ") and said.count("\n") == 1 and word in said
