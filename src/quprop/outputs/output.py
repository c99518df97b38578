"""Outputs: what is read from a state beside expectation values, each with its derivatives to the second order.

An output is a small frozen object. It sees states psi (B, 2^n) behind the whole circuit, is not changed by their global
phase, and gives numbers (B, K), those that are complex as pairs of real and imaginary parts, so that differentiation
is that of real functions everywhere and each program that takes them has its own convention.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from quprop.arrays import checked
from quprop.errors import QupropError
from quprop.model.input_state import normalised
from quprop.outputs.registers import RegisterSplit, check_inside, register, split
from quprop.outputs.spectrum import SpectralFunction
from quprop.simulate import memory


@dataclass(frozen=True)
class Output:
    """Base of all outputs."""

    complex = False

    def shape(self, n: int) -> tuple[int, ...]:
        """Of one sample, of a state of n qubits."""
        return ()

    def size(self, n: int) -> int:
        """Real numbers a sample."""
        return math.prod(self.shape(n)) << self.complex

    def check(self, n: int, batch: int = 1) -> None:
        """Refuses, before anything is computed, what a state of n qubits does not have or no memory holds."""

    def value(self, psi: np.ndarray) -> np.ndarray:
        """(B, K)."""
        raise NotImplementedError

    def along(self, jet: np.ndarray) -> np.ndarray:
        """d^k/dt^k of the value, k = 0 ... order, where jet[k] = d^k psi/dt^k: (order + 1, B, K); order 1 or 2."""
        raise NotImplementedError

    def costates(self, psi: np.ndarray, cotangent: np.ndarray) -> np.ndarray:
        """c (B, 2^n) with d(cotangent . value) = Re<c|d psi>; cotangent (B, K)."""
        raise NotImplementedError

    def costates_along(self, psi: np.ndarray, moved: np.ndarray, cotangent: np.ndarray) -> np.ndarray:
        """The derivative of `costates` as psi moves by `moved`."""
        raise NotImplementedError

    def of_reduced(self, rho: np.ndarray) -> np.ndarray:
        """The value (B, K) of a mixed state of the register, (B, 2^k, 2^k)."""
        raise QupropError(f"{type(self).__name__} is an output of pure states; take model.noiseless()")


@dataclass(frozen=True)
class _Quadratic(Output):
    """B(psi, psi) of a form B that is symmetric and linear over the real numbers."""

    def form(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        raise NotImplementedError

    def form_costates(self, psi: np.ndarray, cotangent: np.ndarray) -> np.ndarray:
        """c with cotangent . B(psi, v) = Re<c|v> for all v."""
        raise NotImplementedError

    def value(self, psi: np.ndarray) -> np.ndarray:
        return self.form(psi, psi)

    def along(self, jet: np.ndarray) -> np.ndarray:
        parts = [self.value(jet[0]), 2 * self.form(jet[0], jet[1])]
        if len(jet) > 2:
            parts.append(2 * (self.form(jet[1], jet[1]) + self.form(jet[0], jet[2])))
        return np.stack(parts)

    def costates(self, psi: np.ndarray, cotangent: np.ndarray) -> np.ndarray:
        return self.form_costates(psi, 2 * cotangent)

    def costates_along(self, psi: np.ndarray, moved: np.ndarray, cotangent: np.ndarray) -> np.ndarray:
        return self.form_costates(moved, 2 * cotangent)


@dataclass(frozen=True)
class Probabilities(_Quadratic):
    """Probabilities of the bits of `qubits`, (2^k,), the first listed qubit being the lowest bit of the index; None:
    all 2^n, qubit q being bit q.

        p(b) = sum over the rest of |<b, rest|psi>|^2

    Raises: QupropError for registers that are empty, repeat a qubit or name one that is not there.

    >>> model = qpr.Model(qpr.Circuit(2).h(0).cx(0, 1), "Z0")
    >>> qpr.output_vjp(model, qpr.outputs.Probabilities([1]), [])[0].round(6)
    array([0.5, 0.5])
    """

    qubits: Any = None

    def __post_init__(self) -> None:
        if self.qubits is not None:
            object.__setattr__(self, "qubits", register(self.qubits))

    def shape(self, n: int) -> tuple[int, ...]:
        return (1 << (n if self.qubits is None else len(self.qubits)),)

    def check(self, n: int, batch: int = 1) -> None:
        if self.qubits is not None:
            check_inside(self.qubits, n)

    def _split(self, size: int) -> RegisterSplit:
        return split(size.bit_length() - 1, self.qubits)

    def form(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        p = a.real * b.real
        p += a.imag * b.imag
        return p if self.qubits is None else self._split(p.shape[-1]).marginal(p)

    def form_costates(self, psi: np.ndarray, cotangent: np.ndarray) -> np.ndarray:
        if self.qubits is None:
            return cotangent * psi
        cut = self._split(psi.shape[-1])
        return (cut.spread(cotangent) * psi.reshape(len(psi), *cut.dims)).reshape(psi.shape)

    def of_reduced(self, rho: np.ndarray) -> np.ndarray:
        return np.ascontiguousarray(np.diagonal(rho, axis1=-2, axis2=-1).real)


@dataclass(frozen=True)
class _OfRegister(Output):
    """What depends on the reduced state of a register."""

    qubits: Any

    def __post_init__(self) -> None:
        object.__setattr__(self, "qubits", register(self.qubits))

    def _split(self, size: int) -> RegisterSplit:
        return split(size.bit_length() - 1, self._side(size.bit_length() - 1))

    def _side(self, n: int) -> tuple[int, ...]:
        return self.qubits

    def check(self, n: int, batch: int = 1) -> None:
        check_inside(self.qubits, n)
        k = len(self._side(n))
        memory.require(  # the matrix, its cotangent, the product of both
            (64 * batch << 2 * k) + (48 * batch << n),
            f"a reduced state of {k} qubits" + (f" for {batch} samples" if batch > 1 else ""),
            "take fewer qubits or a smaller batch",
        )


@dataclass(frozen=True)
class ReducedState(_OfRegister, _Quadratic):
    """The reduced density matrix of `qubits`, complex (2^k, 2^k), the first listed qubit being the lowest bit.

        rho = tr_rest |psi><psi|

    Raises: QupropError for registers that are empty, repeat a qubit or name one that is not there.

    >>> model = qpr.Model(qpr.Circuit(2).h(0).cx(0, 1), "Z0")
    >>> qpr.output_vjp(model, qpr.outputs.ReducedState([1]), [])[0].real.round(6)
    array([[0.5, 0. ],
           [0. , 0.5]])
    """

    complex = True

    def shape(self, n: int) -> tuple[int, ...]:
        return (1 << len(self.qubits),) * 2

    def form(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        cut = self._split(a.shape[-1])
        left = cut.matrix(a)
        rho = left @ (left if b is a else cut.matrix(b)).conj().swapaxes(-1, -2)
        rho = (rho + rho.conj().swapaxes(-1, -2)) / 2
        return _real(rho.reshape(len(a), -1))

    def form_costates(self, psi: np.ndarray, cotangent: np.ndarray) -> np.ndarray:
        cut = self._split(psi.shape[-1])
        g = _complex(cotangent).reshape(-1, cut.size, cut.size)
        return cut.states(((g + g.conj().swapaxes(-1, -2)) / 2) @ cut.matrix(psi))

    def of_reduced(self, rho: np.ndarray) -> np.ndarray:
        return _real(np.ascontiguousarray(rho).reshape(len(rho), -1))


@dataclass(frozen=True)
class _OfSpectrum(_OfRegister):
    """What depends on the eigenvalues of the reduced state, which are those of the rest's too: the smaller is taken."""

    @property
    def _spectrum(self) -> SpectralFunction:
        raise NotImplementedError

    def _side(self, n: int) -> tuple[int, ...]:
        rest = tuple(q for q in range(n) if q not in self.qubits)
        return self.qubits if 2 * len(self.qubits) <= n or not rest else rest

    def _is_whole(self, psi: np.ndarray) -> bool:
        """A pure state has the spectrum 1, 0, 0 ... whatever its parameters."""
        return 1 << len(self.qubits) == psi.shape[-1]

    def value(self, psi: np.ndarray) -> np.ndarray:
        if self._is_whole(psi):
            return np.zeros((len(psi), 1)) + self._spectrum.of_pure
        return self._spectrum.value(self._split(psi.shape[-1]).matrix(psi))

    def along(self, jet: np.ndarray) -> np.ndarray:
        if self._is_whole(jet[0]):
            return np.stack([self.value(jet[0]), *([np.zeros((jet.shape[1], 1))] * (len(jet) - 1))])
        cut = self._split(jet.shape[-1])
        return self._spectrum.along([cut.matrix(p) for p in jet])

    def costates(self, psi: np.ndarray, cotangent: np.ndarray) -> np.ndarray:
        if self._is_whole(psi):
            return np.zeros_like(psi)
        cut = self._split(psi.shape[-1])
        return cut.states(self._spectrum.costates(cut.matrix(psi), cotangent))

    def costates_along(self, psi: np.ndarray, moved: np.ndarray, cotangent: np.ndarray) -> np.ndarray:
        if self._is_whole(psi):
            return np.zeros_like(psi)
        cut = self._split(psi.shape[-1])
        return cut.states(self._spectrum.costates_along(cut.matrix(psi), cut.matrix(moved), cotangent))

    def of_reduced(self, rho: np.ndarray) -> np.ndarray:
        return self._spectrum.of_eigenvalues(np.linalg.eigvalsh(rho))


@dataclass(frozen=True)
class Purity(_OfSpectrum):
    """tr rho^2 of the reduced state of `qubits`: 1 for a product with the rest, 2^-k where maximally entangled.

    Raises: QupropError for registers that are empty, repeat a qubit or name one that is not there.

    >>> model = qpr.Model(qpr.Circuit(2).h(0).cx(0, 1), "Z0")
    >>> qpr.output_vjp(model, qpr.outputs.Purity([0]), [])[0].round(6)
    np.float64(0.5)
    """

    @property
    def _spectrum(self) -> SpectralFunction:
        return SpectralFunction(2.0, purity=True)


@dataclass(frozen=True)
class Entropy(_OfSpectrum):
    """The entropy of the reduced state of `qubits`, of any order > 0 (Renyi), von Neumann's for order 1.

        S_1 = -tr rho log rho,    S_a = log(tr rho^a) / (1 - a)

    base: of the logarithm; None: e (nats), 2: bits. At zero eigenvalues S_a has first derivatives for a > 1/2 and
    second ones for a > 1: others are refused there.

    Raises: QupropError for registers that do not fit, orders that are not above 0, and bases that are not above 1.

    >>> model = qpr.Model(qpr.Circuit(2).h(0).cx(0, 1), "Z0")
    >>> qpr.output_vjp(model, qpr.outputs.Entropy([0], base=2), [])[0].round(6)
    np.float64(1.0)
    """

    order: float = 1.0
    base: float | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        for name, value, above in (("order", self.order, 0), ("base", self.base, 1)):
            if name == "base" and value is None:
                continue
            number = isinstance(value, int | float | np.integer | np.floating) and not isinstance(value, bool)
            if not number or not above < float(value or 0) < math.inf:
                kind = "of an entropy" if name == "order" else "of its logarithm"
                raise QupropError(f"the {name} {kind} is a finite number above {above}, got {value!r}")
            object.__setattr__(self, name, float(value or 0))

    @property
    def _spectrum(self) -> SpectralFunction:
        return SpectralFunction(self.order, scale=1.0 if self.base is None else 1 / math.log(self.base))


@dataclass(frozen=True)
class Amplitudes(Output):
    """All amplitudes, complex (2^n,), in the phase where that of basis state `phase_of` is real and positive.

        a = psi conj(psi_r) / |psi_r|

    A circuit's state is one up to a global phase; this fixes it, and with it the derivatives.

    Raises: QupropError for a basis state that is not there, and where its amplitude is zero (below 1e-6).

    >>> model = qpr.Model(qpr.Circuit(1).h(0).s(0), "Z0")
    >>> qpr.output_vjp(model, qpr.outputs.Amplitudes(), [])[0].round(6)
    array([0.707107+0.j      , 0.      +0.707107j])
    """

    phase_of: int = 0
    complex = True

    def __post_init__(self) -> None:
        r = self.phase_of
        if isinstance(r, bool) or not isinstance(r, int | np.integer) or r < 0:
            raise QupropError(f"phase_of is the index of a basis state, from 0, got {r!r}")
        object.__setattr__(self, "phase_of", int(r))

    def shape(self, n: int) -> tuple[int, ...]:
        return (1 << n,)

    def check(self, n: int, batch: int = 1) -> None:
        if self.phase_of >= 1 << n:
            raise QupropError(f"phase_of is a basis state 0..{(1 << n) - 1} of the model, got {self.phase_of}")

    def _phase(self, psi: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """z = psi_r and conj(z)/|z|, (B, 1)."""
        z = psi[:, self.phase_of, None]
        size = np.abs(z)
        if size.min() < 1e-6:
            raise QupropError(
                f"amplitudes have the phase where that of basis state {self.phase_of} is positive, and it is "
                f"{size.min():.1g} here; choose another with phase_of="
            )
        return z, z.conj() / size

    def value(self, psi: np.ndarray) -> np.ndarray:
        return _real(psi * self._phase(psi)[1])

    def along(self, jet: np.ndarray) -> np.ndarray:
        psi, d = jet[0], jet[1]
        z, u = self._phase(psi)
        r = self.phase_of
        dz = d[:, r, None] / z  # d log z: the phase turns by its imaginary part
        parts = [psi * u, u * (d - 1j * dz.imag * psi)]
        if len(jet) > 2:
            turn = (jet[2][:, r, None] / z - dz**2).imag
            parts.append(u * (jet[2] - 2j * dz.imag * d - (1j * turn + dz.imag**2) * psi))
        return np.stack([_real(p) for p in parts])

    def costates(self, psi: np.ndarray, cotangent: np.ndarray) -> np.ndarray:
        z, u = self._phase(psi)
        g = _complex(cotangent)
        turned = np.sum((g.conj() * psi * u).imag, axis=1, keepdims=True)  # d L = turned d(phase), besides
        c = u.conj() * g
        c[:, self.phase_of] += (1j * turned / z.conj())[:, 0]
        return c

    def costates_along(self, psi: np.ndarray, moved: np.ndarray, cotangent: np.ndarray) -> np.ndarray:
        z, u = self._phase(psi)
        g = _complex(cotangent)
        dz = moved[:, self.phase_of, None]
        phase = (dz / z).imag
        turned = np.sum((g.conj() * psi * u).imag, axis=1, keepdims=True)
        d_turned = np.sum((g.conj() * u * (moved - 1j * phase * psi)).imag, axis=1, keepdims=True)
        c = 1j * phase * u.conj() * g
        c[:, self.phase_of] += (1j * (d_turned / z.conj() - turned * (dz / z**2).conj()))[:, 0]
        return c


@dataclass(frozen=True, eq=False)
class StateOverlap(_Quadratic):
    """|<target|psi>|^2 with a given state, (2^n,), normalised here.

    Raises: QupropError for a target that is zero, not finite or of another size.

    >>> model = qpr.Model(qpr.Circuit(1).h(0), "Z0")
    >>> qpr.output_vjp(model, qpr.outputs.StateOverlap([1, 0]), [])[0].round(6)
    np.float64(0.5)
    """

    target: Any = field(repr=False)

    def __post_init__(self) -> None:
        target = normalised("`target`", checked("`target`", self.target, ("2^n",), complex))
        object.__setattr__(self, "target", target)

    def check(self, n: int, batch: int = 1) -> None:
        checked("`target`", self.target, (1 << n,), complex)

    def form(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        first = a @ self.target.conj()
        return (first.conj() * (first if b is a else b @ self.target.conj())).real[:, None]

    def form_costates(self, psi: np.ndarray, cotangent: np.ndarray) -> np.ndarray:
        return cotangent * (psi @ self.target.conj())[:, None] * self.target


def _real(array: np.ndarray) -> np.ndarray:
    """(B, 2 K) of complex (B, K)."""
    return np.ascontiguousarray(array, complex).view(float)


def _complex(pairs: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(pairs, float).view(complex)
