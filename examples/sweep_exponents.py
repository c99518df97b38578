"""Rotations and copies of a whole gradient against M, for the three ways to read copies collectively.

Quantum backpropagation is run (null model of undisturbed copies, 3 seeds a size), on circuits near the identity whose
triggers settle as layers are added; log^2 M is divided out. The gentle sweep and the fully gentle strategy cost what
they claim to the last copy, so nothing needs to run; there log M is divided out, the union bound of max_error. Run

    python examples/sweep_exponents.py [--out FOLDER]

It prints the slopes beside the rates (1, 1.5, 3) and writes sweep_exponents.json and .png.
"""

import argparse
import json
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from quantum_backprop_accuracy import problem

from quprop.collective.engines.null import NullEngine
from quprop.gradients import FullyGentle, GentleSweep, ParameterShift, QuantumBackprop
from quprop.planning.measured.fit import fit_exponent

QUBITS, EPS, SEEDS = 4, 0.2, 3
SIZES = [64, 128, 256, 512, 1024, 2048, 4096]
RATES = {"quantum_backprop": 1.0, "gentle_sweep": 1.5, "parameter_shift": 2.0, "fully_gentle": 3.0}


def counts():
    """Per method: rotations and copies at every size, and what is divided out; triggers of quantum backpropagation."""
    out = {name: {"rotations": [], "copies": []} for name in RATES}
    out["quantum_backprop"]["triggers"] = []
    for m in SIZES:
        found = []
        for seed in range(SEEDS):
            model, theta = problem(QUBITS, m // (2 * QUBITS), seed)
            plan = QuantumBackprop(max_error=EPS, margin="soft", engine=NullEngine()).compile(model)
            found.append(plan.estimate(theta, None, seed))
        kinds = {"gentle_sweep": GentleSweep, "parameter_shift": ParameterShift, "fully_gentle": FullyGentle}
        costs = {name: [kind(max_error=EPS).compile(model).cost] for name, kind in kinds.items()}
        costs["quantum_backprop"] = [f.cost for f in found]
        for name, mine in costs.items():
            for what in ("rotations", "copies"):
                out[name][what].append(float(np.mean([getattr(c, what) for c in mine])))
        out["quantum_backprop"]["triggers"].append(float(np.mean([f.info["triggers"] for f in found])))
        print(f"M = {m:,}: {out['quantum_backprop']['triggers'][-1]:.1f} triggers", flush=True)
    return out


def exponents(found):
    """Slopes of rotations and copies in M with 95 % intervals, logarithms divided out, over all sizes and over those
    from M = 256 on, where triggers have settled."""
    sizes = np.array(SIZES, float)
    out = {}
    for name in RATES:
        logarithm = np.log(sizes) ** 2 if name == "quantum_backprop" else np.log(2 * sizes / 0.01)
        for what in ("rotations", "copies"):
            counted = np.array(found[name][what]) / logarithm
            for label, part in (("all", slice(None)), ("from M = 256", slice(2, None))):
                fit = fit_exponent(sizes[part], counted[part])
                out.setdefault(name, {}).setdefault(what, {})[label] = {
                    "slope": float(fit.value),
                    "interval": [float(fit.low), float(fit.high)],
                }
    return out


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("."), help="folder of the JSON file and the figure")
    out = parser.parse_args().out
    found = counts()
    slopes = exponents(found)
    for name, rate in RATES.items():
        for what in ("rotations", "copies"):
            line = ", ".join(
                f"{label}: {s['slope']:.3f} [{s['interval'][0]:.3f}, {s['interval'][1]:.3f}]"
                for label, s in slopes[name][what].items()
            )
            print(f"{name:16s} {what:9s} slope {line}  (rate {rate - (what == 'copies'):g})")
    data = {"qubits": QUBITS, "max_error": EPS, "seeds": SEEDS, "sizes": SIZES, "counts": found, "slopes": slopes}
    (out / "sweep_exponents.json").write_text(json.dumps(data, indent=1))

    figure = Figure(figsize=(9, 3.8), layout="constrained")
    for axes, what in zip(figure.subplots(1, 2), ("rotations", "copies"), strict=True):
        for name in RATES:
            slope = slopes[name][what]["all"]["slope"]
            axes.loglog(SIZES, found[name][what], "o-", markersize=4, label=f"{name.replace('_', ' ')}: {slope:.2f}")
        axes.set_xlabel("parameters M")
        axes.set_ylabel(f"{what} for one gradient within {EPS:g}")
        axes.legend(frameon=False, fontsize=7, title="slope without logarithms", title_fontsize=7)
    figure.savefig(out / "sweep_exponents.png", dpi=120)
    print(f"figure: {out / 'sweep_exponents.png'}")


if __name__ == "__main__":
    main()
