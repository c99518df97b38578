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
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from libraries import LIBRARIES
from workloads import workload

# Relative L2 distance of gradients, and of values to the sum of |coefficients|, that counts as agreement.
TOLERANCE = {"single": 1e-3, "double": 1e-8}
LONG_CALL = 8.0  # seconds: from here on one timed call after the first is enough
# What `stages` asks for: values and gradients relative to themselves; a slope comes from differences of values.
AGREE, AGREE_SLOPE = 1e-9, 1e-6


def main() -> None:
    warnings.filterwarnings("ignore")
    spec = json.loads(sys.argv[1])
    for row in stages(spec) if spec.get("stages") else [run(spec)]:
        print(json.dumps(row), flush=True)


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


def stages(spec: dict) -> Iterator[dict]:
    """The row of `diagonal.py` as it grows: a value, compared then timed, then a gradient. One that is stopped keeps what it had.

    Set-up is what is paid once: construction, and what first calls take above later ones.
    """
    begin = start = time.perf_counter()
    library, w = importlib.import_module(LIBRARIES[spec["library"]].module), workload(spec["workload"])
    row = {"import_s": time.perf_counter() - start, "versions": versions(library), "status": "not applicable"}
    if not library.variants(w):
        yield row
        return
    variant, theta = library.variants(w)[0], w.theta
    start = time.perf_counter()
    case = library.build(w, "double", variant, spec["threads"])
    build_s = time.perf_counter() - start if case.setup_s is None else case.setup_s
    row |= {"status": "ok", "variant": variant, "build_s": build_s, "setup_sampled": case.setup_s is not None}

    reference = spec["reference"]
    row["value"], row["first_value_s"] = timed(case.value, theta)
    row["value_difference"] = abs(row["value"] - reference.get("value", row["value"])) / max(1.0, abs(row["value"]))
    if not row["value_difference"] <= AGREE:
        yield {**row, "status": "disagrees", "message": f"value differs by {row['value_difference']:.1e}"}
        return
    found = times(case.value, theta, budget=spec["budget_s"], least=3 if row["first_value_s"] < 1 else 1)
    row["value_s"] = statistics.median(found)
    row["setup_s"] = build_s + max(0.0, row["first_value_s"] - row["value_s"])
    row |= {"value_repeats": len(found), "peak_rss": memory()["peak"]}
    if case.value_and_grad is None:
        row["grad_message"] = f"{w.n_params + 1} values"  # by differences
    yield row

    if case.value_and_grad is None:
        if "slope" not in reference and time.perf_counter() - begin + 4 * row["value_s"] < spec["limit_s"]:
            row["slope"] = slope(case.value, theta)
        yield row
        return
    left = spec["limit_s"] - (time.perf_counter() - begin)
    if not spec["gradient"] or left < 2 * row["value_s"]:  # no gradient takes less than two values
        yield {**row, "grad_message": f"over {spec['limit_s']:.0f} s"}
        return
    (row["value"], gradient), row["first_grad_s"] = timed(case.value_and_grad, theta)
    row |= compare_gradient(gradient, reference)
    if row["status"] != "ok":
        yield row
        return
    found = [row["first_grad_s"]]
    if found[0] < LONG_CALL:
        found = times(case.value_and_grad, theta, budget=spec["budget_s"], least=3 if found[0] < 1 else 1)
    row["grad_s"] = statistics.median(found)
    row["setup_s"] += max(0.0, row["first_grad_s"] - row["grad_s"])
    yield {
        **row,
        "grad_repeats": len(found),
        "omega_time": row["grad_s"] / row["value_s"],
        "peak_rss": memory()["peak"],
    }


def timed(function, theta: np.ndarray):
    start = time.perf_counter()
    answer = function(theta)
    return answer, time.perf_counter() - start


def direction(n_params: int) -> np.ndarray:
    d = np.random.default_rng(n_params).normal(size=n_params)
    return d / np.linalg.norm(d)


def slope(value, theta: np.ndarray, h: float = 3e-5) -> float:
    """The derivative along `direction` from four values, to fourth order: what a library without gradients says of others'."""
    d = direction(len(theta))
    near, far = (value(theta + k * h * d) - value(theta - k * h * d) for k in (1, 2))
    return (8 * near - far) / (12 * h)


def compare_gradient(gradient: np.ndarray, reference: dict) -> dict:
    """The gradient beside another library's, and beside the slope, as far as they are known."""
    row = {"gradient": gradient.tolist()}
    norm = float(np.linalg.norm(gradient))
    if "gradient" in reference:
        row["grad_difference"] = float(np.linalg.norm(gradient - reference["gradient"])) / norm
    if "slope" in reference:
        row["slope_difference"] = abs(float(gradient @ direction(len(gradient))) - reference["slope"]) / norm
    if not (row.get("grad_difference", 0.0) <= AGREE and row.get("slope_difference", 0.0) <= AGREE_SLOPE):
        row |= {"status": "disagrees", "message": "gradient differs"}
    return {"status": "ok", **row}


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
