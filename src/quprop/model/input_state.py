"""The state a circuit starts from: basis, product, fixed amplitudes, or amplitudes read from the inputs."""

from __future__ import annotations

import numbers
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from quprop.arrays import checked
from quprop.errors import QupropError, shown

KINDS = ("basis", "product", "amplitudes", "encoded")
MAX_AMPLITUDE_QUBITS = 40  # of states that are given amplitude by amplitude
_QUIET = np.errstate(over="ignore", invalid="ignore")  # results are checked where they are handed out
_NORM = 1e-9  # how far from 1 the squared norm of amplitudes may be that come from elsewhere


@dataclass(frozen=True, slots=True)
class InputState:
    """|phi>, frozen and hashable.

    kind "basis": `data` is the index of the basis state (qubit q is bit q);
    "product": the bytes of a complex128 (n, 2) array, one normalised qubit state a row;
    "amplitudes": the bytes of a normalised complex128 (2^n,) array;
    "encoded": the first of 2^n consecutive inputs; a sample's amplitudes are those x divided by their norm.

    Made by `Circuit(n, state)` from bit strings and arrays; `vector(n, x)` has its amplitudes, (2^n,) or (X, 2^n).
    Raises: QupropError for another kind, data that does not fit it, or amplitudes whose norm is not 1.

    >>> qpr.Circuit(2, "10").state
    InputState(kind='basis', data=1)
    >>> qpr.Circuit(1, [3, 4j]).state.vector(1)
    array([0.6+0.j , 0. +0.8j])
    """

    kind: str = "basis"
    data: int | bytes = 0

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise QupropError(f"an input state is of kind {', '.join(KINDS)}, got {shown(self.kind)}")
        if self.kind in ("basis", "encoded"):
            if type(self.data) is not int or self.data < 0:
                raise QupropError(f"a {self.kind} input state has a whole number, 0 or more, got {shown(self.data)}")
            return
        row = 16 * (2 if self.kind == "product" else 1)
        if not isinstance(self.data, bytes) or not self.data or len(self.data) % row:
            raise QupropError(
                f"an input state of kind {self.kind!r} has the bytes of a complex array, got {type(self.data).__name__}"
            )
        array = self.array
        small = np.abs(array).max() < 2  # false for NaN too
        if not small or not np.all(np.abs((np.abs(array) ** 2).sum(axis=-1) - 1) < _NORM):
            raise QupropError(
                "the amplitudes of an input state must be normalised; give the array to Circuit(n, state)"
            )

    def check(self, n: int, n_inputs: int) -> None:
        """Refuses a state that is not one of n qubits, or that reads amplitudes from beyond n_inputs inputs."""
        if self.kind == "basis":
            fits = self.index < 1 << n
        elif self.kind == "encoded":
            fits = n <= MAX_AMPLITUDE_QUBITS and self.input_slice(n).stop <= n_inputs
        else:
            fits = n <= (MAX_AMPLITUDE_QUBITS if self.kind == "amplitudes" else n) and self.array.shape in (
                (n, 2),
                (1 << n,),
            )
        if not fits:
            raise QupropError(
                f"the input state of kind {self.kind!r} does not fit {n} qubits and {n_inputs} inputs; make it of an "
                f"array of shape ({n}, 2) or (2^{n},), a basis index below 2^{n}, or an inputs vector of 2^{n} entries"
            )

    @classmethod
    def make(cls, n: int, state: Any = None, n_inputs: int = 0) -> InputState:
        """Read what a user may pass as `Circuit(n, state=...)`, except an `inputs` vector; n_inputs: of the circuit."""
        if isinstance(state, InputState):
            state.check(n, n_inputs)
            return state
        if state is None:
            return cls()
        if isinstance(state, str):
            if len(state) != n or set(state) - {"0", "1"}:
                raise QupropError(f"a bit string for {n} qubits has {n} characters 0 or 1, got {shown(state)}")
            return cls("basis", sum(1 << q for q, bit in enumerate(state) if bit == "1"))
        if isinstance(state, numbers.Integral) and not isinstance(state, bool):
            if not 0 <= int(state) < 1 << n:
                raise QupropError(
                    f"a basis state of {n} qubits has an index from 0 to {shown((1 << n) - 1)}, got {shown(state)}"
                )
            return cls("basis", int(state))
        array = checked("state", state, dtype=complex) if isinstance(state, Iterable) else np.empty(())
        if array.shape == (n, 2):
            return cls("product", normalised("each row of a product state", array).tobytes())
        if n <= MAX_AMPLITUDE_QUBITS and array.shape == (1 << n,):
            return cls("amplitudes", normalised("an amplitude vector", array).tobytes())
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
        return self._encode(n, x)[0].astype(complex)

    # The functions below are the derivatives of x -> a = x/|x|. |x| = r s with s a power of two, so that neither
    # a square nor |x| itself overflows or vanishes.

    @_QUIET
    def pushforward(self, n: int, x: np.ndarray, v_x: np.ndarray) -> np.ndarray:
        """d|phi>/dt along v_x: (v - a (a.v)) / |x|, real, shape (B, 2^n)."""
        a, r, s = self._encode(n, x)
        v = v_x[:, self.input_slice(n)] / s / r
        return v - a * _dot(a, v)

    @_QUIET
    def pullback(self, n: int, x: np.ndarray, adjoint: np.ndarray) -> np.ndarray:
        """dF/dx of the encoded columns, (B, 2^n), from adjoint = U†OU|phi>: g = 2 Re adjoint, (g - (g.a) a) / |x|."""
        a, r, s = self._encode(n, x)
        g = 2 * adjoint.real
        return (g - _dot(g, a) * a) / r / s

    @_QUIET
    def pullback_tangent(
        self, n: int, x: np.ndarray, v_x: np.ndarray, adjoint: np.ndarray, d_adjoint: np.ndarray
    ) -> np.ndarray:
        """The derivative of `pullback` along v_x, when the adjoint changes by d_adjoint."""
        a, r, s = self._encode(n, x)
        v = v_x[:, self.input_slice(n)] / s / r
        g, dg = 2 * adjoint.real, 2 * d_adjoint.real
        dr = _dot(a, v)  # of log |x|
        da = v - a * dr
        ga = _dot(g, a)
        return (dg - (_dot(dg, a) + _dot(g, da)) * a - ga * da - dr * (g - ga * a)) / r / s

    @_QUIET
    def jet(self, n: int, x: np.ndarray, v_x: np.ndarray, order: int) -> np.ndarray:
        """The coefficients of t^k, k = 0 ... order, of |phi> at x + t v_x: real (order + 1, B, 2^n)."""
        a, v, dr, curve = self._moved(n, x, v_x)
        # a(t) = (a + t v) / sqrt(1 + 2 dr t + |v|^2 t^2)
        return np.stack(np.broadcast_arrays(a, v - dr * a, curve * a - dr * v)[: order + 1])

    @_QUIET
    def jet_pullback(
        self, n: int, x: np.ndarray, v_x: np.ndarray, adjoint: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """dL/dx and dL/dv_x of the encoded columns, (B, 2^n) each, where dL is the coefficient of t^order of
        2 Re<adjoint(t)|d phi(t)>; adjoint: the coefficients (order + 1, B, 2^n)."""
        _, r, s = self._encode(n, x)
        _, _, dr, curve = self._moved(n, x, v_x)
        a, g = self.jet(n, x, v_x, len(adjoint) - 1), 2 * adjoint.real
        inverse = (np.ones_like(dr), -dr, curve)  # of the norm, over that at t = 0
        product = [sum(_dot(a[j], g[k - j]) for j in range(k + 1)) for k in range(len(g))]
        across = [g[k] - sum(product[j] * a[k - j] for j in range(k + 1)) for k in range(len(g))]
        slopes = [sum(inverse[j] * across[k - j] for j in range(k + 1)) / r / s for k in range(len(g))]
        return slopes[-1], slopes[-2] if len(g) > 1 else np.zeros_like(slopes[0])

    def _moved(self, n: int, x: np.ndarray, v_x: np.ndarray) -> tuple[np.ndarray, ...]:
        """a = x/|x|, v = v_x/|x|, and the coefficients -dr, curve of t and t^2 of |x|/|x + t v_x|."""
        a, r, s = self._encode(n, x)
        v = v_x[:, self.input_slice(n)] / s / r
        dr = _dot(a, v)
        return a, v, dr, 1.5 * dr * dr - 0.5 * _dot(v, v)

    def _encode(self, n: int, x: np.ndarray | None) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """a = x/|x|, and r and s with |x| = r s."""
        if x is None:
            raise QupropError("this model reads its input state from x; pass x")
        columns = np.asarray(x, float)[:, self.input_slice(n)]
        r, s = _norm(columns)
        if not np.all(r > 0):
            raise QupropError(
                f"sample {int(np.argmin(r > 0))} of x encodes its amplitudes but they are all zero; "
                "give it a non-zero vector"
            )
        return columns / s / r, r, s

    def text(self, n: int) -> str:
        if self.kind == "basis":
            return "|" + "".join(str(self.index >> q & 1) for q in range(n)) + ">"
        if self.kind == "encoded":
            columns = self.input_slice(n)
            return f"amplitudes x[{columns.start}:{columns.stop}]/norm"
        return "a product state" if self.kind == "product" else "given amplitudes"


def _norm(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """r and s of each real row, the norm being r s: s a power of two near the largest entry (1 for a row of zeros)."""
    size = np.abs(rows).max(axis=-1, keepdims=True)
    s = np.ldexp(1.0, np.frexp(size)[1] - 1)  # at most the largest entry: it is finite, and no quotient exceeds 2
    return np.linalg.norm(rows / s, axis=-1, keepdims=True), s


def normalised(what: str, rows: np.ndarray) -> np.ndarray:
    """Each row, real or complex, over its norm."""
    parts = rows.view(float)  # NumPy's quotient of a complex number by a tiny one overflows
    r, s = _norm(parts)
    if not np.all(r > 0):
        raise QupropError(f"{what} must be finite and not all zero, got zeros")
    return (parts / s / r).view(rows.dtype)


def _dot(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return np.sum(a * b, axis=1, keepdims=True)


def _describe(state: Any, array: np.ndarray) -> str:
    return f"an array of shape {array.shape}" if array.ndim else shown(state)
