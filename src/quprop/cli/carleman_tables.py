"""What `quprop carleman analyse` and `train` show of their reports."""

from __future__ import annotations

from typing import Any

from rich.console import Console

from quprop.cli.tables import line
from quprop.cost import human_seconds, short
from quprop.errors import count_of
from quprop.folding_table import FoldingTable

BOUNDS = {"proof": "proved", "estimate": "by estimated norms", None: "estimated"}


def analysis_rows(
    report: dict[str, Any], data: Any, asked: int | None, *, solver: str, eps: float, precision: float
) -> list[tuple[str, str]]:
    """The analysis of a network on `data`, for a block of ``asked`` steps or an automatic one: what and its value."""
    spectrum, radius = report["spectrum"], report["radius"]
    return [
        ("data", read_as(data)),
        ("analysed at", _point(report["point"])),
        ("pruning", report["pruning"]["sentence"]),
        *([("kept of a layer", _layers(report["pruning"]["layers"]))] if report["sparsity"] else []),
        ("Hessian eigenvalues", f"{spectrum['least']:.4g} to {spectrum['greatest']:.4g}" + _caveat(spectrum)),
        ("max |1 - a|", f"{report['growth']:.6g}, {report['kind']}"),
        *([("Hessian products", "central differences")] if spectrum["operator"] == "differences" else []),
        ("error proxy", _proxy(report["proxy"])),
        (
            "convergence radius",
            f"{radius['outer']:.3g}, {BOUNDS[radius.get('by')]}"
            if radius.get("exists") and radius.get("outer")
            else "none",
        ),
        ("block length", _block(report, asked)),
        (
            "Hessian entries a row",
            f"{report['hessian_entries']['entries']:.4g} ± {report['hessian_entries']['error']:.2g} of "
            f"{report['kept']:,}, normalisation {report['hessian_entries']['alpha']:.3g}",
        ),
        ("condition number", f"{report['condition_number']:.4g}, {report['kappa_eff']:.4g} charged (formula)"),
        ("queries a run", short(report["queries_per_run"]) + f" ({solver}, eps {eps:g})"),
        (
            "copies to read",
            f"{short(report['copies'])} (proved error {report['proved_error']:.2g}, expected "
            f"{report['expected_error']:.2g}); {short(report['copies_expected'])} for {precision:g} expected",
        ),
        ("queries in all", short(report["queries"])),
        ("time", f"{human_seconds(report['seconds'])} on {report['hardware']}"),
    ]


def read_as(data: Any) -> str:
    """How the data was read: what a file's targets were taken for shows here."""
    outputs = f"{count_of(data.outputs, 'number')} a sample"
    kind = f"{data.classes} classes" if data.classes else f"regression, {outputs} (whole numbers would be classes)"
    return f"{len(data.x_train):,} training and {len(data.x_test):,} test samples of shape {data.input_shape}, {kind}"


def _point(point: dict[str, Any]) -> str:
    """Where the analysis stands: loss and metric there, and after pruning."""

    def standing(found: dict[str, Any]) -> str:
        metric = "accuracy" if "accuracy" in found else "r_squared"
        return f"loss {found['loss']:.4g}, test {metric.replace('r_squared', 'R squared')} {_share(found[metric])}"

    more = "" if point["plain_steps"] else " (--steps N trains first)"
    return f"{point['weights']}{more}: {standing(point)}; pruned {standing(point['pruned'])}"


def _layers(layers: dict[str, dict[str, float]]) -> str:
    shown = [f"{name} {found['kept']:,} of {found['weights']:,}" for name, found in list(layers.items())[:6]]
    return ", ".join(shown) + (f" and {len(layers) - 6} more (--json has all)" if len(layers) > 6 else "")


def _caveat(spectrum: dict[str, Any]) -> str:
    return "" if spectrum["caveat"] is None else ", almost everywhere: kinks carry no curvature"


def _proxy(proxy: dict[str, Any]) -> str:
    low, high = proxy["block_length_range"]
    spread = "" if low == high else f" ({low:,} to {high:,} over probes)"
    return f"least at step {proxy['minimum_at']:,}, allows {proxy['block_length']:,} steps{spread}"


def _block(report: dict[str, Any], asked: int | None) -> str:
    found = report.get("truncation")
    if found is None:
        return f"{report['block_length']} by the error proxy alone"
    low, high = found["length_range"]
    most = found["crossing"] is None
    measured = f"{'more than ' * most}{count_of(max(1, found['length']), 'step')} measured"
    draws, (used, whole) = len(found["lengths"]), (found["samples"][key] for key in ("used", "of"))
    of = f" on {'all' if used == whole else f'{used:,} of {whole:,}'} samples"
    of = of if draws == 1 else f" ({low} to {high} over {draws} draws)"
    bound = found["bound_length"]
    allowed = "" if bound is None else f", {bound} {BOUNDS[found['bound_by']]}"
    return (f"{asked} as asked, " if asked else "") + measured + of + allowed


def show_training(console: Console, report: dict[str, Any]) -> None:
    table = FoldingTable(box=None, pad_edge=False, collapse_padding=True, title_justify="left")
    metric = report["metric"]
    name = metric.replace("r_squared", "R squared")
    for column in ("block", "steps", "kept", name, "twin", "plain", "error", "drift", "kappa", "queries", "by"):
        table.add_column(column, justify="right", no_wrap=True)
    for i, b in enumerate(report["blocks"]):
        numbers = [_share(b[k]) for k in (metric, f"twin_{metric}", f"plain_{metric}")]
        errors = [f"{b[k]:.1e}" for k in ("relative_error", "drift")]
        cost = [f"{b['cost']['kappa']:.3g}", short(b["cost"]["queries"])]
        table.add_row(str(i + 1), str(b["block_length"]), str(b["kept"]), *numbers, *errors, *cost, b["by"])
    console.print(table)
    line(
        console,
        f"{name} {_share(report[metric])}, plain descent {_share(report[f'plain_{metric}'])} (not pruned) and "
        f"{_share(report[f'twin_{metric}'])} (same loop); "
        + (f"mean squared error {report['mean_squared_error']:.4g}; " if metric == "r_squared" else "")
        + f"{report['reuploads']} re-uploads, {short(report['queries'])} "
        f"queries, {short(report['copies'])} copies ({short(report['copies_expected'])} for that precision on average)",
    )
    line(console, report["pruning"]["sentence"])
    line(console, "; ".join(report["emulation"]["blocks"]))
    line(console, report["break_even"]["sentence"])


def _share(value: float | None) -> str:
    return "none" if value is None or value != value else f"{value:.4f}"
