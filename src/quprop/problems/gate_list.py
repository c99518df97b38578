"""Circuits written in a TOML file as a list of calls, the same as in Python: "ry(2*theta[0] + 0.1, 1)", "rotation('X0
Y2', theta[1])"."""

from __future__ import annotations

import ast
import math
import operator
from typing import Any

from quprop.errors import QupropError, nearest, shown
from quprop.model.angle import Angle, inputs, params
from quprop.model.circuit import Circuit
from quprop.model.gates import GATES

CALLS = (*GATES, "rotation")
_BINARY = {ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul, ast.Div: operator.truediv}
_VECTORS = ("theta", "x")


def circuit_from_gates(n_qubits: int, gates: list[Any]) -> Circuit:
    """A circuit from calls; ``theta[i]`` are its parameters, ``x[j]`` its inputs, ``pi`` is known. Nothing else is
    evaluated."""
    calls = [_parse(text) for text in gates]
    sizes = dict.fromkeys(_VECTORS, 0)
    for text, call in zip(gates, calls, strict=True):
        for node in ast.walk(call):
            if isinstance(node, ast.Subscript):
                name, index = _variable(node, text)
                sizes[name] = max(sizes[name], index + 1)
    vectors: dict[str, Any] = {
        "theta": params("theta", sizes["theta"]) if sizes["theta"] else [],
        "x": inputs("x", sizes["x"]) if sizes["x"] else [],
    }
    circuit = Circuit(n_qubits, params=vectors["theta"] or (), inputs=vectors["x"] or ())
    for text, call in zip(gates, calls, strict=True):
        assert isinstance(call.func, ast.Name)
        try:
            arguments = [_evaluate(node, vectors, text) for node in call.args]
        except RecursionError:
            raise QupropError(f"gate {shown(text)} is nested too deeply to be read; write it simpler") from None
        try:
            getattr(circuit, call.func.id)(*arguments)
        except (TypeError, QupropError) as error:
            raise QupropError(f"gate {text!r}: {error}") from None
    return circuit


def _parse(text: Any) -> ast.Call:
    try:
        call = ast.parse(text.strip(), mode="eval").body if isinstance(text, str) else None
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        call = None
    if not isinstance(call, ast.Call) or not isinstance(call.func, ast.Name) or call.keywords:
        raise QupropError(f'a gate reads like "ry(theta[0], 1)" or "cx(0, 1)", got {shown(text)}')
    if call.func.id not in CALLS:
        raise QupropError(f"unknown gate {call.func.id!r} in {text!r}: {nearest(call.func.id, CALLS)}")
    return call


def _variable(node: ast.Subscript, text: str) -> tuple[str, int]:
    good = (
        isinstance(node.value, ast.Name) and isinstance(node.slice, ast.Constant) and isinstance(node.slice.value, int)
    )
    if not good or node.value.id not in _VECTORS or not 0 <= node.slice.value < 10**6:  # type: ignore[attr-defined]
        raise QupropError(
            f"variables are theta[i] and x[j] with whole numbers i, j from 0, got {ast.unparse(node)!r} in {text!r}"
        )
    return node.value.id, node.slice.value  # type: ignore[attr-defined]


def _evaluate(node: ast.expr, vectors: dict[str, Any], text: str) -> Angle | float | int | str:
    if (
        isinstance(node, ast.Constant)
        and isinstance(node.value, int | float | str)
        and not isinstance(node.value, bool)
    ):
        return node.value
    if isinstance(node, ast.Name) and node.id == "pi":
        return math.pi
    if isinstance(node, ast.Subscript):
        name, index = _variable(node, text)
        return vectors[name][index]
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        return -1 * _evaluate(node.operand, vectors, text)
    if isinstance(node, ast.BinOp) and type(node.op) in _BINARY:
        left, right = _evaluate(node.left, vectors, text), _evaluate(node.right, vectors, text)
        try:
            return _BINARY[type(node.op)](left, right)
        except (TypeError, ZeroDivisionError, QupropError) as error:
            raise QupropError(f"angle {ast.unparse(node)!r} in {text!r}: {error}") from None
    raise QupropError(
        f"angles are made of numbers, pi, theta[i], x[j] and + - * /, got {ast.unparse(node)!r} in {text!r}"
    )
