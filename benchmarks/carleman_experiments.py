"""The experiments of `quprop carleman experiment`, with the record of where and when they ran.

    python benchmarks/carleman_experiments.py                        # all
    python benchmarks/carleman_experiments.py scaling burgers
    python benchmarks/carleman_experiments.py full_size              # hours, on which it goes where it was stopped

Writes NAME.json, and with --figures NAME.png, into benchmarks/results/carleman.
"""

from __future__ import annotations

import argparse
import resource
import sys
import time
from pathlib import Path

from environment import environment

from quprop.experiments.networks import EXPERIMENTS, full_size_in
from quprop.runs import write_json

RESULTS = Path(__file__).parent / "results" / "carleman"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(EXPERIMENTS)}; default: all")
    parser.add_argument("--quick", action="store_true", help="fewer and smaller cases")
    parser.add_argument("--folder", type=Path, help="of CIFAR-100, for full_size; default: drawn characters")
    parser.add_argument("--runs", type=Path, default=Path("runs/full_size"), help="pieces of full_size")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--figures", action="store_true", help="draw NAME.png too")
    given = parser.parse_args()
    unknown = [name for name in given.names if name not in EXPERIMENTS]
    if unknown:
        parser.error(f"names are {', '.join(EXPERIMENTS)}")
    given.out.mkdir(parents=True, exist_ok=True)
    for name in given.names or EXPERIMENTS:
        experiment = EXPERIMENTS[name]
        run = full_size_in(given.runs, given.folder) if name == "full_size" else experiment.run
        record = environment({"quprop": sys.executable})
        start = time.perf_counter(), time.process_time()
        result = run(given.quick, given.seed, lambda done, total, what: print(f"\r{done}/{total} {what:50}", end=""))
        result |= {"experiment": name, "claim": experiment.claim, "source": experiment.source}
        result |= {"quick": given.quick, "seed": given.seed, "environment": record}
        result["seconds"] = round(time.perf_counter() - start[0], 1)
        result["cpu_seconds"] = round(time.process_time() - start[1], 1)
        result["peak_memory_bytes"] = 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        target = given.out / name
        write_json(target.with_suffix(".json"), result)
        if given.figures:
            target.with_suffix(".png").write_bytes(experiment.draw(result))
        print(f"\r{name}: {result['seconds']} s, {result['cpu_seconds']} s of processor{'':40}")
        for finding in result["findings"]:
            print(f"- {finding}")


if __name__ == "__main__":
    main()
