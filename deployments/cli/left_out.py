"""The report of refused rows and dropped values, and the exit code that follows from them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import typer
from rich.console import Console

from deployments.cli.options import print_json
from recsys.errors import RecsysError
from recsys.reading.judgement import Tally
from recsys.reading.refusals import Refusals


class LeftOut:
    """The tallies of a command, one for each kind of file that it reads, such as `items`."""

    def __init__(self, console: Console, allow_bad: float | None, *kinds: str) -> None:
        self._console = console
        self.tallies = {kind: Tally(allow_bad, self._tell) for kind in kinds}

    def __getitem__(self, kind: str) -> Tally:
        return self.tallies[kind]

    @property
    def bad_rows(self) -> int:
        return sum(tally.refused.count for tally in self.tallies.values())

    @contextmanager
    def reported(self, *, json: bool) -> Iterator[None]:
        """Report what was left out before an error of the block is shown."""
        try:
            yield
        except RecsysError as error:
            self.say()
            if json and self.bad_rows:
                print_json({"error": str(error), **self.as_json()})
            raise

    def say(self) -> None:
        """Print the reasons, with three examples of each."""
        for kind, tally in self.tallies.items():
            if tally.refused:
                self._print(f"{tally.refused.count} of {tally.rows} rows of {kind} refused ({tally.share:.1%})")
                self._reasons(tally.refused)
            if tally.dropped:
                self._print(f"{tally.dropped.count} values of {kind} left out, their rows went in")
                self._reasons(tally.dropped)
            if tally.skipped:
                self._print(f"{tally.skipped} rows of {kind} left out by --where")

    def as_json(self) -> dict[str, Any]:
        read = {kind: tally.as_json() for kind, tally in self.tallies.items()}
        return {"bad_rows": self.bad_rows, "read": read}

    def end(self) -> None:
        """Exit with code 1 when rows were refused and `--allow-bad` does not cover them."""
        if all(tally.clean for tally in self.tallies.values()):
            return
        enough = max(tally.enough for tally in self.tallies.values())
        self._print(f"exit code 1, as rows were refused; with --allow-bad {enough:g} it is 0")
        raise typer.Exit(1)

    def _reasons(self, refusals: Refusals) -> None:
        for reason in refusals:
            self._print(f"  {reason.count} for {reason.field or 'the row as a whole'}, such as")
            for example in reason.examples:
                self._print(f"    {example}")
            if reason.fix:
                self._print(f"    → {reason.fix}")

    def _tell(self, line: str) -> None:
        self._console.print(line, style="dim", markup=False, soft_wrap=True)

    def _print(self, line: str) -> None:
        self._console.print(line, style="yellow", markup=False, soft_wrap=True)
