"""Writes what `quprop reproduce` shows of each claim until it is measured anew (experiments/claims/measured.json).

    python tools/measured_claims.py

Reads the results of the experiments in benchmarks/results/experiments and benchmarks/results/carleman, and what
`quprop scaling` counted (benchmarks/results/scaling.json); a claim whose
experiment has none there is left out, and named.
"""

import json
from pathlib import Path

from quprop.experiments.claims import CLAIMS, table
from quprop.runs import write_json

ROOT = Path(__file__).parent.parent
RESULTS = ROOT / "benchmarks" / "results"


def path_of(experiment: str) -> Path:
    if experiment.startswith("carleman_"):
        return RESULTS / "carleman" / f"{experiment.removeprefix('carleman_')}.json"
    return RESULTS / "experiments" / f"{experiment}.json"


def run_of(result: dict) -> dict:
    recorded = result.get("environment") or {}
    versions = result.get("versions") or {"python": recorded.get("python", {}).get("quprop", "")}
    date = result.get("date") or recorded.get("date", "")[:10]
    return {"date": date, "versions": versions} | {k: result[k] for k in ("quick", "seed", "seconds")}


if __name__ == "__main__":
    found, missing = {}, []
    for name, claim in CLAIMS.items():
        path = path_of(claim.experiment)
        if not path.exists():
            missing.append(name)
            continue
        result = json.loads(path.read_text(encoding="utf-8"))
        found[name] = claim.judge(table.with_counts(claim, result, RESULTS))._asdict() | {"run": run_of(result)}
    write_json(ROOT / "src" / "quprop" / "experiments" / "claims" / table.SHIPPED, found)
    print(f"{len(found)} claims written" + (f"; no result for {', '.join(missing)}" if missing else ""))
