"""Draw the README's picture from `benchmarks/results/exact_gradients.json`: one gradient, every library.

python tools/speed_picture.py            # writes docs/pictures/speed.svg
"""

from __future__ import annotations

import io
import json
from pathlib import Path

from matplotlib import rc_context

from quprop.plots import panels

ROOT = Path(__file__).parent.parent
GREY = "#808890"  # is read on white and on black
WORKLOADS = {
    "hea-8": "hardware-efficient, 8 qubits",
    "hea-12": "hardware-efficient, 12 qubits",
    "hea-16": "hardware-efficient, 16 qubits",
    "hea-20": "hardware-efficient, 20 qubits",
    "hva-16": "Ising variational, 16 qubits",
    "hva-20": "Ising variational, 20 qubits",
    "qaoa-20": "QAOA, 20 qubits",
    "batch-8": "256 samples, 8 qubits",
    "uccsd-lih": "UCCSD of LiH, 12 qubits",
    "uccsd-h2o": "UCCSD of H₂O, 14 qubits",
}
LIBRARIES = {
    "quprop": ("quprop", "o", "#2f81f7"),
    "lightning": ("PennyLane Lightning, its C++ binding alone", "d", GREY),
    "lightning-qnode": ("PennyLane Lightning", "D", "#c58a00"),
    "mindquantum": ("MindQuantum", "s", "#c0504d"),
    "mindquantum-chem": ("MindQuantum, electron number kept", "s", "#e8a5a2"),
    "tensorcircuit": ("TensorCircuit-NG", "^", "#3f9b57"),
    "tensorcircuit-chem": ("TensorCircuit-NG, electron number kept", "^", "#9fd3ae"),
    "qulacs": ("Qulacs", "v", "#8d6cab"),
}


def times() -> dict[str, dict[str, float]]:
    """Milliseconds of a gradient in double precision, by workload and library."""
    rows = json.loads((ROOT / "benchmarks/results/exact_gradients.json").read_text(encoding="utf-8"))["rows"]
    found: dict[str, dict[str, float]] = {name: {} for name in WORKLOADS}
    for row in rows:
        if row["workload"] in found and row["precision"] == "double" and row["status"] == "ok":
            found[row["workload"]][row["library"]] = 1e3 * row["grad_s"]
    return found


def ratio(of: dict[str, float]) -> float:
    """The fastest peer's time over ours, the peer as its users call it; where Lightning's QNode was not timed its
    binding stands for it, to our disadvantage."""
    inner = () if "lightning-qnode" not in of else ("lightning",)
    return min(t for name, t in of.items() if name not in ("quprop", *inner)) / of["quprop"]


def draw() -> str:
    settings = {"svg.fonttype": "none", "svg.hashsalt": "quprop", "font.family": "sans-serif"}
    settings |= dict.fromkeys(("text.color", "xtick.color", "ytick.color", "axes.edgecolor", "axes.labelcolor"), GREY)
    found, text = times(), io.StringIO()
    with rc_context(settings):
        figure, (axes,) = panels(1, 9.2, 4.6)
        for name, (title, marker, colour) in LIBRARIES.items():
            x, y = zip(*[(of[name], -k) for k, of in enumerate(found.values()) if name in of], strict=True)
            axes.scatter(x, y, 60 if name == "quprop" else 26, colour, marker=marker, label=title, zorder=3)
        beside = {"transform": axes.get_yaxis_transform(), "va": "center", "weight": "bold"}
        for k, of in enumerate(found.values()):
            axes.plot([min(of.values()), max(of.values())], [-k, -k], color=GREY, linewidth=0.6, alpha=0.6)
            axes.text(1.01, -k, f"{ratio(of):.0f}×", color=LIBRARIES["quprop"][2], **beside)
        axes.set_xscale("log")
        axes.set_yticks([-k for k in range(len(found))], list(WORKLOADS.values()))
        axes.set_xlabel("value and exact gradient, milliseconds (at the right: the fastest peer's time over quprop's)")
        axes.spines[["top", "right", "left"]].set_visible(False)
        axes.tick_params(axis="y", length=0)
        axes.grid(axis="x", color=GREY, alpha=0.25, linewidth=0.6)
        figure.legend(frameon=False, fontsize=8, loc="outside lower center", ncols=3)
        figure.savefig(text, format="svg", transparent=True, metadata={"Date": None})
    return "".join(line.rstrip() + "\n" for line in text.getvalue().splitlines())


if __name__ == "__main__":
    target = ROOT / "docs/pictures/speed.svg"
    target.write_text(draw(), encoding="utf-8")
    print(target)
