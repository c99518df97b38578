"""Models built from modules: one after the other on the same qubits, or side by side; pretrained parts, frozen or not.

    encoder = Module(model_a, trained.theta, name="encoder")
    encoder.save("encoder.json")
    whole = compose(Module.load("encoder.json").freeze(), Module(model_b, name="head"))
    result = train(whole.model, loss, data=..., params=whole.start(rng))
    head = whole.part("head", result.theta)

Every part keeps its parameters to itself under its name ("encoder_theta"); inputs of the same name are the same inputs.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import stim

from quprop.arrays import checked
from quprop.errors import QupropError, generator_of
from quprop.files import write_atomically
from quprop.model import Model, observables_of
from quprop.model.absorption import conjugate, conjugate_sum
from quprop.model.angle import PARAM, Angle, Monomial, Variable, collected
from quprop.model.channels import refuse_channels
from quprop.model.input_state import InputState
from quprop.model.parameterised import Observable, refuse_parameters
from quprop.model.pauli import PauliString, PauliSum
from quprop.model.text import dump, read, versioned
from quprop.model.x_rotations import Rotation

_FORMAT, _VERSION = "quprop-module", 1


@dataclass(frozen=True, eq=False)
class Module:
    """A model with the values of its parameters, if it has been trained, and whether they are held.

    theta: (n_params,) in radians, or None. frozen: composed into a larger model its parameters become these numbers and
    leave theta. name: what its parameters are called by in a larger model, a Python identifier; "" for "part0", ....
    parts: for a module made by `compose` or `parallel`, the parts that still have parameters.

    Raises: QupropError for a name that is no identifier, theta of another shape, or frozen without theta.

    >>> model = qpr.Model(qpr.Circuit(1).ry(qpr.params("theta", 1)[0], 0), "Z0")
    >>> qpr.parallel(qpr.Module(model, name="left"), qpr.Module(model, name="right")).model.param_names
    ('left_theta', 'right_theta')
    """

    model: Model
    theta: np.ndarray | None = None
    frozen: bool = False
    name: str = ""
    parts: Mapping[str, tuple[Module, slice]] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        if not isinstance(self.model, Model):
            raise QupropError(
                f"a Module holds a quprop Model, got {type(self.model).__name__}; build one with "
                "qpr.Model(circuit, observables)"
            )
        if self.name and not self.name.isidentifier():
            raise QupropError(f"a module's name goes into parameter names, so it is an identifier, got {self.name!r}")
        if self.theta is not None:
            theta = checked("a module's theta", self.theta, (self.model.n_params,)).copy()
            theta.flags.writeable = False
            object.__setattr__(self, "theta", theta)
        if self.frozen and self.theta is None:
            raise QupropError("a frozen module needs its theta; train it first, or pass theta=")

    def freeze(self) -> Module:
        """The same module, its parameters held in whatever it becomes part of."""
        return replace(self, frozen=True)

    def thaw(self) -> Module:
        """The same module, its parameters trained on from where they are."""
        return replace(self, frozen=False)

    def reading(self, **names: str) -> Module:
        """The same module with inputs renamed: `reading(x="mean")` keeps its x apart from the x of other parts."""
        known = self.model.input_names
        for old, new in names.items():
            if old not in known:
                raise QupropError(f"this module reads {', '.join(known) or 'no inputs'}, got the name {old!r}")
            if not isinstance(new, str) or not new.isidentifier():
                raise QupropError(f"inputs need a name such as 'x', got {new!r}")
        renamed = tuple(names.get(old, old) for old in known)
        if len(set(renamed)) < len(renamed):
            raise QupropError(f"two inputs of this module would have one name, got {', '.join(renamed)}")
        return replace(self, model=self.model._replace(input_names=renamed))

    def start(self, rng: Any = None) -> np.ndarray:
        """Where training begins, (n_params,): known values, and a uniform draw from [-pi, pi) where there are none."""
        if self.theta is not None:
            return self.theta.copy()
        if rng is None:
            raise QupropError("some parts have no theta yet; pass rng, a seed or Generator, to draw it")
        rng = generator_of(rng)
        if not self.parts:
            return rng.uniform(-np.pi, np.pi, self.model.n_params)
        return np.concatenate([part.start(rng) for part, _ in self.parts.values()])

    def part(self, name: str, theta: Any) -> Module:
        """The part called `name` with its share of the whole's theta (n_params,), to be saved or used elsewhere."""
        if name not in self.parts:
            known = ", ".join(self.parts) or "none"
            raise QupropError(f"this module has no part {name!r} with parameters of its own; its parts are {known}")
        theta = checked("theta", theta, (self.model.n_params,))
        part, where = self.parts[name]
        return replace(part, theta=theta[where])

    def to_text(self) -> str:
        """The module as versioned, readable JSON, floats exact; its parts are not kept apart in it."""
        theta = None if self.theta is None else self.theta.tolist()
        head = {"format": _FORMAT, "version": _VERSION, "name": self.name, "frozen": self.frozen, "theta": theta}
        lines = [f" {json.dumps(k)}: {json.dumps(v)}," for k, v in head.items()]
        return "\n".join(["{", *lines, f' "model": {dump(self.model).strip()}', "}"]) + "\n"

    @classmethod
    def from_text(cls, text: str) -> Module:
        """The module `to_text` wrote; anything else is refused with one sentence."""
        data = versioned(
            text,
            "module",
            _FORMAT,
            _VERSION,
            lambda kind: "Model.load reads that file" if kind == "quprop-model" else "save the module again",
        )
        try:
            theta = None if data["theta"] is None else [float(v) for v in data["theta"]]
            model, frozen, name = Model.from_text(json.dumps(data["model"])), bool(data["frozen"]), str(data["name"])
        except (KeyError, TypeError, ValueError) as broken:
            raise QupropError(f"this quprop module is damaged ({broken!r}); save it again") from None
        return cls(model, None if theta is None else np.array(theta), frozen, name)

    def save(self, path: str | Path) -> None:
        """Write `to_text()` to a file, atomically."""
        write_atomically(path, self.to_text().encode())

    @classmethod
    def load(cls, path: str | Path) -> Module:
        """Read the file `save` wrote."""
        return read(Path(path), "module", cls.from_text)


def compose(*parts: Module | Model, observables: Any = None) -> Module:
    """In series: each part's circuit goes on, on the same qubits, where the one before ended.

        U = C_k R_k ... C_1 R_1,   F = <phi_1| U† O U |phi_1>

    The first part gives the qubits and the input state; a later one may have fewer qubits (it acts on the first of
    them) and must start from |0...0>, which it never sees. observables: as for `Model`, on the final state; by default
    those of the last part. Each part's Clifford gates are moved through the rotations that follow, as `Model` does.

    Returns: Module.
    Raises: QupropError for no parts, two of one name, or a later part on more qubits or with a state.

    >>> model = qpr.Model(qpr.Circuit(1).ry(qpr.params("theta", 1)[0], 0), "Z0")
    >>> twice = qpr.compose(model, model)
    >>> qpr.expectation(twice.model, [0.4, 0.6]).round(6), round(np.cos(1.0), 6)
    (array([0.540302]), np.float64(0.540302))
    """
    modules = _named(parts)
    first = modules[0].model
    n = first.n_qubits
    names = _Names()
    rotations: list[Rotation] = []
    pull = stim.Tableau(n)  # P -> C† P C, C the Clifford gates so far
    state = None
    for k, module in enumerate(modules):
        model = module.model
        if model.n_qubits > n:
            raise QupropError(
                f"in series the first part has the most qubits, but {module.name!r} has {model.n_qubits} and "
                f"{modules[0].name!r} {n}; give the first part more qubits, or put them side by side with parallel"
            )
        if k and model.state != InputState():
            raise QupropError(
                f"in series only the first part has an input state, but {module.name!r} starts from "
                f"{model.state.text(model.n_qubits)}; make its state by gates, or let it come first"
            )
        rename, shift = names.add(module)
        state = _state(model.state, shift) if state is None else state
        for x, z, angle in model.rotations:
            x, z, sign = conjugate(pull, n, x, z)
            rotations.append(Rotation(x, z, rename(angle, sign)))
        pull = _widened(model.pull, n).then(pull)
    if observables is None:
        given = modules[-1].model.original_observables
    else:
        given = observables_of(observables, n)
        refuse_parameters(given, "composing")
    assert state is not None
    return names.module(
        n_qubits=n,
        rotations=tuple(rotations),
        observables=tuple(conjugate_sum(pull, n, o) for o in given),
        state=state,
        clifford=pull.inverse(),
    )


def parallel(*parts: Module | Model, observables: Any = None) -> Module:
    """Side by side: the tensor product, each part on qubits of its own, in order (the first part has qubit 0).

    observables: as for `Model`, on all qubits together; by default those of every part, one after the other, so that
    the outputs are the parts' outputs. No gate joins the parts: `quprop.modules.cutting.cut` finds them again, and they
    then cost their sum.

    Returns: Module.
    Raises: QupropError for no parts or two of one name.

    >>> model = qpr.Model(qpr.Circuit(1).ry(qpr.params("theta", 1)[0], 0), "Z0")
    >>> qpr.expectation(qpr.parallel(model, model).model, [0.0, np.pi]).round(6)
    array([ 1., -1.])
    """
    modules = _named(parts)
    names = _Names()
    rotations: list[Rotation] = []
    sums: list[Observable] = []
    state: InputState | None = None
    clifford: stim.Tableau | None = None
    n = 0
    for module in modules:
        model = module.model
        rename, shift = names.add(module)
        rotations += [Rotation(x << n, z << n, rename(angle, 1.0)) for x, z, angle in model.rotations]
        sums += [PauliSum({PauliString(p.x << n, p.z << n): c for p, c in o.items()}) for o in model.observables]
        here = _state(model.state, shift)
        state = here if state is None else _beside(state, n, here, model.n_qubits)
        clifford = model.clifford if clifford is None else clifford + model.clifford
        n += model.n_qubits
    assert clifford is not None and state is not None
    if observables is not None:
        pull = clifford.inverse()
        given = observables_of(observables, n)
        refuse_parameters(given, "composing")
        sums = [conjugate_sum(pull, n, o) for o in given]
    return names.module(n_qubits=n, rotations=tuple(rotations), observables=tuple(sums), state=state, clifford=clifford)


class _Names:
    """The vectors of theta and x as parts join, and where each part's variables come to lie."""

    def __init__(self) -> None:
        self.params: list[tuple[str, int]] = []
        self.inputs: dict[str, tuple[int, int]] = {}  # name -> (first, size)
        self.parts: dict[str, tuple[Module, slice]] = {}
        self.n_params = self.n_inputs = 0

    def add(self, module: Module) -> tuple[Callable[[Angle, float], Angle], Sequence[int]]:
        """How the part's angles read in the whole, and the place of each of its inputs."""
        model, first = module.model, self.n_params
        refuse_channels(model, "composing")
        refuse_parameters(model, "composing")
        places: list[int] = []
        for name, size in zip(model.input_names, model.input_sizes, strict=True):
            start, known = self.inputs.setdefault(name, (self.n_inputs, size))
            if known != size:
                raise QupropError(
                    f"inputs of one name are the same inputs, but {name!r} has {known} entries in one part and {size} "
                    f"in {module.name!r}; rename one of them"
                )
            self.n_inputs = max(self.n_inputs, start + size)
            places += range(start, start + size)
        held = module.theta if module.frozen else None
        if held is None:
            self.params += [
                (f"{module.name}_{name}", size) for name, size in zip(model.param_names, model.param_sizes, strict=True)
            ]
            self.n_params += model.n_params
            self.parts[module.name] = (module, slice(first, self.n_params))

        def rename(angle: Angle, sign: float) -> Angle:
            merged: dict[Monomial, float] = {}
            for monomial, coefficient in angle.terms:
                factor, left = sign * coefficient, []
                for kind, index in monomial:
                    if kind != PARAM:
                        left.append((kind, places[index]))
                    elif held is not None:
                        factor *= float(held[index])
                    else:
                        left.append((kind, first + index))
                key: tuple[Variable, ...] = tuple(sorted(left))
                merged[key] = merged.get(key, 0.0) + factor
            return collected(merged)

        return rename, places

    def module(self, **fields: Any) -> Module:
        model = Model._of(
            **fields,
            param_names=tuple(name for name, _ in self.params),
            param_sizes=tuple(size for _, size in self.params),
            input_names=tuple(self.inputs),
            input_sizes=tuple(size for _, size in self.inputs.values()),
        )
        known = [part.theta for part, _ in self.parts.values()]
        theta = None
        if all(t is not None for t in known):
            theta = np.concatenate([np.zeros(0), *(t for t in known if t is not None)])
        return Module(model, theta, parts=self.parts)


def _named(parts: Sequence[Module | Model]) -> list[Module]:
    if not parts:
        raise QupropError("nothing to put together: pass one Module or Model at least")
    modules = [part if isinstance(part, Module) else Module(part) for part in parts]
    modules = [m if m.name else replace(m, name=f"part{k}") for k, m in enumerate(modules)]
    names = [m.name for m in modules]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise QupropError(f"every part needs its own name, got {twice!r} twice; rename one with Module(..., name=)")
    return modules


def _widened(tableau: stim.Tableau, n: int) -> stim.Tableau:
    return tableau if len(tableau) == n else tableau + stim.Tableau(n - len(tableau))


def _state(state: InputState, places: Sequence[int]) -> InputState:
    """The state as the whole sees it: amplitudes read from x have moved with their vector."""
    return InputState("encoded", places[int(state.data)]) if state.kind == "encoded" else state


def _beside(low: InputState, n_low: int, high: InputState, n_high: int) -> InputState:
    if low.kind == high.kind == "basis":
        return InputState("basis", low.index | high.index << n_low)
    if "encoded" in (low.kind, high.kind):
        raise QupropError(
            "side by side, amplitudes read from x would be a product of two encodings, which no input state is; encode "
            "the data in angles, or train the modules one by one"
        )
    rows = [_rows(low, n_low), _rows(high, n_high)]
    if rows[0] is not None and rows[1] is not None:
        return InputState("product", np.concatenate([rows[0], rows[1]]).tobytes())
    return InputState("amplitudes", np.kron(high.vector(n_high), low.vector(n_low)).tobytes())


def _rows(state: InputState, n: int) -> np.ndarray | None:
    """The qubits' states, (n, 2), of a basis or product state."""
    if state.kind == "basis":
        bits = np.array([state.index >> q & 1 for q in range(n)])
        return np.stack([1 - bits, bits], axis=1).astype(complex)
    return state.array if state.kind == "product" else None
