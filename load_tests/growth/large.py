"""A workload of millions of items, whose version is built without all of them in memory, and kept.

It has the items, vectors and users of a `Workload`, drawn from the same seeds. What of them takes long is stored beside
the version: the tastes of the users, and the right answers of the first hundred.
"""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from load_tests.comparison.bench import ROOT, Bench
from load_tests.comparison.workload import Floats, Workload, item_id

ITEMS_OF_A_CLUSTER = 5_000
"""A larger catalogue has more kinds of things, and not more of each. With 200 clusters, ten million had 50,000 in each,
spread along all 48 directions alike, as no catalogue has them."""
FEWEST_CLUSTERS = 200
ASKED = 100
"""Users whose answers are held against exact search."""
USERS = "users.npz"
"""Of a folder: `likes`, `tastes` and, as numbers of items, the `exact` answers."""


@dataclass(frozen=True)
class Large(Workload):
    dimension: int = 128
    m: int = 16
    ef_construction: int = 200
    originals: Literal["float32", "float16", "none"] = "float16"
    folder: str = ""
    """Where all that is made of it lies."""

    @property
    def key(self) -> str:
        built = f"m{self.m}-ef{self.ef_construction}-{self.originals}-{self.clusters}c-seed{self.seed}"
        return f"large-{self.items}x{self.dimension}-{built}"

    @property
    def plain(self) -> Workload:
        """The same data, for what knows no large ones."""
        return Workload(**{name: getattr(self, name) for name in Workload.__dataclass_fields__})

    @cached_property
    def _users(self) -> dict[str, npt.NDArray[Any]]:
        with np.load(Path(self.folder) / USERS, allow_pickle=False) as stored:
            return dict(stored)

    @property
    def tastes(self) -> Floats:  # not made of all vectors
        return self._users["tastes"]

    @property
    def likes(self) -> npt.NDArray[np.int64]:
        return self._users["likes"]

    def exact(self, users: int, k: int = 10) -> list[list[str]]:
        return [[item_id(number) for number in line[:k]] for line in self._users["exact"][:users].tolist()]


@dataclass
class LargeBench(Bench):
    """Its versions are kept while what they were made with stays: another commit does not build them anew."""

    work: Large

    @property
    def split(self) -> Path:
        return self.folder

    def platform_config(self) -> dict[str, Any]:
        config = super().platform_config()
        work = self.work
        config["applications"][0]["args"]["index"] = {
            "engine": "hnsw_int8", "m": work.m, "ef_construction": work.ef_construction, "originals": work.originals,
        }  # fmt: skip
        return config

    def build(self, threads: int) -> dict[str, Any]:
        """Build the version, or what of it is missing; what that took."""
        summary = self.folder / "built.json"
        if not summary.exists() or "done" not in json.loads(summary.read_text()):
            command = [sys.executable, "-m", "load_tests.growth.build_large", str(self.folder), str(threads)]
            subprocess.run([*command, json.dumps(asdict(self.work))], cwd=ROOT, check=True)
        built: dict[str, Any] = json.loads(summary.read_text())
        return built

    def prepare_app(self) -> dict[str, Any]:
        """The index of the hand-written application, over the same vectors."""
        marker = self.folder / "one.json"
        if not marker.exists():
            command = [sys.executable, "-m", "load_tests.comparison.prepare", str(self.folder), "one"]
            subprocess.run([*command, json.dumps(asdict(self.work.plain))], cwd=ROOT, check=True)
        built: dict[str, Any] = json.loads(marker.read_text())
        return built
