"""Options that the commands of ``quprop carleman`` share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from quprop.cli.common import listed, one_of

NETWORK = "logistic, deep-linear, quadratic, mlp, resnet, or your own: FILE.py:factory or module:factory."
_NETWORKS = listed("quprop.carleman.networks.networks", "NETWORKS")
_SOLVERS = listed("quprop.carleman.system.solver", "SOLVERS")
EXPERIMENT_NAMES = listed("quprop.experiments.networks", "EXPERIMENTS")

Name = Annotated[
    str,
    typer.Argument(metavar="NETWORK", help=NETWORK, autocompletion=one_of(_NETWORKS)),
]
Data = Annotated[
    str,
    typer.Option(
        "--data",
        help="digits, digits32, breast_cancer, wine, iris, cifar10, cifar100, or a file: .npz (x, y) or .csv.",
        autocompletion=one_of(listed("quprop.carleman.networks.data", "SHIPPED")),
    ),
]
Folder = Annotated[Path | None, typer.Option("--folder", metavar="DIR", help="Where the unpacked CIFAR folder is.")]
Set = Annotated[list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="A setting of the network.")]
Order = Annotated[int, typer.Option("--order", metavar="N", min=1, help="Truncation order of the tower.")]
Length = Annotated[str, typer.Option("--block-length", metavar="auto|T", help="Steps of a block.")]
Batch = Annotated[
    int | None, typer.Option("--batch", min=1, help="Mini-batches. Default: all samples, for large networks 128.")
]
Single = Annotated[
    bool | None, typer.Option("--single/--double", help="Precision. Default: double, for large networks single.")
]
Sparsity = Annotated[
    float,
    typer.Option(
        "--sparsity",
        help="Share pruned at every upload, of the weights of linear layers and convolutions but the last.",
    ),
]
Precision = Annotated[float, typer.Option("--precision", metavar="DELTA", help="Of the l2 readout, relative.")]
SolverName = Annotated[
    str,
    typer.Option(
        "--solver",
        help="optimal, cks, adiabatic or kernel_reflection.",
        autocompletion=one_of(_SOLVERS),
    ),
]
Eps = Annotated[float, typer.Option("--eps", help="Error of the linear solver's state.")]
Warm = Annotated[int, typer.Option("--warm-up", min=0, help="Plain steps before the first pruning.")]
Threads = Annotated[int, typer.Option("--threads", min=1, help="Threads of PyTorch.")]
Out = Annotated[Path | None, typer.Option("--out", metavar="DIR", help="Folder of result, figure and parameters.")]
Seed = Annotated[int, typer.Option("--seed", min=0, help="Seed of parameters, batches and shots.")]
