"""The largest cut of a graph by QAOA, from an edge list or the marriages of Florentine families.

The loss is minus the expected cut, -sum_ij w_ij (1 - <Z_i Z_j>) / 2, so that energies are minimised as everywhere else.
"""

from __future__ import annotations

from dataclasses import replace
from importlib import resources
from pathlib import Path

import numpy as np

from quprop.errors import QupropError
from quprop.files import MOST_TYPED, read_text
from quprop.model.ansatz import qaoa
from quprop.model.pauli import PauliString, PauliSum
from quprop.problems import combinatorial
from quprop.problems.config import Config, Setting, shown
from quprop.problems.published_angles import of_pairs
from quprop.problems.spec import Problem, Spec, train_settings

Edges = list[tuple[int, int, float]]


def read_edges(path: Path | None) -> tuple[list[str], Edges]:
    """Vertex names and edges from lines ``u v [weight]``; ``#`` starts a comment. None: the Florentine families.

    Those are the 20 marriages among 15 families of Renaissance Florence (Padgett; Breiger and Pattison, Social Networks
    8, 215 (1986)).
    """
    source = resources.files("quprop.problems") / "data" / "florentine.txt" if path is None else path
    try:
        lines = (source.read_text(encoding="utf-8") if path is None else read_text(path, MOST_TYPED)).splitlines()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "not a text file"
        raise QupropError(
            f"the edge list {source} cannot be read ({reason}): give a text file of lines `u v [weight]`"
        ) from None
    names: dict[str, int] = {}
    edges: dict[tuple[int, int], float] = {}
    for number, line in enumerate(lines, 1):
        words = line.split("#")[0].split()
        if not words:
            continue
        where = f"{source}, line {number}"
        if len(words) not in (2, 3):
            raise QupropError(f"{where}: an edge is `u v` or `u v weight`, got {shown(line.strip())}")
        try:
            weight = float(words[2]) if len(words) == 3 else 1.0
        except ValueError:
            weight = np.nan
        if not np.isfinite(weight):
            raise QupropError(f"{where}: a weight must be a finite number, got {shown(words[2])}")
        if words[0] == words[1]:
            raise QupropError(
                f"{where}: an edge joins two vertices, got {shown(words[0])} twice: leave the loop out, no cut cuts it"
            )
        a, b = (names.setdefault(word, len(names)) for word in words[:2])
        if (min(a, b), max(a, b)) in edges:
            raise QupropError(
                f"{where}: the edge {shown(words[0])} {shown(words[1])} is listed twice: keep one line, with the sum "
                "of the weights"
            )
        edges[min(a, b), max(a, b)] = weight
    if not edges:
        raise QupropError(f"{source} holds no edge: give lines `u v [weight]`")
    return list(names), [(a, b, weight) for (a, b), weight in edges.items()]


def minus_cut(edges: Edges) -> PauliSum:
    """-sum w_ij (1 - Z_i Z_j) / 2."""
    total: dict[PauliString, float] = {PauliString(0, 0): -sum(w for _, _, w in edges) / 2}
    return PauliSum(total | {PauliString(0, 1 << a | 1 << b): w / 2 for a, b, w in edges})


def best_cut(n: int, edges: Edges) -> float:
    """The largest cut, by trying all 2^(n-1)."""
    return -combinatorial.extremes(minus_cut(edges), n).lowest


def build(config: Config) -> Problem:
    file = config["problem"]["file"]
    names, edges = read_edges(Path(file) if file else None)
    n, cost = len(names), minus_cut(edges)

    def told(bits: np.ndarray, value: float) -> dict[str, object]:
        one = [name for name, bit in zip(names, bits, strict=True) if bit == bits[0]]
        return {"sampled_cut": -value, "one_side": one}

    made = combinatorial.problem(
        config,
        cost,
        n,
        lambda: {"vertices": n, "edges": len(edges)} | combinatorial.reference(cost, n, "cuts"),
        told=told,
        own=lambda n, layers: qaoa(n, edges, layers),
        scale=float(np.sqrt(np.mean([w * w for _, _, w in edges]))) or 1.0,
        published=lambda layers: of_pairs(cost, layers),
    )
    if "reference_energy" in made.reference:
        made.reference["best_cut"] = -made.reference["reference_energy"]
    judged = made.judge
    assert judged is not None
    return replace(made, judge=lambda *found: judged(*found) | {"expected_cut": -found[1]})


SPEC = Spec(
    "largest cut of a graph from an edge list, by QAOA",
    {
        "problem": {
            "name": Setting("maxcut", "this problem"),
            "file": Setting("", "edge list, lines `u v [weight]`; empty takes the Florentine families"),
        },
        "model": combinatorial.settings(6),
        "train": train_settings(optimiser="lbfgs", learning_rate=0.05, steps=300),
    },
    build,
)
