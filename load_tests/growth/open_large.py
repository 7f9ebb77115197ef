"""How soon a shard of a version answers, and what memory it takes: `python -m load_tests.growth.open_large DATA EF`.

In a process of its own, as a replica is. It prints JSON: `import_s` from the start of the process to the end of its
imports, `open_s` from there until the shard is open, `answer_s` until it has answered; MiB of memory that are its own
and of files that it has mapped, then and after 2,000 searches (`warm_`); and CPU `search_us` of each of these.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from recsys.config.tuning import ShardTuning
from recsys.shard.probes import nearest_query
from recsys.shard.search import search
from recsys.versions.opening import open_shard
from recsys.versions.store import VersionStore

_SEARCHES, _TOGETHER, _K = 2000, 16, 50


def main() -> None:
    folder, ef = Path(sys.argv[1]), int(sys.argv[2])
    begun = psutil.Process().create_time()
    imported = time.time()
    bare = _memory()
    store = VersionStore(folder / "versions")
    version = store.current()
    assert version is not None
    shard = open_shard(store, version, 0)
    shard.tune(ShardTuning(ef_search=ef, threads=1))
    opened = time.time()
    rng = np.random.default_rng(0)
    rows = rng.integers(len(shard.items), size=_SEARCHES)
    search(shard, nearest_query(version, shard.items.vectors(rows[:1]), _K))
    answered = time.time()
    told = {"import_s": imported - begun, "open_s": opened - imported, "answer_s": answered - imported}
    told |= _memory(bare)
    queries = [shard.items.vectors(rows[start : start + _TOGETHER]) for start in range(0, _SEARCHES, _TOGETHER)]
    start = time.process_time()
    for some in queries:
        search(shard, nearest_query(version, some, _K))
    told["search_us"] = (time.process_time() - start) / _SEARCHES * 1e6
    told |= {f"warm_{name}": value for name, value in _memory(bare).items()}
    print(json.dumps({name: round(value, 3) for name, value in told.items()}))


def _memory(before: dict[str, float] | None = None) -> dict[str, Any]:
    """MiB that are the process's own, and of mapped files; less what it had before."""
    lines = Path("/proc/self/smaps_rollup").read_text().splitlines()
    kib = {line.partition(":")[0]: int(line.split()[1]) for line in lines[1:]}
    own, mapped = kib["Pss_Anon"] / 1024, (kib["Pss"] - kib["Pss_Anon"]) / 1024
    before = before or {}
    return {"own_mib": own - before.get("own_mib", 0), "mapped_mib": mapped - before.get("mapped_mib", 0)}


if __name__ == "__main__":
    main()
