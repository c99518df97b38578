"""`CutPlan`: exact values and gradients of a cut circuit, joined from its fragments; shots are in sample.py."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from quprop import simulate
from quprop.angle_table import AngleTable
from quprop.cost import Cost
from quprop.errors import QupropError
from quprop.gradients.estimate import Estimate
from quprop.hybrid.cutting import contract
from quprop.hybrid.cutting.fragments import TRANSPOSE, Cut, Fragment, coupling
from quprop.pauli import PauliString

Arrays = tuple[np.ndarray, np.ndarray]
_CONTRACT_BYTES = 4 << 30


@dataclass(frozen=True, eq=False)
class CutPlan:
    """A cut circuit: symbolic, made once and used for every theta and x.

    fragments, cuts: what it fell into; factors (F, J): which local factor each term has on each fragment;
    coefficients (J, K) of the terms in the observables; optimal: whether no cheaper cut exists (proved by search).
    """

    fragments: tuple[Fragment, ...]
    cuts: tuple[Cut, ...]
    factors: np.ndarray
    coefficients: np.ndarray
    terms: tuple[PauliString, ...]
    table: AngleTable
    optimal: bool

    @property
    def n_params(self) -> int:
        return self.table.n_params

    @property
    def n_inputs(self) -> int:
        return self.table.n_inputs

    @property
    def n_observables(self) -> int:
        return self.coefficients.shape[1]

    @property
    def kappa(self) -> float:
        """The one-norm of the quasi-probabilities, gates with free angles at their worst, |sin a| = 1."""
        return math.prod(c.kappa for c in self.cuts)

    @property
    def overhead(self) -> float:
        """gamma^2 = prod kappa_i^2: how many times more shots than the uncut circuit, in the worst case."""
        return self.kappa**2

    def overhead_at(self, theta: Any, x: Any = None) -> float:
        """gamma^2 at these angles: a gate whose angle is small is cut cheaply."""
        call = self._call(theta, x)
        if call.batch != 1:
            raise QupropError(
                f"the overhead is told for one sample at a time, got a batch of {call.batch}; loop over it"
            )
        angles = self.table.evaluate(call.theta, call.x)[0]
        gates = [c for c in self.cuts if c.kind == "gate"]
        now = math.prod(1 + 2 ** (c.parts - 1) * abs(math.sin(a)) for c, a in zip(gates, angles, strict=True))
        return (now * math.prod(c.kappa for c in self.cuts if c.kind == "wire")) ** 2

    def cost(self, shots: int) -> Cost:
        """What `estimate` executes with this many shots: every fragment once a shot."""
        return Cost(
            copies=shots * len(self.fragments),
            rotations=shots * sum(f.model.n_rotations for f in self.fragments),
            measurements=shots * len(self.fragments),
            depth=max(f.model.n_rotations for f in self.fragments),
            qubits=max(f.n_qubits for f in self.fragments),
        )

    def expectation(self, theta: Any, x: Any = None, **options: Any) -> np.ndarray:
        """<O_k> of the uncut circuit, exactly: (..., K). Options are those of `quprop.expectation`."""
        call = self._call(theta, x)
        tensors = []
        for f in self.fragments:
            values = simulate.expectation(f.model, call.theta, self._inputs(call), **options)
            tensors.append(np.broadcast_to(values, (call.batch, values.shape[-1])))
        terms, _ = self._contract(tensors, call)
        return (terms @ self.coefficients).reshape(*call.shape, self.n_observables)

    def vjp(self, theta: Any, x: Any = None, **options: Any) -> tuple[np.ndarray, Callable[..., Arrays]]:
        """The values (..., K) and pullback(cotangent (..., K)) -> (d_theta (..., P), d_x (..., D)), exact.

        The derivative goes through the contraction to every fragment's tensor, from there by one backward sweep through
        each fragment, and through the coefficients of the cut gates to their angles. With `sum_theta=True` d_theta is
        summed over the batch: (P,).
        """
        call = self._call(theta, x)
        tensors, backs = [], []
        for f in self.fragments:
            values, back = simulate.vjp(f.model, call.theta, self._inputs(call), **options)
            tensors.append(np.broadcast_to(values, (call.batch, values.shape[-1])))
            backs.append(back)
        terms, through = self._contract(tensors, call)

        def pullback(cotangent: Any, *, sum_theta: bool = False) -> Arrays:
            weight = simulate._beside("cotangent", cotangent, self.n_observables, call.shape)
            weight = np.broadcast_to(weight, (call.batch, self.n_observables))
            d_tensors, d_angles = through(weight @ self.coefficients.T)
            d_theta = np.zeros((call.batch, self.n_params))
            d_x = np.zeros((call.batch, self.n_inputs))
            for back, d_tensor in zip(backs, d_tensors, strict=True):
                more_theta, more_x = back(d_tensor)
                d_theta, d_x = d_theta + more_theta, d_x + more_x
            if self.table.constant.size:
                more_theta, more_x = self.table.pullback(d_angles, call.theta, call.x)
                d_theta, d_x = d_theta + more_theta, d_x + more_x
            d_x = d_x.reshape(*call.shape, self.n_inputs)
            return (d_theta.sum(axis=0) if sum_theta else d_theta.reshape(*call.shape, self.n_params)), d_x

        return (terms @ self.coefficients).reshape(*call.shape, self.n_observables), pullback

    def value_and_grad(self, theta: Any, x: Any = None, *, weights: Any = None, **options: Any) -> Arrays:
        """F = sum_k weights_k <O_k> (...) and dF/dtheta (..., P), exact, like `quprop.value_and_grad`."""
        if weights is None:
            if self.n_observables != 1:
                raise QupropError(
                    f"this plan has {self.n_observables} observables; pass weights=, one number for each, to say which "
                    "sum to differentiate"
                )
            weights = np.ones(1)
        shape = self._call(theta, x).shape
        weights = simulate._beside("weights", weights, self.n_observables, shape)
        weights = np.broadcast_to(weights, (math.prod(shape), self.n_observables)).reshape(*shape, self.n_observables)
        values, pullback = self.vjp(theta, x, **options)
        grad, _ = pullback(weights)
        value = (values * weights).sum(axis=-1)
        return value, grad

    def estimate(self, theta: Any, x: Any = None, *, shots: int, rng: Any) -> Estimate:
        """<O_k> (K,) from shots of the fragments alone, by quasi-probability: value, standard errors, cost.

        See `quprop.hybrid.cutting.sample`. theta (P,) and x (D,): one sample. shots: runs of every fragment in all.
        """
        from quprop.hybrid.cutting.sample import estimate

        return estimate(self, theta, x, shots, rng)

    def gradient(self, theta: Any, x: Any = None, *, shots: int, rng: Any, weights: Any = None) -> Estimate:
        """dF/dtheta (P,) of F = weights . <O> from shots: parameter shifts through the cuts, see `sample.gradient`."""
        from quprop.hybrid.cutting.sample import gradient

        return gradient(self, theta, x, shots, rng, weights)

    def __str__(self) -> str:
        gates = sum(c.kind == "gate" for c in self.cuts)
        kinds = [count_of(gates, "gate cut"), count_of(len(self.cuts) - gates, "wire cut")]
        how = " (optimal)" if self.optimal and self.cuts else ""
        lines = [
            f"{count_of(len(self.fragments), 'fragment')}, {', '.join(kinds)}, sampling overhead {self.overhead:.4g}"
            + how,
            f"  {'fragment':>8}  {'qubits':>6}  {'cut ends':>8}  {'rotations':>9}  {'settings':>8}  qubits held",
        ]
        for k, f in enumerate(self.fragments):
            held = _ranges(sorted({w for w, _ in f.wires}))
            held = held if len(held) <= 28 else held[:25] + "..."
            settings = len(f.model.observables)
            lines.append(
                f"  {k:>8}  {f.n_qubits:>6}  {len(f.axes):>8}  {f.model.n_rotations:>9}  {settings:>8}  {held}"
            )
        for c in self.cuts[:8]:
            lines.append(f"  cut {c.text} (operation {c.place}), kappa {c.kappa:.3g}")
        return "\n".join(lines + ([f"  ... {len(self.cuts) - 8} more cuts"] if len(self.cuts) > 8 else []))

    def _call(self, theta: Any, x: Any) -> simulate.Call:
        return simulate.Call(self.fragments[0].model, theta, x, None, "double", None, "values")

    def _inputs(self, call: simulate.Call) -> np.ndarray | None:
        return call.x if self.n_inputs else None

    @cached_property
    def _ids(self) -> tuple[contract.Ids, ...]:
        """Indices of the fragments' tensors, then of the cuts': end s of cut c is 2 + offset_c + s."""
        offsets = np.concatenate([[0], np.cumsum([c.parts for c in self.cuts])]).astype(int)
        out: list[contract.Ids] = []
        for k, f in enumerate(self.fragments):
            several = (contract.TERM,) if self._several[k] else ()
            out.append((contract.BATCH, *(2 + int(offsets[a.cut]) + a.side for a in f.axes), *several))
        for c, cut_ in enumerate(self.cuts):
            ends = tuple(2 + int(offsets[c]) + s for s in range(cut_.parts))
            out.append((contract.BATCH, *ends) if cut_.kind == "gate" else ends)
        return tuple(out)

    @cached_property
    def _several(self) -> tuple[bool, ...]:
        """Whether the terms differ on a fragment."""
        return tuple(len(f.locals) > 1 or len(self.fragments) == 1 for f in self.fragments)

    @cached_property
    def _path(self) -> tuple[tuple[int, int, contract.Ids], ...]:
        return contract.order(self._ids)

    def _check_contraction(self) -> None:
        indices = contract.largest(self._ids, self._path)
        needed = 8 * 4**indices * max(len(self.terms), 1)
        if needed > _CONTRACT_BYTES:
            raise QupropError(
                f"joining the fragments again needs a tensor of 4^{indices} x {len(self.terms)} numbers, "
                f"{needed / 2**30:.3g} GiB (limit {_CONTRACT_BYTES >> 30}); allow more qubits per fragment, or take "
                "gates out that join the parts"
            )

    def _contract(self, tensors: Sequence[np.ndarray], call: simulate.Call) -> tuple[np.ndarray, Callable[..., Any]]:
        """Terms (B, J) from the fragments' values (B, settings); pullback: (B, J) -> those, and d angles (B, G)."""
        batch = call.batch
        operands = []
        for k, (f, values) in enumerate(zip(self.fragments, tensors, strict=True)):
            shaped = values.reshape(batch, *f.shape)
            operands.append(shaped[..., self.factors[k]] if self._several[k] else shaped[..., 0])
        angles = np.broadcast_to(self.table.evaluate(call.theta, call.x), (batch, len(self.table.constant)))
        gate = 0
        for c in self.cuts:
            if c.kind == "gate":
                operands.append(_coupled(c.parts, angles[:, gate], 0))
                gate += 1
            else:
                operands.append(TRANSPOSE)
        terms, back = contract.contract(operands, self._ids, self._path)

        def pullback(cotangent: np.ndarray) -> tuple[list[np.ndarray], np.ndarray]:
            grads = back(cotangent)
            d_tensors = []
            for k, f in enumerate(self.fragments):
                out = np.zeros((batch, *f.shape))
                if self._several[k]:
                    choose = np.zeros((len(self.terms), len(f.locals)))
                    choose[np.arange(len(self.terms)), self.factors[k]] = 1.0
                    out[...] = grads[k] @ choose
                else:
                    out[..., 0] = grads[k]
                d_tensors.append(out.reshape(batch, -1))
            d_angles = np.empty(angles.shape)
            gate = 0
            for c, grad in zip(self.cuts, grads[len(self.fragments) :], strict=True):
                if c.kind == "gate":
                    slope = _coupled(c.parts, angles[:, gate], 1)
                    d_angles[:, gate] = (grad * slope).reshape(batch, -1).sum(axis=1)
                    gate += 1
            return d_tensors, d_angles

        return np.broadcast_to(terms, (batch, len(self.terms))), pullback


def _coupled(parts: int, angle: np.ndarray, derivative: int) -> np.ndarray:
    """The coefficients of a shared gate, (B, 4, ..., 4), or their derivative by the angle."""
    even, odd, cross = coupling(parts)
    a = angle.reshape(-1, *(1,) * parts)
    if derivative:
        return np.sin(a) / 2 * (odd - even) + np.cos(a) * cross
    return np.cos(a / 2) ** 2 * even + np.sin(a / 2) ** 2 * odd + np.sin(a) * cross


def count_of(number: int, noun: str) -> str:
    return f"{number} {noun}" + ("" if number == 1 else "s")


def _ranges(numbers: Sequence[int]) -> str:
    """0-3 7 9-11"""
    out: list[list[int]] = []
    for k in numbers:
        if out and out[-1][1] == k - 1:
            out[-1][1] = k
        else:
            out.append([k, k])
    return " ".join(str(a) if a == b else f"{a}-{b}" for a, b in out)
