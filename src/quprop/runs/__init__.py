"""Run folders, executors and progress: what long work needs."""

from quprop.files import write_atomically
from quprop.lazy import lazy, listing
from quprop.runs.folder import FORMAT, FORMAT_VERSION, RunFolder, plain, refuse_existing, versions, write_json

__all__ = [
    "FORMAT",
    "FORMAT_VERSION",
    "RunFolder",
    "plain",
    "refuse_existing",
    "versions",
    "write_atomically",
    "write_json",
]

__getattr__, __dir__ = lazy(__name__), listing(__name__)
