"""The circuits of a plan at one point or many, and what counts of them come to."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from importlib import import_module
from typing import Any, NamedTuple

import numpy as np
import scipy.sparse as sp

from quprop.cost import Cost
from quprop.errors import QupropError, count_of, nearest, shown
from quprop.model.pauli import PauliString
from quprop.sampling.devices.device import Counts, DeviceCircuit, Outcomes, Work
from quprop.sampling.devices.packing import merge
from quprop.sampling.estimate import Estimate, gathered
from quprop.sampling.requests import NO_INVERSION, Placed, Reader, Rounds, as_read

FORMATS = {
    "qiskit": "quprop.hybrid.devices.qiskit_circuits",
    "qasm3": "quprop.hybrid.qasm",
}  # loaded where one is asked for
FORMAT, VERSION = "quprop-circuits", 1


class _Sample(NamedTuple):
    """Where the estimate of one point is: the requests of this round as they are placed, or what came out."""

    placed: list[Placed]
    found: Estimate | None


class PlanCircuits:
    """Circuits with unbound angles, the settings at which they are run, and what each measures; one round of them.

    work: a list of `Work(circuit, values (R, P), shots (R,))`, each circuit once with the settings of all points and
        components; `circuit` is a `DeviceCircuit` (circuit, measured). n_circuits: settings in all.
    cost: what running this round costs, `Cost`.
    combine(counts): the `Estimate`, as `plan.estimate` gives it. next(counts): the circuits of the next round of a plan
        that looks at counts before it goes on (`adaptive=True`); None after the last one.
    linear_map(): the gradient, and the value if it is read, as a linear function of the means of the strings that are
        read; covariance(counts).
    to("qiskit" | "qasm3" | "json"): as others read them.

    counts: for every setting, in the order of `work`, a dictionary {outcome: count} whose outcomes are integers (bit b
        is that of the qubit measured[b]) or texts with bit 0 on the right, as Qiskit writes them; or the result of a
        Qiskit sampler that ran the PUBs of to("qiskit"); or a list of lists of (outcomes, counts) arrays.
    """

    def __init__(
        self,
        plan: Any,
        theta: np.ndarray,
        x: np.ndarray,
        weights: np.ndarray,
        shape: tuple[int, ...],
        seed: int,
        earlier: tuple[Counts, ...] = (),
        reader: Reader = as_read,
        value_shots: int | None = None,
    ) -> None:
        self.plan, self.theta, self.x, self.weights, self.shape, self.seed = plan, theta, x, weights, shape, seed
        self.earlier, self._reader, self.value_shots = earlier, reader, value_shots
        self._of_values: list[Placed] = []  # they are read in the first round
        if value_shots is not None:
            requests = plan.value_readings.requests(theta, x, value_shots, keep=True)
            self._of_values = [r.place(plan.realiser, np.random.default_rng(0)) for r in requests]
        self._drawn: list[Any] = []
        self._samples = self._replayed()
        self._spent = Cost()
        self.work, self._places = merged(self._asked(self._samples, not earlier))

    @property
    def n_circuits(self) -> int:
        return sum(len(w.shots) for w in self.work)

    @property
    def shots(self) -> int:
        return sum(int(w.shots.sum()) for w in self.work)

    def refuse_inversion(self) -> None:
        """Of the readout, where bits are taken for what they are; before anything is run."""
        if any(p.plain for s in self._samples for p in s.placed):
            raise QupropError(NO_INVERSION)

    @cached_property
    def cost(self) -> Cost:
        placed = [p for s in self._samples for p in s.placed] + ([] if self.earlier else self._of_values)
        return executed(self.work) + Cost(classical_ops=sum(p.classical_ops for p in placed))

    # -- counts in --------------------------------------------------------------------------------------------------

    def combine(self, counts: Any, *, reader: Reader = as_read) -> Estimate:
        """The estimate that these counts give.

        reader: what a bit string is worth for a Pauli string, ±1 if it is not given. Earlier rounds are read as they
            were for `next`, so that this round is the one that was run.
        Raises: QupropError for counts of other circuits, and where another round is to be run.
        """
        found = self._after(counts, reader)
        ends = [s.found for s in found]
        if any(end is None for end in ends):
            raise QupropError(
                "this plan runs further circuits, which depend on these counts: circuits.next(counts) gives them"
            )
        estimate = gathered([e for e in ends if e is not None], (*self.shape, self.plan.model.n_params))
        return replace(estimate, cost=estimate.cost + self._all_spent(), info=estimate.info | self._value())

    def _value(self) -> dict[str, Any]:
        """weights . <O> at every point, with its standard error, from the counts that were read last."""
        if self.value_shots is None:
            return {}
        readings, n = self.plan.value_readings, len(self.theta)
        values = (self.weights * readings.values(self._drawn, n)).sum(axis=1)
        at = np.eye(n)[:, :, None] * self.weights  # (n, n, K): the weights of one point and no other
        errors = [math.sqrt(readings.variance(self._drawn, w)) for w in at]
        return {"value": values.reshape(self.shape)[()], "value_stderr": np.reshape(errors, self.shape)[()]}

    def next(self, counts: Any, *, reader: Reader = as_read) -> PlanCircuits | None:
        """The next round of circuits; None where these were the last. reader: as in `combine`, the same in all rounds.

        Raises: QupropError for counts of other circuits.
        """
        counts = self.checked(counts)
        following = PlanCircuits(
            self.plan,
            self.theta,
            self.x,
            self.weights,
            self.shape,
            self.seed,
            (*self.earlier, counts),
            reader,
            self.value_shots,
        )
        following._spent = self._all_spent()
        return following if following.work else None

    def estimate_by(self, estimator: Any, *, seed: int = 0) -> Estimate:
        """The estimate from expectation values in place of counts. estimator: what `expectations(work, values, shots,
        seed=)` asks, such as `QiskitEstimator`, whose precision is 1/sqrt(shots). Standard errors are upper bounds: an
        estimator does not tell how strings that it reads together are correlated.

        Raises: QupropError for plans that need outcomes: those of more than one round, shadows, Bell sampling, and
        components of one parameter that are read from one shot.
        """
        if self.value_shots is not None:
            raise QupropError("value_shots= reads outcomes, which an estimator does not give; leave it out")
        placed = [p for s in self._samples for p in s.placed]
        if any(p.expect is None for p in placed):
            raise QupropError(
                f"{type(self.plan).__name__} looks at outcomes of single shots, which an estimator does not give; pass "
                "a sampler or a backend"
            )
        asked: list[tuple[Any, list[PauliString]]] = []
        values, shots = [], []
        for p in placed:
            for w, strings in zip(p.work, p.strings, strict=True):
                asked.append((w.circuit.circuit, strings))
                values.append(w.values)
                shots.append(int(w.shots[0]))
        means = iter(estimator.expectations(asked, values, shots, seed=seed) if asked else ())
        found = []
        for s, sample in enumerate(self._samples):
            if sample.found is not None:
                found.append(sample.found)
                continue
            answers = []
            for p in sample.placed:
                of_settings = [next(means) for _ in p.work]
                assert p.expect is not None
                answers.append(p.expect([(m[0], e[0]) for m, e in of_settings]))
            rounds = self._begun(s)[0]
            next(rounds)
            try:
                rounds.send(iter(answers))
            except StopIteration as end:
                found.append(end.value)
                continue
            raise QupropError(
                f"{type(self.plan).__name__} has rounds that depend on counts of those before; pass a sampler or a "
                "backend"
            )
        estimate = gathered(found, (*self.shape, self.plan.model.n_params))
        return replace(estimate, cost=estimate.cost + self.cost)

    def _all_spent(self) -> Cost:
        return self._spent + self.cost

    def checked(self, counts: Any) -> Counts:
        """Counts as arrays, for each work and each of its settings; refused unless they fit these circuits."""
        settings = [(w.circuit, int(n)) for w in self.work for n in w.shots]
        flat = _flat(counts)
        if len(flat) != len(settings):
            raise QupropError(
                f"these circuits have {count_of(len(settings), 'setting')}, got counts of {len(flat):,}: are they "
                "counts of other circuits?"
            )
        read = []
        for k, ((circuit, shots), one) in enumerate(zip(settings, flat, strict=True)):
            read.append(_outcomes(one, circuit, shots, k))
        at = iter(read)
        return [[next(at) for _ in w.shots] for w in self.work]

    def _after(self, counts: Any, reader: Reader) -> list[_Sample]:
        return self._replayed((self.checked(counts), reader))

    def _replayed(self, *last: tuple[Counts, Reader]) -> list[_Sample]:
        """Every point from its beginning, with the counts of all rounds so far."""
        P = len(self.theta)
        rounds, placing = zip(*(self._begun(s) for s in range(P)), strict=True) if P else ((), ())

        def advance(s: int, answers: Iterator[Any] | None, reader: Reader = as_read) -> _Sample:
            try:
                requests = next(rounds[s]) if answers is None else rounds[s].send(answers)
            except StopIteration as end:
                return _Sample([], end.value)
            placed = [r.place(self.plan.realiser, placing[s]) for r in requests]
            if not any(p.work for p in placed):  # nothing to run, as where no parameter moves anything
                return advance(s, (p.read([], reader) for p in placed), reader)
            return _Sample(placed, None)

        now = [advance(s, None) for s in range(P)]
        for number, (counts, reader) in enumerate((*((c, self._reader) for c in self.earlier), *last)):
            places = iter(merged(self._asked(now, number == 0))[1])
            for s, sample in enumerate(now):
                if sample.found is None:
                    answers = [
                        p.read([counts[i][j] for w in p.work for i, j in next(places)], reader) for p in sample.placed
                    ]
                    now[s] = advance(s, iter(answers), reader)
            if number == 0:
                self._drawn = [
                    p.read([counts[i][j] for w in p.work for i, j in next(places)], reader) for p in self._of_values
                ]
        return now

    def _asked(self, samples: Sequence[_Sample], first: bool) -> list[Work]:
        """All that a round runs: of every point in turn, and in the first round what reads values."""
        placed = [p for s in samples for p in s.placed] + (self._of_values if first else [])
        return [w for p in placed for w in p.work]

    def _begun(self, s: int) -> tuple[Rounds, np.random.Generator]:
        """The rounds of point s from their beginning, and what its circuits are drawn with."""
        own, placing = np.random.SeedSequence([self.seed, s]).spawn(2)
        rounds: Rounds = self.plan._rounds(self.theta[s], self.x[s], self.weights[s], np.random.default_rng(own))
        return rounds, np.random.default_rng(placing)

    # -- as a linear map ----------------------------------------------------------------------------------------------

    def linear_map(self) -> sp.csr_matrix:
        """G (P, S) with gradient = G m, m the means of all strings that are read: of the settings in the order of
        `work`, and of each its strings in the order of `reads`. Of one point. With value_shots G is (P + 1, S), and the
        last of G m is the value without the observables' identities, `constant`.

        Raises: QupropError for plans that are no linear function of means, and for several points.
        """
        reads, columns = self.reads(), []  # refuses plans that have no slopes
        slopes = self.plan._slopes(self.theta[0], self.x[0])
        P = slopes.shape[1]
        for r in reads:
            if len(r.targets) and r.targets[0] < 0:  # of the value, which no target stands for
                part = sp.hstack([sp.csr_matrix((len(r.masks), P)), sp.csr_matrix(r.weights[:, None])])
            else:
                part = slopes[r.targets].multiply(r.weights[:, None])
                part = part if self.value_shots is None else sp.hstack([part, sp.csr_matrix((len(r.masks), 1))])
            columns.append(part)
        size = P if self.value_shots is None else P + 1
        return sp.vstack(columns or [sp.csr_matrix((0, size))]).T.tocsr()

    @property
    def constant(self) -> float:
        """What identities add to the value of the first point."""
        return float(self.weights[0] @ self.plan.value_readings.constants)

    def reads(self) -> list[Any]:
        """What is read from each setting, in the order of `work`: masks, signs, weights and targets (`LinearRead`)."""
        if len(self._samples) != 1:
            raise QupropError("a linear map is that of one point; call plan.circuits for theta (P,) and x (D,) alone")
        placed, linear = self._samples[0].placed, getattr(self.plan, "linear", False)
        if not linear or self.earlier or any(p.work and (p.drawn or not p.reads) for p in placed):
            raise QupropError(
                f"the estimate of {type(self.plan).__name__} is no fixed linear function of means; combine(counts) "
                "computes it"
            )
        found: list[Any] = [None] * self.n_circuits
        starts = np.cumsum([0, *(len(w.shots) for w in self.work)])
        places = iter(self._places)
        for p in placed:
            at = [starts[i] + j for w in p.work for i, j in next(places)]
            for k, r in zip(at, p.reads, strict=True):
                found[k] = r
        if self.value_shots is None:
            return found
        for p, weights in zip(self._of_values, self.plan.value_readings.weights(self.weights[0]), strict=True):
            ((k, r),) = zip([starts[i] + j for w in p.work for i, j in next(places)], p.reads, strict=True)
            found[k] = r._replace(weights=weights, targets=np.full(len(weights), -1))
        return found

    def covariance(self, counts: Any, *, reader: Reader = as_read) -> np.ndarray:
        """Of what `linear_map` gives, (P, P) without a value, as the shots show it: shots of different settings are
        independent, strings that one shot reads are not. sum_s G_s C_s G_s^T / (n_s - 1), C_s that of one setting.

        Raises: as `linear_map`; QupropError for settings of one shot, which show no spread.
        """
        G, reads, counts = self.linear_map(), self.reads(), self.checked(counts)
        total, start, k = np.zeros((G.shape[0],) * 2), 0, 0
        for w, of_work in zip(self.work, counts, strict=True):
            for (index, times), n in zip(of_work, w.shots.tolist(), strict=True):
                r = reads[k]
                k += 1
                if n < 2:
                    raise QupropError("one shot of a circuit shows no spread; take two or more of each")
                part = G[:, start : start + len(r.masks)]
                start += len(r.masks)
                y = np.asarray((part @ reader(w.circuit, index, r.masks, r.signs).T).T)  # (D, P)
                y = y - times @ y / n
                total += (y * times[:, None]).T @ y / (n * (n - 1))
        return total

    # -- as others read them ------------------------------------------------------------------------------------------

    def to(self, format: str, *, passes: Any = None) -> Any:
        """ "qiskit": a list of PUBs (QuantumCircuit with unbound parameters and measurements, values, shots), for
        `sampler.run(pubs)`, compiled by `passes` (Qiskit's `generate_preset_pass_manager(...)`) if they are given,
        with the values of those parameters that the compiler leaves; "qasm3": a list of (OpenQASM 3 program, values
        (R, P), shots (R,)), bit b of the register c being that of measured[b]; "json": a text with the programs,
        settings, shots and, of a linear plan at one point, what every outcome adds to every component.

        Raises: QupropError for another format, and input states that have no form there.
        """
        if passes is not None and format != "qiskit":
            raise QupropError(f"passes= are a compiler of Qiskit's; leave them out for {format!r}")
        if format == "json":
            return self._json()
        if format not in FORMATS:
            raise QupropError(
                f"format is qiskit, qasm3 or json, got {format!r}; {nearest(str(format), [*FORMATS, 'json'])}"
            )
        module = import_module(FORMATS[format])
        if format == "qiskit":
            return module.pubs(self.work, passes)
        return [(program(w.circuit), w.values, w.shots) for w in self.work]

    def _json(self) -> str:
        rows = []
        try:
            reads, G = self.reads(), self.linear_map().tocsc()
        except QupropError:
            reads, G = None, None
        setting = start = 0
        for w in self.work:
            settings = []
            for values, n in zip(w.values, w.shots, strict=True):
                one: dict[str, Any] = {"values": values.tolist(), "shots": int(n)}
                if reads is not None and G is not None:
                    r = reads[setting]
                    strings = []
                    for mask, sign in zip(r.masks, r.signs, strict=True):
                        column = G[:, start]
                        start += 1
                        to = [str(i) if i < self.plan.model.n_params else "value" for i in column.indices.tolist()]
                        adds = dict(zip(to, column.data.tolist(), strict=True))
                        strings.append({"mask": int(mask), "sign": int(sign), "adds": adds})
                    one["strings"] = strings
                setting += 1
                settings.append(one)
            rows.append({"qasm3": program(w.circuit), "measured": list(w.circuit.measured), "settings": settings})
        head = {
            "format": FORMAT,
            "version": VERSION,
            "meaning": "bit b of an outcome is that of qubit measured[b]; a string's value is sign * (-1)^(number of "
            "ones of outcome & mask); component i of the gradient is the sum over settings and strings of adds[i] "
            "times the string's mean; so is the value, plus constant",
            "components": self.plan.model.n_params,
            **({} if self.value_shots is None else {"constant": self.constant}),
        }
        return json.dumps(head | {"circuits": rows})


def program(circuit: DeviceCircuit) -> str:
    """As OpenQASM 3, whose input angle_k is the circuit's parameter k; bit b of c is that of measured[b]."""
    text: str = import_module(FORMATS["qasm3"]).to_qasm(circuit.circuit)
    bits = len(circuit.measured)
    lines = [f"bit[{bits}] c;"] + [f"c[{b}] = measure q[{q}];" for b, q in enumerate(circuit.measured)]
    return text.rstrip("\n") + "\n" + "\n".join(lines) + "\n"


def executed(work: Sequence[Work]) -> Cost:
    """Of circuits as they are run."""
    shots = [int(w.shots.sum()) for w in work]
    if not sum(shots):
        return Cost()
    return Cost(
        copies=sum(n * w.circuit.copies for w, n in zip(work, shots, strict=True)),
        rotations=sum(n * w.circuit.rotations for w, n in zip(work, shots, strict=True)),
        measurements=sum(shots),
        depth=max(w.circuit.rotations // w.circuit.copies for w in work),
        qubits=max(w.circuit.circuit.n_qubits for w in work),
    )


def merged(work: Sequence[Work]) -> tuple[list[Work], list[list[tuple[int, int]]]]:
    """The same settings with every circuit once, and for each given work where its settings are now: (work, row)."""
    found = merge(work)
    return found.work, [list(zip(found.circuit[p].tolist(), found.row[p].tolist(), strict=True)) for p in found.places]


def _flat(counts: Any) -> list[Any]:
    """One entry for each setting."""
    if isinstance(counts, Mapping | str) or not hasattr(counts, "__iter__"):
        raise QupropError(f"counts are a list with one entry for each setting, got {shown(counts)}")
    entries = list(counts)
    if entries and all(hasattr(e, "data") and hasattr(e, "metadata") for e in entries):  # of a Qiskit primitive
        found: list[Any] = import_module(FORMATS["qiskit"]).counts_of(entries)
        return found
    if entries and all(isinstance(e, list) for e in entries):
        return [one for e in entries for one in e]
    return entries


def _outcomes(one: Any, circuit: DeviceCircuit, shots: int, setting: int) -> Outcomes:
    bits = len(circuit.measured)
    if isinstance(one, Mapping):
        keys = [_outcome(key, bits, setting) for key in one]
        index, times = np.array(keys, np.int64 if bits < 64 else object), np.array(list(one.values()))
    else:
        try:
            index, times = (np.asarray(part) for part in one)
        except (TypeError, ValueError):
            raise QupropError(
                f"counts of setting {setting} are a dictionary of outcomes, or two arrays, got {shown(one)}"
            ) from None
    whole = times.astype(np.int64) if len(times) else np.zeros(0, np.int64)
    if index.shape != times.shape or np.any(whole != times) or np.any(whole < 0):
        raise QupropError(f"counts of setting {setting} must be whole numbers from 0, one for each outcome")
    if len(index) and (min(index) < 0 or max(index) >> bits):
        raise QupropError(f"setting {setting} reads {count_of(bits, 'bit')}, got the outcome {int(max(index))}")
    if int(whole.sum()) != shots:
        raise QupropError(
            f"setting {setting} has {count_of(shots, 'shot')}, got counts of {int(whole.sum()):,}: are they counts of "
            "other circuits?"
        )
    return index[whole > 0], whole[whole > 0]


def _outcome(key: Any, bits: int, setting: int) -> int:
    if isinstance(key, str):
        text = key.replace(" ", "")
        if len(text) == bits and set(text) <= {"0", "1"}:
            return int(text, 2) if text else 0
        raise QupropError(f"setting {setting} reads {count_of(bits, 'bit')}, got the outcome {key!r}")
    if isinstance(key, bool) or not isinstance(key, int | np.integer):
        raise QupropError(f"an outcome is a whole number or a text of bits, got {key!r} for setting {setting}")
    return int(key)


__all__ = ["PlanCircuits", "executed", "merged", "program"]
