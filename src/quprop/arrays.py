"""The one check of arrays that callers pass: what is no plain number, is not finite or has another shape is refused."""

from __future__ import annotations

import math
import sys
from types import EllipsisType
from typing import Any

import numpy as np

from quprop.errors import QupropError

_DOUBLE = np.dtype(float)

Shape = tuple[int | str | EllipsisType, ...]  # a text stands for any length, a leading ... for any batch axes


def plain(name: str, value: Any, dtype: Any = float) -> np.ndarray:
    """`value` as a NumPy array with its own dtype, which must convert to `dtype` (float, complex) as a number does.

    Refused: ragged lists, texts, objects, dates, records, complex numbers where real ones are asked for, arrays with
    masked entries (NumPy would use what is under the mask), tensors that NumPy cannot read.
    """
    kind = "real numbers" if dtype is float else "numbers"
    if _masked(value):
        raise QupropError(f"{name} must be an array of {kind}, got masked entries; pass {name}.filled(...)")
    try:
        given = np.asarray(value)
    except (TypeError, ValueError, RuntimeError, OverflowError):
        mend = ""
        if _has_gradients(value):
            mend = f" that requires gradients; pass {name}.detach()"
        raise QupropError(f"{name} must be an array of {kind}, got {_kind_of(value)}{mend}") from None
    if given.dtype is not _DOUBLE and not np.can_cast(given.dtype, dtype, "same_kind"):
        found = "complex numbers" if given.dtype.kind == "c" else _kind_of(value)
        raise QupropError(f"{name} must be an array of {kind}, got {found}")
    return given


def checked(name: str, value: Any, shape: Shape | None = None, dtype: Any = float) -> np.ndarray:
    """`value` as a contiguous array of finite float64 (or complex128) of this shape; a copy only where it must be.

    shape: lengths of the axes, a text for an axis of any length, a leading `...` for any batch axes; None: any shape.
    """
    return measured(name, value, shape, dtype)[0]


def measured(name: str, value: Any, shape: Shape | None = None, dtype: Any = float) -> tuple[np.ndarray, float]:
    """What `checked` returns, and its `square`."""
    given = plain(name, value, dtype)
    if shape is not None and not _fits(given.shape, shape):
        wanted = ", ".join("..." if s is ... else str(s) for s in shape) + ("," if len(shape) == 1 else "")
        raise QupropError(f"{name} must have shape ({wanted}), got {given.shape}")
    array = given
    if given.dtype != dtype:
        with np.errstate(all="ignore"):  # an extended float may be beyond a double: seen below
            array = given.astype(dtype)
    if array.ndim:  # np.ascontiguousarray would give a number an axis
        array = np.ascontiguousarray(array)
    size = square(array)
    if not math.isfinite(size) and not np.isfinite(array).all():
        bad = tuple(int(i) for i in np.argwhere(~np.isfinite(array))[0])
        raise QupropError(f"{name} must be finite, got {array[bad]} at index {bad}")
    return array, size


def bits(name: str, value: Any, shape: Shape = ("samples", "n")) -> np.ndarray:
    """`value` as a contiguous uint8 array of zeros and ones of this shape, at least one along each axis."""
    given = plain(name, value)
    if not _fits(given.shape, shape) or not given.size:
        raise QupropError(f"{name} must have shape ({', '.join(map(str, shape))}), none of them 0, got {given.shape}")
    if given.dtype != bool and not ((given == 0) | (given == 1)).all():
        raise QupropError(f"{name} must be zeros and ones, got other numbers; binarise them, spins s by (s + 1) / 2")
    return np.ascontiguousarray(given, dtype=np.uint8)


def all_finite(array: np.ndarray) -> bool:
    """Whether no entry is infinite or NaN."""
    return math.isfinite(square(array)) or bool(np.isfinite(array).all())


def square(array: np.ndarray) -> float:
    """The sum of |entries|^2, which bounds them all at once; infinite beyond 1e308, and without a warning then."""
    return abs(np.vdot(array, array))


def _fits(found: tuple[int, ...], wanted: Shape) -> bool:
    if wanted[0] is ...:
        wanted = wanted[1:]
        found = found[max(len(found) - len(wanted), 0) :]
    return found == wanted or (
        len(found) == len(wanted) and all(isinstance(w, str) or f == w for f, w in zip(found, wanted, strict=True))
    )


def _masked(value: Any) -> bool:
    if isinstance(value, list | tuple):
        return any(_masked(v) for v in value if not isinstance(v, float | int))
    return isinstance(value, np.ma.MaskedArray) and bool(np.ma.is_masked(value))


def _has_gradients(value: Any) -> bool:
    if isinstance(value, list | tuple):
        return any(map(_has_gradients, value))
    return bool(getattr(value, "requires_grad", False))


def _kind_of(value: Any) -> str:
    if isinstance(value, np.ndarray):
        return f"an array of {value.dtype}"
    return type(value).__name__


_LIBRARIES = {
    "torch": "torch",
    "jax": "jax.numpy",
    "jaxlib": "jax.numpy",
    "autograd": "autograd.numpy",
    "pennylane": "pennylane.numpy",
}


def library(array: Any) -> Any:
    """The library whose functions act on an array and are followed by its derivatives: NumPy, Torch, jax.numpy, or
    Autograd's. Nothing is imported: whoever made the array has done so."""
    return sys.modules[_LIBRARIES.get(type(array).__module__.partition(".")[0], "numpy")]


def numbers_of(array: Any) -> np.ndarray | None:
    """The numbers in an array of any library, without its derivatives; None where JAX only traces it."""
    while type(array).__name__ == "ArrayBox":
        array = array._value
    if hasattr(array, "detach"):
        array = array.detach().cpu()
    try:
        return np.asarray(array)
    except TypeError:
        if "Tracer" in type(array).__name__:
            return None
        raise


def like(numbers: np.ndarray, array: Any) -> Any:
    """A constant in the library and precision of an array, and where that is."""
    xp = library(array)
    if xp.__name__ == "torch":
        return xp.as_tensor(numbers, dtype=array.dtype, device=array.device)
    return xp.asarray(numbers, dtype=array.dtype)
