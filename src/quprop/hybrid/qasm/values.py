"""Classical expressions of OpenQASM: numbers worked out while reading, and polynomials of the program's inputs.

The two versions have different rules. In version 2 every number is real: 3/2 is 1.5. In version 3 numbers have types
(specification, `types.rst` and `classical.rst`): whole numbers divide as such, 3/2 is 1, sized ones have bits, and an
`angle` is a fraction of 2 pi that wraps. Where the specification leaves a value open, such as that of an overflow or
of -7/2, the expression is refused.

One file because the rules of both versions are told beside one another.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from fractions import Fraction
from typing import Any, NamedTuple

import numpy as np

from quprop.errors import QupropError, nearest
from quprop.hybrid.qasm.parse import ProgramText
from quprop.model.angle import Angle

_MACHINE = 64  # bits of int, uint and angle that do not say
_MAX_WIDTH = 1024  # bits of those that do
_MAX_TERMS = 10_000  # of a polynomial, multiplied out
_MAX_DEGREE = 32
_TERMS_OF_A_STEP = 10  # of a polynomial: what working with them counts for
MAX_REGISTER = 1 << 16  # bits or qubits of one register

CONSTANTS: dict[int, dict[str, float]] = {
    2: {"pi": math.pi},
    3: {"pi": math.pi, "π": math.pi, "tau": math.tau, "τ": math.tau, "euler": math.e, "ℇ": math.e},
}


class Whole(int):
    """A whole number of a declared type: `kind` is int, uint or bit (a register), `width` its bits, None if open.

    Numbers without a declaration are Python's int; a single bit and a bool are Python's bool.
    """

    kind: str
    width: int | None

    def __new__(cls, value: int, kind: str, width: int | None) -> Whole:
        out = super().__new__(cls, value)
        out.kind, out.width = kind, width
        return out


class FixedAngle(NamedTuple):
    """A value of type angle: 2 pi bits / 2^width, with 0 <= bits < 2^width; sized says whether the program did."""

    bits: int
    width: int
    sized: bool

    @property
    def radians(self) -> float:
        return self.bits / (1 << self.width) * math.tau

    def again(self, bits: int) -> FixedAngle:
        return FixedAngle(bits % (1 << self.width), self.width, self.sized)

    @classmethod
    def of(cls, value: float, width: int | None) -> FixedAngle:
        """The nearest angle to a number of radians, ties to even."""
        bits = _MACHINE if width is None else width
        turns = Fraction(math.fmod(value, math.tau) / math.tau)
        return cls(round(turns * (1 << bits)) % (1 << bits), bits, width is not None)  # round: half to even


class Bits:
    """A register of classical bits: measured values, which no expression may use while reading."""

    def __init__(self, size: int, scalar: bool) -> None:
        self.size, self.scalar = size, scalar


class Variable:
    """A classical name of the program: its value, None before it has one, and its declared type."""

    def __init__(self, value: Any, type: Any, constant: bool) -> None:
        self.value, self.type, self.constant = value, type, constant


def _remainder(a: Any, b: Any) -> Any:
    """What is left of a division; it has the sign of a where numbers are real."""
    return math.fmod(a, b) if isinstance(a, float) or isinstance(b, float) else _whole_division(a, b)[1]


def _whole_division(a: int, b: int) -> tuple[int, int]:
    if b == 0:
        raise ZeroDivisionError("division by zero")
    quotient, rest = divmod(int(a), int(b))
    if rest and (a < 0) != (b < 0):
        raise QupropError(
            f"{a} / {b} are whole numbers, and OpenQASM 3 does not say to which side their quotient is rounded; "
            "write floats such as 7.0/2"
        )
    return quotient, rest


def _rotated(value: Any, places: int) -> Whole:
    width = getattr(value, "width", None)
    if width is None or value < 0 or value.kind == "int":
        raise QupropError(f"bits of a uint[n] or bit[n] are rotated, got {value}; declare its width")
    k = int(places) % width
    return Whole(((value << k) | (value >> (width - k))) & ((1 << width) - 1), value.kind, width)


_Function = tuple[int, Callable[..., Any]]
_EVERYWHERE: dict[str, _Function] = {
    "sin": (1, math.sin),
    "cos": (1, math.cos),
    "tan": (1, math.tan),
    "exp": (1, math.exp),
    "sqrt": (1, math.sqrt),
}
FUNCTIONS: dict[int, dict[str, _Function]] = {
    2: {**_EVERYWHERE, "ln": (1, math.log)},
    3: {
        **_EVERYWHERE,
        "arcsin": (1, math.asin),
        "arccos": (1, math.acos),
        "arctan": (1, math.atan),
        "log": (1, math.log),
        "ceiling": (1, lambda a: float(math.ceil(a))),
        "floor": (1, lambda a: float(math.floor(a))),
        "mod": (2, _remainder),
        "popcount": (1, lambda a: _bits(a).bit_count()),
        "rotl": (2, _rotated),
        "rotr": (2, lambda a, k: _rotated(a, -k)),
    },
}
_ARITHMETIC: dict[str, Callable[[Any, Any], Any]] = {
    "+": lambda a, b: a + b,
    "-": lambda a, b: a - b,
    "*": lambda a, b: times(a, b),
    "/": lambda a, b: _divide(a, b),
    "**": lambda a, b: power(a, b),
}
_COMPARISONS: dict[str, Callable[[Any, Any], bool]] = {
    "==": lambda a, b: a == b,
    "!=": lambda a, b: a != b,
    "<": lambda a, b: a < b,
    "<=": lambda a, b: a <= b,
    ">": lambda a, b: a > b,
    ">=": lambda a, b: a >= b,
}
_BITWISE: dict[str, Callable[[int, int], int]] = {
    "&": lambda a, b: a & b,
    "|": lambda a, b: a | b,
    "^": lambda a, b: a ^ b,
    "<<": lambda a, b: a << min(b, _MAX_WIDTH),
    ">>": lambda a, b: a >> b,
}
_TRIGONOMETRY = ("sin", "cos", "tan")


class Calculator:
    """Evaluates expressions of a version; `look_up(node, name)` finds a name's value, `count(node, n)` counts work.

    rounded: set when a division of whole numbers left a remainder.
    """

    def __init__(
        self,
        source: ProgramText,
        version: int,
        look_up: Callable[[Any, str], Any],
        count: Callable[[Any, int], None],
    ) -> None:
        self.source, self.version, self._look_up, self._count = source, version, look_up, count
        self.rounded = False

    def value(self, node: Any) -> Any:
        """An int, float, bool, `Whole`, `FixedAngle`, Angle, or list of them."""
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
        return value.radians if isinstance(value, FixedAngle) else value

    def whole(self, node: Any, what: str) -> int:
        value = self.number(node, what)
        if isinstance(value, float):
            self.source.refuse(node, f"{what} is a whole number, got {value!r}")
        return int(value)

    def angle(self, node: Any) -> Angle:
        value = self.value(node)
        if isinstance(value, list):
            self.source.refuse(node, "an angle is one number, got an array; index it")
        if isinstance(value, FixedAngle):
            value = value.radians
        try:
            return value if isinstance(value, Angle) else Angle(float(value))
        except (QupropError, OverflowError) as error:
            self.source.refuse(node, str(error))

    # Leaves ----------------------------------------------------------------------------------------------------------

    def _Identifier(self, node: Any) -> Any:
        return self._look_up(node, node.name)

    def _IntegerLiteral(self, node: Any) -> Any:
        if abs(node.value) >= 1 << _MACHINE:
            self.source.refuse(node, "whole numbers have at most 64 bits; write a float such as 1e20")
        return node.value

    def _FloatLiteral(self, node: Any) -> Any:
        if not math.isfinite(node.value):
            self.source.refuse(node, "this number is too large for a float[64]; write a smaller one")
        return node.value

    def _BooleanLiteral(self, node: Any) -> Any:
        return node.value

    def _BitstringLiteral(self, node: Any) -> Any:
        return Whole(node.value, "bit", node.width)

    def _ArrayLiteral(self, node: Any) -> Any:
        return [self.value(v) for v in node.values]

    # Operators -------------------------------------------------------------------------------------------------------

    def _UnaryExpression(self, node: Any) -> Any:
        value, sign = self.value(node.expression), node.op.name
        if isinstance(value, list):
            self.source.refuse(node, f"{sign} takes one number, got an array; index it")
        if sign == "-":
            if isinstance(value, FixedAngle):
                return value.again(-value.bits)
            return -value if isinstance(value, float | Angle) else self.combine(node, "-", 0, value)
        if sign == "!" and not isinstance(value, Angle):
            return not (value.bits if isinstance(value, FixedAngle) else value)
        if sign == "~" and isinstance(value, bool):
            return not value
        if sign == "~" and isinstance(value, FixedAngle) and value.sized:
            return value.again(~value.bits)
        if sign == "~" and isinstance(value, Whole) and value.width is not None and value.kind != "int":
            return Whole(~value & ((1 << value.width) - 1), value.kind, value.width)
        shown = value.radians if isinstance(value, FixedAngle) else value
        what = "a condition" if sign == "!" else "bits, those of a uint[n], angle[n], bit[n] or bool"
        self.source.refuse(node, f"{sign} takes {what} known while reading, got {shown}")

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
        if symbolic:
            if sign not in _ARITHMETIC:
                self.source.refuse(
                    node, f"angles are polynomials of the inputs, made with + - * / **; {sign} of {symbolic[0]} is none"
                )
            self._count(node, sum(len(v.terms) for v in symbolic) // _TERMS_OF_A_STEP)
            return self._checked(node, _ARITHMETIC[sign], *map(_plain, (left, right)))
        if sign in ("&&", "||"):
            both = [v.bits != 0 if isinstance(v, FixedAngle) else bool(v) for v in (left, right)]
            return all(both) if sign == "&&" else any(both)
        if self.version == 2:
            if sign not in _ARITHMETIC and sign not in _COMPARISONS:
                self.source.refuse(node, f"OpenQASM 2 has no operator {sign}; it has + - * / and ^")
            return self._checked(node, {**_ARITHMETIC, **_COMPARISONS}[sign], float(left), float(right))
        if isinstance(left, FixedAngle) or isinstance(right, FixedAngle):
            return self._checked(node, lambda a, b: _on_turns(sign, a, b), left, right)
        if isinstance(left, int) and isinstance(right, int):
            return self._checked(node, lambda a, b: self._on_wholes(sign, a, b), left, right)
        if sign in _COMPARISONS:
            return _COMPARISONS[sign](left, right)
        if sign not in _ARITHMETIC:
            self.source.refuse(node, f"{sign} takes whole numbers, got {left} and {right}; mod(a, b) takes all")
        return self._checked(node, _ARITHMETIC[sign], float(left), float(right))

    def _on_wholes(self, sign: str, left: int, right: int) -> int | bool:
        kinds = {getattr(v, "kind", "int") for v in (left, right)}
        widths = {v.width for v in (left, right) if isinstance(v, Whole) and v.width is not None}
        sized = isinstance(left, Whole) and isinstance(right, Whole) and None not in (left.width, right.width)
        if sign in _COMPARISONS:
            if "uint" in kinds and min(left, right) < 0:
                raise QupropError(f"{left} {sign} {right} compares a uint with a negative number; cast the uint to int")
            return _COMPARISONS[sign](int(left), int(right))
        if sign in _BITWISE:
            if min(left, right) < 0:
                raise QupropError(f"bitwise operators take whole numbers from 0, got {left} {sign} {right}")
            if sign in ("<<", ">>"):
                kind, width = getattr(left, "kind", "int"), getattr(left, "width", None)
                result = _BITWISE[sign](int(left), int(right))
                if width is not None and kind != "int":
                    result &= (1 << width) - 1  # bits are shifted off the end
                return _typed(result, kind, width)
            if isinstance(left, bool) and isinstance(right, bool):
                return bool(_BITWISE[sign](left, right))
            if sized and len(widths) > 1:
                raise QupropError(f"{sign} takes registers of one size, got {min(widths)} and {max(widths)} bits")
            kind = "bit" if "bit" in kinds else "uint" if "uint" in kinds else "int"
            return _typed(_BITWISE[sign](int(left), int(right)), kind, max(widths, default=None))
        if "bit" in kinds:
            raise QupropError(f"{sign} takes numbers, and a bit register is none; cast it, such as uint[4](a)")
        if sign == "/":
            result, rest = _whole_division(left, right)
            self.rounded = self.rounded or rest != 0
        elif sign == "%":
            result = _whole_division(left, right)[1]
        else:
            result = _ARITHMETIC[sign](int(left), int(right))
        return _typed(result, "uint" if "uint" in kinds else "int", max(widths) if sized else None)

    def _FunctionCall(self, node: Any) -> Any:
        name = node.name.name
        functions = FUNCTIONS[self.version]
        if name not in functions:
            self.source.refuse(node, f"there is no function {name!r} here; {nearest(name, functions)}")
        count, function = functions[name]
        if len(node.arguments) != count:
            self.source.refuse(
                node, f"{name} takes {count} argument{'s' * (count > 1)}, got {len(node.arguments)}; check the call"
            )
        values = [self.value(a) for a in node.arguments]
        if any(isinstance(v, list) for v in values):
            self.source.refuse(node, f"{name} takes numbers, got an array; index it")
        unknown = next((v for v in values if isinstance(v, Angle)), None)
        if unknown is not None:
            self.source.refuse(
                node,
                f"angles are polynomials of the inputs, and {name}({unknown}) is none; make {name} of it an input",
            )
        if any(isinstance(v, FixedAngle) for v in values):
            if name not in _TRIGONOMETRY:
                self.source.refuse(node, f"{name} takes numbers, got a value of type angle; declare it a float")
            values = list(map(_plain, values))
        return self._checked(node, function, *values)

    # Entries ---------------------------------------------------------------------------------------------------------

    def _IndexExpression(self, node: Any) -> Any:
        return self.entry(node, self.value(node.collection), node.index)

    def entry(self, node: Any, value: Any, index: Any) -> Any:
        """value[index], of an array or of the bits of a whole number or angle."""
        if isinstance(value, FixedAngle) and value.sized:
            value = Whole(value.bits, "bit", value.width)
        if isinstance(value, Whole) and value.width is not None:
            chosen, scalar = self.select(node, index, value.width, "bits")
            bits = [int(value) >> k & 1 for k in chosen]
            return bool(bits[0]) if scalar else Whole(sum(b << k for k, b in enumerate(bits)), "bit", len(bits))
        if not isinstance(value, list):
            self.source.refuse(node, "only arrays, and bits of a bit[n], uint[n], int[n] or angle[n], are indexed here")
        indices = index if isinstance(index, list) else []
        for expression in indices:
            if type(expression).__name__ in ("RangeDefinition", "DiscreteSet"):
                indices = []
                break
            if not isinstance(value, list):
                self.source.refuse(node, "this array has fewer dimensions than indices; leave some out")
            chosen, _ = self.select(node, [expression], len(value), "entries")
            value = value[chosen[0]]
        if not indices:
            self.source.refuse(node, "an angle is one entry of an array; index it with one whole number")
        return value

    def select(self, node: Any, index: Any, size: int, what: str) -> tuple[list[int], bool]:
        """The places 0 to size - 1 that an index, a range or a set means, and whether it is a single one."""
        whole = "the array" if what == "entries" else "the register"
        scalar = False

        def within(k: int) -> None:
            if not (-size if self.version == 3 else 0) <= k < size:
                ends = f"0 to {size - 1}" if size else "none"
                self.source.refuse(node, f"index {k} is beyond {whole}, which has {what} {ends}; use one of them")

        if type(index).__name__ == "DiscreteSet":
            chosen = [self.whole(v, "an index") for v in index.values]
        elif len(index) != 1:
            self.source.refuse(node, f"{whole} has one index, got {len(index)}")
        elif type(index[0]).__name__ == "RangeDefinition":
            part = index[0]
            step = 1 if part.step is None else self.whole(part.step, "a range's step")
            if step == 0:
                self.source.refuse(node, "a range's step must not be 0")
            ends = [0, size - 1] if step > 0 else [size - 1, 0]
            for k, end in enumerate((part.start, part.end)):
                if end is not None:
                    ends[k] = self.whole(end, "a range's end")
                    within(ends[k])
                    ends[k] %= size
            chosen = list(range(ends[0], ends[1] + (1 if step > 0 else -1), step))
            self._count(node, len(chosen))
        else:
            chosen, scalar = [self.whole(index[0], "an index")], True
        for k in chosen:
            within(k)
        if not chosen:
            self.source.refuse(node, f"this range holds none of the {what}; check its ends")
        return [k % size for k in chosen], scalar

    # Types -----------------------------------------------------------------------------------------------------------

    def _Cast(self, node: Any) -> Any:
        return self.converted(node, self.value(node.argument), node.type, cast=True)

    def width(self, node: Any, type_: Any, most: int = _MAX_WIDTH) -> int | None:
        if type_.size is None:
            return None
        size = self.whole(type_.size, "a type's size")
        if not 1 <= size <= most:
            self.source.refuse(node, f"a type's size is 1 to {most:,} here, got {size}")
        return size

    def converted(self, node: Any, value: Any, type_: Any, *, cast: bool = False) -> Any:
        """The value as one of the declared type; `cast` says that the program asks for it by name."""
        kind = type(type_).__name__
        if kind == "ArrayType":
            sizes = [self.whole(d, "an array's size") for d in type_.dimensions]
            return self._filled(node, value, sizes, type_.base_type)
        if isinstance(value, list):
            self.source.refuse(node, "an array has no place here; index it")
        if kind not in _CONVERSIONS:
            self.source.refuse(node, f"{_words(kind.removesuffix('Type'))} variables are not read; use float or int")
        if isinstance(value, Angle):
            narrow = self.width(node, type_) if kind == "AngleType" else None
            if kind not in ("FloatType", "AngleType") or narrow is not None:
                self.source.refuse(
                    node, f"{value} depends on the inputs, so it is a float or an angle without a size; declare it so"
                )
            return value
        width = (
            None if kind == "BoolType" else self.width(node, type_, MAX_REGISTER if kind == "BitType" else _MAX_WIDTH)
        )
        return self._checked(node, lambda v: _CONVERSIONS[kind](v, width, cast), value)

    def _filled(self, node: Any, value: Any, sizes: list[int], base: Any) -> Any:
        if not sizes:
            return self.converted(node, value, base)
        if not isinstance(value, list) or len(value) != sizes[0]:
            got = f"{len(value)}" if isinstance(value, list) else "a number"
            self.source.refuse(node, f"an array of {sizes[0]} entries belongs here, got {got}; list them in braces")
        return [self._filled(node, v, sizes[1:], base) for v in value]

    def _SizeOf(self, node: Any) -> Any:
        array = self.value(node.target)
        if not isinstance(array, list):
            self.source.refuse(node, "sizeof takes an array")
        if node.index is not None:
            self.source.refuse(node, "sizeof of a later dimension is not read; write the number")
        return len(array)

    def _checked(self, node: Any, function: Callable[..., Any], *values: Any) -> Any:
        try:
            result = function(*values)
        except QupropError as error:
            self.source.refuse(node, str(error))
        except (ValueError, OverflowError, ZeroDivisionError, TypeError) as error:
            shown = ", ".join(str(_plain(v)) for v in values)
            self.source.refuse(node, f"this has no value in real numbers, for {shown} ({error}); change it")
        if isinstance(result, float) and not math.isfinite(result):
            self.source.refuse(node, "this number is too large for a float[64]; make it smaller")
        return result


def _typed(value: int, kind: str, width: int | None) -> int:
    """The number as one of its type, which must hold it: overflows have no value of their own."""
    bits = _MACHINE if width is None else width
    low, high = (-(1 << (bits - 1)), (1 << (bits - 1)) - 1) if kind == "int" else (0, (1 << bits) - 1)
    if not low <= value <= high:
        size = "" if width is None else f"[{width}]"
        shown = str(value) if abs(value) < 1 << 128 else "a larger number"
        ends = f"{low} to {high}" if bits < _MACHINE else f"{bits} bits{' and no sign' * (kind == 'uint')}"
        raise QupropError(f"{kind}{size} holds {ends}, got {shown}; use a wider type, or floats")
    return value if kind == "int" and width is None else Whole(value, kind, width)


def _plain(value: Any) -> Any:
    return value.radians if isinstance(value, FixedAngle) else value


def _to_whole(kind: str) -> Callable[[Any, int | None, bool], Any]:
    def convert(value: Any, width: int | None, cast: bool) -> Any:
        if isinstance(value, FixedAngle):
            raise QupropError(f"an angle is not cast to {kind}; take its bits, bit[n](a), or declare a float")
        if isinstance(value, Whole) and value.kind == "bit":
            if value.width != width:
                raise QupropError(f"{value.width} bits are a {kind}[{value.width}], got {kind}[{width or ''}]")
            return _typed(_signed(value, width) if kind == "int" else int(value), kind, width)
        if isinstance(value, float) and not cast and value != int(value):
            raise QupropError(f"{kind} holds whole numbers, got {value}; declare a float, or cast it")
        whole = int(value)
        if isinstance(value, Whole) and value.width == width and value.kind != kind and cast and width is not None:
            return Whole(_signed(whole, width) if kind == "int" else whole % (1 << width), kind, width)  # same bits
        return _typed(whole, kind, width)

    return convert


def _signed(value: int, width: int | None) -> int:
    assert width is not None
    return int(value) - ((1 << width) if value >> (width - 1) & 1 else 0)


def _to_float(value: Any, width: int | None, cast: bool) -> float:
    if isinstance(value, Whole) and value.kind == "bit":
        raise QupropError("a bit register is not cast to float; cast it to uint[n] first")
    number = float(_plain(value))
    if width not in (None, 16, 32, 64):
        raise QupropError(f"float has 16, 32 or 64 bits here, got {width}; use float[64]")
    if width in (16, 32):
        with np.errstate(over="ignore"):
            number = float(np.dtype(f"f{width // 8}").type(number))
    return number


def _to_bool(value: Any, width: int | None, cast: bool) -> bool:
    return bool(value.bits if isinstance(value, FixedAngle) else value)


def _to_bits(value: Any, width: int | None, cast: bool) -> Any:
    if isinstance(value, float):
        raise QupropError(f'bits are whole numbers or text such as "01", got {value}; cast it to uint[n]')
    number = value.bits if isinstance(value, FixedAngle) else int(value)
    given = value.width if isinstance(value, Whole) else value.width if isinstance(value, FixedAngle) else None
    if given is not None and given != (width or 1):
        raise QupropError(f"{given} bits go into bit[{given}], got {width or 1}; take a slice")
    if isinstance(value, Whole) and value.kind == "int":
        number %= 1 << (width or 1)
    if not 0 <= number < 1 << (width or 1):
        raise QupropError(f"bit[{width or 1}] holds 0 to {(1 << (width or 1)) - 1}, got {number}")
    return bool(number) if width is None else Whole(number, "bit", width)


def _to_turn(value: Any, width: int | None, cast: bool) -> FixedAngle:
    if isinstance(value, Whole) and value.kind == "bit":
        if value.width != width:
            raise QupropError(f"{value.width} bits are an angle[{value.width}], got angle[{width or ''}]")
        return FixedAngle(int(value), value.width or 1, True)
    if isinstance(value, FixedAngle):
        if width is not None and value.sized and width < value.width:
            raise QupropError(
                f"an angle[{value.width}] is not shortened to angle[{width}], as OpenQASM leaves open whether that "
                "rounds; declare the width that is meant"
            )
        bits = _MACHINE if width is None else width
        if bits < value.width:
            return FixedAngle.of(value.radians, width)
        return FixedAngle(value.bits << (bits - value.width), bits, width is not None)
    return FixedAngle.of(float(value), width)


_CONVERSIONS: dict[str, Callable[[Any, int | None, bool], Any]] = {
    "IntType": _to_whole("int"),
    "UintType": _to_whole("uint"),
    "FloatType": _to_float,
    "BoolType": _to_bool,
    "BitType": _to_bits,
    "AngleType": _to_turn,
}


def _on_turns(sign: str, left: Any, right: Any) -> Any:
    """Operators of type angle: on its bits, as if they were of a uint; reals only where nothing wraps."""
    turns = [v for v in (left, right) if isinstance(v, FixedAngle)]
    if any(isinstance(v, float) for v in (left, right)):
        if sign in _COMPARISONS or (sign in ("+", "-", "*", "/") and not turns[0].sized):
            pair = [_plain(v) for v in (left, right)]
            if sign in _COMPARISONS:
                if all(0 <= v < math.tau for v in pair):
                    same = [FixedAngle.of(v, turns[0].width).bits for v in pair]
                    return _COMPARISONS[sign](*same)
            elif isinstance(left, FixedAngle) or sign != "/":
                real = _ARITHMETIC[sign](*pair)
                if 0 <= real < math.tau:
                    return FixedAngle.of(real, None)
        raise QupropError(
            f"{sign} of an angle and a float that leaves 0 to 2 pi, or of an angle[n], is not defined; "
            "cast the float, such as angle[8](0.1), or declare floats"
        )
    if len(turns) == 2:
        if turns[0].width != turns[1].width:
            raise QupropError(f"{sign} takes angles of one size, got {turns[0].width} and {turns[1].width} bits")
        a, b = left.bits, right.bits
        if sign in _COMPARISONS:
            return _COMPARISONS[sign](a, b)
        if sign in ("+", "-"):
            return left.again(a + b if sign == "+" else a - b)
        if sign == "/":
            return _typed(_whole_division(a, b)[0], "uint", left.width if left.sized else None)
        if sign in ("&", "|", "^") and left.sized:
            return left.again(_BITWISE[sign](a, b))
    elif sign == "*" and min(v for v in (left, right) if not isinstance(v, FixedAngle)) >= 0:
        (count,) = (int(v) for v in (left, right) if not isinstance(v, FixedAngle))
        return turns[0].again(turns[0].bits * count)
    elif isinstance(left, FixedAngle) and right >= 0:
        if sign == "/":
            return left.again(_whole_division(left.bits, right)[0])
        if sign in ("<<", ">>") and left.sized:
            return left.again(_BITWISE[sign](left.bits, int(right)))
    raise QupropError(f"{sign} is not defined for these values of type angle; declare floats")


def times(a: Any, b: Any) -> Any:
    """a b, of numbers and of polynomials, which are multiplied out up to a bound."""
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


def power(a: Any, b: Any) -> Any:
    """a to the power b, likewise; two whole numbers give one."""
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
            result = times(result, a)
        return result
    if isinstance(a, int) and isinstance(b, int):
        if b < 0:
            raise QupropError(f"{a} ** {b} is no whole number; write a float such as {a}.0 ** {b}")
        if abs(a) > 1 and b > _MAX_WIDTH:
            raise QupropError("whole numbers have at most 64 bits, and this power grows larger; use floats")
        return a**b
    result = float(a) ** float(b)
    if isinstance(result, complex):
        raise QupropError(f"{a} to the power {b} is no real number; change it")
    return result


def _bits(value: Any) -> int:
    if not isinstance(value, int) or value < 0:
        raise QupropError(f"bits are counted of whole numbers from 0, got {value}")
    return int(value)


def _words(kind: str) -> str:
    parts = "".join(f" {c.lower()}" if c.isupper() else c for c in kind).strip()
    return f"{'an' if parts[0] in 'aeiou' else 'a'} {parts}"
