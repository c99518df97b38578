"""Writes src/quprop/model/gate_methods.pyi, the gates and channels of a circuit as editors and type checkers see them:
python tools/gate_stubs.py"""

import textwrap
from pathlib import Path

from quprop.model.channels import CHANNELS
from quprop.model.gate_methods import documentation, parts
from quprop.model.gates import GATES

HEAD = '''"""Written by tools/gate_stubs.py from the tables of gates and channels."""

from typing import Self, SupportsFloat, SupportsIndex

from quprop.model.angle import Angle

AngleLike = Angle | SupportsFloat

class GateMethods:
'''


def text():
    methods = []
    for name in (*GATES, *CHANNELS):
        angles, qubits, optional, _ = parts(name)
        given = [f"{a}: AngleLike" for a in angles] + [f"{q}: SupportsIndex" for q in qubits]
        takes = ", ".join(["self", *given, "/", *(f"{s}: AngleLike = {d}" for s, d in optional.items())])
        lines = textwrap.wrap(f'"""{documentation(name)}"""', 112, break_long_words=False)
        body = "\n".join(f"        {line}" for line in lines)
        first = f"    def {name}({takes}) -> Self:"
        if len(first) > 120:
            first = f"    def {name}(\n        {takes}\n    ) -> Self:"
        methods.append(f"{first}\n{body}\n")
    return HEAD + "\n".join(methods)


if __name__ == "__main__":
    path = Path(__file__).parent.parent / "src" / "quprop" / "model" / "gate_methods.pyi"
    path.write_text(text(), encoding="utf-8")
