"""The largest cut of a graph by QAOA, from an edge list or the marriages of Florentine families.

The loss is minus the expected cut, -sum_ij w_ij (1 - <Z_i Z_j>) / 2, so that energies are minimised as everywhere else.
"""

from __future__ import annotations

from importlib import resources
from pathlib import Path

import numpy as np

from quprop import simulate
from quprop.errors import QupropError
from quprop.files import MOST_TYPED, read_text
from quprop.model import Model
from quprop.model.ansatz import qaoa
from quprop.model.pauli import PauliString, PauliSum
from quprop.problems.config import Config, Setting, shown
from quprop.problems.energies import circuit, model_settings
from quprop.problems.spec import Params, Problem, Spec, train_settings
from quprop.simulate.distributed.serve import leading
from quprop.training.losses import Expectation

EXACT_VERTICES = 26  # the best cut is found by trying all of them up to here
SHOTS = 1024  # cuts sampled from the trained circuit, of which the best is reported

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


def best_cut(n: int, edges: Edges) -> float:
    """The largest cut, by trying all 2^(n-1) in blocks of 2^20."""
    best = 0.0
    for first in range(0, 2 ** (n - 1), 2**20):
        side = np.arange(first, min(first + 2**20, 2 ** (n - 1)))
        cut = np.zeros(len(side))
        for a, b, weight in edges:
            cut += weight * ((side >> a ^ side >> b) & 1)
        best = max(best, float(cut.max()))
    return best


def build(config: Config) -> Problem:
    file = config["problem"]["file"]
    names, edges = read_edges(Path(file) if file else None)
    n = len(names)
    layers = config["model"]["layers"]
    minus_cut: dict[PauliString, float] = {PauliString(0, 0): -sum(w for _, _, w in edges) / 2}
    minus_cut |= {PauliString(0, 1 << a | 1 << b): w / 2 for a, b, w in edges}
    wanted = circuit(config, n, {"qaoa": lambda n, layers: qaoa(n, edges, layers)})
    model = Model(wanted, PauliSum(minus_cut))
    reference: dict[str, object] = {"vertices": n, "edges": len(edges)}
    if n <= EXACT_VERTICES:
        reference |= {"reference_energy": -best_cut(n, edges), "reference_name": "exact (all cuts tried)"}
    else:
        reference |= {"reference_name": f"none (all cuts are tried up to {EXACT_VERTICES} vertices)"}

    def start(rng: np.random.Generator) -> Params:
        if config["model"]["ansatz"] == "qaoa" and not config["model"]["gates"]:
            # The linear ramp that good angles are known to resemble: Zhou et al., Phys. Rev. X 10, 021067 (2020).
            ramp = (np.arange(layers) + 0.5) / max(layers, 1)
            theta = np.concatenate([0.7 * ramp, 0.7 * (1 - ramp)])
            return {"theta": theta + 0.01 * rng.normal(size=theta.size)}
        return {"theta": 0.1 * rng.normal(size=model.n_params)}

    def judge(params: Params, loss: float, metrics: dict[str, float]) -> dict[str, object]:
        leader, train = leading(), config["train"]
        how = {} if leader is None else {"engine": leader.engine(train["precision"])}
        bits = np.asarray(simulate.samples(model, params["theta"], shots=SHOTS, rng=train["seed"], **how)).astype(int)
        cuts = sum(w * (bits[:, a] ^ bits[:, b]) for a, b, w in edges)
        chosen = bits[int(np.argmax(cuts))]
        exact = reference.get("reference_energy")
        return {
            "energy": loss,
            "energy_error": None if exact is None else loss - exact,  # type: ignore[operator]
            "expected_cut": -loss,
            "sampled_cut": float(np.max(cuts)),
            "best_cut": None if exact is None else -exact,  # type: ignore[operator]
            "approximation_ratio": None if not exact else loss / exact,  # type: ignore[operator]
            "one_side": [name for name, bit in zip(names, chosen, strict=True) if bit == chosen[0]],
        }

    return Problem(model, Expectation(), start, reference=reference, judge=judge, circuit=wanted)


SPEC = Spec(
    "largest cut of a graph from an edge list, by QAOA",
    {
        "problem": {
            "name": Setting("maxcut", "this problem"),
            "file": Setting("", "edge list, lines `u v [weight]`; empty takes the Florentine families"),
        },
        "model": model_settings("qaoa", 6),
        "train": train_settings(optimiser="lbfgs", learning_rate=0.05, steps=300),
    },
    build,
)
