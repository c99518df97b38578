"""Models as text: what `print(model)` shows, and the versioned JSON that `Model.save` writes."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import stim

from quprop.errors import QupropError, count_of, shown
from quprop.files import read_text
from quprop.model.angle import MAX_DEGREE, MAX_VARIABLES, Angle, Monomial, collected, inputs, params
from quprop.model.channels import CHANNELS, PAULI_CHANNEL, Channel
from quprop.model.input_state import InputState
from quprop.model.parameterised import Observable, ParameterisedSum
from quprop.model.pauli import MAX_QUBITS, PauliString, PauliSum
from quprop.model.x_rotations import Rotation, Subsets, XRotations

if TYPE_CHECKING:
    from quprop.model.model import Model

_FORMAT, _VERSION = "quprop-model", 1
# Versions with arrays of rotations about products of X, with channels, and with coefficients that are angles (and
# perhaps any of the others).
_ARRAYS, _NOISY, _PARAMETERISED = 2, 3, 4
_FACTOR = re.compile(r"(theta|x)\[(\d+)\]")
_IMAGE = re.compile(r"[+-][IXYZ_]*")


def describe(model: Model, shown: int) -> str:
    """A summary line, the input state, the rotations (first and last few), the observables."""
    n = model.n_qubits
    vectors = [f"params {a}[{b}]" for a, b in zip(model.param_names, model.param_sizes, strict=True)]
    vectors += [f"inputs {a}[{b}]" for a, b in zip(model.input_names, model.input_sizes, strict=True)]
    sizes = count_of(n, "qubit"), count_of(model.n_rotations, "rotation")
    head = [*sizes, *vectors, count_of(model.n_observables, "observable")]
    if model.channels:
        head.append(count_of(len(model.channels), "channel"))
    lines = [f"Model: {', '.join(head)}, from {model.state.text(n)}"]
    noise: dict[int, list[Channel]] = {}
    for channel in model.channels:
        noise.setdefault(channel.place, []).append(channel)
    places = list(range(model.n_rotations))
    if len(places) > shown:
        places = places[: shown // 2] + places[-(shown // 2) :]
    for before, m in zip([-1, *places], places, strict=False):
        if m != before + 1:
            between = sum(before < channel.place < m for channel in model.channels)
            lines.append(f"  ... {m - before - 1} more" + (f", and {count_of(between, 'channel')}" if between else ""))
        lines += _noise_lines(model, noise.get(m, []), shown)
        x, z, angle = model.rotations[m]
        lines.append(f"  {m:>4}  exp(-i/2 ({angle.text(model.variable_name, 6)}) {PauliString(x, z)})")
    lines += _noise_lines(model, noise.get(model.n_rotations, []), shown)
    for k, total in enumerate(model.observables[:shown]):
        terms = (
            total.text(model.variable_name, 8, 6)
            if isinstance(total, ParameterisedSum)
            else str(PauliSum(dict(total.terms[:8])))
        )
        lines.append(f"  O[{k}] = {terms}" + (f" + ... {len(total) - 8} more terms" if len(total) > 8 else ""))
    if model.n_observables > shown:
        lines.append(f"  ... {model.n_observables - shown} more observables")
    if model.clifford != stim.Tableau(n):
        lines.append("  (the observables have absorbed the circuit's Clifford gates)")
    return "\n".join(lines)


def _noise_lines(model: Model, channels: list[Channel], shown: int) -> list[str]:
    lines = []
    for c in channels[:shown]:
        strengths = [s.text(model.variable_name, 6) for s in c.strengths]
        strings = [("-" if c.sign < 0 and k else "") + str(PauliString(*p)) for k, p in enumerate(c.strings)]
        lines.append(f"        {c.name}({', '.join(strengths)}) {', '.join(strings)}")
    if len(channels) > shown:
        lines.append(f"        ... {len(channels) - shown} more channels")
    return lines


def dump(model: Model) -> str:
    state: Any = model.state.data
    if isinstance(state, bytes):
        # Exact and short; a text of floats would be neither much more readable nor portable in its last digit.
        state = base64.b64encode(state).decode()
    n = model.n_qubits
    arrays = isinstance(model.rotations, XRotations)
    version = _NOISY if model.channels else _ARRAYS if arrays else _VERSION
    head = {
        "format": _FORMAT,
        "version": version if model.coefficients is None else _PARAMETERISED,
        "n_qubits": n,
        "params": list(zip(model.param_names, model.param_sizes, strict=True)),
        "inputs": list(zip(model.input_names, model.input_sizes, strict=True)),
        "state": [model.state.kind, state],
        "observables": [_sum_to_json(o) for o in model.observables],
        "clifford": [[str(f(q)) for q in range(n)] for f in (model.clifford.x_output, model.clifford.z_output)],
    }
    lines = [f" {json.dumps(k)}: {json.dumps(v)}," for k, v in head.items()]
    if model.channels:
        noise = ",\n".join("  " + json.dumps(_channel_to_json(channel)) for channel in model.channels)
        lines += [' "channels": [', noise, " ],"]
    if isinstance(model.rotations, XRotations):
        r = model.rotations
        columns = {"sizes": r.subsets.sizes, "qubits": r.subsets.qubits, "param": r.param, "coefficient": r.coefficient}
        rows = [f'  "{k}": {json.dumps(v.tolist(), separators=(",", ":"))}' for k, v in columns.items()]
        return "\n".join(["{", *lines, ' "x_rotations": {', ",\n".join(rows), " }", "}"]) + "\n"
    rows = [json.dumps([str(PauliString(x, z)), _angle_to_json(angle)]) for x, z, angle in model.rotations]
    return "\n".join(["{", *lines, ' "rotations": [', ",\n".join("  " + row for row in rows), " ]", "}"]) + "\n"


def fields(text: str) -> dict[str, Any]:
    """What a `Model` is made of, from the text that `dump` wrote."""
    data = versioned(
        text, "model", _FORMAT, (_VERSION, _ARRAYS, _NOISY, _PARAMETERISED), "save the model again with this version"
    )
    try:
        return _build(data)
    except (KeyError, ValueError, TypeError, AttributeError, IndexError, OverflowError) as broken:
        raise QupropError(f"this quprop model is damaged ({broken!r}); save it again from its circuit") from None


def versioned(
    text: str, what: str, form: str, version: int | tuple[int, ...], mend: str | Callable[[Any], str]
) -> dict[str, Any]:
    """The JSON object of a file that names this format and a version; `what` is saved by the class of that name.

    mend: what to do about another format or version; a function gets the format that was found.
    """
    try:
        data = json.loads(text)
        found = data["format"], data["version"]
    except (ValueError, TypeError, KeyError, RecursionError):
        raise QupropError(
            f"this is not a quprop {what} (JSON with format and version expected); write one with "
            f"{what.capitalize()}.save"
        ) from None
    versions = (version,) if isinstance(version, int) else version
    if found[0] != form or found[1] not in versions:
        raise QupropError(
            f"this quprop reads {form!r} version {' or '.join(map(str, versions))}, got {found[0]!r} version "
            f"{found[1]!r}; " + (mend if isinstance(mend, str) else mend(found[0]))
        )
    return data


def read(path: Path, what: str, build: Callable[[str], Any]) -> Any:
    """What `build` makes of the file's text; its refusal gets the file's name."""
    try:
        text = read_text(path)
    except OSError as error:
        raise QupropError(
            f"{path} cannot be read ({error.strerror}): give a file of {what.capitalize()}.save"
        ) from None
    except UnicodeDecodeError:
        raise QupropError(
            f"{path} is not a quprop {what}: it is not text; write one with {what.capitalize()}.save"
        ) from None
    try:
        return build(text)
    except QupropError as error:
        raise QupropError(f"{path}: {error}") from None


def _build(data: dict[str, Any]) -> dict[str, Any]:
    n = data["n_qubits"]
    if type(n) is not int or not 1 <= n <= MAX_QUBITS:
        raise QupropError(f"a model has 1 to {MAX_QUBITS} qubits, got {shown(n)}; save it again from its circuit")
    made = [[make(*vector) for vector in data[key]] for key, make in (("params", params), ("inputs", inputs))]
    sizes = [[(vector.name, vector.size) for vector in vectors] for vectors in made]
    totals = [sum(size for _, size in vectors) for vectors in sizes]
    if any(len(dict(vectors)) < len(vectors) for vectors in sizes) or sum(totals) > MAX_VARIABLES:
        raise ValueError("two vectors of one name, or too many entries")
    kind, content = data["state"]
    state = InputState(kind, base64.b64decode(content, validate=True) if isinstance(content, str) else content)
    state.check(n, totals[1])
    parameterised = data["version"] == _PARAMETERISED
    arrays = "x_rotations" in data if parameterised else data["version"] == _ARRAYS
    rotations = []
    for text, terms in [] if arrays else data["rotations"]:
        string = PauliString.parse(text)
        angle = _angle_from_json(terms, totals)
        if string.sign != 1 or not 0 < string.n_qubits <= n:
            raise ValueError(f"rotation {text!r}")
        rotations.append(Rotation(string.x, string.z, angle))
    noisy = "channels" in data if parameterised else data["version"] == _NOISY
    if noisy != ("channels" in data):
        raise ValueError("channels")
    channels = tuple(_channel_from_json(row, n, totals) for row in data["channels"]) if noisy else ()
    places = [channel.place for channel in channels]
    if noisy and (not places or sorted(places) != places or places[-1] > len(rotations)):
        raise ValueError("channels out of order")
    observables = tuple(_sum_from_json(o, totals) for o in data["observables"])
    if parameterised != any(isinstance(o, ParameterisedSum) for o in observables):
        raise ValueError("coefficients")
    if not observables or any(o.n_qubits > n for o in observables):
        raise ValueError("observables do not fit the qubits")
    return {
        "n_qubits": n,
        "rotations": _x_rotations(data["x_rotations"], n, totals[0]) if arrays else tuple(rotations),
        "observables": observables,
        "state": state,
        "clifford": _tableau(data["clifford"], n),
        "param_names": tuple(name for name, _ in sizes[0]),
        "param_sizes": tuple(size for _, size in sizes[0]),
        "input_names": tuple(name for name, _ in sizes[1]),
        "input_sizes": tuple(size for _, size in sizes[1]),
        "channels": channels,
    }


def _sum_to_json(total: Observable) -> dict[str, Any]:
    if isinstance(total, ParameterisedSum):
        return {str(p): _angle_to_json(a) for p, a in total.angles}
    return {str(p): c for p, c in total.items()}


def _sum_from_json(terms: dict[str, Any], totals: list[int]) -> Observable:
    if not any(isinstance(c, dict) for c in terms.values()):
        return PauliSum(terms)
    found = ParameterisedSum({p: _angle_from_json(a, totals) for p, a in terms.items()})
    if found.is_constant:
        raise ValueError("coefficients without variables are numbers")
    return found


def _channel_to_json(channel: Channel) -> list[Any]:
    strings = [str(PauliString(x, z)) for x, z in channel.strings]
    if channel.sign < 0:
        strings[1] = "-" + strings[1]
    return [channel.place, channel.name, strings, [_angle_to_json(s) for s in channel.strengths]]


def _channel_from_json(row: Any, n: int, totals: list[int]) -> Channel:
    place, name, texts, terms = row
    strings = [PauliString.parse(text) for text in texts]
    strengths = tuple(_angle_from_json(t, totals) for t in terms)
    pauli = name == PAULI_CHANNEL
    sign = 1 if pauli else strings[1].sign
    masks = tuple((p.x, p.z) for p in strings)
    if type(place) is not int or place < 0 or not all(0 < p.n_qubits <= n for p in strings):
        raise ValueError(f"channel {row!r}")
    if pauli:
        right = len(strengths) == len(strings) == len(set(masks)) > 0 and all(p.sign == 1 for p in strings)
    else:
        right = len(strings) == 2 and strings[0].sign == 1 and not strings[0].commutes(strings[1])
        right &= CHANNELS[name].kind == "affine" and len(strengths) == len(CHANNELS[name].strengths)
    if not right:
        raise ValueError(f"channel {row!r}")
    return Channel(place, "pauli" if pauli else "affine", masks, sign, strengths, PAULI_CHANNEL if pauli else name)


def _x_rotations(columns: dict[str, list[Any]], n: int, n_params: int) -> XRotations:
    whole = [np.array(columns[k], np.int64) for k in ("sizes", "qubits", "param")]
    coefficient = np.array(columns["coefficient"], float)
    if any(np.array(columns[k]).dtype.kind not in "iu" for k in ("sizes", "qubits", "param") if columns[k]):
        raise ValueError("sizes, qubits and parameters are whole numbers")
    sizes, qubits, param = whole
    ptr = np.concatenate([[0], np.cumsum(sizes)])
    fits = sizes.ndim == qubits.ndim == 1 and param.shape == coefficient.shape == sizes.shape
    if not fits or (sizes < 1).any() or ptr[-1] != len(qubits) or not np.isfinite(coefficient).all():
        raise ValueError("the arrays of rotations do not fit one another")
    if len(qubits) and not (qubits.min() >= 0 and qubits.max() < n and param.min() >= 0 and param.max() < n_params):
        raise ValueError("a rotation beyond the qubits or parameters")
    inner = np.ones(len(qubits), bool)
    inner[ptr[:-1]] = False
    if (np.diff(qubits, prepend=-1)[inner] <= 0).any() or not coefficient.all():
        raise ValueError("the qubits of a rotation ascend, and its coefficient is not zero")
    return XRotations(Subsets(ptr, qubits.astype(np.int32)), param.astype(np.int32), coefficient)


def _tableau(generators: Any, n: int) -> stim.Tableau:
    """The images of X_0, ..., X_{n-1} and Z_0, ..., Z_{n-1}; stim trusts what it is given, so all is checked here."""
    xs, zs = generators
    for rows in (xs, zs):
        if not isinstance(rows, list) or len(rows) != n:
            raise ValueError("clifford does not fit the qubits")
        for row in rows:
            if not isinstance(row, str) or len(row) != n + 1 or _IMAGE.fullmatch(row) is None:
                raise ValueError("clifford must be signed Pauli strings of n_qubits letters")
    xs, zs = ([stim.PauliString(row) for row in rows] for rows in (xs, zs))
    return stim.Tableau.from_conjugated_generators(xs=xs, zs=zs)


def _angle_to_json(angle: Angle) -> dict[str, float]:
    names = ("theta", "x")
    return {"*".join(f"{names[v[0]]}[{v[1]}]" for v in m) or "1": c for m, c in angle.terms}


def _angle_from_json(terms: dict[str, float], totals: list[int]) -> Angle:
    merged: dict[Monomial, float] = {}
    for text, coefficient in terms.items():
        monomial: Monomial = ()
        for factor in text.split("*") if text != "1" else ():
            match = _FACTOR.fullmatch(factor)
            if match is None:
                raise ValueError(f"angle {text!r}")
            variable = (int(match[1] == "x"), int(match[2]))
            if variable[1] >= totals[variable[0]]:
                raise ValueError(f"{factor} beyond the model's vectors")
            monomial += (variable,)
        if len(monomial) > MAX_DEGREE:
            raise ValueError(f"degree {len(monomial)} of an angle")
        if isinstance(coefficient, bool) or not isinstance(coefficient, int | float):
            raise ValueError(f"coefficient {coefficient!r}")
        key = tuple(sorted(monomial))
        merged[key] = merged.get(key, 0.0) + float(coefficient)
    return collected(merged)
