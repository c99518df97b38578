"""Fuzz what quprop reads: python tools/fuzz.py --minutes 2 --seed 0 [--format qasm2 ...] [--inputs N] [--first N]

The minutes are shared by the formats; --inputs is for each of them. Inputs that were neither refused in one sentence
nor read as something that works go into tests/corpus, which the tests replay; then the exit status is 1. The same seed
has the same inputs as long as grammar and corpus stay; --first goes on where an earlier call stopped.
"""

import argparse
import os
import sys
from pathlib import Path

for threads in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ.setdefault(threads, "1")
sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))

from formats import FORMATS  # noqa: E402
from fuzzing import fuzz, keep  # noqa: E402


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--minutes", type=float, default=2.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--inputs", type=int, default=1 << 62)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--format", action="append", choices=list(FORMATS))
    parser.add_argument("--keep", action=argparse.BooleanOptionalAction, default=True, help="findings, in the corpus")
    given = parser.parse_args()
    names = given.format or list(FORMATS)
    found = 0
    for name in names:
        limit = 60 * given.minutes / len(names)
        out = fuzz(name, FORMATS[name], given.seed, seconds=limit, inputs=given.inputs, first=given.first)
        share = out.accepted / max(out.tried, 1)
        rate = out.tried / max(out.seconds, 1e-9)
        print(f"{name:12} {out.tried:9,} inputs, {rate:7.1f}/s, {share:4.0%} accepted, {len(out.findings)} findings")
        for kind, (data, text) in out.findings.items():
            place = keep(name, FORMATS[name], data) if given.keep else f"{data[:300]!r}"
            print(f"  {out.times[kind]} times {kind}: {place}\n    {text.strip().splitlines()[-1][:300]}")
        found += len(out.findings)
        sys.stdout.flush()
    return int(found > 0)


if __name__ == "__main__":
    sys.exit(main())
