"""Classical expressions of OpenQASM: numbers worked out while reading, and polynomials of the program's inputs."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from quprop.angle import Angle
from quprop.errors import QupropError, nearest
from quprop.hybrid.qasm.parse import Source

_LARGEST = 1 << 63
_MAX_TERMS = 10_000  # of a polynomial, multiplied out
_MAX_DEGREE = 32

CONSTANTS = {"pi": math.pi, "π": math.pi, "tau": math.tau, "τ": math.tau, "euler": math.e, "ℇ": math.e}
FUNCTIONS: dict[str, tuple[int, Callable[..., Any]]] = {
    "sin": (1, math.sin),
    "cos": (1, math.cos),
    "tan": (1, math.tan),
    "arcsin": (1, math.asin),
    "arccos": (1, math.acos),
    "arctan": (1, math.atan),
    "exp": (1, math.exp),
    "log": (1, math.log),
    "ln": (1, math.log),  # OpenQASM 2's name
    "sqrt": (1, math.sqrt),
    "ceiling": (1, lambda a: float(math.ceil(a))),
    "floor": (1, lambda a: float(math.floor(a))),
    "mod": (2, lambda a, b: a % b),
    "popcount": (1, lambda a: int(a).bit_count()),
    "pow": (2, lambda a, b: _power(a, b)),
}
_BINARY: dict[str, Callable[[Any, Any], Any]] = {
    "+": lambda a, b: a + b,
    "-": lambda a, b: a - b,
    "*": lambda a, b: _times(a, b),
    "/": lambda a, b: _divide(a, b),
    "%": lambda a, b: math.fmod(a, b) if isinstance(a, float) or isinstance(b, float) else int(math.fmod(a, b)),
    "**": lambda a, b: _power(a, b),
    "==": lambda a, b: a == b,
    "!=": lambda a, b: a != b,
    "<": lambda a, b: a < b,
    "<=": lambda a, b: a <= b,
    ">": lambda a, b: a > b,
    ">=": lambda a, b: a >= b,
    "&&": lambda a, b: bool(a) and bool(b),
    "||": lambda a, b: bool(a) or bool(b),
    "&": lambda a, b: _bits(a) & _bits(b),
    "|": lambda a, b: _bits(a) | _bits(b),
    "^": lambda a, b: _bits(a) ^ _bits(b),
    "<<": lambda a, b: _bits(a) << min(_bits(b), 64),
    ">>": lambda a, b: _bits(a) >> min(_bits(b), 64),
}
_ON_ANGLES = ("+", "-", "*", "/", "**")


class Bits:
    """A register of classical bits: measured values, which no expression may use while reading."""

    def __init__(self, size: int, scalar: bool) -> None:
        self.size, self.scalar = size, scalar


class Calculator:
    """Evaluates expressions; `look_up(node, name)` finds a name's value."""

    def __init__(self, source: Source, look_up: Callable[[Any, str], Any]) -> None:
        self.source, self._look_up = source, look_up

    def value(self, node: Any) -> Any:
        """An int, float, bool, Angle, or list of them."""
        kind = type(node).__name__
        visit = getattr(self, f"_{kind}", None)
        if visit is None:
            self.source.refuse(node, f"{_words(kind)} has no place in an angle or index; use numbers and inputs")
        return visit(node)

    def number(self, node: Any, what: str) -> int | float:
        value = self.value(node)
        if isinstance(value, Angle) and value.is_constant:
            value = value.constant
        if isinstance(value, Angle):
            self.source.refuse(node, f"{what} must be known while reading, got one that depends on the inputs: {value}")
        if isinstance(value, list):
            self.source.refuse(node, f"{what} is one number, got an array; index it")
        return value

    def whole(self, node: Any, what: str) -> int:
        value = self.number(node, what)
        if isinstance(value, float) or abs(value) >= _LARGEST:
            self.source.refuse(node, f"{what} is a whole number, got {value!r}")
        return int(value)

    def angle(self, node: Any) -> Angle:
        value = self.value(node)
        if isinstance(value, list):
            self.source.refuse(node, "an angle is one number, got an array; index it")
        try:
            return value if isinstance(value, Angle) else Angle(float(value))
        except QupropError as error:
            self.source.refuse(node, str(error))

    def _Identifier(self, node: Any) -> Any:
        return self._look_up(node, node.name)

    def _IntegerLiteral(self, node: Any) -> Any:
        if abs(node.value) >= _LARGEST:
            self.source.refuse(node, "whole numbers have at most 64 bits; write a float such as 1e20")
        return node.value

    def _FloatLiteral(self, node: Any) -> Any:
        if not math.isfinite(node.value):
            self.source.refuse(node, "this number is too large for a float[64]; write a smaller one")
        return node.value

    def _BooleanLiteral(self, node: Any) -> Any:
        return node.value

    def _BitstringLiteral(self, node: Any) -> Any:
        return node.value

    def _ArrayLiteral(self, node: Any) -> Any:
        return [self.value(v) for v in node.values]

    def _UnaryExpression(self, node: Any) -> Any:
        value, sign = self.value(node.expression), node.op.name
        if isinstance(value, list):
            self.source.refuse(node, f"{sign} takes one number, got an array; index it")
        if sign == "-":
            return -value
        if isinstance(value, Angle) or (sign == "~" and not isinstance(value, int)):
            self.source.refuse(node, f"{sign} takes a whole number known while reading, got {value}")
        return (not value) if sign == "!" else ~value

    def _BinaryExpression(self, node: Any) -> Any:
        # Sums are trees as deep as they are long: walk down the left side instead of recursing.
        chain = []
        while type(node).__name__ == "BinaryExpression":
            chain.append(node)
            node = node.lhs
        value = self.value(node)
        for parent in reversed(chain):
            value = self.combine(parent, parent.op.name, value, self.value(parent.rhs))
        return value

    def combine(self, node: Any, sign: str, left: Any, right: Any) -> Any:
        """left sign right."""
        if isinstance(left, list) or isinstance(right, list):
            self.source.refuse(node, f"{sign} takes numbers, got an array; index it")
        symbolic = [v for v in (left, right) if isinstance(v, Angle)]
        if symbolic and sign not in _ON_ANGLES:
            self.source.refuse(
                node, f"angles are polynomials of the inputs, made with + - * / **; {sign} of {symbolic[0]} is none"
            )
        return self._checked(node, _BINARY[sign], left, right)

    def _FunctionCall(self, node: Any) -> Any:
        name = node.name.name
        if name not in FUNCTIONS:
            self.source.refuse(node, f"there is no function {name!r} here; {nearest(name, FUNCTIONS)}")
        count, function = FUNCTIONS[name]
        if len(node.arguments) != count:
            self.source.refuse(
                node, f"{name} takes {count} argument{'s' * (count > 1)}, got {len(node.arguments)}; check the call"
            )
        values = [self.value(a) for a in node.arguments]
        if any(isinstance(v, list) for v in values):
            self.source.refuse(node, f"{name} takes numbers, got an array; index it")
        unknown = next((v for v in values if isinstance(v, Angle)), None)
        if unknown is not None and name != "pow":
            self.source.refuse(
                node,
                f"angles are polynomials of the inputs, and {name}({unknown}) is none; make {name} of it an input",
            )
        return self._checked(node, function, *values)

    def _IndexExpression(self, node: Any) -> Any:
        array = self.value(node.collection)
        if not isinstance(array, list):
            self.source.refuse(node, "only arrays of inputs or constants are indexed in an angle")
        indices = node.index if isinstance(node.index, list) else []
        for expression in indices:
            if type(expression).__name__ in ("RangeDefinition", "DiscreteSet"):
                indices = []
                break
            array = self.element(node, array, self.whole(expression, "an index"))
        if not indices:
            self.source.refuse(node, "an angle is one entry of an array; index it with one whole number")
        return array

    def element(self, node: Any, array: Any, index: int) -> Any:
        if not isinstance(array, list) or not -len(array) <= index < len(array):
            size = len(array) if isinstance(array, list) else 0
            self.source.refuse(node, f"index {index} is beyond the array, which has entries 0 to {size - 1}")
        return array[index]

    def _Cast(self, node: Any) -> Any:
        value = self.value(node.argument)
        target = type(node.type).__name__
        if target in ("FloatType", "AngleType") and not isinstance(value, list):
            return value if isinstance(value, Angle) else float(value)
        if isinstance(value, Angle | list):
            self.source.refuse(node, "inputs can be cast to float or angle only, as they are not known while reading")
        if target == "BoolType":
            return bool(value)
        if target in ("IntType", "UintType"):
            return self._checked(node, int, value)
        self.source.refuse(node, "only casts to float, angle, int, uint and bool are read")

    def _SizeOf(self, node: Any) -> Any:
        array = self.value(node.target)
        if not isinstance(array, list):
            self.source.refuse(node, "sizeof takes an array")
        return len(array)

    def _checked(self, node: Any, function: Callable[..., Any], *values: Any) -> Any:
        try:
            result = function(*values)
        except QupropError as error:
            self.source.refuse(node, str(error))
        except (ValueError, OverflowError, ZeroDivisionError, TypeError) as error:
            shown = ", ".join(map(str, values))
            self.source.refuse(node, f"this has no value in real numbers, for {shown} ({error}); change it")
        if isinstance(result, int) and abs(result) >= _LARGEST:
            self.source.refuse(node, "whole numbers have at most 64 bits, and this one grows larger; use floats")
        if isinstance(result, float) and not math.isfinite(result):
            self.source.refuse(node, "this number is too large for a float[64]; make it smaller")
        return result


def _times(a: Any, b: Any) -> Any:
    both = isinstance(a, Angle) and isinstance(b, Angle)
    if both and (a.degree + b.degree > _MAX_DEGREE or len(a.terms) * len(b.terms) > _MAX_TERMS):
        raise QupropError(
            f"this polynomial has more than {_MAX_TERMS:,} terms or a degree beyond {_MAX_DEGREE} when multiplied "
            "out; introduce an input for a part of it"
        )
    return a * b


def _divide(a: Any, b: Any) -> Any:
    if isinstance(b, Angle):
        if not b.is_constant:
            raise QupropError(f"angles are polynomials of the inputs, and division by {b} is none; make it an input")
        b = b.constant
    return a / b


def _power(a: Any, b: Any) -> Any:
    if isinstance(b, Angle):
        if not b.is_constant:
            raise QupropError(f"angles are polynomials of the inputs, and a power {b} is none; make it an input")
        b = b.constant
    if isinstance(a, Angle):
        if b != int(b) or b < 0:
            raise QupropError(f"angles are polynomials of the inputs: powers are 0, 1, 2, ..., got {b}")
        if b > _MAX_DEGREE:
            raise QupropError(f"angles are polynomials of degree {_MAX_DEGREE} at most, got the power {b}")
        result: Any = Angle(1.0)
        for _ in range(int(b)):
            result = _times(result, a)
        return result
    if isinstance(a, int) and isinstance(b, int) and b >= 0:
        if abs(a) > 1 and b >= 64:
            raise QupropError("whole numbers have at most 64 bits, and this power grows larger; use floats")
        return a**b
    result = float(a) ** float(b)
    if isinstance(result, complex):
        raise QupropError(f"{a} to the power {b} is no real number; change it")
    return result


def _bits(value: Any) -> int:
    if not isinstance(value, int) or value < 0:
        raise QupropError(f"bitwise operators take whole numbers from 0, got {value}")
    return int(value)


def _words(kind: str) -> str:
    parts = "".join(f" {c.lower()}" if c.isupper() else c for c in kind).strip()
    return f"{'an' if parts[0] in 'aeiou' else 'a'} {parts}"
