"""`quprop report`: results of all kinds in one HTML file that needs no network.

    from quprop.report import collect, write
    write(collect(["runs/digits", "compare.json"]), Path("report.html"))

A sweep of quantum backpropagation is recorded by `QuantumBackprop(explain=True)` and saved with
`write_json("sweep.json", estimate.info["sweep"].as_dict())`, optionally with the exact dF/da under "exact".
"""

from quprop.lazy import lazy, listing
from quprop.report.page import Report, check_out, collect, render, write

__all__ = ["Report", "check_out", "collect", "render", "write"]

__getattr__, __dir__ = lazy(__name__), listing(__name__)
