"""Real problems by name. On the command line ``quprop train tfim --set n=12``; in Python

>>> from quprop import problems
>>> summary = problems.run(problems.configure("tfim", {"problem": {"n": 12}}))
>>> summary["energy"], summary["reference_energy"]
"""

from quprop.lazy import listing
from quprop.problems.run import configure, run
from quprop.problems.scan import scan
from quprop.problems.spec import Problem, Spec
from quprop.problems.table import PROBLEMS

__all__ = ["PROBLEMS", "Problem", "Spec", "configure", "run", "scan"]

__dir__ = listing(__name__)
