"""How long may a block run? The verdict of `quprop carleman analyse` against plain descent by torch alone.

The verdict is where the measured truncation error of the survivors' update passes 1 %. Here that error is found again
without any of its code: jets cut at order N keep the first N powers of s in descent driven by s times its first
gradient,

    u' = u - eta (grad L(theta_0 + u) - (1 - s) grad L(theta_0)),

so plain descents at a few s and a polynomial through them give the truncated update, and s = 1 is plain descent itself.
The exact tower, another truncation of the same order, is a second witness where it is affordable. Where the verdict
took some of the samples, all are taken here. Beside it stands the error proxy, which knows nothing of the truncation,
and for networks small enough that the norms of all step matrices are exact, what can be proved.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np

from quprop.carleman.networks.torch_extra import load_torch
from quprop.experiments.experiment import LIU, Experiment, Progress, Result, drawn, silent

TOLERANCE, LONGEST, FACTOR = 0.01, 100, 1.5
NODES, REACH = 9, 0.35  # values of s, and how far from 0
LARGE = 20_000  # parameters from which on plain descents end soon after the verdict


class NetworkCase(NamedTuple):
    name: str
    network: str
    data: str
    rate: float
    warm_up: int = 0
    sparsity: float = 0.9
    order: int = 3
    settings: Mapping[str, Any] = MappingProxyType({})


HERE = "quprop.experiments.networks.verdicts:transformer"
CASES = (
    NetworkCase("logistic, wine", "logistic", "wine", 0.1, sparsity=0.0),
    NetworkCase("logistic, digits, rate 0.5", "logistic", "digits", 0.5, sparsity=0.0),
    NetworkCase("deep linear, digits", "deep-linear", "digits", 0.1, sparsity=0.0),
    NetworkCase("deep linear, iris", "deep-linear", "iris", 0.1, sparsity=0.0, settings={"layers": 2, "width": 3}),
    NetworkCase("MLP, digits", "mlp", "digits", 0.1),
    NetworkCase("MLP, digits, 200 steps", "mlp", "digits", 0.5, 200),
    NetworkCase("MLP, digits, softplus, 200 steps", "mlp", "digits", 0.1, 200, settings={"activation": "softplus"}),
    NetworkCase("MLP, breast cancer", "mlp", "breast_cancer", 0.1),
    NetworkCase("MLP, breast cancer, order 2", "mlp", "breast_cancer", 0.5, 200, order=2),
    NetworkCase("MLP, breast cancer, softplus", "mlp", "breast_cancer", 0.1, settings={"activation": "softplus"}),
    NetworkCase("CNN, digits", "resnet", "digits", 0.1, settings={"depth": 8}),
    NetworkCase("transformer, digits", HERE, "digits", 0.1),
    NetworkCase("transformer, digits, 200 steps", HERE, "digits", 0.1, 200),
)
QUICK = (
    NetworkCase("logistic, iris", "logistic", "iris", 0.5, sparsity=0.0),
    NetworkCase("deep linear, iris", "deep-linear", "iris", 0.2, sparsity=0.0, settings={"layers": 2, "width": 2}),
    NetworkCase("MLP, iris, order 2", "mlp", "iris", 0.3, 20, 0.5, 2, {"hidden": [4]}),
)


def transformer(input_shape: tuple[int, ...], classes: int, width: int = 16, heads: int = 2) -> Any:
    """One block of self-attention over the rows of an image, which are its tokens, before a linear head."""
    torch = load_torch("a transformer")
    nn, rows, columns = torch.nn, input_shape[-2], input_shape[-1]

    class Transformer(nn.Module):  # type: ignore[name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.embed, self.place = nn.Linear(columns, width), nn.Parameter(0.1 * torch.randn(rows, width))
            self.first, self.second = nn.LayerNorm(width), nn.LayerNorm(width)
            self.query, self.key, self.value, self.out = (nn.Linear(width, width) for _ in range(4))
            self.up, self.down, self.head = nn.Linear(width, 32), nn.Linear(32, width), nn.Linear(width, classes)

        def forward(self, x: Any) -> Any:
            x = self.embed(x.reshape(-1, rows, columns)) + self.place
            h = self.first(x)
            q, k, v = (
                f(h).reshape(-1, rows, heads, width // heads).transpose(1, 2)
                for f in (self.query, self.key, self.value)
            )
            scores = torch.matmul(q, k.transpose(-2, -1)) / (width // heads) ** 0.5
            mixed = torch.matmul(torch.softmax(scores, -1), v).transpose(1, 2).reshape(-1, rows, width)
            x = x + self.out(mixed)
            x = x + self.down(torch.tanh(self.up(self.second(x))))
            return self.head(x.mean(1))

    return Transformer()


def errors_of_plain_descents(
    network: Any, kept: np.ndarray, data: tuple[Any, Any], rate: float, order: int, steps: int, stop: float
) -> np.ndarray:
    """Truncation errors (steps + 1,) of the update by plain descents alone (see the top of this file), from the
    network's present parameters; up to the first above `stop`."""
    torch = load_torch("plain descent")
    parameters = list(network.module.parameters())
    theta, where = network.parameters(), torch.as_tensor(kept)

    def slope(u: np.ndarray) -> np.ndarray:
        moved = theta.copy()
        moved[kept] += u
        network.set_parameters(moved)
        total: Any = 0.0
        for x, y in zip(data[0].split(512), data[1].split(512), strict=True):
            found = torch.autograd.grad(network.loss(network.module(x), y), parameters)
            total = total + torch.cat([g.reshape(-1) for g in found])[where] * (len(x) / len(data[0]))
        return total.numpy() + network.weight_decay * moved[kept]

    at = REACH * np.cos((2 * np.arange(NODES) + 1) * np.pi / (2 * NODES))
    at = np.append(at[np.abs(at) > 1e-12], 1.0)  # u = 0 at s = 0
    force, u, errors = slope(np.zeros(len(kept))), np.zeros((len(at), len(kept))), [0.0]
    inverse = np.linalg.inv(at[:-1, None] ** np.arange(1, len(at)))[:order]
    for _ in range(steps):
        u = np.array([v - rate * (slope(v) - (1 - s) * force) for s, v in zip(at, u, strict=True)])
        truncated = (inverse @ u[:-1]).sum(axis=0)
        errors.append(float(np.linalg.norm(truncated - u[-1]) / np.linalg.norm(u[-1])))
        if not errors[-1] <= stop:
            break
    network.set_parameters(theta)
    return np.array(errors)


def tower_errors(network: Any, kept: np.ndarray, data: Any, rate: float, order: int, steps: int) -> np.ndarray | None:
    """The same of the exact tower beside plain descent by torch: in low rank at order 2, else with all step matrices
    written down, where they can be."""
    from quprop.carleman.engines.lift import lift, march
    from quprop.carleman.maps.dynamics import Dynamics
    from quprop.carleman.maps.gains import step_polynomial
    from quprop.carleman.networks.plain import descend
    from quprop.carleman.spectra.survivors import survivors_dynamics

    if order == 2:
        dynamics = survivors_dynamics(network, kept, [data], learning_rate=rate, order=2)
    else:
        step = step_polynomial(network, [data], rate, kept)
        if step is None:
            return None
        dynamics = Dynamics(step)
    theta, mask = network.parameters(), np.isin(np.arange(network.n_parameters), kept)
    state = lift(dynamics, np.zeros(len(kept)), order, "low_rank" if order == 2 else "symmetric")
    moved, errors = theta, [0.0]
    for _ in range(steps):
        moved = descend(network, moved, [data], 1, rate, mask)
        u = (moved - theta)[kept]
        errors.append(float(np.linalg.norm(march(state, 1).estimate - u) / np.linalg.norm(u)))
    network.set_parameters(theta)
    return np.array(errors)


def crossing(errors: np.ndarray, tolerance: float = TOLERANCE) -> int:
    """Steps before the first error above the tolerance."""
    above = np.flatnonzero(~(errors <= tolerance))
    return int(above[0]) - 1 if len(above) else len(errors) - 1


def measured(case: NetworkCase, seed: int, longest: int = LONGEST) -> dict[str, Any]:
    """One row: verdicts, what they are worth, and the errors of both witnesses."""
    from quprop.carleman.loop_report import analysis_report
    from quprop.carleman.networks import networks
    from quprop.carleman.networks.data import load
    from quprop.carleman.networks.prune import global_mask

    data = load(case.data)
    network = networks.make(case.network, data.input_shape, data.classes, seed=seed, **case.settings)
    report = analysis_report(
        network,
        data,
        seed,
        learning_rate=case.rate,
        order=case.order,
        warm_up=case.warm_up,
        sparsity=case.sparsity,
        longest=longest,
        tolerance=TOLERANCE,
        samples=256,
        lanczos_steps=24,
    )
    kept = np.flatnonzero(global_mask(network.module, case.sparsity).kept)
    verdict, old = report["block_length"], min(longest, max(1, report["proxy_block_length"]))
    steps = min(longest, max(old, int(1.6 * verdict) + 2))
    far = np.inf if network.n_parameters < LARGE else 2 * TOLERANCE
    errors = errors_of_plain_descents(network, kept, data.train(), case.rate, case.order, steps, far)
    row: dict[str, Any] = {
        "network": case.name,
        "parameters": report["parameters"],
        "kept": report["kept"],
        "order": case.order,
        "kind": report["kind"],
        "growth": report["growth"],
        "proxy": old,
        "verdict": verdict,
        "engine": report["truncation"]["engine"],
        "samples": report["truncation"]["samples"],
        "range": report["truncation"]["length_range"],
        "proved": report["truncation"]["bound_length"] if report["bound_by"] == "proof" else None,
        "measured": crossing(errors),
        "error_at_verdict": float(errors[verdict]) if verdict < len(errors) else None,
        "error_at_proxy": float(errors[old]) if old < len(errors) and np.isfinite(errors[old]) else None,
        "errors": [float(e) if np.isfinite(e) else None for e in errors],
    }
    tower = tower_errors(network, kept, data.train(), case.rate, case.order, steps)
    if tower is not None:
        row["tower"] = crossing(tower)
    return row


def off(row: dict[str, Any]) -> float:
    """The factor by which the verdict is off the witness that is farthest from it."""
    witnesses = [row["measured"], *([row["tower"]] if row.get("tower") is not None else [])]
    return max(max(row["verdict"] / max(w, 1), max(w, 1) / row["verdict"]) for w in witnesses)


def criteria(quick: bool, seed: int) -> list[dict[str, Any]]:
    """What each criterion allows a network whose step matrices are all known, at three stages of its training: steps
    whose update is within 1 %, or whether it promises all times."""
    from quprop.carleman.maps.dynamics import Dynamics
    from quprop.carleman.maps.gains import step_polynomial
    from quprop.carleman.maps.lyapunov import best_norm
    from quprop.carleman.maps.radius import convergence_radius, finite_time_bound, level_bound
    from quprop.carleman.networks import networks
    from quprop.carleman.networks.data import load
    from quprop.carleman.networks.plain import descend
    from quprop.carleman.truncation import measure
    from quprop.errors import QupropError

    data, rate, order = load("iris"), 0.1, 3
    rows = []
    for warm_up in (0, 500) if quick else (0, 500, 20_000):
        network = networks.make("deep-linear", data.input_shape, data.classes, seed=seed, layers=2, width=2)
        network.set_parameters(descend(network, network.parameters(), [data.train()], warm_up, rate))
        step = step_polynomial(network, [data.train()], rate)
        assert step is not None
        gains = step.norms()
        run = measure(Dynamics(step), order, LONGEST, TOLERANCE, engine="symmetric", stop=False)
        bounds = {
            "geometric": finite_time_bound(gains, 0.0, order, LONGEST),
            "by level": level_bound(gains, 0.0, order, LONGEST),
        }
        try:
            best: Any = best_norm([step.matrix(k).toarray() for k in range(len(gains))], run.update)
        except QupropError:  # no norm makes it contract
            best = None
        if best is not None:
            least = float(np.sqrt(np.linalg.eigvalsh(best.matrix)[0]))
            bounds["by level, Lyapunov norm"] = level_bound(best.gains, 0.0, order, LONGEST) / least
        with np.errstate(divide="ignore", invalid="ignore"):
            steps = {k: crossing(np.append(0.0, b[1:] / run.sizes[1:])) for k, b in bounds.items()}
        rows.append(
            {
                "warm_up": warm_up,
                "growth": float(gains[1]),
                "radius": bool(convergence_radius(gains)),
                "lyapunov_radius": best is not None and bool(best.radius),
                "steps": steps,
                "measured": run.within,
            }
        )
    return rows


def run(quick: bool, rng: Any, progress: Progress = silent) -> Result:
    load_torch("verdicts on networks")
    cases, rows = QUICK if quick else CASES, []
    for i, case in enumerate(cases):
        progress(i, len(cases) + 1, case.name)
        rows.append(measured(case, int(rng), 30 if quick else LONGEST))
    progress(len(cases), len(cases) + 1, "criteria")
    table = criteria(quick, int(rng))
    return {
        "rows": rows,
        "criteria": table,
        "tolerance": TOLERANCE,
        "longest": 30 if quick else LONGEST,
        "panels": [_panel(rows)],
        "findings": [_sentence(row) for row in rows] + [_criterion(row) for row in table],
    }


def _panel(rows: list[dict[str, Any]]) -> dict[str, Any]:
    at = [row["measured"] for row in rows]
    low, high = max(1, min(at)), max(at)
    return {
        "x": f"measured steps within {TOLERANCE:.0%}",
        "y": "steps of the verdict",
        "log": "xy",
        "title": f"{len(rows)} networks",
        "curves": [
            ("truncation error", at, [row["verdict"] for row in rows], "o"),
            ("error proxy", at, [row["proxy"] for row in rows], "x"),
            ("measured", [low, high], [low, high], "k-"),
            (f"{FACTOR} times", [low, high], [FACTOR * low, FACTOR * high], "k:"),
            ("_", [low, high], [low / FACTOR, high / FACTOR], "k:"),
        ],
    }


def _sentence(row: dict[str, Any]) -> str:
    text = f"{row['network']} ({row['kept']:,} of {row['parameters']:,} parameters, order {row['order']}): proxy "
    text += f"{row['proxy']}, verdict {row['verdict']}, measured {row['measured']}"
    if row.get("tower") is not None:
        text += f" ({row['tower']} of the exact tower)"
    if row["error_at_verdict"] is not None:
        text += f"; error {row['error_at_verdict']:.2g} at the verdict"
    if row["error_at_proxy"] is not None:
        text += f", {row['error_at_proxy']:.2g} at the proxy's"
    return text + ("" if row["proved"] is None else f"; proved for {row['proved']}")


def _criterion(row: dict[str, Any]) -> str:
    allowed = ", ".join(f"{name} {steps}" for name, steps in row["steps"].items())
    radius = "a radius" if row["radius"] else "no radius"
    other = "a radius in a Lyapunov norm" if row["lyapunov_radius"] else "none in a Lyapunov norm"
    return (
        f"deep linear network after {row['warm_up']:,} steps, |G_1| = {row['growth']:.4g}: {radius}, {other}; proved "
        f"steps within 1 %: {allowed}; measured {row['measured']}"
    )


EXPERIMENT = Experiment(
    "verdicts",
    "A block as long as `analyse` allows is as right as it says: within 1.5 times of the steps measured.",
    LIU,
    4.0,
    run,
    drawn("How long a block may run"),
)
