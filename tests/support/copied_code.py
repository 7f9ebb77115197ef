"""A copy of the repository's code that tests change, and what is seen at work there."""

from __future__ import annotations

import os
import runpy
import shutil
import sys
import traceback
from dataclasses import dataclass, field
from pathlib import Path

from tests.support import served_world
from tests.support.live import REPOSITORY


@dataclass
class Copy:
    """A copy of the repository's code, and what was changed in it."""

    root: Path
    redis_url: str
    touched: set[str] = field(default_factory=set)

    def add(self, file: str, text: str) -> None:
        assert not (self.root / file).exists()
        (self.root / file).write_text(text)
        self.touched.add(file)

    def insert(self, file: str, before: str, text: str) -> None:
        """The text before the one place where `before` stands."""
        given = (self.root / file).read_text()
        assert given.count(before) == 1, before
        (self.root / file).write_text(given.replace(before, text + before))
        self.touched.add(file)

    def run(self, **scripts: str) -> dict[str, str]:
        """Python code in the copy, one script after another in a process of its own, for which importing the copy takes
        a second. Gives what went wrong in each, by its name.
        """
        for name, code in scripts.items():
            (self.root / f"{name}.py").write_text(code)
        process = served_world.in_a_fork(_run, self.root, tuple(scripts), self.redis_url)
        process.join(240)
        assert process.exitcode == 0, (self.root / "said").read_text()
        return {name: (self.root / f"{name}.wrong").read_text() for name in scripts}


def _run(root: Path, scripts: tuple[str, ...], redis_url: str) -> None:
    """In a fork in which the libraries are imported, and of the repository nothing: the copy's modules are. Each script
    has a folder of versions, by its name.
    """
    ours = [name for name in sys.modules if name.partition(".")[0] in ("recsys", "deployments", "load_tests", "tests")]
    for name in ours:
        del sys.modules[name]
    with (root / "said").open("w") as file:
        for number in (1, 2):
            os.dup2(file.fileno(), number)
    os.chdir(root)
    sys.path[:] = [str(root), *(path for path in sys.path if Path(path).resolve() != REPOSITORY)]
    for name in scripts:
        wrong, sys.argv = "", [f"{name}.py", redis_url, str(root / "versions" / name)]
        try:
            runpy.run_path(f"{name}.py", run_name="__main__")
        except Exception:  # noqa: BLE001 - the test shows it
            wrong = traceback.format_exc()
        (root / f"{name}.wrong").write_text(wrong)


def copied(root: Path, redis_url: str) -> Copy:
    # With what is compiled already, and without what is being written at the moment.
    for folder in ("recsys", "deployments", "tests/support"):
        shutil.copytree(REPOSITORY / folder, root / folder, ignore=shutil.ignore_patterns("*.pyc.*"))
    return Copy(root, redis_url)
