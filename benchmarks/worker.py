"""One case (library, workload, precision, threads) in a process of its own: `python worker.py '{"library": ...}'`.

Order of events: build, first call, comparison with the reference, and only if that agrees, timing. The last line printed is the
row as JSON. `exact_gradients.py` starts these with the thread counts in the environment, a time limit and a memory limit.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import importlib.metadata
import json
import statistics
import sys
import time
import warnings
from pathlib import Path

import numpy as np
from libraries import LIBRARIES
from workloads import workload

# Relative L2 distance of gradients, and of values to the sum of |coefficients|, that counts as agreement.
TOLERANCE = {"single": 1e-3, "double": 1e-8}
LONG_CALL = 8.0  # seconds: from here on one timed call after the first is enough


def main() -> None:
    warnings.filterwarnings("ignore")
    print(json.dumps(run(json.loads(sys.argv[1]))), flush=True)


def run(spec: dict) -> dict:
    start = time.perf_counter()
    library = importlib.import_module(LIBRARIES[spec["library"]].module)
    row = {"import_s": time.perf_counter() - start, "versions": versions(library)}
    w = workload(spec["workload"])
    theta = w.theta
    names = library.variants(w)
    if not names:
        return {**row, "status": "not applicable"}

    if spec.get("only"):
        return only(spec, library, w, names[0])

    best = None
    candidates = []
    for name in names:
        start = time.perf_counter()
        case = library.build(w, spec["precision"], name, spec["threads"])
        value, gradient = case.value_and_grad(theta)
        first_call = time.perf_counter() - start
        answer = compare(w, value, gradient, spec)
        if answer["status"] != "ok":
            return {**row, "variant": name, **answer}
        # a first call of a second or more is long enough to choose by where nothing is compiled; else time a few
        probe = min(times(case.value_and_grad, theta, budget=0.3, least=1, most=3))
        candidates.append({"variant": name, "threads": spec["threads"], "grad_s": probe})
        if best is None or probe < best[0]:
            best = (probe, name, case, first_call, answer)
        del case
    probe, name, case, first_call, answer = best
    row |= {"variant": name, "first_call_s": first_call, "candidates": candidates, **answer}
    if spec.get("save"):
        np.savez(spec["save"], value=answer["value"], gradient=case.value_and_grad(theta)[1])
    if spec.get("beat_s") is not None and probe > 1.15 * spec["beat_s"]:
        return {**row, "status": "slower", "grad_s": probe}

    value_times = times(case.value, theta, budget=spec["budget_s"] / 3)
    gradient_times = times(case.value_and_grad, theta, budget=spec["budget_s"])
    value_s, grad_s = statistics.median(value_times), statistics.median(gradient_times)
    return {
        **row,
        "value_s": value_s,
        "grad_s": grad_s,
        "grad_min_s": min(gradient_times),
        "grad_quartiles_s": np.quantile(gradient_times, [0.25, 0.75]).tolist(),
        "repeats": len(gradient_times),
        "omega_time": grad_s / value_s,
        "peak_rss": memory()["peak"],
    }


def only(spec: dict, library, w, name: str) -> dict:
    """Not a row: "answer" saves a reference; "value" and "gradient" give the memory that one such call takes above the built model.

    Memory needs a process for each, as libraries keep buffers between calls.
    """
    case = library.build(w, spec["precision"], name, spec["threads"])
    if spec["only"] == "answer":
        value, gradient = case.value_and_grad(w.theta)
        np.savez(spec["save"], value=value, gradient=gradient)
        return {"status": "ok"}
    gc.collect()
    before = memory()["now"]
    reset_memory_peak()
    (case.value if spec["only"] == "value" else case.value_and_grad)(w.theta)
    return {"status": "ok", "bytes": memory()["peak"] - before}


def times(function, theta: np.ndarray, *, budget: float, least: int = 3, most: int = 2000) -> list[float]:
    """Seconds of single calls, `least` of them or more until the budget is spent; each at a slightly different theta."""
    out: list[float] = []
    while len(out) < most and (sum(out) < budget or len(out) < least):
        point = theta + 1e-7 * (len(out) % 8)  # so that nothing can be remembered from the call before
        start = time.perf_counter()
        function(point)
        out.append(time.perf_counter() - start)
        if out[-1] > LONG_CALL:
            break
    return out


def compare(w, value: float, gradient: np.ndarray, spec: dict) -> dict:
    row = {"status": "ok", "value": value, "grad_norm": float(np.linalg.norm(gradient))}
    if gradient.shape != (w.n_params,) or not np.isfinite(value) or not np.all(np.isfinite(gradient)):
        return {**row, "status": "disagrees", "message": f"gradient of shape {gradient.shape}, value {value}"}
    if not spec.get("reference"):
        return row
    reference = np.load(spec["reference"])
    scale = sum(abs(c) for _, c in w.observable)
    row["value_difference"] = float(abs(value - reference["value"]) / scale)
    row["grad_difference"] = float(np.linalg.norm(gradient - reference["gradient"]) / np.linalg.norm(reference["gradient"]))
    if max(row["value_difference"], row["grad_difference"]) > TOLERANCE[spec["precision"]]:
        row["status"] = "disagrees"
        row["message"] = f"value differs by {row['value_difference']:.1e}, gradient by {row['grad_difference']:.1e} (relative)"
    return row


def versions(library) -> dict[str, str]:
    out = {}
    for name in (*library.DISTRIBUTIONS, "numpy"):
        try:
            out[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            out[name] = "not installed as a package"
    return out


def memory() -> dict[str, int]:
    """Resident bytes of this process: now, and the peak since `reset_memory_peak`."""
    status = Path("/proc/self/status")
    if not status.exists():  # not Linux: only the peak is to be had
        import resource

        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
        return {"now": peak, "peak": peak}
    fields = dict(line.split(":", 1) for line in status.read_text().splitlines())
    now, peak = (int(fields[key].split()[0]) * 1024 for key in ("VmRSS", "VmHWM"))
    return {"now": now, "peak": peak}


def reset_memory_peak() -> None:
    # where this is refused the peak includes what came before
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


if __name__ == "__main__":
    main()
