"""What a re-upload does to accuracy and to the Hessian: the authors' rhythm, masked within a block or not, with ten
dense steps between blocks or without, as a linear system and as plain descent.

Momentum 0.9, weight decay 2e-4, 90 % pruned at every upload; plain descent in blocks of 100 steps at learning rate
0.01. A linear system of 100 steps stays inside its radius of convergence at rate 0.002 for the MLP, at 0.001 the
ResNet's one of ten steps does. The smallest network's linear systems are solved by the solver's own polynomial, the
others' are marched by jets.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from itertools import islice, product
from typing import Any

import numpy as np

from quprop.carleman.loop import Loop
from quprop.carleman.networks.torch_extra import load_torch
from quprop.experiments.experiment import LIU, Experiment, Progress, Result, drawn, silent

SYSTEM, PLAIN = "linear system", "plain descent"
MOMENTS = ("before", "pruned", "downloaded")
RHYTHM = Loop(
    learning_rate=0.01, blocks=4, block_length=100, warm_up=0, sparsity=0.9, batch_size=64, momentum=0.9,
    weight_decay=2e-4, hessian_samples=64, lanczos_steps=10,
)  # fmt: skip


@dataclass(frozen=True)
class Case:
    """A network, how it is trained before the first upload, and the rhythm of its linear systems and of plain descent,
    None where it has none."""

    network: str
    data: str
    system: Loop | None
    plain: Loop | None
    settings: dict[str, Any] = field(default_factory=dict)
    precision: str = "single"
    warm_up: int = 300
    dense_steps: tuple[int, ...] = (0, 10)


MLP = replace(RHYTHM, learning_rate=0.002)
RESNET = replace(RHYTHM, learning_rate=0.001, block_length=10, order=2, blocks=3)
SOLVED = replace(RHYTHM, learning_rate=0.05, block_length=4, order=2, blocks=3, sparsity=0.5, batch_size=None)
TOY = Case("logistic", "petals", SOLVED, None, precision="double", warm_up=200, dense_steps=(0,))
FULL = (TOY, Case("mlp", "digits", MLP, RHYTHM, {"hidden": (32,)}), Case("resnet", "digits", RESNET, RHYTHM))
SMALL = Case("mlp", "digits", replace(MLP, order=2), replace(RHYTHM, block_length=20), {"hidden": (8,)}, warm_up=100)
QUICK = (
    replace(TOY, system=replace(SOLVED, blocks=2)),
    replace(
        SMALL, system=replace(MLP, order=2, block_length=8, blocks=2), plain=replace(RHYTHM, block_length=20, blocks=2)
    ),
)


def run(quick: bool, rng: Any, progress: Progress = silent) -> Result:
    load_torch("re-uploads")
    cases = [
        (case, how, masked, dense)
        for case in (QUICK if quick else FULL)
        for how, rhythm in ((SYSTEM, case.system), (PLAIN, case.plain))
        if rhythm is not None
        for masked, dense in product((True, False), case.dense_steps)
    ]
    warm: dict[str, np.ndarray] = {}
    rows = []
    for i, (case, how, masked, dense) in enumerate(cases):
        progress(i, len(cases), f"{case.network}, {how}, {'masked' if masked else 'unmasked'}, {dense} dense steps")
        rows.append(_row(case, how, masked, dense, int(rng), warm))
    return {"rows": rows, "panels": _panels(rows), "findings": _findings(rows)}


def _row(case: Case, how: str, masked: bool, dense: int, seed: int, warm: dict[str, np.ndarray]) -> dict[str, Any]:
    from quprop.carleman.networks import networks
    from quprop.carleman.networks.data import batches
    from quprop.carleman.networks.plain import accuracy_at, descend
    from quprop.carleman.train import train

    data = _data(case.data)
    rhythm = case.system if how == SYSTEM else case.plain
    assert rhythm is not None and rhythm.weight_decay is not None
    settings = replace(rhythm, masked=masked, dense_steps=dense)
    network = networks.make(
        case.network, data.input_shape, data.classes, seed=seed, precision=case.precision,
        weight_decay=rhythm.weight_decay, **case.settings,
    )  # fmt: skip
    x, y = data.train(case.precision)
    parts = {"train": (x, y), "test": data.test(case.precision)}
    source = batches(x, y, min(64, len(x)), np.random.default_rng(seed))
    n = network.n_parameters
    if case.network not in warm:
        start = np.concatenate([network.parameters().astype(float), np.zeros(n)])
        chosen = list(islice(source, case.warm_up))
        warm[case.network] = descend(network, start, chosen, len(chosen), 0.01, None, rhythm.momentum)[:n]
    network.set_parameters(warm[case.network].copy())
    row: dict[str, Any] = {
        "network": case.network,
        "data": data.name,
        "parameters": n,
        "how": how,
        "masked": masked,
        "dense_steps": dense,
        **{k: getattr(settings, k) for k in ("learning_rate", "momentum", "block_length", "sparsity")},
    }
    seen: list[dict[str, np.ndarray]] = []
    if how == SYSTEM:
        result = train(network, data, settings, seed, watch=lambda moment, states: seen.append(states))
        row["order"] = settings.order
        row["update_error"] = [b.update_error for b in result.blocks]
        row["growth"] = [b.growth for b in result.blocks]
        row["emulation"] = sorted({b.run.emulation for b in result.blocks})
        row["diverged"] = result.diverged
        named = {"": "loop", "twin_": "twin"}
    else:
        seen = [{"loop": theta} for theta in _rhythm(network, settings, source)]
        row["width"] = _widths(network, parts["train"], settings, [s["loop"] for s in seen])
        begin, end = (row["width"][f"all, {moment}"]["mean_square"] for moment in MOMENTS[1:])
        row["broadened"] = [root(b / e) for b, e in zip(begin[1:], end, strict=False)]  # by each re-upload
        row["within"] = [root(e / b) for b, e in zip(begin, end, strict=True)]
        named = {"": "loop"}
    for (prefix, name), (part, samples) in product(named.items(), parts.items()):
        accuracy = [accuracy_at(network, s[name], samples) for s in seen]
        row[f"{prefix}{part}"] = [accuracy[i : i + len(MOMENTS)] for i in range(0, len(accuracy), len(MOMENTS))]
        again = row[f"{prefix}{part}"][1:]
        row[f"{prefix}{part}_dip"] = [before - pruned for before, pruned, _ in again]
        row[f"{prefix}{part}_left"] = [before - end for before, _, end in again]
    return row


def _rhythm(network: Any, settings: Loop, source: Any) -> Iterator[np.ndarray]:
    """The parameters (n,) of plain descent at each of MOMENTS of each block."""
    from quprop.carleman.networks.plain import descend
    from quprop.carleman.train import uploaded

    n, steps = network.n_parameters, settings.block_length or settings.longest
    state = np.concatenate([network.parameters().astype(float), np.zeros(n)])
    rate, momentum, dense = settings.learning_rate, settings.momentum, settings.dense_steps
    for block in range(settings.blocks):
        if block and dense:
            state = descend(network, state, list(islice(source, dense)), dense, rate, None, momentum)
        yield state[:n]
        _, state, moving = uploaded(network, state, settings)
        yield state[:n]
        state = descend(network, state, list(islice(source, steps)), steps, rate, moving, momentum)
        yield state[:n]


def _widths(network: Any, data: Any, settings: Loop, seen: list[np.ndarray]) -> dict[str, dict[str, list[float]]]:
    """Least and greatest eigenvalue and the mean square of all, of the Hessian of the survivors and of all parameters,
    at the start and the end of every block; the same probe every time."""
    from quprop.carleman.networks.prune import Mask
    from quprop.carleman.train import block_spectrum, mask_at

    found: dict[str, dict[str, list[float]]] = {}
    for i, theta in enumerate(seen):
        moment = MOMENTS[i % len(MOMENTS)]
        if moment == "before":
            mask = mask_at(network, theta, settings.sparsity)
            continue
        for name, chosen in (("survivors", mask), ("all", Mask(np.ones(len(theta), bool), mask.layers))):
            spectrum = block_spectrum(network, theta, chosen, data, settings, seed=1)
            square = spectrum.mean(lambda nodes: nodes**2)[0]
            for key, value in (("least", spectrum.least), ("greatest", spectrum.greatest), ("mean_square", square)):
                found.setdefault(f"{name}, {moment}", {}).setdefault(key, []).append(float(value))
    return found


def _data(name: str) -> Any:
    """A data set of `load`, or "petals": the two lengths of a petal of iris, so that the tower can be written down."""
    from quprop.carleman.networks.data import load

    if name != "petals":
        return load(name)
    iris = load("iris")
    return replace(iris, name="petals of iris", x_train=iris.x_train[:, 2:], x_test=iris.x_test[:, 2:])


def label(row: dict[str, Any]) -> str:
    return f"{'masked' if row['masked'] else 'unmasked'}, {row['dense_steps'] or 'no'} dense steps"


def _panels(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    panels = []
    for network, how in dict.fromkeys((r["network"], r["how"]) for r in rows):
        curves = []
        for r in (r for r in rows if (r["network"], r["how"]) == (network, how)):
            length = r["block_length"]
            at = [length * (b + end) for b in range(len(r["train"])) for end in (0, 0, 1)]
            style = f"{'--' if r['masked'] else '-'}{'o' if r['dense_steps'] else 's'}"
            curves.append((label(r), at, [a for block in r["train"] for a in block], style))
        title = f"{network}, {r['parameters']:,} parameters, {how}"
        panels.append({"x": "step of a block", "y": "training accuracy", "title": title, "curves": curves})
    return panels


def _findings(rows: list[dict[str, Any]]) -> list[str]:
    return [_sentence(r) for r in rows] + [_broadening(r) for r in rows if "width" in r]


def _sentence(row: dict[str, Any]) -> str:
    text = f"{row['network']}, {row['how']}, {label(row)}: "
    if not row["train_dip"]:
        return text + "no re-upload"
    blocks = [" -> ".join(f"{a:.3f}" for a in block) for block in row["train"]]
    text += f"training accuracy before and after pruning and at the end {', '.join(blocks)}; "
    text += f"a re-upload costs {min(row['train_dip']):.3f} to {max(row['train_dip']):.3f} (test "
    text += f"{min(row['test_dip']):.3f} to {max(row['test_dip']):.3f})"
    if row["how"] == SYSTEM:
        text += f"; error of an update {min(row['update_error']):.1e} to {max(row['update_error']):.1e}"
        text += f"; plain descent alike: {min(row['twin_train_dip']):.3f} to {max(row['twin_train_dip']):.3f}"
        text += f"; {row['diverged']}" if row["diverged"] else ""
    return text


def _broadening(row: dict[str, Any]) -> str:
    parts = []
    for name in ("survivors", "all"):
        begin, end = (row["width"][f"{name}, {moment}"] for moment in MOMENTS[1:])
        spreads = [[root(v) for v in w["mean_square"]] for w in (begin, end)]
        courses = ", ".join(f"{a:.3g} to {b:.3g}" for a, b in zip(*spreads, strict=True))
        edges = ", ".join(
            f"{least:.3g}..{greatest:.3g}"
            for w in (begin, end)
            for least, greatest in [(w["least"][-1], w["greatest"][-1])]
        )
        parts.append(f"of {name} {courses} (eigenvalues in the last block {edges})")
    text = f"{row['network']}, {label(row)}: root mean square Hessian eigenvalue in the blocks, " + "; ".join(parts)
    return text + f"; a re-upload multiplies that of all by {min(row['broadened']):.3g} to {max(row['broadened']):.3g}"


def root(value: float) -> float:
    return float(np.sqrt(max(0.0, value)))


EXPERIMENT = Experiment(
    "dips",
    "Training accuracy dips at every re-upload and recovers; ten dense steps counteract a broadening Hessian.",
    LIU + ", figures 1 and 5",
    3,
    run,
    drawn("Re-uploads, pruned by 90 %"),
)
