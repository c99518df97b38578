"""PennyLane circuits as quprop models: `from_pennylane(qnode, *args)`.

PennyLane circuits are Python functions that cannot be looked into, so the tape is made a few times with different
arguments and every angle, a polynomial of degree two at most, is found from its values: most depend on one entry of
one argument and show which by the ratio of two values; the others are probed entry by entry, products pair by pair.
What was found is then compared with tapes at the example that was given, near it, and at arguments of both signs and
of any size up to `WIDEST`, where branches, clips and thresholds show.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pennylane as qml
from pennylane.devices import ExecutionConfig
from pennylane.tape import QuantumScript
from pennylane.wires import Wires

from quprop.errors import QupropError
from quprop.hybrid.pennylane.observables import RefusedError
from quprop.hybrid.pennylane.preprocess import pipeline
from quprop.hybrid.pennylane.translate import Reading, Structure, TapeReader, in_order
from quprop.model import Model
from quprop.model.angle import INPUT, PARAM, Angle, AngleVector, from_terms, inputs, params
from quprop.model.angle_table import AngleTable
from quprop.model.circuit import Circuit

INPUT_NAMES = ("x", "inputs")  # arguments of these names are data, as in qml.qnn.TorchLayer
PAIRS_UP_TO = 40  # entries whose products are looked for
WIDEST = 1e4  # the largest arguments that a circuit is tried with
_SMALL = 1e-12  # coefficients below are rounding
_START_VARIES = (
    "the initial state of this circuit depends on its arguments; a model takes a fixed one, or amplitudes as inputs"
)


class _Tapes:
    """A circuit as a function from one flat array of all its arguments' entries to tapes of one structure."""

    def __init__(self, make: Callable[[np.ndarray], QuantumScript], wires: Sequence[Any] | None) -> None:
        self._make, self._read = make, TapeReader(wires, in_order)
        self._pipeline = pipeline(ExecutionConfig(), None if wires is None else Wires(wires), "quprop")
        self.structure: Structure | None = None

    def __call__(self, values: np.ndarray) -> Reading:
        try:
            tape = self._make(values)
        except QupropError:
            raise
        except Exception as e:
            raise RefusedError(
                f"a model takes arguments of any size, but this circuit raises {type(e).__name__} with some of up to "
                f"{abs(values).max(initial=0):.3g}; fix them with functools.partial"
            ) from e
        tapes, _ = self._pipeline([tape])
        if len(tapes) != 1:
            raise RefusedError(
                f"a model is one circuit, got {len(tapes)} tapes; apply transforms that split it afterwards"
            )
        reading = self._read(tapes[0].copy(trainable_params=[]))  # an observable's numbers are fixed
        if self.structure is None:
            self.structure = reading.structure
        if reading.structure is not self.structure or reading.batch is not None:
            raise RefusedError(
                "the gates of this circuit depend on the values of its arguments, or are broadcast; a model has one "
                "list of gates, so pass such arguments as integers, or fix them with functools.partial"
            )
        return reading


def from_pennylane(circuit: Any, *args: Any, inputs: Sequence[str] = (), **fixed: Any) -> Model:
    """A PennyLane QNode, quantum function or tape as a `Model`; wire i of the device is qubit i.

    args: example arguments, for their shapes and as values that the model is compared with. Each array of floats
        becomes a vector of the model under the argument's name: data (`inputs`) if it is called "x" or "inputs", is
        named in `inputs`, or is a PennyLane tensor with requires_grad=False; trainable (`params`) otherwise. Everything
        else is passed on as it is, and so is `fixed`, by keyword. A tape's trainable parameters become `theta`, all
        others stay numbers.

    Every qml.expval is one observable, in order. Angles are polynomials of degree two at most in the arguments;
    amplitude embedding of one whole data argument is an encoded input state. Anything else is refused, and so is a
    circuit whose gates change with its arguments anywhere that it was looked at: at zero, at and near the example, and
    at arguments of either sign and all sizes up to 10^4.

        model = from_pennylane(qnode, np.zeros((2, 4, 3)), np.zeros(4))
        quprop.expectation(model, weights.ravel(), x)

    Returns: Model.
    Raises: QupropError for what it refuses, and where PennyLane is not installed.

    >>> import pennylane as qml
    >>> def circuit(theta):
    ...     qml.RY(theta[0], wires=0)
    ...     return qml.expval(qml.Z(0))
    >>> model = qpr.from_pennylane(qml.QNode(circuit, qml.device("default.qubit", wires=1)), np.array([0.1]))
    >>> qpr.expectation(model, [np.pi / 3]).round(6)
    array([0.5])
    """
    if isinstance(circuit, QuantumScript):
        tape, trainable = circuit, list(circuit.trainable_params)
        vectors = [params("theta", len(trainable))]
        example = np.array([tape.get_parameters(trainable_only=False)[i] for i in trainable], float)

        def make(values: np.ndarray) -> QuantumScript:
            return tape.bind_new_parameters(list(values), trainable)

        return _model(_Tapes(make, None), vectors, example)
    function = circuit.func if isinstance(circuit, qml.QNode) else circuit
    if not callable(function):
        raise RefusedError(f"from_pennylane takes a QNode, a quantum function or a tape, got {type(circuit).__name__}")
    names = _argument_names(function, len(args))
    unknown = sorted(set(inputs) - set(names))
    if unknown:
        raise RefusedError(f"inputs names arguments of the circuit, which are {', '.join(names)}, got {unknown[0]!r}")
    vectors, shapes, values = [], {}, [np.empty(0)]
    for i, (name, value) in enumerate(zip(names, args, strict=True)):
        shape = _shape(value)
        if shape is None:
            continue
        shapes[i] = shape
        values.append(np.asarray(value, float).ravel())
        data = name in INPUT_NAMES or name in inputs or getattr(value, "requires_grad", True) is False
        vectors.append(_vector(name, int(np.prod(shape, dtype=int)), data))

    def call(values: np.ndarray) -> QuantumScript:
        full, first = list(args), 0
        for i, shape in shapes.items():
            size = int(np.prod(shape, dtype=int))
            part = values[first : first + size].reshape(shape)
            full[i] = part if shape else float(part)
            first += size
        if isinstance(circuit, qml.QNode):
            return qml.workflow.construct_tape(circuit, level="user")(*full, **fixed)
        return qml.tape.make_qscript(circuit)(*full, **fixed)

    wires = circuit.device.wires if isinstance(circuit, qml.QNode) else None
    return _model(_Tapes(call, wires), vectors, np.concatenate(values))


def _vector(name: str, size: int, data: bool) -> AngleVector:
    return inputs(name, size) if data else params(name, size)


def _model(tapes: _Tapes, vectors: Sequence[AngleVector], example: np.ndarray) -> Model:
    size = sum(len(v) for v in vectors)
    entries = [entry for v in vectors for entry in v]
    rng = np.random.default_rng(0)  # points to probe at, not a result: any would do
    base = np.zeros(size)
    with np.errstate(invalid="ignore", divide="ignore"):
        origin = tapes(base)
    if origin.x is not None and not np.isfinite(origin.x).all():  # an embedding that normalises its data takes no zeros
        base = rng.uniform(0.5, 1.5, size)
        origin = tapes(base)
    structure = origin.structure
    for i, r in enumerate(structure.readouts):
        if r is None or r.kind != "expval":
            raise RefusedError(
                f"result {i} of this circuit is no expectation value, which is all that a model returns; "
                "return qml.expval"
            )
    amplitudes = _encoded(tapes, origin, vectors, rng) if origin.x is not None else None
    angles = _polynomials(lambda v: tapes(v).theta[0], origin.theta[0], base, entries, rng)
    _compare(tapes, vectors, angles, amplitudes, origin, _points(example, rng))
    by_kind = [[v for v in vectors if v.kind == kind] for kind in (0, 1)]
    start = structure.start(amplitudes)
    if start is None and origin.x is not None:
        start = _given(origin)
    out = Circuit(structure.n, start, params=by_kind[0], inputs=by_kind[1])
    if amplitudes is not None:
        # PennyLane's first wire is the highest bit of an amplitude's index, ours the lowest: swaps cost nothing
        for q in range(structure.n // 2):
            out.swap(q, structure.n - 1 - q)
    structure.append_to(out, angles)
    return Model(out, [s for r in structure.readouts if r is not None for s in r.sums])


def _polynomials(
    f: Callable[[np.ndarray], np.ndarray], at_base: np.ndarray, base: np.ndarray, entries: list[Angle], rng: Any
) -> list[Angle]:
    """The components of f: R^D -> R^P as `Angle`s of the entries."""
    D = len(base)
    steps = rng.uniform(0.5, 1.5, (2, D))
    a, b = (f(base + s) - at_base for s in steps) if D else (np.zeros_like(at_base),) * 2
    ratios = steps[1] / steps[0]
    linear: list[dict[int, float]] = []
    hard: list[int] = []
    for k in range(len(at_base)):
        row: dict[int, float] = {}
        if abs(a[k]) > _SMALL or abs(b[k]) > _SMALL:
            i = int(np.argmin(np.abs(ratios * a[k] - b[k])))
            if abs(ratios[i] * a[k] - b[k]) < 1e-11 * max(1.0, abs(b[k])):
                row[i] = _clean(a[k] / steps[0, i])
            else:
                hard.append(k)
        linear.append(row)
    square: list[dict[tuple[int, int], float]] = [{} for _ in at_base]
    if hard:
        _probe(f, at_base, base, hard, linear, square)
    angles = []
    for k, value in enumerate(at_base):
        angle = Angle(float(value))
        shifted = {i: entries[i] - float(base[i]) for i in {*linear[k], *(j for pair in square[k] for j in pair)}}
        for i, c in linear[k].items():
            angle = angle + c * shifted[i]
        for (i, j), c in square[k].items():
            angle = angle + c * (shifted[i] * shifted[j])
        angles.append(angle)
    return angles


def _points(example: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Where what was found is compared: the example and near it; all entries of one sign and size; of mixed ones."""
    D = len(example)
    sizes = 10.0 ** np.arange(np.log10(WIDEST) + 1)
    signed = [sign * size * rng.uniform(0.5, 1, D) for size in sizes for sign in (1, -1)]
    mixed = rng.choice([-1.0, 1.0], (4, D)) * WIDEST ** rng.uniform(-0.5, 1, (4, D))
    return np.stack([example, *(example * rng.uniform(0.8, 1.2, (2, D))), *signed, *mixed])


def _compare(
    tapes: _Tapes,
    vectors: Sequence[AngleVector],
    angles: Sequence[Angle],
    amplitudes: AngleVector | None,
    origin: Reading,
    points: np.ndarray,
) -> None:
    """Refuses a circuit that is not what was found, at any of the points (K, D)."""
    first = dict(zip((v.name for v in vectors), np.cumsum([0, *map(len, vectors)]).tolist(), strict=False))
    flat = [a.relabel(lambda variable: (PARAM, first[variable[2]] + variable[1])) for a in angles]
    sizes = [from_terms(tuple((m, abs(c)) for m, c in a.terms)) for a in flat]
    nothing = np.empty((1, 0))
    found = AngleTable.build(flat, points.shape[1], 0).evaluate(points, nothing)
    size = AngleTable.build(sizes, points.shape[1], 0).evaluate(abs(points), nothing)
    for point, row, scale in zip(points, found, size, strict=True):
        reading = tapes(point)
        wrong = ~(abs(row - reading.theta[0]) <= 1e-9 * np.maximum(1, scale))
        if wrong.any():
            raise RefusedError(
                f"number {np.argmax(wrong)} of this circuit's gates is no polynomial of degree two in its arguments; "
                "compute it before the circuit and pass the result as an argument"
            )
        if origin.x is not None:
            expected = origin.x[0] if amplitudes is None else _normalised(amplitudes, point[first[amplitudes.name] :])
            if reading.x is None or not np.allclose(reading.x, expected):
                raise RefusedError(_START_VARIES)


def _given(reading: Reading) -> np.ndarray:
    """The fixed amplitudes (2^n,) of a circuit's initial state."""
    assert reading.x is not None
    parts = reading.x[0].reshape(1 + reading.structure.has_parts, -1)
    norm = np.linalg.norm(parts)
    if not abs(norm - 1) < 1e-7:
        raise RefusedError(
            f"a model's initial state is normalised, but this circuit's has norm {norm:.6g}; divide by it"
        )
    return np.asarray(parts[0] + 1j * parts[1] if len(parts) > 1 else parts[0])


def _normalised(vector: AngleVector, values: np.ndarray) -> np.ndarray:
    """The amplitudes whose data start at values[0], PennyLane's first wire the lowest bit."""
    n = len(vector).bit_length() - 1
    reverse = np.array([int(f"{i:0{n}b}"[::-1], 2) for i in range(len(vector))])
    part = values[: len(vector)]
    return np.asarray((part / np.linalg.norm(part))[reverse])


def _probe(
    f: Callable[[np.ndarray], np.ndarray],
    at_base: np.ndarray,
    base: np.ndarray,
    hard: list[int],
    linear: list[dict[int, float]],
    square: list[dict[tuple[int, int], float]],
) -> None:
    """Coefficients of those components that depend on several entries, or on products: differences at unit steps."""
    unit = np.eye(len(base))
    plus = [f(base + e)[hard] - at_base[hard] for e in unit]
    minus = [f(base - e)[hard] - at_base[hard] for e in unit]
    for row, k in enumerate(hard):
        for i, (p, m) in enumerate(zip(plus, minus, strict=True)):
            if abs(p[row] - m[row]) > 2 * _SMALL:
                linear[k][i] = _clean((p[row] - m[row]) / 2)
            if abs(p[row] + m[row]) > 2 * _SMALL:
                square[k][i, i] = _clean((p[row] + m[row]) / 2)
    # products of two entries show only where both move
    rng = np.random.default_rng(1)
    step = rng.uniform(0.5, 1.5, len(base))
    rest = f(base + step)[hard] - at_base[hard]
    for row, k in enumerate(hard):
        rest[row] -= sum(c * step[i] for i, c in linear[k].items())
        rest[row] -= sum(c * step[i] * step[j] for (i, j), c in square[k].items())
    open_rows = [row for row in range(len(hard)) if abs(rest[row]) > 1e-9]
    if not open_rows:
        return
    moving = [i for i in range(len(base)) if _moves(f, at_base, base + step, i, hard)]
    if len(moving) > PAIRS_UP_TO:
        raise RefusedError(
            f"angles that are products of entries are looked for among {PAIRS_UP_TO} entries, got {len(moving)}; "
            "compute the products before the circuit and pass them as an argument"
        )
    for n, i in enumerate(moving):
        for j in moving[:n]:
            both = f(base + unit[i] + unit[j])[hard] - at_base[hard] - plus[i] - plus[j]
            for row in open_rows:
                if abs(both[row]) > 2 * _SMALL:
                    square[hard[row]][j, i] = _clean(both[row])


def _moves(
    f: Callable[[np.ndarray], np.ndarray], at_base: np.ndarray, point: np.ndarray, i: int, hard: list[int]
) -> bool:
    moved = point.copy()
    moved[i] += 1.0
    return bool(np.any(np.abs(f(moved)[hard] - f(point)[hard]) > _SMALL))


def _clean(value: float) -> float:
    """Without the rounding of differences."""
    return float(np.round(value, 12)) if abs(value - np.round(value, 12)) < 1e-14 else float(value)


def _encoded(tapes: _Tapes, origin: Reading, vectors: Sequence[AngleVector], rng: Any) -> AngleVector | None:
    """The data argument whose normalised entries are the initial amplitudes; None if these are fixed."""
    point = rng.uniform(0.5, 1.5, sum(len(v) for v in vectors))
    reading, first = tapes(point), 0
    assert origin.x is not None and reading.x is not None
    for v in vectors:
        part = point[first:]
        first += len(v)
        if v.kind == INPUT and len(v) == reading.x.shape[1] and np.allclose(reading.x, _normalised(v, part)):
            return v
    if not np.allclose(reading.x, origin.x):
        raise RefusedError(_START_VARIES)
    return None


def _argument_names(function: Callable[..., Any], count: int) -> list[str]:
    positional = [
        p
        for p in inspect.signature(function).parameters.values()
        if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)
    ]
    if count > len(positional):
        raise RefusedError(f"this circuit takes {len(positional)} positional arguments, got {count}")
    return [p.name for p in positional[:count]]


def _shape(value: Any) -> tuple[int, ...] | None:
    """The shape of an argument that holds real numbers, None for anything else."""
    if isinstance(value, bool | int | str) or value is None:
        return None
    try:
        array = np.asarray(value)
    except (TypeError, ValueError):
        return None
    return array.shape if array.dtype.kind == "f" else None
