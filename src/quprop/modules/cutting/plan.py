"""`CutPlan`: a cut circuit, which gives what its uncut model gives; exact work is in joined.py, shots in sample.py."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from quprop import simulate
from quprop.arrays import checked
from quprop.cost import Cost
from quprop.errors import QupropError, count_of
from quprop.model import Model
from quprop.model.angle_table import AngleTable
from quprop.model.pauli import PauliString
from quprop.modules.cutting import contract
from quprop.modules.cutting.fragments import Cut, Fragment
from quprop.modules.cutting.joined import Joined, join
from quprop.sampling.budget import Budget
from quprop.sampling.estimate import Estimate
from quprop.simulate.engine import InPlaceOf
from quprop.tables import Sentence, folded, html, literal, narrow_table

Arrays = tuple[np.ndarray, np.ndarray]
_CONTRACT_BYTES = 4 << 30


@dataclass(frozen=True, eq=False)
class CutPlan(InPlaceOf):
    """A cut circuit: symbolic, made once and used for every theta and x.

    Where values and exact derivatives of a `Model` are asked for, a plan serves as well: `quprop.expectation`, `vjp`,
    `value_and_grad`, `hvp` and `train`, `QuantumLayer`, and the JAX `function`.

    model: the uncut one. fragments, cuts: what it fell into; factors (F, J): which local factor each term has on each
    fragment; coefficients (J, K) of the terms in the observables; optimal: whether no cheaper cut exists (proved by
    search).
    """

    model: Model = field(repr=False)
    fragments: tuple[Fragment, ...]
    cuts: tuple[Cut, ...]
    factors: np.ndarray
    coefficients: np.ndarray
    terms: tuple[PauliString, ...]
    table: AngleTable
    optimal: bool

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
        """What `estimate` executes with this many shots: every fragment that is not idle once a shot."""
        run = self.run
        return Cost(
            copies=shots * len(run),
            rotations=shots * sum(f.model.n_rotations for f in run),
            measurements=shots * len(run),
            depth=max((f.model.n_rotations for f in run), default=0),
            qubits=max((f.n_qubits for f in run), default=0),
        )

    @cached_property
    def run(self) -> tuple[Fragment, ...]:
        """The fragments that a shot runs."""
        return tuple(f for f in self.fragments if not f.idle)

    def engine_over(self, engine: Any) -> Joined:
        """The engine of what this plan computes, when `engine` simulates its fragments."""
        return Joined(self, engine)

    def expectation(self, theta: Any, x: Any = None, **options: Any) -> np.ndarray:
        """<O_k> of the uncut circuit, exactly: (..., K). The same as `quprop.expectation(plan, ...)`."""
        return simulate.expectation(self, theta, x, **options)

    def vjp(self, theta: Any, x: Any = None, **options: Any) -> tuple[np.ndarray, Callable[..., Arrays]]:
        """The values (..., K) and pullback(cotangent (..., K)) -> (d_theta (..., P), d_x (..., D)), exact.

        The same as `quprop.vjp(plan, ...)`.
        """
        return simulate.vjp(self, theta, x, **options)

    def value_and_grad(self, theta: Any, x: Any = None, *, weights: Any = None, **options: Any) -> Arrays:
        """F = sum_k weights_k <O_k> (...) and dF/dtheta (..., P), exact, like `quprop.value_and_grad(plan, ...)`."""
        return simulate.value_and_grad(self, theta, x, weights=weights, **options)

    def combine(self, values: Sequence[Any], theta: Any, x: Any = None) -> np.ndarray:
        """<O_k> (K,) from what the fragments' circuits gave wherever they were run, for one theta (P,) and x (D,).

        values: for each fragment the expectation values of its `settings`, in their order. The angles of the gates that
        were cut are in no fragment, so theta and x are asked for again.
        """
        call = self._call(theta, x)
        if call.shape:
            raise QupropError(f"results are joined for one sample at a time, got a batch of shape {call.shape}")
        if len(values) != len(self.fragments):
            raise QupropError(
                f"values are one array for each of the {len(self.fragments)} fragments, got {len(values)}"
            )
        tensors = [
            checked(f"values[{k}]", v, (len(f.settings),))[None]
            for k, (f, v) in enumerate(zip(self.fragments, values, strict=True))
        ]
        terms, _ = join(self, tensors, self.table.evaluate(call.theta, call.x))
        return (terms @ self.coefficients)[0]

    def estimate(
        self,
        theta: Any,
        x: Any = None,
        *,
        rng: Any,
        shots: int | None = None,
        total_shots: int | None = None,
        precision: float | None = None,
        max_error: float | None = None,
        failure: float = 0.01,
    ) -> Estimate:
        """<O_k> (K,) from shots of the fragments alone, by quasi-probability: value, standard errors, cost.

        See `quprop.modules.cutting.sample`. theta (P,) and x (D,): one sample. The budget is one of

        shots         shots, each of which runs every fragment once
        total_shots   runs of fragments in all, `cost.copies` at most
        precision     the standard error wanted of every component, kept in the worst case
        max_error     with failure (0.01): all components within max_error at once, except with that probability
        """
        from quprop.modules.cutting.sample import estimate

        budget = Budget(shots=shots, total_shots=total_shots, precision=precision, max_error=max_error, failure=failure)
        return estimate(self, theta, x, budget, rng)

    def gradient(
        self,
        theta: Any,
        x: Any = None,
        *,
        rng: Any,
        shots: int | None = None,
        total_shots: int | None = None,
        precision: float | None = None,
        max_error: float | None = None,
        failure: float = 0.01,
        weights: Any = None,
    ) -> Estimate:
        """dF/dtheta (P,) of F = weights . <O> from shots: parameter shifts through the cuts, see `sample.gradient`.

        The budget is one of those of `estimate`; `shots` are those of every derivative by an angle, so that the whole
        takes as many times more as there are angles, and `total_shots` bounds the whole.
        """
        from quprop.modules.cutting.sample import gradient

        budget = Budget(shots=shots, total_shots=total_shots, precision=precision, max_error=max_error, failure=failure)
        return gradient(self, theta, x, budget, rng, weights)

    def _head(self) -> str:
        gates = sum(c.kind == "gate" for c in self.cuts)
        kinds = [count_of(gates, "gate cut"), count_of(len(self.cuts) - gates, "wire cut")]
        how = " (optimal)" if self.optimal and self.cuts else ""
        return f"{count_of(len(self.run), 'fragment')}, {', '.join(kinds)}, sampling overhead {self.overhead:.4g}" + how

    def _repr_html_(self) -> str:
        heads = ("qubits", "cut ends", "rotations", "settings")
        fragments = narrow_table("", *heads, ("qubits held", "left"), first="fragment")
        rows = [
            (
                str(k),
                str(f.n_qubits),
                str(len(f.axes)),
                f"{f.model.n_rotations:,}",
                f"{len(f.model.observables):,}",
                _ranges(sorted({w for w, _ in f.wires})),
            )
            for k, f in enumerate(self.fragments)
            if not f.idle
        ]
        cuts = narrow_table("", "operation", "kappa", first="cut")
        cut_rows = [(literal(c.text), f"{c.place:,}", f"{c.kappa:.3g}") for c in self.cuts]
        return html([Sentence(self._head()), folded(fragments, rows), *([folded(cuts, cut_rows)] if cut_rows else [])])

    def __str__(self) -> str:
        lines = [
            self._head(),
            f"  {'fragment':>8}  {'qubits':>6}  {'cut ends':>8}  {'rotations':>9}  {'settings':>8}  qubits held",
        ]
        for k, f in enumerate(self.fragments):
            if f.idle:
                continue
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
        return simulate.Call(self, theta, x, None, "double", None, "values")

    def _inputs(self, call: simulate.Call) -> np.ndarray | None:
        return call.x if self.n_inputs else None

    @cached_property
    def ids(self) -> tuple[contract.Ids, ...]:
        """Indices of the fragments' tensors, then of the cuts': end s of cut c is 2 + offset_c + s."""
        offsets = np.concatenate([[0], np.cumsum([c.parts for c in self.cuts])]).astype(int)
        out: list[contract.Ids] = []
        for k, f in enumerate(self.fragments):
            several = (contract.TERM,) if self.several[k] else ()
            out.append((contract.BATCH, *(2 + int(offsets[a.cut]) + a.side for a in f.axes), *several))
        for c, cut_ in enumerate(self.cuts):
            ends = tuple(2 + int(offsets[c]) + s for s in range(cut_.parts))
            out.append((contract.BATCH, *ends) if cut_.kind == "gate" else ends)
        return tuple(out)

    @cached_property
    def several(self) -> tuple[bool, ...]:
        """Whether the terms differ on a fragment."""
        return tuple(len(f.locals) > 1 or len(self.fragments) == 1 for f in self.fragments)

    @cached_property
    def path(self) -> tuple[tuple[int, int, contract.Ids], ...]:
        return contract.order(self.ids)

    def _check_contraction(self) -> None:
        indices = contract.largest(self.ids, self.path)
        needed = 8 * 4**indices * max(len(self.terms), 1)
        if needed > _CONTRACT_BYTES:
            raise QupropError(
                f"joining the fragments again needs a tensor of 4^{indices} x {len(self.terms)} numbers, "
                f"{needed / 2**30:.3g} GiB (limit {_CONTRACT_BYTES >> 30}); allow more qubits per fragment, or take "
                "gates out that join the parts"
            )


def _ranges(numbers: Sequence[int]) -> str:
    """0-3 7 9-11"""
    out: list[list[int]] = []
    for k in numbers:
        if out and out[-1][1] == k - 1:
            out[-1][1] = k
        else:
            out.append([k, k])
    return " ".join(str(a) if a == b else f"{a}-{b}" for a, b in out)
