"""Gate definitions that written programs carry, and by which a reader of ours knows the gates again."""

from __future__ import annotations

import re
from itertools import pairwise

from quprop.model.pauli import PauliString

DATA = "quprop.data"  # the annotation that makes an input one of x, not of theta

# Gates of `GATES` that stdgates.inc lacks, by gates it has.
DEFINED = {
    "sxdg": "gate sxdg a { s a; h a; s a; }",
    "iswap": "gate iswap a, b { s a; s b; h a; cx a, b; cx b, a; h b; }",
    "ecr": "gate ecr a, b { rz(pi / 2) a; rx(pi / 2) b; cx a, b; x a; }",
    "ccz": "gate ccz a, b, c { h c; ccx a, b, c; h c; }",
}
_GATES_OF_TWO = ("XX", "YY", "ZZ", "ZX")  # called rxx, ryy, rzz, rzx


def letters_of(string: PauliString) -> str:
    return "".join(c for c in string.dense(string.n_qubits) if c not in "-I")


def pauli_name(word: str) -> str:
    """What the rotation about a string with these letters is called."""
    return f"r{word.lower()}" if word in _GATES_OF_TWO else f"pauli_{word.lower()}"


def definition(word: str) -> str:
    names = [f"q{k}" for k in range(len(word))]
    return f"gate {pauli_name(word)}(a) {', '.join(names)} {{ {' '.join(ladder(word, 'a', names))} }}"


def ladder(word: str, angle: str, names: list[str]) -> list[str]:
    """exp(-i angle P / 2): into the basis where P is diagonal, the parity onto the last qubit, RZ, and back."""
    into, back = [], []
    for letter, name in zip(word, names, strict=True):
        if letter == "X":
            into.append(f"h {name};")
            back.append(f"h {name};")
        elif letter == "Y":  # HS† Y SH = Z
            into += [f"sdg {name};", f"h {name};"]
            back += [f"h {name};", f"s {name};"]
    steps = [f"cx {a}, {b};" for a, b in pairwise(names)]
    return [*into, *steps, f"rz({angle}) {names[-1]};", *reversed(steps), *back]


def recognised(name: str, text: str) -> str | None:
    """For the text of a definition that `to_qasm` writes: the gate's name in `GATES`, or "XYZ" of a Pauli rotation."""
    if DEFINED.get(name) == text:
        return name
    match = re.fullmatch(r"r(xx|yy|zz|zx)|pauli_([xyz]{2,})", name)
    if match is None or len(name) > 10_000:
        return None
    word = (match[1] or match[2]).upper()
    if pauli_name(word) != name or definition(word) != text:
        return None
    return name if match[1] else word
