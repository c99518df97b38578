"""Gates that a program may call without defining them, beside those of `GATES`, and what is known about gates."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Any

from quprop.hybrid.qasm.parse import parse

_LIBRARY = """
gate id a { } gate u0(g) a { }
gate phase(l) a { p(l) a; } gate u1(l) a { p(l) a; }
gate u2(f, l) a { u3(pi / 2, f, l) a; }
gate u3(t, f, l) a { rz(l) a; ry(t) a; rz(f) a; }
gate ch c, a { ctrl @ h c, a; } gate csx c, a { ctrl @ sx c, a; }
gate cphase(l) c, a { cp(l) c, a; } gate cu1(l) c, a { cp(l) c, a; }
gate cu3(t, f, l) c, a { p((f + l) / 2) c; ctrl @ u3(t, f, l) c, a; }
gate cu(t, f, l, g) c, a { p(g + (f + l) / 2) c; ctrl @ u3(t, f, l) c, a; }
gate cswap c, a, b { ctrl @ swap c, a, b; }
gate c3x a, b, c, d { ctrl(3) @ x a, b, c, d; } gate c4x a, b, c, d, e { ctrl(4) @ x a, b, c, d, e; }
gate rc3x a, b, c, d {
  h d; t d; cx c, d; tdg d; h d; cx a, d; t d; cx b, d; tdg d; cx a, d; t d; cx b, d; tdg d;
  h d; t d; cx c, d; tdg d; h d;
}
gate c3sqrtx a, b, c, d { ctrl(3) @ sx a, b, c, d; }
gate rccx a, b, c { h c; t c; cx b, c; tdg c; cx a, c; t c; cx b, c; tdg c; h c; }
"""
LIBRARY_NAMES = frozenset(re.findall(r"gate (\w+)", _LIBRARY))
BUILT_IN = {"U": "u", "CX": "cx"}
# What stdgates.inc defines and a program may therefore not define again; other names of `GATES` it may.
STANDARD = frozenset(
    re.findall(
        r"\w+",
        "p x y z h s sdg t tdg sx rx ry rz cx cy cz cp crx cry crz ch swap ccx cswap cu CX phase cphase id u1 u2 u3",
    )
)


@lru_cache(maxsize=1)
def library() -> dict[str, Any]:
    return {statement.name.name: statement for statement in parse(_LIBRARY)[0].statements}
