"""The methods of circuits that append one gate or channel, made from the tables `GATES` and `CHANNELS`.

Editors and type checkers read gate_methods.pyi, which `python tools/gate_stubs.py` writes from the same tables.
"""

from __future__ import annotations

from collections.abc import Callable
from inspect import Parameter, Signature, signature
from typing import Any

from quprop.model.channels import CHANNELS
from quprop.model.gates import GATES


class GateMethods:
    """One method for every entry of the tables."""

    gate: Callable[..., Any]
    channel: Callable[..., Any]


def parts(name: str) -> tuple[list[str], list[str], dict[str, float], str]:
    """What a method takes: its angles or strengths, its qubits, strengths with a default; and what it appends."""
    if name in GATES:
        gate = GATES[name]
        return list(signature(gate.builder).parameters), _qubits(gate.n_qubits, gate.what), {}, gate.what
    noise = CHANNELS[name]
    first = len(noise.strengths) - len(noise.defaults)
    optional = dict(zip(noise.strengths[first:], noise.defaults, strict=True))
    what = noise.what + ("; observables: X -> a X, Y -> a Y, Z -> b Z + c I" if noise.kind == "affine" else "")
    return list(noise.strengths[:first]), _qubits(noise.n_qubits, ""), optional, what


def _qubits(n: int, what: str) -> list[str]:
    if "controlled" in what:
        return ["control", "target"] if n == 2 else [*(f"control_{k}" for k in range(n - 1)), "target"]
    return ["qubit"] if n == 1 else [f"qubit_{k}" for k in range(n)]


def documentation(name: str) -> str:
    """The docstring of a method."""
    angles, qubits, optional, what = parts(name)
    call = ", ".join([*angles, *qubits, *(f"{s}={d:g}" for s, d in optional.items())])
    return f"Append {name}({call}): {what}{', in radians' if name in GATES and angles else ''}."


def _method(name: str) -> Callable[..., Any]:
    append = "gate" if name in GATES else "channel"

    def method(self: GateMethods, *arguments: Any, **options: Any) -> Any:
        return getattr(self, append)(name, *arguments, **options)

    angles, qubits, optional, _ = parts(name)
    listed = [Parameter(p, Parameter.POSITIONAL_ONLY) for p in ("self", *angles, *qubits)]
    listed += [Parameter(s, Parameter.POSITIONAL_OR_KEYWORD, default=d) for s, d in optional.items()]
    method.__name__, method.__qualname__, method.__doc__ = name, f"Circuit.{name}", documentation(name)
    method.__annotations__ = {"return": "Circuit"}
    method.__signature__ = Signature(listed, return_annotation="Circuit")  # type: ignore[attr-defined]
    return method


for _name in (*GATES, *CHANNELS):
    setattr(GateMethods, _name, _method(_name))
