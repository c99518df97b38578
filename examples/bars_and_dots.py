"""Bars against dots: what a circuit with commuting generators saves in shots.

The experiment of Bowles, Wierichs, Park (Quantum 9, 1873 (2025), arXiv:2306.14962, figure 6), with any of its models
and any number of trials; `quprop.experiments.bars_and_dots` says what is trained and how shots are counted.

    python examples/bars_and_dots.py --trials 2                    # some minutes; prints and draws
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

from quprop.experiments import bars_and_dots
from quprop.runs import versions, write_atomically, write_json
from quprop.runs.progress import STEPS, Progress, plain_console


def report(found: dict[str, dict]) -> list[str]:
    goal = f"shots to {bars_and_dots.WANTED:.2f}"
    lines = [f"{'':14}{'params':>7}{'rotations':>10}{'circuits':>9}{'shots/step':>11}{'accuracy':>9}{goal:>14}"]
    for name, r in found.items():
        total = "not reached" if r["shots_to_wanted"] is None else f"{r['shots_to_wanted']:.2e}"
        lines.append(
            f"{name:14}{r['params']:7}{r['rotations']:10}{r['circuits']:9}{r['shots_a_step']:11.2e}"
            f"{r['accuracy']:9.3f}{total:>14}"
        )
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--trials", type=int, default=2, help="runs of each model; the paper has 20")
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--every", type=int, default=10, help="steps between tests of the accuracy")
    known = ", ".join(bars_and_dots.MODELS)
    parser.add_argument("--models", default="commuting,non_commuting,separable", help=f"of {known}")
    parser.add_argument("--out", type=Path, default=Path("runs/bars_and_dots"))
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    found: dict[str, dict] = {}
    names, each = given.models.split(","), given.trials * given.steps
    with Progress(plain_console(), STEPS, "steps") as progress:
        for k, name in enumerate(names):
            start = time.perf_counter()

            def tell(step: int, k: int = k, name: str = name) -> None:
                progress(k * each + step, len(names) * each, name)

            found[name] = bars_and_dots.measured(name, given.trials, given.steps, given.seed, tell, given.every)
            print(f"{name}: accuracy {found[name]['accuracy']:.2f}, {time.perf_counter() - start:.0f} s", flush=True)
    print("\n".join(report(found)))
    if found.keys() >= {"commuting", "non_commuting"}:
        one, other = found["commuting"], found["non_commuting"]
        print(
            f"a step without commuting generators: {other['circuits'] / one['circuits']:.0f} times the circuits, "
            f"{other['shots_a_step'] / one['shots_a_step']:.0f} times the shots "
            f"({other['guaranteed_a_step'] / one['guaranteed_a_step']:.0f} times if guaranteed)"
        )
    write_json(given.out / "result.json", {"settings": vars(given), "models": found, "versions": versions()})
    write_atomically(given.out / "bars_and_dots.png", bars_and_dots.draw({"models": found}))
    print(json.dumps({"written to": str(given.out)}))


if __name__ == "__main__":
    main()
