"""QAOA on costs that are one diagonal (LABS, Sherrington-Kirkpatrick, MaxCut), beside QOKit, which tabulates it, and the others.

    python benchmarks/diagonal.py --python-peers PYTHON --python-qokit PYTHON --resume

Every (workload, library) runs in a process of its own with all cores, in double precision; a row is written as soon as it is
there, and --resume keeps rows. Values agree to 1e-9, and gradients with each other to 1e-9 and with QOKit's values along one
direction to 1e-6, before anything is timed. A library whose last smaller case says that the next will not end within the limit
is not started; what it says is in the row.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

import tables
from environment import available_cores, environment
from exact_gradients import Results, run_worker
from workloads import DIAGONAL, workload

HERE = Path(__file__).parent
# Each family by ascending size, as a case says what the next will take.
DEFAULT = ("labs-18", "sk-18", "qaoa-20", "labs-20", "sk-20", "labs-22", "sk-22", "qaoa-24")
QUICK = ("labs-10", "labs-12", "sk-10", "sk-12", "qaoa-12")
# The reference first, we last, so that we are the ones who are checked.
LIBRARIES = ("qokit-O3", "qokit", "prism-q", "mindquantum", "qulacs", "lightning", "quprop")
PLAIN_TO = 20  # qubits: beyond, QOKit as its makefile builds it is left out; its optimised build is the faster one
PATIENCE = {"qokit-O3": 4, "qokit": 4, "quprop": 4}  # times the limit: QOKit's values hold the others, its set-up is long


def main() -> int:
    options = parse()
    begin = time.perf_counter()
    results = Results(Path(options.out), resume=options.resume)
    pythons = {"quprop": options.python_quprop, "peers": options.python_peers, "qokit": options.python_qokit}
    results.begin(environment(pythons), dict)
    complete = run_all(options, results, pythons, begin)
    print("\n".join(tables.as_text(*tables.diagonal_table(results.data["rows"]))))
    if not complete:
        print(f"stopped after {options.minutes:g} minutes; --resume runs what is missing")
    return 0 if complete else 1


def run_all(options, results: Results, pythons: dict, begin: float) -> bool:
    """Whether every case has a row within the minutes."""
    for name in options.only or (QUICK if options.quick else DEFAULT):
        for library in options.libraries:
            if library == "qokit" and workload(name).n_qubits > PLAIN_TO:
                continue
            old = results.find(name, "double", library)
            if old is not None and (old["status"] == "ok" or not options.retry):
                continue
            if time.perf_counter() - begin > 60 * options.minutes:
                return False
            row = run_case(name, library, options, results, pythons)
            results.add(row)
            print(one_line(row), flush=True)
    return True


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", default=str(HERE / "results" / "diagonal.json"))
    parser.add_argument("--only", nargs="+", choices=DIAGONAL, metavar="WORKLOAD", help=", ".join(DIAGONAL))
    parser.add_argument("--libraries", nargs="+", choices=LIBRARIES, default=LIBRARIES)
    parser.add_argument("--quick", action="store_true", help="small workloads")
    parser.add_argument("--resume", action="store_true", help="keep the rows already in --out and run what is missing")
    parser.add_argument("--retry", action="store_true", help="with --resume: run rows that failed again")
    parser.add_argument("--budget", type=float, default=0.5, help="seconds of timing for a value, and for a gradient")
    parser.add_argument("--time-limit", type=float, default=15.0, help="seconds for a case, all in all")
    parser.add_argument("--minutes", type=float, default=9.5, help="no new case is started after these")
    parser.add_argument("--memory-limit", type=float, default=0.8, help="share of the machine's memory for a case")
    parser.add_argument("--python-quprop", default=sys.executable, help="interpreter that can import quprop")
    parser.add_argument("--python-peers", default=sys.executable, help="interpreter that can import the peers")
    parser.add_argument("--python-qokit", default=sys.executable, help="interpreter that can import QOKit, which pins NumPy")
    return parser.parse_args()


def run_case(name: str, library: str, options, results: Results, pythons: dict) -> dict:
    w = workload(name)
    head = {"workload": name, "precision": "double", "library": library, "fingerprint": w.fingerprint()}
    head |= {"n_qubits": w.n_qubits, "n_params": w.n_params, "n_rotations": w.n_rotations, "terms": len(w.observable)}
    head["threads"] = available_cores()
    limit = options.time_limit * PATIENCE.get(library, 1)
    value_s, grad_s, smaller = expected(results, w, library)
    if 2 * value_s > limit:  # a first call and one that counts
        if value_s == float("inf"):
            return {**head, "status": "not run", "message": f"no value in time at {smaller}"}
        return {**head, "status": "not run", "message": f"value about {value_s:.0f} s by {smaller}", "expected_value_s": value_s}
    role = library if library == tables.OURS else "qokit" if library.startswith("qokit") else "peers"
    spec = {
        "stages": True,
        "library": library,
        "workload": name,
        "threads": head["threads"],
        "budget_s": options.budget,
    }
    spec |= {"reference": reference(results, name), "limit_s": limit, "gradient": grad_s < limit}
    limits = argparse.Namespace(memory_limit=options.memory_limit, time_limit=limit)
    start = time.perf_counter()
    row = {**head, **run_worker(spec, pythons[role], limits), "case_s": time.perf_counter() - start}
    if "value_s" in row and row["status"] in ("timeout", "memory"):  # stopped in the gradient
        row |= {"status": "ok", "grad_message": row.get("grad_message", row["message"].replace("more than", "over"))}
    if grad_s < float("inf") and not spec["gradient"] and row["status"] == "ok":
        row["grad_message"] = f"about {grad_s:.0f} s by {smaller}"
    return row


def reference(results: Results, name: str) -> dict:
    """Value, gradient and slope of the first library that has them."""
    out: dict = {}
    for library in LIBRARIES:
        row = results.find(name, "double", library) or {}
        if row.get("status") == "ok":
            out |= {key: row[key] for key in ("value", "gradient", "slope") if key in row and key not in out}
    return out


def expected(results: Results, w, library: str) -> tuple[float, float, str]:
    """Seconds of a value and of a gradient by the library's next smaller case of the family; infinite where that had none."""
    family = w.name.partition("-")[0]
    smaller = [
        row
        for row in results.data["rows"]
        if row["library"] == library and row["workload"].startswith(family + "-") and row["n_qubits"] < w.n_qubits
    ]
    if not smaller:
        return 0.0, 0.0, ""
    row = max(smaller, key=lambda r: r["n_qubits"])
    if row["status"] not in ("ok", "timeout", "not run"):  # it failed for another reason: try
        return 0.0, 0.0, ""
    scale = (1 << (w.n_qubits - row["n_qubits"])) * w.n_rotations / row["n_rotations"]
    if library.startswith("qokit"):
        scale = w.n_qubits * (1 << w.n_qubits) / (row["n_qubits"] * (1 << row["n_qubits"]))
    value_s = scale * row.get("value_s", row.get("expected_value_s", float("inf")))
    return value_s, scale * row.get("grad_s", float("inf")), row["workload"]


def one_line(row: dict) -> str:
    start = f"{row['workload']:<10}{row['library']:<13}"
    if row["status"] != "ok":
        return f"{start}{row['status']} {row.get('message', '')}"[:100]
    gradient = f"{tables.milliseconds(row['grad_s'])} ms" if "grad_s" in row else row.get("grad_message", "")
    return (
        f"{start}{row['variant']:<14}value {tables.milliseconds(row['value_s']):>8} ms  gradient {gradient:>14}"
        f"  set-up {row['setup_s']:.2f} s  ({row['case_s']:.0f} s)"
    )


if __name__ == "__main__":
    sys.exit(main())
