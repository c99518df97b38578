"""A report that follows a run: written anew when the run's files change, until nothing is going any more."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path

from quprop.report.page import Report, collect, write
from quprop.report.sources import newest_change


def watch(
    paths: Sequence[Path],
    out: Path,
    *,
    every: float = 5.0,
    say: Callable[[str], None] = lambda text: None,
    sleep: Callable[[float], None] = time.sleep,
) -> tuple[Report, int]:
    """The last report and its size. While a run is going the page reloads itself; the last one does not. Ctrl-C writes
    the last one too, of the moment."""
    seen, report = 0.0, None
    try:
        while True:
            changed = newest_change(paths, besides=out)
            if report is None or changed != seen or not report.going:
                report = collect(paths)
                if not report.going:
                    break
                if seen == 0.0:
                    say(f"{out} follows the run and reloads itself; Ctrl-C stops following, not the run")
                write(report, out, reload_seconds=every)
                seen = changed
            elif not collect(paths).going:  # it ended without a change: killed
                break
            sleep(every)
    except KeyboardInterrupt:
        say("stopped following; the report is of this moment")
    report = collect(paths)
    return report, write(report, out)
