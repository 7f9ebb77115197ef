"""A server of the tests' own, with a folder that goes with it."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path


class OwnProcess:
    folder: Path
    _process: subprocess.Popen[bytes] | None = None

    def stop(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def remove(self) -> None:
        self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)
