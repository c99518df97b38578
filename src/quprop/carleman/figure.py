"""Figures of training through Carleman linearisation: the analysis of a network, and the course of a training run."""

from __future__ import annotations

from typing import Any

import numpy as np

from quprop.plots import GREEN, PINK, VERMILION, Picture, panels, picture

TALL = 2.0  # error proxies and error bounds are drawn up to here


def draw_analysis(report: dict[str, Any]) -> Picture:
    """Hessian spectrum as weighted points (left); error proxy and the error bound of a block, where there is one
    (right)."""
    figure, (left, right) = panels(2)
    spectrum, proxy = report["spectrum"], report["proxy"]
    nodes, weights = np.asarray(spectrum["nodes"]), np.asarray(spectrum["weights"])
    left.vlines(nodes, 1e-12, np.maximum(weights, 1e-12), linewidth=1)
    left.set_yscale("log")
    left.set_ylim(max(0.03 / report["parameters"], 0.3 * weights[weights > 0].min()), 10)
    left.axvspan(0, 2 / report["learning_rate"], color=GREEN, alpha=0.08, label="contracting: 0 < eta l < 2")
    low, high = float(nodes.min()), float(nodes.max())
    left.set_xlim(low - 0.05 * (high - low) - 1e-9, high + 0.05 * (high - low) + 1e-9)
    left.set_xlabel("Hessian eigenvalue l")
    left.set_ylabel("share of modes (a line: a node)")
    values = np.array([np.inf if v is None else v for v in proxy["values"]], float)
    # beyond TALL the curve is a plain exponential, which would hide its beginning
    last = min(len(values) - 1, max(int(np.argmax(values > TALL)) if np.any(values > TALL) else len(values), 8))
    right.plot(proxy["steps"][: last + 1], values[: last + 1], label="error proxy, mean of |1 - eta l|^t")
    right.axhline(1, color="0.8", linewidth=0.8, zorder=0)
    if report["block_length"] <= last:
        right.axvline(report["block_length"], color=PINK, linewidth=1, linestyle=":", label="block length")
    low, high = float(values[: last + 1].min()), min(TALL, float(values[: last + 1].max()))
    right.set_ylim(low - 0.05 * (high - low) - 1e-3, high + 0.3 * (high - low) + 1e-3)
    right.set_xlabel("step")
    right.xaxis.get_major_locator().set_params(integer=True)
    right.set_ylabel("error proxy (1 at the upload)")
    proved = np.array([np.nan if b is None else b for b in report.get("bound") or []], float)[: last + 1]
    proved[(proved > TALL) | (proved <= 0)] = np.nan
    errors = (report.get("truncation") or {}).get("errors") or []
    measured = np.array([np.nan if e is None else e for e in errors], float)[: last + 1]
    measured[(measured > TALL) | (measured <= 0)] = np.nan
    how = "proved" if report.get("bound_by") == "proof" else "estimated"
    curves = [
        (proved, ".-", VERMILION, f"{how} error over |theta| (right axis)"),
        (measured, "-", GREEN, "measured error of the update (right axis)"),
    ]
    curves = [curve for curve in curves if np.isfinite(curve[0]).any()]
    if curves:
        other = right.twinx()
        for values, style, colour, label in curves:
            other.plot(range(len(values)), values, style, color=colour, markersize=3, linewidth=1, label=label)
        other.set_yscale("log")
        other.set_ylim(min(float(np.nanmin(c[0])) for c in curves) / 10, 1e4 * TALL)
        other.set_ylabel("relative error")
    return picture(figure, f"{report['network']} on {report['data']}, {report['parameters']:,} parameters")


def draw_training(report: dict[str, Any]) -> Picture:
    """Accuracy after every pruning and every download beside plain descent (left); error of every block and the
    drift of all so far (right)."""
    figure, (left, right) = panels(2)
    blocks, metric = report["blocks"], report.get("metric", "accuracy")
    ends = np.array([b["step"] + b["block_length"] for b in blocks])
    steps, values = [], []
    for b, end in zip(blocks, ends, strict=True):
        steps += [b["step"], end]
        values += [b[f"pruned_{metric}"], b[metric]]
    left.plot(steps, np.array(values, float), "o-", markersize=3, label="linear system, re-uploads")
    left.plot(
        ends,
        np.array([b[f"twin_{metric}"] for b in blocks], float),
        "x",
        color=VERMILION,
        label="same loop, plain descent",
    )
    left.plot(
        ends,
        np.array([b[f"plain_{metric}"] for b in blocks], float),
        "--",
        color="0.4",
        label="plain descent, not pruned",
    )
    left.set_xlabel("linearised step")
    left.set_ylabel("test " + {"accuracy": "accuracy"}.get(metric, "R squared"))
    for name, style, label in (
        ("relative_error", "o-", "parameters, this block"),
        ("update_error", "s-", "update, this block"),
        ("drift", "^--", "parameters, all blocks so far"),
    ):
        distances = np.array([b.get(name) for b in blocks], float)  # nan where it is not finite
        if np.any(distances > 0):
            distances[distances <= 0] = np.nan  # a block of one step is exact, which a logarithm cannot show
        right.plot(ends, np.maximum(distances, 1e-17), style, markersize=3, label=label)
    right.set_yscale("log")
    right.set_xlabel("linearised step")
    right.set_ylabel("relative distance from plain descent")
    return picture(figure, f"{report['network']} on {report['data']}, {report['reuploads']} re-uploads")
