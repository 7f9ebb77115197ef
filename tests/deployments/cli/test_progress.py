"""Progress bars."""

from __future__ import annotations

import io

from rich.console import Console

from deployments.cli.progress import bars


def test_where_nothing_is_counted_nothing_is_shown() -> None:
    """Not even the empty line that ends the bars."""
    console = Console(file=io.StringIO(), width=100)
    with bars(console):
        pass
    assert console.file.getvalue() == ""  # type: ignore[attr-defined] # a StringIO's
    with bars(console) as report:
        report("encode", 1, 2)
        report("encode", 2, 2)
        report("read items", 0, 1000)
    shown = console.file.getvalue()  # type: ignore[attr-defined]
    assert "encode" in shown
    assert "2/2" in shown
    assert "0.0/1.0 kB" in shown
