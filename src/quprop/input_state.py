"""The state a circuit starts from: basis, product, fixed amplitudes, or amplitudes read from the inputs."""

from __future__ import annotations

import numbers
from dataclasses import dataclass
from typing import Any

import numpy as np

from quprop.errors import QupropError

KINDS = ("basis", "product", "amplitudes", "encoded")


@dataclass(frozen=True, slots=True)
class InputState:
    """|phi>, frozen and hashable.

    kind "basis": `data` is the index of the basis state (qubit q is bit q);
    "product": the bytes of a complex128 (n, 2) array, one normalised qubit state a row;
    "amplitudes": the bytes of a normalised complex128 (2^n,) array;
    "encoded": the first of 2^n consecutive inputs; a sample's amplitudes are those x divided by their norm.
    """

    kind: str = "basis"
    data: int | bytes = 0

    @classmethod
    def make(cls, n: int, state: Any = None) -> InputState:
        """Read what a user may pass as `Circuit(n, state=...)`, except an `inputs` vector."""
        if isinstance(state, InputState):
            return state
        if state is None:
            return cls()
        if isinstance(state, str):
            if len(state) != n or set(state) - {"0", "1"}:
                raise QupropError(f"a bit string for {n} qubits has {n} characters 0 or 1, got {state!r}")
            return cls("basis", sum(1 << q for q, bit in enumerate(state) if bit == "1"))
        if isinstance(state, numbers.Integral) and not isinstance(state, bool):
            if not 0 <= int(state) < 1 << n:
                raise QupropError(f"a basis state of {n} qubits has an index from 0 to {(1 << n) - 1}, got {state}")
            return cls("basis", int(state))
        try:
            array = np.array(state, dtype=complex)
        except (TypeError, ValueError):
            array = np.empty(())
        if array.shape == (n, 2):
            return cls("product", (array / _norm(array, "each row of a product state")).tobytes())
        if n < 60 and array.shape == (1 << n,):
            return cls("amplitudes", (array / _norm(array, "an amplitude vector")).tobytes())
        raise QupropError(
            f"the state of {n} qubits is a bit string, a basis index, an array of shape ({n}, 2) or (2^{n},), "
            f"or an inputs vector of 2^{n} entries; got {_describe(state, array)}"
        )

    @property
    def index(self) -> int:
        """The basis state's index (kind "basis" only)."""
        assert self.kind == "basis" and isinstance(self.data, int)
        return self.data

    def input_slice(self, n: int) -> slice:
        """Which columns of x hold the amplitudes (kind "encoded" only)."""
        assert self.kind == "encoded" and isinstance(self.data, int)
        return slice(self.data, self.data + (1 << n))

    @property
    def array(self) -> np.ndarray:
        """The (n, 2) or (2^n,) array of kinds "product" and "amplitudes"."""
        assert isinstance(self.data, bytes)
        flat = np.frombuffer(self.data, complex)
        return flat.reshape(-1, 2) if self.kind == "product" else flat

    def vector(self, n: int, x: np.ndarray | None = None) -> np.ndarray:
        """The amplitudes: complex128 (2^n,), or (X, 2^n) of an encoded state with x of shape (X, D)."""
        if self.kind == "basis":
            out = np.zeros(1 << n, complex)
            out[self.index] = 1.0
            return out
        if self.kind == "product":
            out = np.ones(1, complex)
            for row in self.array:  # a later qubit is a higher bit, hence the outer factor
                out = np.kron(row, out)
            return out
        if self.kind == "amplitudes":
            return self.array.copy()
        amplitudes, _ = self._encode(n, x)
        return amplitudes.astype(complex)

    # The three functions below are the derivatives of x -> x/|x|; `columns` are those of `input_slice`.

    def pushforward(self, n: int, x: np.ndarray, v_x: np.ndarray) -> np.ndarray:
        """d|phi>/dt along v_x: (v - a (a.v)) / |x|, real, shape (B, 2^n)."""
        a, r = self._encode(n, x)
        v = v_x[:, self.input_slice(n)]
        return (v - a * _dot(a, v)) / r

    def pullback(self, n: int, x: np.ndarray, adjoint: np.ndarray) -> np.ndarray:
        """dF/dx of the encoded columns, (B, 2^n), from adjoint = U†OU|phi>: g = 2 Re adjoint, (g - (g.a) a) / |x|."""
        a, r = self._encode(n, x)
        g = 2 * adjoint.real
        return (g - _dot(g, a) * a) / r

    def pullback_tangent(
        self, n: int, x: np.ndarray, v_x: np.ndarray, adjoint: np.ndarray, d_adjoint: np.ndarray
    ) -> np.ndarray:
        """The derivative of `pullback` along v_x, when the adjoint changes by d_adjoint."""
        a, r = self._encode(n, x)
        v = v_x[:, self.input_slice(n)]
        g, dg = 2 * adjoint.real, 2 * d_adjoint.real
        dr = _dot(a, v)
        da = (v - a * dr) / r
        ga = _dot(g, a)
        return (dg - (_dot(dg, a) + _dot(g, da)) * a - ga * da) / r - dr / r * (g - ga * a) / r

    def _encode(self, n: int, x: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
        if x is None:
            raise QupropError("this model reads its input state from x; pass x")
        columns = np.asarray(x, float)[:, self.input_slice(n)]
        r = np.linalg.norm(columns, axis=1, keepdims=True)
        if not np.all(r > 0):
            raise QupropError(
                f"sample {int(np.argmin(r > 0))} of x encodes its amplitudes but they are all zero; "
                "give it a non-zero vector"
            )
        return columns / r, r

    def text(self, n: int) -> str:
        if self.kind == "basis":
            return "|" + "".join(str(self.index >> q & 1) for q in range(n)) + ">"
        if self.kind == "encoded":
            columns = self.input_slice(n)
            return f"amplitudes x[{columns.start}:{columns.stop}]/norm"
        return "a product state" if self.kind == "product" else "given amplitudes"


def _norm(array: np.ndarray, what: str) -> np.ndarray:
    norm = np.linalg.norm(array, axis=-1, keepdims=True)
    if not np.all(np.isfinite(norm)) or not np.all(norm > 0):
        raise QupropError(f"{what} must be finite and not all zero, got norm {float(np.min(norm))}")
    return norm


def _dot(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return np.sum(a * b, axis=1, keepdims=True)


def _describe(state: Any, array: np.ndarray) -> str:
    return f"an array of shape {array.shape}" if array.ndim else repr(state)
