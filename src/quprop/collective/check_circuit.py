"""The gates of a check and of a reading, counted: one coherent count of accepting copies, asked, and undone.

    1  each copy's answer to its own bit (Cliffords: rotate P to Z, parity onto one qubit of the copy)
    2  the count S in binary, by a tree of full adders
    3  check: a flag turned by 2 arcsin sqrt(f(S)), measured, and so for the other side; 1 is a trigger
       reading: a pointer in a Gaussian state, S added, measured
    4  undo 2 and 1

Only flag and pointer say anything of the batch, which goes on in the square-root instrument's state, or in the
pointer's. `check_gates` lists the same gates one by one.

**Count.** Bits of one weight are taken by threes, a, b, c -> a xor b xor c in place and their majority
(a xor c)(b xor c) xor c as a bit of twice the weight; the last two, if two are left, by a half adder. k bits of
which w(k) are ones in binary take k - m full and m - w(k) half adders, m = bit length of k, one Toffoli each. All of a
weight act on different qubits: m - 1 Toffolis one after another. To undo one, its target is measured in the X basis,
and a CZ on its controls corrects the outcome 1 (Gidney, arXiv:1709.06648), so that undoing takes no Toffoli; or, with
`reverse`, the gates are run backwards and nothing is measured.

**Flag.** A rotation controlled by w bits is 2^w rotations and 2^w CNOTs (Möttönen, Vartiainen, Bergholm and Salomaa,
quant-ph/0404089): with the m bits of S it is exact, whatever f is. A Gaussian f = Phi((s - tau)/noise) varies around
tau only, on the scale of `noise`: there are steps of h counts, h the power of two in (noise/32, noise/16] (1 if that
is less), in a window of 15 noise or more, that is 2^8 or 2^9 of them (fewer if h = 1). The number of the step is S/h
without its fraction, b = m - log2 h bits, minus a constant: b - 1 Toffolis; whether it is in the window takes b - w,
and outside it is replaced by that of the first or last step, w Toffolis more. There f is 0 or 1 to 1e-13. A window
that would begin below 0 begins there and needs no constant: fewer gates than the closed form counts.

In a step all counts have the angle of its middle. Flag and batch together are then in a state with overlap
E cos((theta(S) - theta'(S))/2) with what they should be; (theta/2)' = f'/(2 sqrt(f (1 - f))) is half the square root
of the flag's Fisher information I about S, at most 2/(pi noise^2), so that

    infidelity  <=  E[(theta - theta')^2]/4  <=  max (s - middle)^2 I/4  <=  ((h - 1)/noise)^2/(8 pi)  <=  1.6e-4,

and a third of that where S is spread over a step: as if S had (h^2 - 1)/12 more variance. It is the infidelity of a
check in the middle of its soft range; far from there I, and so the infidelity, is smaller by orders of magnitude.

Noise held in a register instead (prepared, added, compared with tau, taken away) costs two preparations of up to
2^8 rotations and a further addition, so no less, and its pass is 1 - f(S) in the place of sqrt(1 - f(S)): four times as
much disturbance.

**Pointer.** Amplitudes exp(-x^2/(4 noise^2)) on steps of h (here down to fractions of a count, if noise < 1), again
over 15 noise or more, equal in a step (Hadamards): the sign by a Hadamard, its size by 2^(w-1) - 1 rotations. Adding S
takes a Toffoli a bit. Its staircase has infidelity (h/noise)^2/48 <= 8.2e-5 with the Gaussian.
"""

from __future__ import annotations

import math
from typing import NamedTuple

from quprop.errors import QupropError

_STEPS = 16  # of a Gaussian's standard deviation, at least
_REACH = 7.5  # standard deviations to either side


class CheckCost(NamedTuple):
    """Gates of one check or reading of k copies, besides the Cliffords inside the copies; undoing included.

    counter   bits of the count; the lowest stands on a qubit of a copy, the others are among the carries
    carries   ancillas that hold results of Toffolis, clean before and after
    toffolis  in all
    cnots     CNOTs in all, and CZs, those included that are run only if a measurement gives 1
    rotations about Y, of flags or of the pointer
    measured  qubits measured: carries to undo them, flags, the pointer
    depth     Toffolis and rotations one after another
    qubits    carries, and a flag (one serves both sides) or the pointer
    """

    counter: int
    carries: int
    toffolis: int
    cnots: int
    rotations: int
    measured: int
    depth: int
    qubits: int


class Steps(NamedTuple):
    """2^bits steps of 2^size counts each."""

    size: int
    bits: int


def circuit_cost(k: int, noise: float | None = None, sides: int = 2, *, reverse: bool = False) -> CheckCost:
    """Of a threshold check of k copies: k - w(k) Toffolis for the count, and both sides' flags.

    noise: standard deviation of a Gaussian check, in copies; None turns each flag by 2^m rotations, exact for any f.
    sides: 1, or 2 for both checks of `two_sided` on one count. reverse: undo by the gates backwards.
    """
    if sides not in (1, 2) or isinstance(sides, bool):
        raise QupropError(f"`sides` of a check is 1 or 2, got {sides!r}")
    m = _length(k)
    ands, adders = _tree(k)
    steps = None if noise is None else window(k, noise)
    own = moves = before = 0
    values = 2**m
    if steps is not None:
        b, w, values = m - steps.size, steps.bits, 2**steps.bits
        own, moves, before = 2 * b - 1, b + w, b + w + (b - w > 1)
    all_ands, ways = ands + sides * own, 1 + reverse
    return CheckCost(
        counter=m,
        carries=ands + own,
        toffolis=ways * all_ands,
        cnots=2 * adders + sides * (2 * moves + values) + (0 if reverse else all_ands),
        rotations=sides * values,
        measured=sides + (0 if reverse else all_ands),
        depth=ways * (m - 1) + sides * (ways * before + values),
        qubits=ands + own + 1,
    )


def reading_cost(k: int, noise: float, *, reverse: bool = False) -> CheckCost:
    """Of a reading of the count of k copies by a Gaussian pointer of standard deviation `noise`, in copies."""
    m = _length(k)
    ands, adders = _tree(k)
    size, bits = pointer_steps(noise)
    whole = max(m, size + bits) + 1  # bits of the pointer from 1 up
    pointer, half, ways = whole + max(0, -size), 2 ** (bits - 1), 1 + reverse
    all_ands = ands + whole - 1
    return CheckCost(
        counter=m,
        carries=all_ands,
        toffolis=ways * all_ands,
        cnots=2 * adders
        + half + bits - 3  # of the preparation: half - 2, and the sign onto the other bits
        + 5 * m - 5 + whole  # 1 for the lowest bit, 6 for each other bit of the count, 1 above
        + (0 if reverse else all_ands),
        rotations=half - 1,
        measured=pointer + (0 if reverse else all_ands),
        depth=ways * (m - 1 + whole - 1) + half - 1,
        qubits=all_ands + pointer,
    )  # fmt: skip


def window(k: int, noise: float) -> Steps | None:
    """The steps of a flag's window; None if one angle for each of the counter's values is no more."""
    _check_noise(noise)
    size = max(0, math.floor(math.log2(noise / _STEPS)))
    bits = math.ceil(math.log2(2 * _REACH * noise / 2**size + 3))  # 3: where it begins is an odd number of steps
    return Steps(size, bits) if size + bits < _length(k) else None


def pointer_steps(noise: float) -> Steps:
    """Of a pointer; `size` is negative where steps are fractions of a count. A Gaussian on points that are its standard
    deviation apart has its moments to 1e-8, so that steps need not be finer than a count, or than the noise."""
    _check_noise(noise)
    size = max(math.floor(math.log2(noise / _STEPS)), min(0, math.floor(math.log2(noise))))
    return Steps(size, math.ceil(math.log2(2 * _REACH * noise / 2.0**size)))


def _tree(k: int) -> tuple[int, int]:
    """Toffolis and CNOTs of the count, one way: 5 CNOTs a full adder, 1 a half adder."""
    m, ones = k.bit_length(), k.bit_count()
    return k - ones, 5 * (k - m) + m - ones


def _length(k: int) -> int:
    if isinstance(k, bool) or not isinstance(k, int) or k < 1:
        raise QupropError(f"`k`, the number of copies, must be a whole number, 1 or more, got {k!r}")
    return k.bit_length()


def _check_noise(noise: float) -> None:
    if not (isinstance(noise, int | float) and not isinstance(noise, bool) and 0 < noise < math.inf):
        raise QupropError(f"`noise` must be a positive number of copies, got {noise!r}")
