"""Options that several subcommands have, with the same words everywhere."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Quiet = Annotated[bool, typer.Option("--quiet", help="Print nothing but errors.")]
Json = Annotated[Path | None, typer.Option("--json", metavar="FILE", help="Write the whole result there too.")]
Plot = Annotated[Path | None, typer.Option("--plot", metavar="FILE", help="Draw it into a PNG file.")]
Machine = Annotated[str, typer.Option("--hardware", metavar="NAME", help="What turns counts into time.")]
Precision = Annotated[float | None, typer.Option("--precision", metavar="E", help="Standard error of every component.")]
MaxError = Annotated[
    float | None, typer.Option("--max-error", metavar="E", help="Largest error of all components at once.")
]
Set = Annotated[list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Change a setting of the problem.")]
Workers = Annotated[int | None, typer.Option("--workers", min=1, help="Processes. Default: one.")]
