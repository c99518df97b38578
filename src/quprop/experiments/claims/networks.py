"""Claims of Liu et al., Nat. Commun. 15, 434 (2024), on training networks as linear systems."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

from quprop.experiments.claims.claim import HOLDS, IN_PART, Claim, Verdict, graded, interval, unsure

LIU = "Liu et al., Nat. Commun. 15, 434 (2024), "
AMPLIFIED = " if every run is measured; T^{} with amplitude amplification, T^{} with idle copies too"


def _protocols(result: dict[str, Any], case: str) -> tuple[dict[str, float], str]:
    """The exponent in T if every run is measured, and all three in words."""
    repeated, amplified, padded = (result["exponents"][f"{case}, {p}"] for p in ("repeated", "amplified", "padded"))
    text = f"queries of a copy of three parameters, T to {result['fitted'][-1]}, ~ T^{interval(repeated)}"
    return repeated, text + AMPLIFIED.format(interval(amplified), interval(padded))


def _theorem_1(result: dict[str, Any]) -> Verdict:
    fit, measured = _protocols(result, "fully dissipative")
    off, why = abs(fit["slope"] - 1), "the transient is still seen at these T"
    return graded(measured, off <= 0.15, off < 0.5, why, unsure(fit, 1))


def _theorem_2(result: dict[str, Any]) -> Verdict:
    fit, measured = _protocols(result, "almost dissipative")
    slope, why = fit["slope"], "the transient is still seen at these T"
    return graded(measured, 0.5 < slope <= 2.15, 0.5 < slope <= 2.5, why, unsure(fit, 2))


def _convergence(result: dict[str, Any]) -> Verdict:
    cubic = [r for r in result["rows"] if r["run"] == "cubic"]
    inside = [r for r in cubic if r["R"] < 1]
    kept = all(e <= b for r in inside for e, b in zip(r["error"], r["bound"], strict=True))
    far = cubic[-1]
    measured = "; ".join(f"R = {r['R']:g}: {r['error'][0]:.1g} to {r['error'][-1]:.1g}" for r in (*inside, far))
    measured += f" from N = 1 to {far['orders'][-1]}"
    found = graded(measured, kept and far["error"][-1] > far["error"][0] / 2, kept, "it converges far outside too")
    return found._replace(why=found.why or "R < 1 is sufficient: at R = 1.5 the error falls as well")


def _burgers(result: dict[str, Any]) -> Verdict:
    errors = result["error"]
    measured = f"R = {result['R']:.2f}; errors {', '.join(f'{e:.3g}' for e in errors)} at N = 1 to {len(errors)}"
    return graded(
        measured,
        abs(result["R"] - 43.59) < 0.02 and errors[-1] < errors[0] / 2,
        errors[-1] < errors[0],
        "the coefficients differ",
    )


def _runs(result: dict[str, Any]) -> list[dict[str, Any]]:
    return list(result["runs"])


def _spectra(result: dict[str, Any]) -> Verdict:
    ratios = {r["network"]: r["positive"][0] / max(r["negative"][0], 1e-300) for r in _runs(result)}
    measured = "right after pruning the positive eigenvalues add up to " + ", ".join(
        f"{v:.3g} ({name}, {r['parameters']:,} parameters)"
        for (name, v), r in zip(ratios.items(), _runs(result), strict=True)
    )
    return graded(
        measured + " times the negative ones",
        min(ratios.values()) > 2,
        min(ratios.values()) > 1,
        "at this size one network's positive modes are not twice its negative ones",
    )


def _proxy(result: dict[str, Any]) -> Verdict:
    return proxy_falls_then_rises(_runs(result))


def proxy_falls_then_rises(runs: list[dict[str, Any]], key: str = "network") -> Verdict:
    """Whether the running proxy has its minimum inside every block of these courses, called by their `key`."""
    parts, shapes = [], []
    for r in runs:
        values, steps = r["proxy"]["running"]["values"], r["steps"]
        uploads = [*r["uploads"], steps[-1] + 1]
        for begin, end in pairwise(uploads):
            block = [v for v, s in zip(values, steps, strict=True) if begin <= s < end]
            if len(block) < 3:
                continue
            fell, rose = min(block) < block[0], block[-1] > min(block)
            shapes.append((fell, rose, block[-1] > 1))
        parts.append(f"{r[key]}: {values[0]:.3g}, least {min(values):.4g}, at the end of a block {values[-1]:.4g}")
    all_three = sum(a and b for a, b, _ in shapes)
    measured = f"it falls and then rises in {all_three} of {len(shapes)} blocks; " + "; ".join(parts)
    return graded(
        measured,
        all_three == len(shapes),
        all_three > 0,
        "in the other blocks the negative modes are too weak for a rise within a block",
    )


def _reset(result: dict[str, Any]) -> Verdict:
    parts, better = [], []
    for r in _runs(result):
        running, never = r["proxy"]["running"]["values"][-1], r["proxy"]["never re-uploaded"]["values"][-1]
        parts.append(f"{r['network']}: {running:.3g} with, {never:.3g} without re-uploads at step {r['steps'][-1]}")
        better.append(abs(running - 1) <= abs(never - 1))
    found = graded("; ".join(parts), all(better), any(better), "the proxy without re-uploads is nearer to 1")
    return found._replace(why=found.why or "it begins anew at an upload by definition: what is bought is a shorter run")


def _loop(result: dict[str, Any]) -> Verdict:
    worst = max(result["relative_error"])
    gap = result["plain_accuracy"] - result["accuracy"]
    measured = (
        f"{result['reuploads']} re-uploads: accuracy {result['accuracy']:.3f}, plain descent "
        f"{result['plain_accuracy']:.3f} not pruned, {result['twin_accuracy']:.3f} pruned alike; a block is off plain "
        f"descent by {worst:.1e} at most"
    )
    solved, same = result.get("solved"), True
    if solved is not None:
        off = max(solved["relative_error"])
        same = off < 0.05 and all(b["by"] == "solver" for b in solved["blocks"])
        measured += (
            f"; with {'the' if same else 'not the'} linear system of every block solved by the solver's polynomial "
            f"({solved['network']}, {solved['data']}): accuracy {solved['accuracy']:.3f}, plain descent "
            f"{solved['plain_accuracy']:.3f}, off by {off:.1e}"
        )
    alike = abs(result["accuracy"] - result["twin_accuracy"]) < 0.01
    found = graded(measured, same and gap <= 0.01 and worst < 0.05, alike, "")
    if found.verdict == IN_PART:
        return found._replace(why="what is lost against plain descent is lost by pruning: pruned alike they are equal")
    return found if found.verdict == HOLDS else found._replace(why="the blocks drift from plain descent")


def _advantage(result: dict[str, Any]) -> Verdict:
    found = result["break_even"]
    pays, fixed = found.get("parameters"), found.get("parameters_at_fixed_entries")
    measured = f"by formula a block takes {found['ratio']:.0e} times as long as plain descent; it pays at this density "
    measured += f"from {pays:.0e} parameters on" if pays else "never"
    if fixed is not None:
        measured += f", with a fixed number of entries from {fixed:.0e} parameters on"
    why = "copies of a readout grow with the entries that are kept; the assumptions are in the result"
    return graded(measured, found["ratio"] <= 1, bool(pays), why)


CLAIMS: tuple[Claim, ...] = (
    Claim(
        "carleman_theorem_1",
        "Fully dissipative training: cost in the number of steps",
        "Fully dissipative training of T steps costs O(T polylog).",
        LIU + "Theorem 1",
        "exponent 1 in T",
        "carleman_scaling",
        _theorem_1,
    ),
    Claim(
        "carleman_theorem_2",
        "Almost dissipative training: cost in the number of steps",
        "Almost dissipative training costs O(T^2 polylog).",
        LIU + "Theorem 2",
        "exponent at most 2 in T",
        "carleman_scaling",
        _theorem_2,
    ),
    Claim(
        "carleman_convergence",
        "The truncated system converges inside its radius",
        "Inside its radius the truncated system converges geometrically in the order N; outside it need not.",
        LIU + "methods; Liu et al., PNAS 118, e2026805118 (2021)",
        "error <= R^N for R < 1",
        "carleman_order",
        _convergence,
    ),
    Claim(
        "carleman_burgers",
        "Convergence for a Burgers flow",
        "It converges for a Burgers flow at R = 43.59 too.",
        "Liu et al., PNAS 118, e2026805118 (2021), figure 1",
        "R = 43.59, error falling with N",
        "carleman_burgers",
        _burgers,
    ),
    Claim(
        "carleman_spectra",
        "Positive modes dominate after pruning",
        "After pruning, positive (dissipative) modes dominate the Hessian.",
        LIU + "figures 3 and 4",
        "positive eigenvalues add up to more than twice the negative ones",
        "carleman_spectra",
        _spectra,
    ),
    Claim(
        "carleman_proxy",
        "The error proxy falls, then rises",
        "Within a block the error proxy falls and then rises exponentially.",
        LIU + "figure 4",
        "a minimum inside each block",
        "carleman_spectra",
        _proxy,
    ),
    Claim(
        "carleman_reupload",
        "Re-uploading resets the error proxy",
        "Re-uploading every 100 steps resets the proxy.",
        LIU + "figure 5",
        "proxy nearer to 1 with re-uploads",
        "carleman_spectra",
        _reset,
    ),
    Claim(
        "carleman_training",
        "Sparse training follows plain training",
        "Sparse training with re-uploads follows plain training.",
        LIU + "figure 1",
        "accuracy within 1 % of plain descent",
        "carleman_training",
        _loop,
    ),
    Claim(
        "carleman_advantage",
        "Faster than classical training",
        "So it could be faster than classical training of large sparse networks.",
        LIU + "abstract",
        "a block faster than plain descent; in part where it pays from some size on at the same density",
        "carleman_training",
        _advantage,
    ),
)
