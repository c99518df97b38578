"""PyTorch and curvlinops, the extra ``torch``: imported when first needed, and missed with one sentence."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from types import ModuleType
from typing import Any

from quprop.errors import QupropError
from quprop.lazy import missing

PRECISIONS = ("double", "single")


def load_torch(purpose: str) -> ModuleType:
    """The module torch; without it a QupropError that says what `purpose` needed it."""
    try:
        import torch
    except ImportError:
        raise missing(f"{purpose} needs PyTorch", "torch") from None
    _first_forward_derivative(torch)
    return torch


def load_curvlinops(purpose: str) -> ModuleType:
    """The module curvlinops; without it a QupropError that says what `purpose` needed it."""
    load_torch(purpose)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # it uses torch.jit, which torch 2.13 deprecates
            import curvlinops
    except ImportError:
        raise missing(f"{purpose} needs curvlinops-for-pytorch", "torch") from None
    return curvlinops


def dtype_of(precision: str) -> Any:
    """torch.float64 for ``double``, torch.float32 for ``single``."""
    torch = load_torch("a precision of networks")
    if precision not in PRECISIONS:
        raise QupropError(f"precision is 'double' or 'single', got {precision!r}")
    return torch.float64 if precision == "double" else torch.float32


def trainable(module: Any) -> dict[str, Any]:
    """The parameters of `module` that training moves, by name: theta is these, flat, one after the other. Frozen ones
    (``requires_grad=False``) are constants of the map."""
    return {name: p for name, p in module.named_parameters() if p.requires_grad}


@contextmanager
def elementary() -> Iterator[None]:
    """Attention by its elementary operations: the fused kernels and the inference path of torch's transformer layers
    have no second derivatives."""
    torch = load_torch("derivatives of a network")
    from torch.nn.attention import SDPBackend, sdpa_kernel

    fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with sdpa_kernel(SDPBackend.MATH):
            yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)


@lru_cache(maxsize=1)
def _first_forward_derivative(torch: ModuleType) -> None:
    """PyTorch 2.13 warns of its own use of torch.jit at the first forward-mode derivative: take that one quietly."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.func.jvp(torch.sin, (torch.zeros(1),), (torch.zeros(1),))
