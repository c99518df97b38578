"""Look for wrong gradients: every public way to one, over random programs that no test has seen.

    python tools/hunt.py --hours 2 --seed 1000000
    python tools/hunt.py --minutes 5 --seed 7 --ways native cut        # some ways only
    python tools/hunt.py --show 1234 --ways cut                        # one program, and what is said of it

The seeds of each way follow one another from --seed. One that fails goes into tests/kept_seeds.json, which the fast
tests replay: commit it with the mend. Seeds mean what tests/random_programs.py draws from them, so that after a change
of what is drawn the kept ones are other programs; a fault that matters gets a test of its own too.
"""

import argparse
import collections
import faulthandler
import json
import sys
import time
import traceback
import warnings
from pathlib import Path

TESTS = Path(__file__).resolve().parent.parent / "tests"
sys.path.insert(0, str(TESTS))

import library_ways  # noqa: E402, F401  adds its own to WAYS
import pytest  # noqa: E402
from gradient_ways import OPTIONS, WAYS  # noqa: E402
from random_programs import Case  # noqa: E402

KEPT = TESTS / "kept_seeds.json"
EVERY = 30.0  # seconds between lines of progress


def keep(name: str, seed: int) -> None:
    """Adds a seed to the file, whatever another hunt has added meanwhile."""
    kept = json.loads(KEPT.read_text())
    kept[name] = sorted({*kept.get(name, []), seed})
    lines = [f" {json.dumps(k)}: {json.dumps(v)}" for k, v in sorted(kept.items())]
    KEPT.write_text("{\n" + ",\n".join(lines) + "\n}\n")


def ask(name: str, seed: int) -> str | None:
    """What a way says of a program: None, or the sentence of its refusal."""
    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)  # NumPy's, of numbers that are none
        return WAYS[name](Case(seed, **OPTIONS[name]))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--hours", type=float, default=0.0)
    parser.add_argument("--minutes", type=float, default=0.0)
    parser.add_argument("--seed", type=int, default=int(time.time()), help="the first; by default the time")
    parser.add_argument("--ways", nargs="*", default=list(WAYS), metavar="WAY", choices=[*WAYS, []])
    parser.add_argument("--show", type=int, metavar="SEED", help="print one program and ask the ways about it")
    parser.add_argument("--dry", action="store_true", help="keep no seeds")
    given = parser.parse_args()
    faulthandler.enable()  # a crash in a kernel says where
    if given.show is not None:
        for name in given.ways:
            case = Case(given.show, **OPTIONS[name])
            print(f"{case.program}\ntheta {case.theta}\nx {case.x}\nweights {case.weights}\n{name}:", flush=True)
            print(ask(name, given.show) or "right")
        return 0
    start = last = time.monotonic()
    end = start + 3600 * given.hours + 60 * given.minutes
    right, refused, spent, asked = (collections.Counter() for _ in range(4))
    wrong: list[tuple[str, int]] = []
    ways = list(given.ways)
    while ways and time.monotonic() < end:
        name = min(ways, key=lambda name: spent[name])  # every way has the same share of the time
        seed, since = given.seed + asked[name], time.monotonic()
        asked[name] += 1
        try:
            refusal = ask(name, seed)
        except pytest.skip.Exception as reason:
            print(f"{name}: {reason}", flush=True)
            ways.remove(name)
            continue
        except Exception:
            print(f"WRONG  {name}, seed {seed}\n{traceback.format_exc(limit=-3)}", flush=True)
            wrong.append((name, seed))
            if not given.dry:
                keep(name, seed)
        else:
            (right if refusal is None else refused)[name] += 1
        spent[name] += time.monotonic() - since
        if time.monotonic() - last > EVERY:
            last = time.monotonic()
            print(f"{(last - start) / 60:.1f} min: {asked.total()} programs, {len(wrong)} wrong", flush=True)
    print(f"{'way':26} {'right':>7} {'refused':>8} {'wrong':>6} {'seconds':>8}")
    for name in given.ways:
        failed = sum(n == name for n, _ in wrong)
        print(f"{name:26} {right[name]:7} {refused[name]:8} {failed:6} {spent[name]:8.1f}")
    most = max(asked.values(), default=0)
    print(f"{asked.total()} programs, of {most} seeds from {given.seed} on, {len(wrong)} wrong")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
