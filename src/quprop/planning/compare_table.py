"""What `print(compare(...))`, a notebook and `quprop compare` show: sentences and tables that fit 80 columns."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from quprop.cost import Cost, fidelity_text, short, short_bytes
from quprop.gradients import COSTED
from quprop.hardware_models import PRESETS, HardwareModel
from quprop.planning.costs import people, tidy
from quprop.tables import BLANK, Part, Sentence, narrow_table

if TYPE_CHECKING:
    from rich.table import Table

    from quprop.planning.compare import Comparison, MethodRow


def parts(found: Comparison, what: str = "") -> list[Part]:
    """what: the name of the model, where it has one."""
    model = found.model.removeprefix("Model: ")
    largest = "not known (it takes too long)" if found.true is None else f"{found.true:.3g}"
    out: list[Part] = [
        Sentence(f"{what or 'Model'}: {model}; largest component {largest}"),
        Sentence(
            f"Standard error {found.precision:.3g} of every component; all within {found.max_error:.3g} except with "
            f"probability {found.failure:g}."
        ),
        machine(found.hardware),
        BLANK,
        _costs(found),
        *toffolis({row.name: row.cost for row in _in_order(found)}),
    ]
    if found.rivalry:
        out.append(Sentence(found.rivalry, "  "))
    out += [BLANK, _errors(found)]
    if any(r.bias is not None for r in found.rows):
        out += [BLANK, _biases(found)]
        out.append(
            Sentence(
                "bias: the mean estimate against the exact gradient of the noisy model; from noiseless: against that "
                "of the model without its noise. More shots mend neither."
            )
        )
    notes = [f"{r.name}: {note}" for r in found.rows for note in (r.not_run, r.damage) if note]
    notes += [f"{r.name}: infeasible, {'; '.join(o.why for o in r.obstacles)}" for r in found.rows if r.obstacles]
    notes += [f"{name} does not apply: {why}" for name, why in found.refused.items()]
    if notes:
        out += [BLANK, *(Sentence(note, "  ") for note in notes)]
    return [*out, BLANK, Sentence(found.advice)]


def machine(found: HardwareModel) -> Sentence:
    """What counts are turned into time with; the default says that it is no device."""
    more = "; the model machine of Abbas et al., figure 2, no device" if found == PRESETS["figure2"] else ""
    return Sentence(tidy(f"Machine {found.name}: {found.summary}{more} (quprop plan --machines lists them)."))


_SHORT = {
    "superconducting": "supercond.",
    "neutral_atom": "neutral",
    "fault_tolerant": "fault tol.",
    "trapped_ion": "ions",
}


def short_name(name: str) -> str:
    """A machine, in ten letters."""
    return _SHORT.get(name, name)[:10]


def brief(seconds: float) -> str:
    """A time in a narrow column."""
    return people(seconds).replace(" years", " y").replace(" days", " d")


def toffolis(costs: Mapping[str, Cost]) -> list[Sentence]:
    """A sentence on the methods that take Toffolis, if there are any."""
    taken = [f"{name} {tidy(short(cost.toffolis))}" for name, cost in costs.items() if cost.toffolis]
    return [Sentence(f"Toffolis: {', '.join(taken)}.", "  ")] if taken else []


def _costs(found: Comparison) -> Table:
    table = narrow_table("what it executes", "copies", "runs", "rotations", "depth", "qubits", "ω time", "ω mem.")
    value = found.value
    table.add_row("the value F", *_counts(value), "1", "1")
    for row in _in_order(found):
        counts = ("-", "-", "-", *_counts(row.cost)[3:]) if row.simulated else _counts(row.cost)
        table.add_row(row.name, *counts, _ratio(row.omega_time), _ratio(row.omega_memory))
    return table


def _in_order(found: Comparison) -> list[MethodRow]:
    """What a simulator alone can do first, then the fewest rotations and Toffolis first, formulas last."""
    return sorted(found.rows, key=lambda r: (COSTED[r.name].costed_only, not r.simulated, r.cost.gates))


def _counts(cost: Any) -> tuple[str, ...]:
    return (
        *(_compact(n) for n in (cost.copies, cost.measurements, cost.rotations, cost.depth)),
        _compact(cost.qubits),
    )


def _errors(found: Comparison) -> Table:
    errs = any(r.fidelity is not None for r in found.rows)
    table = narrow_table(
        "what comes out",
        *("error", "expected", "cl. ops", "cl. mem", f"on {short_name(found.hardware.name)}"),
        *["fidelity"] * errs,
    )
    for row in _in_order(found):
        table.add_row(
            row.name,
            "not run" if row.measured is None else f"{row.measured:.2g}",
            "" if row.expected is None else f"{row.expected:.2g}",
            short(row.cost.classical_ops) if row.cost.classical_ops else "-",
            short_bytes(row.cost.classical_bytes) if row.cost.classical_bytes else "-",
            _when(row),
            *[fidelity_text(row.fidelity)] * errs,
        )
    return table


def _biases(found: Comparison) -> Table:
    table = narrow_table("what noise does to it", "of shots", "bias", "from noiseless")
    for row in _in_order(found):
        known = [None if v is None else f"{v:.2g}" for v in (row.expected, row.bias, row.noise_bias)]
        if row.measured is not None:
            table.add_row(row.name, *(v or "not known" for v in known))
    return table


def _when(row: MethodRow) -> str:
    if row.simulated:
        return f"{brief(row.seconds)} here" if row.seconds else "-"
    return brief(row.seconds) + "!" * (not row.feasible)


def _ratio(value: float | None) -> str:
    return "-" if value is None else f"{value:.3g}" if value < 100 else _compact(round(value))


def _compact(count: int) -> str:
    return f"{count:,}" if count < 100_000 else f"{count:.2e}".replace("e+0", "e").replace("e+", "e")
