"""Model: a list of Pauli rotations, an input state and observables. Everything in quprop is written against it.

    F_k(theta, x) = <phi| R_1† ... R_M† O_k R_M ... R_1 |phi>,   R_m = exp(-i a_m P_m / 2),   a_m polynomial in theta, x

Noise stands between rotations as channels (`quprop.model.channels`); then F_k = Tr(rho O_k) of the final mixed state.
The circuit's Clifford gates are gone: pushed to the end and absorbed by the observables (`quprop.model.absorption`).
The residual Clifford C is kept, so that the circuit's own final state is C R_M ... R_1 |phi> up to a global phase.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import stim

from quprop.arrays import checked
from quprop.errors import QupropError, count_of
from quprop.files import write_atomically
from quprop.model.absorption import absorb, conjugate_sum
from quprop.model.angle import INPUT, PARAM, Angle, AngleVector, Variable
from quprop.model.angle_table import AngleTable, Drivers, safe_size
from quprop.model.channels import Channel, ChannelTable, check_readout
from quprop.model.circuit import Circuit, Operation, XBlock
from quprop.model.drawing import Drawable, DrawnGate, model_gates
from quprop.model.input_state import InputState
from quprop.model.parameterised import Coefficients, Observable, ParameterisedSum, numbers_at, observable_of
from quprop.model.pauli import PauliString, PauliSum
from quprop.model.pauli_operator import PauliTerms
from quprop.model.text import describe, dump, fields, read
from quprop.model.x_rotations import Rotation, XRotations

__all__ = ["AngleTable", "InputState", "Model", "Rotation"]

_ORDINARY = (2.0**-20, 2.0**40)  # of coefficients: far from where single precision ends
_SHOWN = 16  # rotations a printed model shows before it abbreviates


class Model(Drawable):
    """A circuit and its observables in canonical form; frozen, hashable, comparable; parameter values live outside.

    observables: a `PauliSum`, a dictionary {"Z0 Z1": 1.0}, a text "Z0 Z1 + 0.7*X3", or a list of those. A dictionary's
    coefficients may be angles, {"Z0 Z1": theta[0]**2, "X0": 0.5*x[1]}; parameters of observables alone are laid out
    after those of the circuit.

    Fields: n_qubits; rotations (tuple of `Rotation(x, z, angle)`, with flat variables (0, i) and (1, j) in the angles,
    or `XRotations`, the same as arrays);
    observables (after absorption, C† O C); state (`InputState`); clifford (`stim.Tableau`, C);
    n_params, n_inputs, and the names and sizes of the vectors theta and x are made of;
    channels (tuple of `Channel`, in circuit order): the noise, () of a model that has none.

    Raises: QupropError for what is no Circuit, or observables that are none or beyond its qubits.

    >>> theta = qpr.params("theta", 2)
    >>> model = qpr.Model(qpr.Circuit(2).ry(theta[0], 0).cx(0, 1).rx(theta[1], 1), "Z0 Z1 + 0.5*X0")
    >>> model
    <Model: 2 qubits, 2 rotations, 2 params, 0 inputs, 1 observable>
    >>> model.param_names, model.observables
    (('theta',), (PauliSum({'Z1': 1.0, 'X0 X1': 0.5}),))
    """

    n_qubits: int
    rotations: tuple[Rotation, ...] | XRotations
    observables: tuple[Any, ...]  # `PauliSum`, or `ParameterisedSum` with flat variables
    state: InputState
    clifford: stim.Tableau
    param_names: tuple[str, ...]
    param_sizes: tuple[int, ...]
    input_names: tuple[str, ...]
    input_sizes: tuple[int, ...]
    channels: tuple[Channel, ...]
    steps: tuple[Operation | XBlock, ...] | None = None  # of the circuit it was made from, no field: see `_replace`

    def __init__(self, circuit: Circuit, observables: Any) -> None:
        if not isinstance(circuit, Circuit):
            raise QupropError(f"Model(circuit, observables) takes a Circuit first, got {type(circuit).__name__}")
        n = circuit.n_qubits
        given = observables_of(observables, n)
        circuit = _declared(circuit, given)
        flat, steps = circuit.flattened(), tuple(circuit.steps)
        rotations, channels, tableau = absorb(circuit, flat)
        state = circuit.state
        if isinstance(state, AngleVector):
            state = InputState("encoded", flat((INPUT, state.indices.start, state.name))[1])
        state = InputState.make(n, state, circuit.n_inputs)  # a circuit's state may be set as well as given
        self._fill(
            n_qubits=n,
            rotations=rotations,
            observables=tuple(conjugate_sum(tableau, n, o) for o in _flat(given, circuit)),
            state=state,
            clifford=tableau.inverse(),
            channels=channels,
            steps=steps,
            **_layout(circuit),
        )
        check_readout(self)

    @classmethod
    def from_rotations(
        cls,
        n: int,
        rotations: Iterable[tuple[str | PauliString, Any]],
        observables: Any,
        state: Any = None,
        *,
        params: Any = (),
        inputs: Any = (),
    ) -> Model:
        """A model straight from [(Pauli string, angle), ...] in circuit order."""
        circuit = Circuit(n, state, params=params, inputs=inputs)
        for pauli, angle in rotations:
            circuit.rotation(pauli, angle)
        return cls(circuit, observables)

    @classmethod
    def _of(cls, **fields: Any) -> Model:
        model = object.__new__(cls)
        model._fill(**fields)
        return model

    def _fill(self, **fields: Any) -> None:
        self.__dict__.update({"channels": ()} | fields)  # the class is frozen: this is the one place that writes

    def __setattr__(self, name: str, value: Any) -> None:
        raise AttributeError(f"a Model cannot be changed (setting {name}); make a new one")

    def __delattr__(self, name: str) -> None:
        raise AttributeError(f"a Model cannot be changed (deleting {name}); make a new one")

    @property
    def n_rotations(self) -> int:
        """M, the number of Pauli rotations."""
        return len(self.rotations)

    @property
    def n_observables(self) -> int:
        """K, the number of observables."""
        return len(self.observables)

    @cached_property
    def n_params(self) -> int:
        """P, the size of theta."""
        return sum(self.param_sizes)

    @cached_property
    def n_inputs(self) -> int:
        """D, the size of x."""
        return sum(self.input_sizes)

    @cached_property
    def x_masks(self) -> tuple[int, ...]:
        return tuple(r.x for r in self.rotations)

    @cached_property
    def z_masks(self) -> tuple[int, ...]:
        return tuple(r.z for r in self.rotations)

    @cached_property
    def angle_table(self) -> AngleTable:
        if isinstance(self.rotations, XRotations):
            return self.rotations.table(self.n_params, self.n_inputs)
        return AngleTable.build([r.angle for r in self.rotations], self.n_params, self.n_inputs)

    @cached_property
    def drivers(self) -> Drivers:
        if isinstance(self.rotations, XRotations):
            return self.rotations.drivers()
        return Drivers.build([r.angle for r in self.rotations], self.n_params)

    @cached_property
    def channel_table(self) -> ChannelTable:
        return ChannelTable(self.channels, self.n_params, self.n_inputs)

    @cached_property
    def angle_limit(self) -> float:
        """Up to this size of theta's and x's entries no angle leaves the range of double precision."""
        if isinstance(self.rotations, XRotations):
            terms = {(1, c) for c in np.unique(np.abs(self.rotations.coefficient)).tolist()}
        else:
            terms = {(len(m), abs(c)) for r in self.rotations for m, c in r.angle.terms}
        return safe_size(terms, len(self.rotations))

    @cached_property
    def exponents(self) -> np.ndarray | None:
        """The powers of two (K,) between the observables and those of `unit`; None where all are of ordinary size."""
        sizes = [max((abs(c) for _, c in o.items()), default=1.0) for o in self.observables]
        if all(_ORDINARY[0] <= size <= _ORDINARY[1] for size in sizes):
            return None
        return np.array([math.frexp(size)[1] - 1 for size in sizes])

    @cached_property
    def unit(self) -> Model:
        """This model with every observable scaled by 2^-exponent, exactly: its largest lies in [1, 2)."""
        assert self.exponents is not None
        pairs = zip(self.observables, self.exponents.tolist(), strict=True)
        return self._replace(
            observables=tuple(PauliSum({p: math.ldexp(c, -e) for p, c in o.items()}) for o, e in pairs)
        )

    @cached_property
    def pull(self) -> stim.Tableau:
        return self.clifford.inverse()  # P -> C† P C

    def with_observables(self, observables: Any) -> Model:
        """The same circuit with other observables, given as the user sees them (before absorption); new parameters in
        their coefficients are laid out after those that there are."""
        n = self.n_qubits
        given = observables_of(observables, n)
        layout: dict[str, Any] = {}
        if any(isinstance(o, ParameterisedSum) for o in given):
            vectors = [
                [AngleVector(kind, name, size) for name, size in zip(names, sizes, strict=True)]
                for kind, names, sizes in (
                    (PARAM, self.param_names, self.param_sizes),
                    (INPUT, self.input_names, self.input_sizes),
                )
            ]
            circuit = _declared(Circuit(n, params=vectors[0], inputs=vectors[1]), given)
            given = _flat(given, circuit)
            if circuit.n_params + circuit.n_inputs > self.n_params + self.n_inputs:
                layout = _layout(circuit)
        found = self._replace(observables=tuple(conjugate_sum(self.pull, n, o) for o in given), **layout)
        check_readout(found)
        return found

    @cached_property
    def coefficients(self) -> Coefficients | None:
        """The observables' coefficients as functions of theta and x; None where all are numbers."""
        if not any(isinstance(o, ParameterisedSum) for o in self.observables):
            return None
        return Coefficients.of(self.observables, self.n_params, self.n_inputs)

    @cached_property
    def terms(self) -> Model:
        """This model whose observables are the different strings of its `coefficients`, each with the coefficient 1."""
        assert self.coefficients is not None
        return self._replace(observables=tuple(PauliSum(p) for p in self.coefficients.strings))

    def bound_observables(self, theta: Any = None, x: Any = None) -> Model:
        """This model with the coefficients of its observables at theta (n_params,) and x (n_inputs,): numbers, which no
        derivative sees. The angles of the circuit stay what they are.

        >>> a, b = qpr.params("a", 1), qpr.params("b", 1)
        >>> qpr.Model(qpr.Circuit(1).ry(a[0], 0), {"Z0": 2*b[0]}).bound_observables([0.1, 0.7]).observables
        (PauliSum({'Z0': 1.4}),)
        """
        flat = [
            checked(what, [] if given is None else given, (count,))
            for what, given, count in (("theta", theta, self.n_params), ("x", x, self.n_inputs))
        ]
        return self._replace(
            observables=tuple(
                numbers_at(o, lambda v: float(flat[v[0]][v[1]])) if isinstance(o, ParameterisedSum) else o
                for o in self.observables
            )
        )

    def noiseless(self) -> Model:
        """The same model without channels; theta and x are laid out as before."""
        return self._replace(channels=()) if self.channels else self

    def _replace(self, **fields: Any) -> Model:
        """The same rotations with other fields, as they are stored (nothing is checked or absorbed).

        The user's gates, `steps`, are kept while they are those of the fields: no pickle or text has them.
        """
        kept = {name: self.__dict__[name] for name in _FIELDS}
        shared = ["x_masks", "z_masks", "angle_limit"] + ["pull", "steps"] * ("clifford" not in fields)
        if not {"param_sizes", "input_sizes"} & set(fields):
            shared += ["angle_table", "drivers"] + ["channel_table"] * ("channels" not in fields)
        return Model._of(**{**kept, **fields}, **{k: self.__dict__[k] for k in shared if k in self.__dict__})

    @cached_property
    def original_observables(self) -> tuple[Any, ...]:
        """The observables as the user gave them, C O C† of the absorbed ones."""
        return tuple(conjugate_sum(self.clifford, self.n_qubits, o) for o in self.observables)

    def variable_name(self, variable: Variable) -> str:
        """`theta[3]` for the flat variable (0, 3), with the names of the vectors."""
        kind, index = variable[0], variable[1]
        names = self.input_names if kind else self.param_names
        for name, size in zip(names, self.input_sizes if kind else self.param_sizes, strict=True):
            if index < size:
                return f"{name}[{index}]"
            index -= size
        raise IndexError(f"variable {variable} is beyond the model's vectors")

    @cached_property
    def _hash(self) -> int:
        return hash(tuple(getattr(self, f) for f in _FIELDS if f != "clifford"))  # of which the text may be large

    def __hash__(self) -> int:
        return self._hash

    def __eq__(self, other: object) -> bool:
        if self is other:
            return True
        if not isinstance(other, Model):
            return NotImplemented
        return all(getattr(self, f) == getattr(other, f) for f in _FIELDS)

    def __copy__(self) -> Model:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> Model:
        return self  # frozen: a copy would be planned anew, and compared field by field in every call

    def __reduce_ex__(self, protocol: Any) -> Any:
        # A pickle of noise is none that a version of quprop without noise loads, and runs without.
        return (_noisy, (self.__getstate__(),)) if self.channels else super().__reduce_ex__(protocol)

    def __getstate__(self) -> dict[str, Any]:
        return {name: self.__dict__[name] for name in _FIELDS}  # caches (and what engines hang on) stay behind

    def __setstate__(self, state: dict[str, Any]) -> None:
        self._fill(**state)

    def __repr__(self) -> str:
        return (
            f"<Model: {count_of(self.n_qubits, 'qubit')}, {count_of(self.n_rotations, 'rotation')}, "
            f"{count_of(self.n_params, 'param')}, {count_of(self.n_inputs, 'input')}, "
            f"{count_of(self.n_observables, 'observable')}"
            + (f", {count_of(len(self.channels), 'channel')}>" if self.channels else ">")
        )

    def __str__(self) -> str:
        return describe(self, _SHOWN)

    def _to_draw(self) -> tuple[Iterable[DrawnGate], int, str, str]:
        return model_gates(self)

    def to_text(self) -> str:
        """The whole model as versioned, readable JSON, floats exact."""
        return dump(self)

    @classmethod
    def from_text(cls, text: str) -> Model:
        """The model `to_text` wrote; anything else is refused with one sentence."""
        model = cls._of(**fields(text))
        check_readout(model)
        return model

    def save(self, path: str | Path) -> None:
        """Write `to_text()` to a file, atomically."""
        write_atomically(path, self.to_text().encode())

    @classmethod
    def load(cls, path: str | Path) -> Model:
        """Read the file `save` wrote."""
        return read(Path(path), "model", cls.from_text)


_FIELDS = (
    "n_qubits",
    "rotations",
    "observables",
    "state",
    "clifford",
    "param_names",
    "param_sizes",
    "input_names",
    "input_sizes",
    "channels",
)


def _noisy(fields: dict[str, Any]) -> Model:
    return Model._of(**fields)


def _declared(circuit: Circuit, observables: Iterable[Observable]) -> Circuit:
    """The circuit, with the vectors that only observables know laid out after its own."""
    angles = [a for o in observables if isinstance(o, ParameterisedSum) for _, a in o.angles]
    named = [v for a in angles for monomial, _ in a.terms for v in monomial if len(v) > 2]
    if any(circuit.vectors.get(name) != (kind, size) for kind, _, name, size in named):
        circuit = circuit.copy()
        for kind, _, name, size in named:
            circuit._declare(kind, name, size)
    return circuit


def _flat(observables: tuple[Observable, ...], circuit: Circuit) -> tuple[Observable, ...]:
    """With the variables of their coefficients as the circuit's model numbers them; those of a model stay as they
    are."""
    flat, sizes = circuit.flattened(), (circuit.n_params, circuit.n_inputs)

    def number(variable: Variable) -> Variable:
        if len(variable) > 2:
            return flat(variable)
        if variable[1] >= sizes[variable[0]]:
            raise QupropError(
                f"a coefficient of an observable has entry {variable[1]} of {'x' if variable[0] else 'theta'}, which "
                f"has {sizes[variable[0]]} in this circuit; write it with the entries of params(...) and inputs(...)"
            )
        return variable

    def renamed(string: PauliString, angle: Angle) -> tuple[PauliString, Angle]:
        return string, angle.relabel(number)

    return tuple(o.mapped(renamed) if isinstance(o, ParameterisedSum) else o for o in observables)


def _layout(circuit: Circuit) -> dict[str, tuple[Any, ...]]:
    """The fields of a model for the names and sizes of its vectors."""
    return {
        f"{word}_{what}s": tuple(vector[i] for vector in circuit.layout(kind))
        for word, kind in (("param", PARAM), ("input", INPUT))
        for i, what in enumerate(("name", "size"))
    }


def observables_of(given: Any, n: int) -> tuple[Any, ...]:
    """What a user may write for observables, as sums on n qubits: see `Model`."""
    if isinstance(given, PauliTerms | ParameterisedSum | PauliString | Mapping | str):
        given = [given]
    if not isinstance(given, Sequence) and not isinstance(given, Iterable):
        raise QupropError(
            f"observables are a PauliSum, a dictionary, a text such as 'Z0 Z1', or a list of those, got {given!r}"
        )
    sums = tuple(map(observable_of, given))
    if not sums:
        raise QupropError("a model needs one observable at least, got an empty list; pass for example 'Z0'")
    for total in sums:
        if total.n_qubits > n:
            raise QupropError(
                f"an observable acts on qubit {total.n_qubits - 1}, but the circuit has qubits 0 to {n - 1}"
            )
    return sums
