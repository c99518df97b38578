"""The circuit and its canonical list: drawn, and as a table; of a saved model, or of the model a run trained."""

from __future__ import annotations

import hashlib
import io
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from quprop.errors import QupropError
from quprop.model import Model
from quprop.model.circuit import Circuit
from quprop.model.drawing import MOST, MOST_WIRES, SHOWN, circuit_svg, model_svg
from quprop.model.parameterised import ParameterisedSum
from quprop.model.pauli import PauliString, PauliSum
from quprop.report.parts import Drawing, Heading, Image, Section, Table, Value, computed, readable, words
from quprop.report.sources import Source

ROWS = 200  # of the table of rotations
MOST_COLUMNS = 4000  # rotations of the overview picture
# As the page draws them: X, Y, Z; the identity is transparent.
_COLOURS = np.array([(0, 0, 0, 0), (31, 119, 180, 255), (214, 110, 20, 255), (44, 140, 60, 255)], np.uint8)


def section(source: Source) -> Section:
    """A file of `Model.save`."""
    made = Section(f"Model: {source.path.name}", "model", str(source.path), notes=list(source.notes))
    try:
        model = Model.load(source.path)
    except QupropError as error:
        made.notes.append(str(error))
        return made
    made.blocks = blocks(model, str(source.path))
    made.facts = {"qubits": str(model.n_qubits), "rotations": f"{model.n_rotations:,}"}
    return made


def of_run(source: Source) -> tuple[list[Any], list[str]]:
    """The blocks of a run's model, from its model.json or built anew from its settings, or why there are none."""
    saved = source.path / "model.json"
    if saved.exists():
        try:
            return [Heading("The model"), *blocks(Model.load(saved), str(saved))], []
        except (QupropError, OSError) as error:
            return [], [f"the circuit is not drawn: {error}"]
    settings = source.data.get("run.toml") or {}
    if not (settings.get("problem") or {}).get("name"):
        return [], [f"the circuit is not drawn: there is no {saved}"]
    file = source.path / "run.toml"
    model, circuit, problem = _rebuilt(str(file), file.stat().st_mtime_ns)
    if model is None:
        return [], [f"the circuit is not drawn: {problem}"]
    where = f"computed: the model of {source.name('run.toml')}"
    return [Heading("The model"), *blocks(model, where, circuit)], []


@lru_cache(maxsize=32)  # a report that is written again and again builds each model once
def _rebuilt(file: str, changed: int) -> tuple[Model | None, Circuit | None, str]:
    from quprop.problems.run import definition_of
    from quprop.problems.run import find as find_problem
    from quprop.runs import RunFolder

    try:
        folder = RunFolder.open(Path(file).parent)
        config = definition_of(folder)
        problem = find_problem(config["problem"]["name"]).build(config)
    except (QupropError, OSError) as error:
        return None, None, str(error)
    digest = hashlib.sha256(problem.model.to_text().encode()).hexdigest()
    if folder.definition.get("model_sha256", digest) != digest:
        return None, None, f"{file} now gives another model than the run was started with (another version of quprop)"
    return problem.model, getattr(problem, "circuit", None), ""


def blocks(model: Model, source: str, circuit: Circuit | None = None) -> list[Any]:
    """Numbers, drawings and tables of a model; `source`: its file, or how it was made."""
    n, m = model.n_qubits, model.n_rotations
    counts = f"computed: counted in {source}" if "computed" not in source else source
    head = words(
        Value(n, readable(n), counts if "computed" in source else f"{source}#/n_qubits"),
        _plural(" qubit", n),
        Value(m, readable(m), counts),
        _plural(" rotation", m),
        Value(model.n_params, readable(model.n_params), counts),
        _plural(" parameter", model.n_params),
        Value(model.n_inputs, readable(model.n_inputs), counts),
        _plural(" input", model.n_inputs),
        Value(model.n_observables, readable(model.n_observables), counts),
        _plural(" observable", model.n_observables, "; from "),
        f"{model.state.text(n) if n <= 2 * MOST_WIRES else 'its input state'}.",
    )
    out: list[Any] = [head]
    if circuit is not None and (svg := circuit_svg(circuit)):
        out.append(Drawing("The circuit", svg, _note(len(circuit), "gates")))
    if svg := model_svg(model):
        note = "Clifford gates are absorbed by the observables; every rotation is exp(-i a P/2). " + _note(
            m, "rotations"
        )
        if model.channels:
            note += f" Its {len(model.channels)} channels of noise are not drawn."
        out.append(Drawing("Its canonical list of Pauli rotations", svg, note.strip()))
    if m > MOST or n > MOST_WIRES:
        out.append(_overview(model, source))
    out += [_rotations(model, source), _observables(model, source)]
    return out


def _plural(noun: str, count: int, end: str = ", ") -> str:
    return noun + ("" if count == 1 else "s") + end


def _note(count: int, what: str) -> str:
    return f"The first and last {SHOWN // 2} of {count:,} {what}." if count > MOST else ""


def _rotations(model: Model, source: str) -> Table:
    m = model.n_rotations
    places = list(range(m)) if m <= ROWS else [*range(ROWS // 2), *range(m - ROWS // 2, m)]
    rows = []
    for k in places:
        x, z, angle = model.rotations[k]
        text = str(PauliString(x, z))
        where = source if "computed" in source else f"{source}#/rotations/{k}/0"
        rows.append((str(k), Value(text, text, where), angle.text(model.variable_name, 6)))
    note = f"The first and last {ROWS // 2} of {m:,}." if m > ROWS else ""
    return Table("The canonical list", ("rotation", "Pauli string P", "angle a"), tuple(rows), note, folded=True)


def _observables(model: Model, source: str) -> Table:
    rows = []
    given = model.original_observables
    for k, total in enumerate(model.observables[:50]):
        as_given, absorbed = (
            (o.text(model.variable_name, 6, 6) if isinstance(o, ParameterisedSum) else str(PauliSum(dict(o.terms[:6]))))
            + (" + …" if len(o) > 6 else "")
            for o in (given[k], total)
        )
        rows.append((str(k), computed(len(total), f"terms of observable {k}"), as_given, absorbed))
    note = f"50 of {model.n_observables:,}" if model.n_observables > 50 else ""
    heads = ("observable", "terms", "as given", "with the Cliffords absorbed")
    return Table("Observables", heads, tuple(rows), note, folded=True)


def _overview(model: Model, source: str) -> Image:
    """All letters at a glance: a column a rotation, a row a qubit."""
    from matplotlib.image import imsave

    m = min(model.n_rotations, MOST_COLUMNS)
    letters = np.zeros((model.n_qubits, m), np.uint8)
    for k in range(m):
        x, z, _ = model.rotations[k]
        for q in range(model.n_qubits):
            letters[q, k] = (0, 1, 3, 2)[(x >> q & 1) + 2 * (z >> q & 1)]
    tall, wide = max(1, 160 // model.n_qubits), max(1, 700 // max(m, 1))
    buffer = io.BytesIO()
    imsave(buffer, np.ascontiguousarray(np.kron(_COLOURS[letters], np.ones((tall, wide, 1), np.uint8))), format="png")
    more = "" if m == model.n_rotations else f", the first {m:,} of {model.n_rotations:,} rotations"
    title = f"All rotations at a glance: X blue, Y orange, Z green; a column each, qubit 0 on top{more}"
    shares = ", ".join(f"{name} {np.mean(letters == i):.0%}" for i, name in ((1, "X"), (2, "Y"), (3, "Z")))
    return Image(title, buffer.getvalue(), f"{title}. Share of letters: {shares}, the rest identity.", source)
