"""Prints what extras of this package require, a line each: python tools/requirements_of.py torch docs"""

import sys
import tomllib
from pathlib import Path

if __name__ == "__main__":
    project = tomllib.loads((Path(__file__).parent.parent / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    unknown = [name for name in sys.argv[1:] if name not in extras]
    if unknown:
        sys.exit(f"no extra {', '.join(unknown)}; there are {', '.join(extras)}")
    print("\n".join(sorted({line for name in sys.argv[1:] for line in extras[name] if not line.startswith("quprop")})))
