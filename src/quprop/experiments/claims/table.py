"""The rows of the table of claims: from the results in a folder, else from those that come with the package."""

from __future__ import annotations

import json
from collections.abc import Iterable
from importlib import resources
from pathlib import Path
from typing import Any, NamedTuple

from quprop.experiments.claims import CLAIMS
from quprop.experiments.claims.claim import Claim, Verdict
from quprop.files import read_text

SHIPPED = "measured.json"


class Row(NamedTuple):
    """A claim and what was measured of it. found: None where nothing was measured yet; run: {date, quick, seconds,
    versions} of the experiment; where: the file, or "with the package"."""

    claim: Claim
    found: Verdict | None
    run: dict[str, Any]
    where: str

    @property
    def command(self) -> str:
        return f"quprop reproduce {self.claim.experiment}"

    def plain(self) -> dict[str, Any]:
        """As JSON has it."""
        c = self.claim
        found = self.found or Verdict("", "not measured")
        return {
            "name": c.name,
            "title": c.title,
            "work": c.work,
            "statement": c.statement,
            "source": c.source,
            "expected": c.expected,
            **found._asdict(),
            "command": self.command,
            "run": self.run,
            "where": self.where,
        }


def rows(folder: Path | None = None, only: Iterable[str] | None = None) -> list[Row]:
    """All claims, or those of the experiments named in `only`; results in `folder` (NAME.json) come first."""
    wanted = None if only is None else set(only)
    shipped = json.loads(resources.files("quprop.experiments.claims").joinpath(SHIPPED).read_text(encoding="utf-8"))
    results: dict[str, tuple[dict[str, Any], Path] | None] = {}
    out = []
    for claim in CLAIMS.values():
        name = claim.experiment
        if wanted is not None and name not in wanted:
            continue
        if name not in results:
            results[name] = _result(folder, name)
        own = results[name]
        if own is not None:
            result, path = own
            found = _judged(claim, with_counts(claim, result, folder), path)
            out.append(Row(claim, found, _run_of(result), str(path)))
            continue
        kept = shipped.get(claim.name)
        if kept is None:
            out.append(Row(claim, None, {}, ""))
        else:
            out.append(Row(claim, Verdict(kept["measured"], kept["verdict"], kept["why"]), kept["run"], "with quprop"))
    return out


def by_work(table: Iterable[Row]) -> dict[str, list[Row]]:
    """The rows of each work that claims come from, in the order of their first ones."""
    found: dict[str, list[Row]] = {}
    for row in table:
        found.setdefault(row.claim.work, []).append(row)
    return found


def with_counts(claim: Claim, result: dict[str, Any], folder: Path | None) -> dict[str, Any]:
    """The result, with the fit of scaling.json in the folder that counted what the claim has by formula, if any."""
    if claim.counted is None or folder is None:
        return result
    try:
        fits = json.loads((folder / "scaling.json").read_text(encoding="utf-8"))["fits"]
        found = [f for f in fits if (f["family"], f["method"]) == claim.counted and f["reduced"] is not None]
    except (OSError, UnicodeDecodeError, json.JSONDecodeError, KeyError, TypeError):
        return result
    return result | {"counted": found[0]} if found else result


def _judged(claim: Claim, result: dict[str, Any], path: Path) -> Verdict:
    """The verdict; "not measured" of a result that lacks what the claim is judged by: it was changed, or is of another
    version."""
    try:
        return claim.judge(result)
    except (LookupError, TypeError, ValueError, AttributeError, ArithmeticError) as error:
        return Verdict("", "not measured", f"{path} lacks what this is judged by ({error!r}): measure it again")


def _result(folder: Path | None, name: str) -> tuple[dict[str, Any], Path] | None:
    """The result of an experiment in a folder; a file that cannot be read counts as none."""
    if folder is None:
        return None
    path = folder / f"{name}.json"
    try:
        result = json.loads(read_text(path))
    except (OSError, ValueError, RecursionError):
        return None
    return (result, path) if isinstance(result, dict) and result.get("experiment") == name else None


def _run_of(result: dict[str, Any]) -> dict[str, Any]:
    return {k: result[k] for k in ("date", "quick", "seed", "seconds", "versions") if k in result}
