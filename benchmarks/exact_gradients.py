"""How fast are exact gradients, next to the fastest other libraries, and next to what the machine allows?

    python benchmarks/exact_gradients.py --out benchmarks/results/exact_gradients.json [--resume] [--only hea-20 ...]

Every (workload, precision, library, number of threads) runs in a process of its own with a time and a memory limit; a crash is a
row of the table. The first library with an answer in double precision is the reference that all others must agree with, in
value and gradient, before they are timed. README.md in this folder tells how to read the result.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

import tables
from environment import available_cores, environment, total_memory
from libraries import BOTH, LIBRARIES
from machine import measure_all, thread_environment
from workloads import DIAGONAL, WORKLOADS, workload

HERE = Path(__file__).parent
# Who gives the reference, in this order: a peer before us, so that we are the ones who are checked.
REFERENCE_ORDER = ("lightning", "mindquantum", "qulacs", "tensorcircuit", "quprop")
ONLY_ALL_THREADS_FROM = 20  # qubits: from here one thread is never the faster choice; not tried
QNODE_TO = 18  # qubits: beyond, a QNode adds nothing that shows to the binding it ends in
MEMORY_FROM = 16  # qubits: below, the state is lost in what the interpreter moves
QUICK = ("hea-4", "hea-8", "hea-10", "hea-12", "hva-12", "uccsd-lih", "batch-8", "scaling-100")


def main() -> int:
    options = parse()
    out = Path(options.out)
    names = options.only or (QUICK if options.quick else [n for n in WORKLOADS if n not in DIAGONAL or n == "qaoa-20"])
    results = Results(out, resume=options.resume)
    pythons = {"quprop": options.python_quprop, "peers": options.python_peers}
    results.begin(environment(pythons), lambda: measure_all(options.python_peers, tuple(range(1, available_cores() + 1))))
    print("\n".join(tables.machine_lines(results.data["machine"])), flush=True)
    with tempfile.TemporaryDirectory() as folder:
        for name in names:
            for precision in sorted(options.precision, key=lambda p: p != "double"):  # the reference is a double one
                run_group(name, precision, options, results, Path(folder), pythons)
    print_report(results)
    return 0


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", default=str(HERE / "results" / "exact_gradients.json"))
    parser.add_argument("--only", nargs="+", choices=list(WORKLOADS), metavar="WORKLOAD", help=", ".join(WORKLOADS))
    known = [name for name, library in LIBRARIES.items() if library.gradient]
    parser.add_argument("--libraries", nargs="+", choices=known, default=known)
    parser.add_argument("--precision", nargs="+", choices=BOTH, default=list(BOTH))
    parser.add_argument("--quick", action="store_true", help="small workloads, short timings")
    parser.add_argument("--resume", action="store_true", help="keep the rows already in --out and run what is missing")
    parser.add_argument("--retry", action="store_true", help="with --resume: run rows that failed again")
    parser.add_argument("--budget", type=float, default=None, help="seconds of timing per case (default 1, quick 0.3)")
    parser.add_argument("--time-limit", type=float, default=120.0, help="seconds for a case, all in all")
    parser.add_argument("--memory-limit", type=float, default=0.8, help="share of the machine's memory for a case")
    parser.add_argument("--python-quprop", default=sys.executable, help="interpreter that can import quprop")
    parser.add_argument("--python-peers", default=sys.executable, help="interpreter that can import the peers")
    options = parser.parse_args()
    options.budget = options.budget or (0.3 if options.quick else 1.0)
    return options


class Results:
    """The JSON file: {"environment", "machine", "rows"}, rewritten after every row."""

    def __init__(self, path: Path, *, resume: bool):
        self.path = path
        self.data = {"environment": [], "machine": {}, "rows": []}
        if resume and path.exists():
            self.data = json.loads(path.read_text())

    def begin(self, record: dict, measure) -> None:
        self.data["environment"].append(record)
        self.data["machine"] = self.data["machine"] or measure()

    def find(self, name: str, precision: str, library: str) -> dict | None:
        key = (name, workload(name).fingerprint(), precision, library)
        return next(
            (r for r in self.data["rows"] if (r["workload"], r["fingerprint"], r["precision"], r["library"]) == key), None
        )

    def add(self, row: dict) -> None:
        key = (row["workload"], row["precision"], row["library"])
        self.data["rows"] = [r for r in self.data["rows"] if (r["workload"], r["precision"], r["library"]) != key]
        self.data["rows"].append({**row, "run": len(self.data["environment"]) - 1})
        self.path.parent.mkdir(parents=True, exist_ok=True)
        temporary = self.path.with_suffix(".tmp")
        head = json.dumps({k: v for k, v in self.data.items() if k != "rows"}, indent=1)[:-2]
        rows = ",\n".join(json.dumps(r) for r in self.data["rows"])
        temporary.write_text(f'{head},\n "rows": [\n{rows}\n]\n}}\n')
        temporary.replace(self.path)


def run_group(name: str, precision: str, options, results: Results, folder: Path, pythons: dict) -> None:
    """All libraries on one workload at one precision."""
    w = workload(name)
    reference = folder / f"{name}.npz"
    results_before = [r for r in results.data["rows"] if r["workload"] == name and r["status"] == "ok"]
    for library in sorted(options.libraries, key=lambda item: (item not in REFERENCE_ORDER, *_position(item))):
        old = results.find(name, precision, library)
        if old is not None and (old["status"] == "ok" or not options.retry):
            continue
        info = LIBRARIES[library]
        if library != tables.OURS and (not w.peers or precision not in info.precisions):
            continue
        if (info.special and not w.excitations) or (library == "lightning-qnode" and w.n_qubits > QNODE_TO):
            continue
        if not reference.exists() and (results_before or precision == "single"):
            make_reference(name, reference, options, pythons)  # its row is there already, its answer is not
        row = best_of_threads(name, precision, library, options, reference, pythons)
        if library == tables.OURS and row["status"] == "ok" and w.n_qubits >= MEMORY_FROM:
            row |= working_memory(row, options, pythons)
        results.add(row)
        print(one_line(row), flush=True)


def make_reference(name: str, path: Path, options, pythons: dict) -> None:
    for library in REFERENCE_ORDER if workload(name).peers else (tables.OURS,):
        spec = {"library": library, "workload": name, "precision": "double", "threads": available_cores()}
        python = pythons["quprop" if library == tables.OURS else "peers"]
        run_worker(spec | {"only": "answer", "save": str(path)}, python, options)
        if path.exists():
            return


def working_memory(row: dict, options, pythons: dict) -> dict:
    """Bytes that one value and one gradient take beyond the built model, and their ratio."""
    spec = {key: row[key] for key in ("library", "workload", "precision", "threads")}
    value, gradient = (
        run_worker(spec | {"only": what}, pythons["quprop"], options).get("bytes") for what in ("value", "gradient")
    )
    if not value or not gradient:
        return {}
    return {"value_working_memory": value, "grad_working_memory": gradient, "omega_memory": gradient / value}


def _position(library: str) -> tuple[int]:
    return (REFERENCE_ORDER.index(library) if library in REFERENCE_ORDER else 0,)


def best_of_threads(name: str, precision: str, library: str, options, reference: Path, pythons: dict) -> dict:
    """The better of all threads and one."""
    w, cores = workload(name), available_cores()
    start = time.perf_counter()
    counts = [cores]
    # XLA compiles anew in each process: seconds that are worth it only where one thread has a chance
    if cores > 1 and w.n_qubits < (9 if library.startswith("tensorcircuit") else ONLY_ALL_THREADS_FROM):
        counts.append(1)
    python = pythons["quprop" if library == tables.OURS else "peers"]
    best = None
    for threads in counts:
        spec = {"library": library, "workload": name, "precision": precision, "threads": threads, "budget_s": options.budget}
        if reference.exists():
            spec["reference"] = str(reference)
        elif precision == "double":
            spec["save"] = str(reference)
        if best is not None and best["status"] == "ok":
            spec["beat_s"] = best["grad_s"]
        row = {"threads": threads, **run_worker(spec, python, options)}
        tried = [c for r in (best, row) if r for c in r.get("candidates", [])]
        better = best is None or (row["status"] == "ok" and (best["status"] != "ok" or row["grad_s"] < best["grad_s"]))
        best = {**(row if better else best), "candidates": tried}
        if row["status"] in ("timeout", "memory", "disagrees", "not applicable"):
            break
    head = {"workload": name, "precision": precision, "library": library, "fingerprint": w.fingerprint()}
    sizes = {"n_qubits": w.n_qubits, "n_params": w.n_params, "n_rotations": w.n_rotations, "batch": w.batch}
    return {**head, **sizes, **best, "case_s": time.perf_counter() - start}


def run_worker(spec: dict, python: str, options) -> dict:
    """The worker's row, or one that says how it ended. Output goes to files: a full pipe would stop it."""
    command = [python, "-W", "ignore", str(HERE / "worker.py"), json.dumps(spec)]
    limit, start = options.memory_limit * total_memory(), time.perf_counter()
    with tempfile.TemporaryFile("w+") as stdout, tempfile.TemporaryFile("w+") as stderr:
        process = subprocess.Popen(command, stdout=stdout, stderr=stderr, env=thread_environment(spec["threads"]))
        ended = {}
        while process.poll() is None:
            if time.perf_counter() - start > options.time_limit:
                ended = {"status": "timeout", "message": f"more than {options.time_limit:.0f} s"}
            elif (used := resident_bytes(process.pid)) > limit:
                ended = {"status": "memory", "message": f"more than {used / 2**30:.1f} GiB"}
            if ended:
                process.kill()
                process.wait()
                break
            time.sleep(0.02)
        stdout.seek(0)
        stderr.seek(0)
        lines, errors = stdout.read().strip().splitlines(), stderr.read().strip().splitlines()
    try:
        return json.loads(lines[-1]) | ended  # a worker that prints rows as they grow keeps what it had
    except (IndexError, json.JSONDecodeError):
        if ended:
            return ended
        message = errors[-1] if errors else f"ended with status {process.returncode}"
        return {"status": "failed", "message": message[:300]}


def resident_bytes(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, IndexError):
        return 0


def one_line(row: dict) -> str:
    start = f"{row['workload']:<15}{row['precision']:<7}{row['library']:<19}"
    if row["status"] != "ok":
        return f"{start}{row['status']} {row.get('message', '')}"[:100]
    return (
        f"{start}{row['variant']:<18.18}{row['threads']}t"
        f" {tables.milliseconds(row['grad_s']):>9} ms omega {row['omega_time']:4.1f} first {row['first_call_s']:.2f} s"
    )


def print_report(results: Results) -> None:
    rows, machine = results.data["rows"], results.data["machine"]
    for title, lines in (
        ("Times (x ours: how many times our gradient's time)", tables.times_table(rows)),
        ("Against the fastest peer", tables.summary_table(rows)),
        ("Against the machine (limit.py says what is counted)", tables.limit_table(rows, machine)),
        ("Measured rates", tables.machine_lines(machine)),
        ("Our memory", tables.memory_lines(rows)),
        ("Scaling", tables.scaling_lines(rows)),
    ):
        print(f"\n{title}\n" + "\n".join(lines))


if __name__ == "__main__":
    sys.exit(main())
