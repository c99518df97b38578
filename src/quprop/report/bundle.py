"""plotly.js, from the Python package plotly, made small enough to travel in every report."""

from __future__ import annotations

import base64
import gzip
from functools import lru_cache
from types import ModuleType
from typing import Any

from quprop.lazy import missing


@lru_cache(maxsize=1)
def plotly_gzip() -> str:
    """plotly.js, compressed and in base64 (2 MB in place of 4.8 MB); the page unpacks it with DecompressionStream."""
    try:
        from plotly.offline import get_plotlyjs
    except ImportError:
        raise missing("the HTML report needs the package plotly", "report") from None
    return base64.b64encode(gzip.compress(get_plotlyjs().encode(), 6, mtime=0)).decode()


def jinja() -> ModuleType | Any:
    try:
        import jinja2
    except ImportError:
        raise missing("the HTML report needs the package jinja2", "report") from None
    return jinja2
