"""Claims of Liu et al., Nat. Commun. 15, 434 (2024), on their own networks of 7.45 and 103 million parameters."""

from __future__ import annotations

from typing import Any

from quprop.experiments.claims.claim import Claim, Verdict, graded
from quprop.experiments.claims.networks import LIU, proxy_falls_then_rises
from quprop.experiments.networks.full_size import DENSE, PLAIN, UNTRAINED, WARMED, width_course

RECOVERED = 0.02  # training accuracy lies this close to what it was before the upload


def _case(result: dict[str, Any], name: str) -> dict[str, Any]:
    return next(r for r in result["runs"] if r["case"] == name)


def _ratio(run: dict[str, Any], i: int = 0) -> float:
    return float(run["positive"][i] / max(run["negative"][i], 1e-300))


def _positive(result: dict[str, Any]) -> Verdict:
    run = _case(result, DENSE)
    ratios = [_ratio(run, run["steps"].index(step)) for step in run["uploads"]]
    ends = [
        _ratio(run, i) for i, step in enumerate(run["steps"]) if step + 1 in (*run["uploads"], run["steps"][-1] + 1)
    ]
    measured = (
        f"{run['parameters']:,} parameters on {run['data']}: positive over negative eigenvalues right after an upload "
        f"{', '.join(f'{v:.3g}' for v in ratios)}, at the end of a block {', '.join(f'{v:.3g}' for v in ends)}"
    )
    more = sum(r > 1 for r in ratios)
    why = f"positive modes are more after {more} of {len(ratios)} uploads, and nowhere twice the negative ones"
    return graded(measured, min(ratios) > 2, more > 0, why if max(ratios) <= 2 else why.split(", and")[0])


def _large(result: dict[str, Any]) -> Verdict:
    parts, ratios = [], []
    for name in (UNTRAINED, WARMED):
        run = _case(result, name)
        ratios.append(_ratio(run))
        s = run["spectra"][0]
        parts.append(f"{name}: {ratios[-1]:.3g}, eigenvalues {s['least']:.3g} to {s['greatest']:.3g}")
    measured = f"{run['parameters']:,} parameters: positive over negative eigenvalues " + "; ".join(parts)
    why = "in a network so deep positive and negative curvature are about equal, by a spectrum on two images"
    return graded(measured, min(ratios) > 1, max(ratios) > 1, why)


def _proxy(result: dict[str, Any]) -> Verdict:
    return proxy_falls_then_rises([_case(result, DENSE), _case(result, PLAIN)], key="case")


def _dips(result: dict[str, Any]) -> Verdict:
    parts, dipped, back = [], [], []
    for name in (DENSE, PLAIN):
        for dip in _case(result, name)["dips"]:
            parts.append(f"{dip['before']:.3f}, {dip['after']:.3f}, {dip['recovered']:.3f} ({name})")
            dipped.append(dip["after"] < dip["before"])
            back.append(dip["recovered"] >= dip["before"] - RECOVERED)
    measured = "training accuracy before a re-upload, right after it, and later in the block: " + "; ".join(parts)
    why = f"it dips at {sum(dipped)} of {len(dipped)} re-uploads and comes back within a block after {sum(back)}"
    return graded(measured, all(dipped) and all(back), any(dipped) and any(back), why)


def _broadening(result: dict[str, Any]) -> Verdict:
    parts = []
    grown = {}
    for name in (DENSE, PLAIN):
        course = width_course(_case(result, name))
        parts.append(f"{name}: {', '.join(f'{a:.3g} to {b:.3g}' for a, b in course)}")
        inside = all(b > a for a, b in course)
        across = course[-1][0] > course[0][0]
        grown[name] = (inside, across, course[-1][0])
    measured = "root mean square eigenvalue from begin to end of each block, " + "; ".join(parts)
    broadens = any(inside or across for inside, across, _ in grown.values())
    countered = grown[DENSE][2] < grown[PLAIN][2]
    why = (
        f"{'it broadens' if broadens else 'it narrows, inside blocks and across them'}; with dense steps it is "
        f"{'narrower' if countered else 'no narrower'} at the last upload"
    )
    return graded(measured, broadens and countered, broadens or countered, why)


CLAIMS: tuple[Claim, ...] = (
    Claim(
        "carleman_full_size_modes",
        "Positive modes at 7.45 million parameters",
        "At 7.45 million parameters positive modes dominate after pruning.",
        LIU + "figure 3",
        "positive eigenvalues add up to more than twice the negative ones",
        "carleman_full_size",
        _positive,
    ),
    Claim(
        "carleman_full_size_proxy",
        "The error proxy at 7.45 million parameters",
        "At 7.45 million parameters the error proxy falls and then rises within a block.",
        LIU + "figure 4",
        "a minimum inside each block",
        "carleman_full_size",
        _proxy,
    ),
    Claim(
        "carleman_full_size_dips",
        "Accuracy at re-uploads, 7.45 million parameters",
        "Training accuracy dips at each re-upload, then recovers.",
        LIU + "figure 5",
        "lower right after, and back within the block",
        "carleman_full_size",
        _dips,
    ),
    Claim(
        "carleman_full_size_broadening",
        "The Hessian over time, 7.45 million parameters",
        "The Hessian broadens over time; ten dense steps counteract that.",
        LIU + "figure 5",
        "a wider spectrum later, a narrower one with dense steps",
        "carleman_full_size",
        _broadening,
    ),
    Claim(
        "carleman_103_million",
        "Dissipative modes at 103 million parameters",
        "A network of 103 million parameters pruned to 10 % starts out dominated by dissipative modes.",
        LIU + "figure 3",
        "positive eigenvalues add up to more than the negative ones",
        "carleman_full_size",
        _large,
    ),
)
