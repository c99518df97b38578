"""Global magnitude pruning with masks of our own: one-shot, again at every upload, and reported layer by layer.

Over the weights of all convolutions and linear layers except the last, the `ratio` smallest magnitudes become zero,
ranked over all layers together (global unstructured L1, as Liu et al. 2024 prune, and as torch.nn.utils.prune's
global_unstructured with L1Unstructured does; ours leaves the module's parameters as they are, so that the flat
parameter vector keeps its meaning, and can be asked again). Biases and normalisations stay.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from quprop.carleman.networks.torch_extra import load_torch, trainable
from quprop.errors import QupropError

MODES = ("finetune", "rewind", "scratch")


@dataclass(frozen=True, eq=False)
class Mask:
    """Which parameters are kept.

    ``kept``     bool (n_parameters,) over the flat parameter vector
    ``layers``   names of the pruned weights with their slices in that vector
    """

    kept: np.ndarray
    layers: dict[str, slice]

    @property
    def n_kept(self) -> int:
        return int(np.count_nonzero(self.kept))

    @property
    def density(self) -> float:
        """Kept parameters over all parameters."""
        return self.n_kept / len(self.kept)

    @property
    def prunable(self) -> int:
        return sum(s.stop - s.start for s in self.layers.values())

    @property
    def sparsity(self) -> float:
        """Pruned weights over prunable weights: the ratio asked for, to one weight."""
        return (len(self.kept) - self.n_kept) / max(1, self.prunable)

    def apply(self, module: Any) -> None:
        """Set the pruned parameters of `module` to zero, in place."""
        torch = load_torch("pruning")
        parameters = list(trainable(module).values())
        count = sum(p.numel() for p in parameters)
        if count != len(self.kept):
            raise QupropError(f"the mask is for {len(self.kept)} parameters, the module has {count}")
        pieces = torch.as_tensor(self.kept).split([p.numel() for p in parameters])
        with torch.no_grad():
            for p, kept in zip(parameters, pieces, strict=True):
                p.mul_(kept.view_as(p).to(p.device))

    def report(self) -> dict[str, dict[str, float]]:
        """For each pruned layer its weights, those kept, and its sparsity."""
        table = {}
        for name, where in self.layers.items():
            size, kept = where.stop - where.start, int(np.count_nonzero(self.kept[where]))
            table[name] = {"weights": size, "kept": kept, "sparsity": 1 - kept / size}
        return table

    def overlap(self, other: Mask) -> float:
        """Of the prunable weights kept here, the share that `other` keeps too: 1 means the support did not move."""
        where = np.concatenate([np.arange(s.start, s.stop) for s in self.layers.values()])
        mine, theirs = self.kept[where], other.kept[where]
        return int(np.count_nonzero(mine & theirs)) / max(1, int(np.count_nonzero(mine)))


def kept_in_words(module: Any, mask: Mask, asked: float) -> dict[str, Any]:
    """What a mask made by ``asked`` keeps, layer by layer and in all, and what is never pruned; ``sentence`` says it:
    the share asked for is one of the weights that may be pruned, not of all parameters."""
    sizes = {name: p.numel() for name, p in trainable(module).items()}
    whole = {name: size for name, size in sizes.items() if name not in mask.layers}
    total, pruned = len(mask.kept), len(mask.kept) - mask.n_kept
    sentence = f"kept {mask.n_kept:,} of {total:,} parameters ({percent(mask.density)})"
    if pruned or asked:
        sentence += (
            f": {percent(mask.sparsity)} of the {mask.prunable:,} weights that may be pruned are"
            f"{'' if abs(pruned - asked * mask.prunable) > 0.5 else ', as asked'}"
        )
    if asked and whole:
        names = sorted(whole, key=lambda name: -whole[name])
        some = ", ".join(f"{name} {whole[name]:,}" for name in names[:2])
        more = f" and {len(names) - 2} more" if len(names) > 2 else ""
        sentence += (
            f"; {total - mask.prunable:,} stay whole ({some}{more}), being the last layer or no weight of a linear "
            "layer or convolution"
        )
    return {
        "asked": asked,
        "parameters": total,
        "kept": mask.n_kept,
        "kept_share": mask.density,
        "prunable": mask.prunable,
        "pruned": pruned,
        "pruned_share_of_prunable": mask.sparsity,
        "layers": mask.report(),
        "whole": whole,
        "sentence": sentence,
    }


def percent(share: float) -> str:
    return f"{100 * share:.3g} %"


def global_mask(module: Any, ratio: float, *, skip_last: bool = True) -> Mask:
    """The mask that removes the round(ratio x prunable) smallest weights (which of equal ones is not defined).

    ``ratio``      from 0 (none) to below 1; the authors prune 0.9
    ``skip_last``  leave the last linear layer or convolution whole, as the authors do; a network of one layer has
                   nothing left to prune then, and skips nothing

    Frozen weights are constants and stay. Under weight normalisation, w = g v/|v|, weights are ranked by w and v is
    masked, which sets the same entries to zero.
    """
    torch = load_torch("pruning")
    if not 0 <= ratio < 1:
        raise QupropError(f"the pruning ratio is from 0 to below 1, got {ratio}")
    sizes_of = _prunable(torch, module, skip_last)
    if not sizes_of and ratio:
        raise QupropError(
            "there is nothing to prune: the network has no convolution and no linear layer that is trained"
        )
    layers, pieces, start = {}, [], 0
    for name, p in trainable(module).items():
        if name in sizes_of:
            layers[name] = slice(start, start + p.numel())
            pieces.append(sizes_of[name])
        start += p.numel()
    sizes = np.concatenate([np.empty(0), *pieces])
    remove = round(ratio * len(sizes))
    kept_sizes = np.ones(len(sizes), bool)
    if remove:
        kept_sizes[np.argpartition(sizes, remove - 1)[:remove]] = False
    kept = np.ones(start, bool)
    offset = 0
    for where in layers.values():
        size = where.stop - where.start
        kept[where] = kept_sizes[offset : offset + size]
        offset += size
    for name, (direction, dim) in _normalised(torch, module).items():
        if name in layers:
            whole = kept[layers[name]].reshape(tuple(direction.shape))
            whole = whole[None] if dim == -1 else np.moveaxis(whole, dim, 0)  # -1 is torch's "one norm of all"
            if not whole.reshape(len(whole), -1).any(axis=1).all():
                raise QupropError(
                    f"pruning {ratio:g} of the weights removes all those of one output of {name!r}, whose weight "
                    "normalisation is 0/0 then: prune less, or remove the parametrization"
                )
    return Mask(kept, layers)


def _prunable(torch: Any, module: Any, skip_last: bool) -> dict[str, np.ndarray]:
    """Magnitudes (weights,) of the weights that may be pruned, by the names of the parameters that are masked."""
    kinds = (torch.nn.modules.conv._ConvNd, torch.nn.Linear)
    layers = [(name + "." if name else "", m) for name, m in module.named_modules() if isinstance(m, kinds)]
    if skip_last and len(layers) > 1:
        layers = layers[:-1]
    masked, normalised = trainable(module), _normalised(torch, module)
    sizes = {}
    for prefix, layer in layers:
        name = next((k for k in (f"{prefix}weight", f"{prefix}parametrizations.weight.original1") if k in masked), "")
        if name.endswith(".weight") or name == "weight" or name in normalised:
            sizes[name] = layer.weight.detach().abs().flatten().cpu().numpy()
    return sizes


def _normalised(torch: Any, module: Any) -> dict[str, tuple[Any, int]]:
    """Directions v of the weight-normalised layers, with the axis of their outputs."""
    kind = torch.nn.utils.parametrizations._WeightNorm
    found = {}
    for name, layer in module.named_modules():
        chain: Any = getattr(layer, "parametrizations", {})
        if "weight" in chain and len(chain.weight) == 1 and isinstance(chain.weight[0], kind):
            where = f"{name + '.' if name else ''}parametrizations.weight.original1"
            found[where] = (chain.weight.original1, chain.weight[0].dim)
    return found


def prune(
    module: Any, ratio: float, *, mode: str = "finetune", initial: np.ndarray | None = None, skip_last: bool = True
) -> Mask:
    """Prune `module` in place and return the mask; called again it re-prunes by the magnitudes of then.

    ``mode``     "finetune" keeps the surviving weights; "rewind" sets all parameters to ``initial`` (n_parameters,),
                 those of the beginning, before masking (lottery tickets); "scratch" the same with freshly drawn
                 ``initial``
    """
    if mode not in MODES:
        raise QupropError(f"mode is one of {', '.join(MODES)}, got {mode!r}")
    mask = global_mask(module, ratio, skip_last=skip_last)
    if mode != "finetune":
        if initial is None or np.shape(initial) != mask.kept.shape:
            raise QupropError(
                f"mode {mode!r} needs `initial` of shape ({len(mask.kept)},), the parameters to return to"
            )
        torch = load_torch("pruning")
        first = next(module.parameters())
        flat = torch.as_tensor(np.asarray(initial), dtype=first.dtype, device=first.device)
        with torch.no_grad():
            torch.nn.utils.vector_to_parameters(flat, trainable(module).values())
    mask.apply(module)
    return mask


def sparsity_of(module: Any) -> float:
    """Zeros among all trained parameters: after dense steps from a pruned start it shows how fast sparsity is lost."""
    values = [p.detach().cpu().numpy() for p in trainable(module).values()]
    return sum(int(np.count_nonzero(v == 0)) for v in values) / sum(int(v.size) for v in values)
