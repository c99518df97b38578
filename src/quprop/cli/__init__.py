"""The command line: one file per subcommand, all hung up here."""

from quprop.cli.app import app, main
from quprop.lazy import listing

__all__ = ["app", "main"]

__dir__ = listing(__name__)
