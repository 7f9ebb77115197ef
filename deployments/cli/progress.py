"""Progress bars for work that may take more than two seconds."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    SpinnerColumn,
    Task,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from recsys.encoders.catalogue import Progress as Report

BYTES = "read"
"""First word of phases that count bytes, such as `read items`. Other phases count what they name."""


class _Count(ProgressColumn):
    """A column such as `3/8`, or `1.5/4.0 MB` for bytes."""

    def __init__(self) -> None:
        super().__init__()
        self._of_bytes, self._of_things = DownloadColumn(), MofNCompleteColumn()

    def render(self, task: Task) -> Text:
        return (self._of_bytes if task.description.startswith(f"{BYTES} ") else self._of_things).render(task)


@contextmanager
def bars(console: Console) -> Iterator[Report]:
    """Yield `report(phase, done, total)`, which shows a bar for each phase. Nothing is shown before the first call."""
    columns = (
        TextColumn("{task.description:>11}"),
        BarColumn(),
        _Count(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    progress = Progress(*columns, console=console)
    tasks: dict[str, TaskID] = {}

    def report(phase: str, done: int, total: int) -> None:
        if not tasks:
            progress.start()
        if phase not in tasks:
            tasks[phase] = progress.add_task(phase, total=total)
        progress.update(tasks[phase], completed=done, total=total)

    try:
        yield report
    finally:
        if tasks:  # without a bar, stopping would print an empty line
            progress.stop()


@contextmanager
def phases(console: Console) -> Iterator[Phases]:
    """Yield `say(phase)`, which shows a spinner with the phase. The phase before becomes a line with its seconds."""
    with Progress(SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn(), console=console) as progress:
        yield Phases(progress)


class Phases:
    """Shows one phase at a time. `seconds`: how long each took."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self.seconds: dict[str, float] = {}
        self._name: str | None = None

    def __call__(self, what: str) -> None:
        self.end()
        self._name = what
        self._task = self._progress.add_task(what, total=1)

    def end(self) -> None:
        if self._name is not None:
            self._progress.update(self._task, completed=1)
            task = next(t for t in self._progress.tasks if t.id == self._task)
            self.seconds[self._name] = round(task.elapsed or 0.0, 2)
            self._name = None
