"""Training through Carleman linearisation: what it takes, how far it is from plain descent.

    python benchmarks/carleman.py million     # 1,000,000 parameters, order 3: seconds a step, memory
    python benchmarks/carleman.py logistic    # 2,000 parameters, 200 steps, orders 1 to 8: error against plain descent
    python benchmarks/carleman.py digits      # the defaults of `quprop carleman train mlp`, seeds 0 to 4
    python benchmarks/carleman.py resnet32_4  # `quprop carleman analyse` of 7,451,044 parameters (minutes)

Each writes benchmarks/results/carleman_NAME.json with the record of where and when it ran.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from environment import environment

RESULTS = Path(__file__).parent / "results"
ORDER = 3
SEEDS = range(5)
LARGE = [
    *("--data", "digits32", "--set", "depth=32", "--set", "widen=4", "--set", "classes=100"),
    *("--samples", "8", "--lanczos", "16", "--probes", "1"),
]


def million() -> dict:
    """One step of order 3 of a network of 1,014,630 parameters on 256 samples against its plain gradient, in turn, both
    with the same threads. Processor seconds are kept too: they do not count what else the machine does."""
    import torch
    from torch import nn

    from quprop.carleman import from_torch
    from quprop.carleman.engines.lift import lift

    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(64, 970), nn.Tanh(), nn.Linear(970, 970), nn.Tanh(), nn.Linear(970, 10)).double()
    data = torch.randn(256, 64).double(), torch.randint(0, 10, (256,))
    rows = []
    for threads in (1, 2):
        torch.set_num_threads(threads)
        run = from_torch(net, nn.CrossEntropyLoss(), data, learning_rate=0.1, order=ORDER)
        start = 1e-3 * np.random.default_rng(0).normal(size=run.dimension)
        state = lift(run, start, ORDER, "jets")
        clock: dict[str, list] = {"plain": [], "jets": []}
        for repeat in range(8):
            for name, work in (("plain", lambda run=run: run[0].gradient(run[0].at)), ("jets", state.step)):
                began = time.perf_counter(), time.process_time()
                work()
                if repeat:  # the first one warms up
                    clock[name].append((time.perf_counter() - began[0], time.process_time() - began[1]))
        plain, jets = (np.median(clock[name], axis=0) for name in ("plain", "jets"))
        rows.append(
            {
                "threads": threads,
                "plain_seconds": plain[0],
                "step_seconds": jets[0],
                "ratio": jets[0] / plain[0],
                "processor_ratio": jets[1] / plain[1],
                "plain_all": [t for t, _ in clock["plain"]],
                "step_all": [t for t, _ in clock["jets"]],
            }
        )
        print(f"{threads} threads: gradient {plain[0]:.3f} s, step {jets[0]:.3f} s, ratio {jets[0] / plain[0]:.2f}")
    return {"parameters": run.dimension, "order": ORDER, "samples": 256, "allowed_ratio": 8 * ORDER, "rows": rows}


def logistic() -> dict:
    """Ridge logistic regression, started 0.5 from its minimum: relative error against plain descent after 200 steps."""
    from quprop.carleman.maps.convergence import error_against_order, logistic_run

    run = logistic_run(spread=0.5)
    rows = []
    for order in (1, 2, 3, 4, 6, 8):
        began = time.perf_counter(), time.process_time()
        found = error_against_order(run.dynamics, run.start, (order,), 200, engine="jets", origin=run.origin)[0]
        spent = time.perf_counter() - began[0], time.process_time() - began[1]
        rows.append({"order": order, "error": found.relative, "seconds": spent[0], "processor_seconds": spent[1]})
        print(f"order {order}: error {found.relative:.2e}, {spent[0]:.2f} s")
    return {"parameters": len(run.start), "steps": 200, "asked": 1e-6, "rows": rows}


def digits() -> dict:
    """The defaults of `quprop carleman train mlp --data digits`, one run a seed."""
    rows = []
    for seed in SEEDS:
        found = _command("train", "mlp", "--data", "digits", "--seed", str(seed))
        kept = ("accuracy", "plain_accuracy", "twin_accuracy", "reuploads", "relative_error", "update_error", "drift")
        rows.append({"seed": seed, "below_plain": found["plain_accuracy"] - found["accuracy"]})
        rows[-1] |= {
            name: found[name] for name in (*kept, "queries", "copies", "seconds_of_command", "processor_seconds")
        }
        rows[-1] |= {"block_lengths": [b["block_length"] for b in found["blocks"]]}
        print(f"seed {seed}: accuracy {found['accuracy']:.4f}, plain descent {found['plain_accuracy']:.4f}")
    return {"median_below_plain": float(np.median([r["below_plain"] for r in rows])), "asked": 0.01, "rows": rows}


def resnet32_4() -> dict:
    """Spectrum, proxy, block length and price of the authors' ResNet-32, widen 4, with 100 outputs, on digits drawn in
    CIFAR's shape."""
    return _command("analyse", "resnet", *LARGE)


def _command(*arguments: str) -> dict:
    """The JSON of a `quprop carleman` command, with its time and the peak memory of the commands so far."""
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "found.json"
        command = [sys.executable, "-m", "quprop.cli", "carleman", *arguments, "--quiet", "--json", str(target)]
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        began = time.perf_counter()
        subprocess.run(command, check=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        found: dict = json.loads(target.read_text())
    return found | {
        "command": "quprop carleman " + " ".join(arguments),
        "seconds_of_command": time.perf_counter() - began,
        "processor_seconds": after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime,
        "peak_memory_bytes": 1024 * after.ru_maxrss,
    }


QUESTIONS = {"million": million, "logistic": logistic, "digits": digits, "resnet32_4": resnet32_4}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="+", choices=QUESTIONS, metavar="NAME", help=", ".join(QUESTIONS))
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder of carleman_NAME.json")
    given = parser.parse_args()
    for name in given.names:
        record = environment({"quprop": sys.executable})
        found = QUESTIONS[name]()
        peak = 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        result = {"question": QUESTIONS[name].__doc__, "environment": record, "peak_memory_bytes": peak} | found
        target = given.out / f"carleman_{name}.json"
        target.write_text(json.dumps(result, indent=1) + "\n")
        print(target)


if __name__ == "__main__":
    main()
