"""The documentation site: python -m sphinx -W --keep-going docs site. Every code cell is run while it is built, so all
extras must be installed."""

import sys
from importlib import metadata
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent / "_ext"))

project = "quprop"
author = "The quprop developers"
copyright = "the quprop developers, Apache-2.0"
try:
    release = metadata.version("quprop")
except metadata.PackageNotFoundError:  # a source tree on the path, not installed
    release = "source tree"
version = release

extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.mathjax",
    "sphinx-mathjax-offline",  # formulas without a network
    "sphinx.ext.viewcode",
    "plain_docstrings",
    "reference",
]
exclude_patterns = ["_build", "**/.ipynb_checkpoints", "runs"]
html_theme = "furo"
html_title = "quprop"
html_static_path: list[str] = []

myst_enable_extensions = ["dollarmath", "amsmath", "colon_fence", "deflist"]
myst_heading_anchors = 3
nb_execution_mode = "force"
nb_execution_raise_on_error = True
nb_execution_timeout = 300
nb_merge_streams = True

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_preserve_defaults = True
nitpicky = False
