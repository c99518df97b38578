"""The tables that `exact_gradients.py` prints, at most 100 columns wide, from the rows of its JSON file."""

from __future__ import annotations

import math
from collections.abc import Iterable

from libraries import LIBRARIES
from limit import limit_seconds
from workloads import WORKLOADS, workload

OURS = "quprop"
INNER = "lightning"  # called below its documented interface
WANTED = 10.0  # times faster than the fastest peer, from n = 10 on; any factor above 1 below


def milliseconds(seconds: float | None) -> str:
    if seconds is None:
        return "-"
    value = 1e3 * seconds
    return f"{value:.4f}" if value < 1 else f"{value:.4g}" if value < 1000 else f"{value:.0f}"


def _in_order(rows: Iterable[dict]) -> list[tuple[str, str, list[dict]]]:
    groups: dict[tuple[str, str], list[dict]] = {}
    for row in rows:
        if row["status"] != "not applicable":
            groups.setdefault((row["workload"], row["precision"]), []).append(row)
    order = {name: k for k, name in enumerate(WORKLOADS)}
    return [(*key, groups[key]) for key in sorted(groups, key=lambda k: (order.get(k[0], 99), k[1] == "double"))]


def times_table(rows: list[dict]) -> list[str]:
    head = f"{'workload':<15}{'prec.':<7}{'library':<20}{'M':>7}{'value ms':>10}{'grad ms':>10}{'first s':>9}{'omega':>7}{'x ours':>8}{'GB':>6}"
    lines = [head, "-" * len(head)]
    for name, precision, group in _in_order(rows):
        ours = next((r["grad_s"] for r in group if r["library"] == OURS and r["status"] == "ok"), None)
        for row in sorted(group, key=lambda r: list(LIBRARIES).index(r["library"])):
            start = f"{name:<15}{precision:<7}{row['library']:<20}"
            if row["status"] != "ok":
                lines.append(f"{start}{row['status']}: {row.get('message', '')}"[:100])
                continue
            ratio = f"{row['grad_s'] / ours:.1f}" if ours else "-"
            lines.append(
                f"{start}{row['n_params']:>7}{milliseconds(row['value_s']):>10}{milliseconds(row['grad_s']):>10}"
                f"{row['first_call_s']:>9.3f}{row['omega_time']:>7.1f}{ratio:>8}{row['peak_rss'] / 2**30:>6.2f}"
            )
    return lines


def summary_table(rows: list[dict]) -> list[str]:
    """Fastest peer by its documented interface, and Lightning's inner binding and electron-number methods apart."""
    head = (
        f"{'workload':<13}{'prec.':<7}{'ours ms':>9}  {'fastest peer':<16}{'ms':>9}{'ratio':>8}"
        f"  {'binding':>8}  {'special':<19}{'ratio':>7}"
    )
    lines = [head, "-" * len(head)]
    for name, precision, group in _in_order(rows):
        good = [r for r in group if r["status"] == "ok"]
        ours = next((r["grad_s"] for r in good if r["library"] == OURS), None)
        peers = [r for r in good if r["library"] not in (OURS, INNER) and not LIBRARIES[r["library"]].special]
        inner = [r for r in good if r["library"] == INNER]
        if not any(r["library"] == "lightning-qnode" for r in good):
            peers += inner  # no QNode was timed: its inner part stands for it, to our disadvantage
        special = [r for r in good if LIBRARIES[r["library"]].special]
        line = f"{name:<13}{precision:<7}{milliseconds(ours):>9}  "
        if peers:
            best = min(peers, key=lambda r: r["grad_s"])
            line += f"{best['library']:<16}{milliseconds(best['grad_s']):>9}"
            if ours:
                ratio = best["grad_s"] / ours
                w = workload(name)
                goal = WANTED if w.n_qubits >= 10 or w.batch > 1 else 1.0
                line += f"{ratio:>7.1f}{' ' if ratio >= goal else '!'}"
        if inner and ours:
            line = f"{line:<64}  {inner[0]['grad_s'] / ours:>8.1f}"
        if special:
            best = min(special, key=lambda r: r["grad_s"])
            line = f"{line:<76}{best['library']:<19}" + (
                f"{best['grad_s'] / ours:>7.1f}" if ours else milliseconds(best["grad_s"]).rjust(7)
            )
        lines.append(line)
    return [*lines, "! below the goal: 10 from n = 10 on and for the batch, 1 below"]


def diagonal_table(rows: list[dict]) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """Head and lines of `diagonal.py`: milliseconds, seconds of set-up, gradient over value, and times over ours."""
    columns = "workload|terms|library|value, ms|gradient, ms|set-up, s|gradient / value|value, x ours|gradient, x ours|GiB"
    head = tuple(columns.split("|"))
    lines = []
    for name, _, group in _in_order(rows):
        ours = next((r for r in group if r["library"] == OURS and r["status"] == "ok"), {})
        for row in sorted(group, key=lambda r: list(LIBRARIES).index(r["library"])):
            start = (name, str(row["terms"]), row["library"])
            if row["status"] != "ok":
                lines.append((*start, row.get("message") or row["status"], *[""] * 6))
                continue
            ratios = (row[key] / ours[key] if key in row and key in ours else None for key in ("value_s", "grad_s"))
            lines.append((
                *start,
                milliseconds(row["value_s"]),
                milliseconds(row["grad_s"]) if "grad_s" in row else row.get("grad_message", ""),
                f"{row['setup_s']:.2f}",
                f"{row['omega_time']:.1f}" if "grad_s" in row else "",
                *("" if r is None else f"{r:.1f}" for r in ratios),
                f"{row['peak_rss'] / 2**30:.2f}",
            ))  # fmt: skip
    return head, lines


def as_text(head: tuple[str, ...], lines: list[tuple[str, ...]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(head, *lines, strict=True)]
    return ["  ".join(cell.rjust(width) for cell, width in zip(line, widths, strict=True)) for line in (head, *lines)]


def limit_table(rows: list[dict], machine: dict) -> list[str]:
    head = f"{'workload':<15}{'prec.':<7}{'M-adds G':>10}{'GB moved':>10}{'compute ms':>12}{'traffic ms':>12}{'ours ms':>10}{'ours/limit':>12}{'dB':>6}"
    lines = [head, "-" * len(head)]
    for name, precision, group in _in_order(rows):
        ours = next((r["grad_s"] for r in group if r["library"] == OURS and r["status"] == "ok"), None)
        limit = limit_seconds(workload(name), precision, machine)
        line = (
            f"{name:<15}{precision:<7}{limit['multiply_adds'] / 1e9:>10.4f}{limit['bytes'] / 1e9:>10.3f}"
            f"{milliseconds(limit['compute_s']):>12}{milliseconds(limit['traffic_s']):>12}{milliseconds(ours):>10}"
        )
        if ours:
            factor = ours / limit["limit_s"]
            line += f"{factor:>12.2f}{10 * math.log10(factor):>6.1f}"
        lines.append(line)
    return lines


def machine_lines(machine: dict) -> list[str]:
    lines = []
    for threads, rates in machine.items():
        bandwidth = ", ".join(f"{size} MiB {value / 1e9:.0f}" for size, value in rates["bytes_per_s"].items())
        gemm = rates["multiply_adds_per_s"]
        lines.append(f"{threads} thread(s): GB/s at working set {bandwidth}")
        lines.append(f"             G multiply-adds/s: single {gemm['single'] / 1e9:.0f}, double {gemm['double'] / 1e9:.0f}")
    return lines


def memory_lines(rows: list[dict]) -> list[str]:
    """Our memory, in units of the state vector and as gradient over value."""
    lines = []
    for name, precision, group in _in_order(rows):
        for row in group:
            if row.get("omega_memory"):
                state = (8 if precision == "single" else 16) << row["n_qubits"]
                value, gradient = row["value_working_memory"], row["grad_working_memory"]
                lines.append(
                    f"{name:<15}{precision:<7} value {value / state:5.2f} states, gradient {gradient / state:5.2f} states"
                    f" ({gradient / 2**20:.0f} MiB), omega {row['omega_memory']:.2f}"
                )
    return lines


def scaling_lines(rows: list[dict]) -> list[str]:
    """Slope of log time against log M at n = 16, by least squares."""
    lines = []
    for precision in ("single", "double"):
        points = sorted(
            (r["n_params"], r["grad_s"])
            for r in rows
            if r["workload"].startswith("scaling-")
            and r["library"] == OURS
            and r["precision"] == precision
            and r["status"] == "ok"
        )
        if len(points) < 2:
            continue
        x, y = [math.log(m) for m, _ in points], [math.log(t) for _, t in points]
        mx, my = sum(x) / len(x), sum(y) / len(y)
        slope = sum((a - mx) * (b - my) for a, b in zip(x, y, strict=True)) / sum((a - mx) ** 2 for a in x)
        seconds = ", ".join(f"M={m}: {milliseconds(t)} ms" for m, t in points)
        lines.append(f"scaling in M at n = 16, {precision}: slope {slope:.3f} ({seconds})")
    return lines
