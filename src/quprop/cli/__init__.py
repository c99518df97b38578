"""The command line: one file per subcommand, all hung up here."""

from quprop.cli.app import app, main

__all__ = ["app", "main"]
