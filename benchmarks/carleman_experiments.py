"""The experiments of `quprop carleman experiment`, with the record of where and when they ran.

    python benchmarks/carleman_experiments.py                        # all, a few minutes
    python benchmarks/carleman_experiments.py scaling burgers
    python benchmarks/carleman_experiments.py spectra --full-size --quick   # ResNet-32, widen 4, on digits

Writes NAME.json, and with --figures NAME.png, into benchmarks/results/carleman.
"""

from __future__ import annotations

import argparse
import resource
import sys
import time
from pathlib import Path

from environment import environment

from quprop.experiments.networks import EXPERIMENTS, spectra_at_full_size
from quprop.runs import write_json

RESULTS = Path(__file__).parent / "results" / "carleman"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(EXPERIMENTS)}; default: all")
    parser.add_argument("--quick", action="store_true", help="fewer and smaller cases")
    parser.add_argument("--full-size", action="store_true", help="spectra: ResNet-32, widen 4")
    parser.add_argument("--folder", type=Path, help="of CIFAR-100, for --full-size; default: digits")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--figures", action="store_true", help="draw NAME.png too")
    given = parser.parse_args()
    unknown = [name for name in given.names if name not in EXPERIMENTS]
    if unknown or (given.full_size and given.names != ["spectra"]):
        parser.error(f"names are {', '.join(EXPERIMENTS)}, and --full-size goes with spectra alone")
    given.out.mkdir(parents=True, exist_ok=True)
    for name in given.names or EXPERIMENTS:
        experiment = EXPERIMENTS[name]
        run = spectra_at_full_size(given.folder) if given.full_size else experiment.run
        record = environment({"quprop": sys.executable})
        start = time.perf_counter(), time.process_time()
        result = run(given.quick, given.seed, lambda done, total, what: print(f"\r{done}/{total} {what:50}", end=""))
        result |= {"experiment": name, "claim": experiment.claim, "source": experiment.source}
        result |= {"quick": given.quick, "seed": given.seed, "environment": record}
        result["seconds"] = round(time.perf_counter() - start[0], 1)
        result["cpu_seconds"] = round(time.process_time() - start[1], 1)
        result["peak_memory_bytes"] = 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        target = given.out / (f"{name}_full_size" if given.full_size else name)
        write_json(target.with_suffix(".json"), result)
        if given.figures:
            target.with_suffix(".png").write_bytes(experiment.draw(result))
        print(f"\r{name}: {result['seconds']} s, {result['cpu_seconds']} s of processor{'':40}")
        for finding in result["findings"]:
            print(f"- {finding}")


if __name__ == "__main__":
    main()
