"""Whether what `recsys tune` writes meets its target: `python -m load_tests.parts.tuned`.

Three catalogues, each built or trained by the commands in a folder of its own, then tuned by the command:

films     texts of 17,472 films (OMDb, CC0); tastes are made up
ml-100k   MovieLens 100K with what a model learned of it; tastes of its users
shop      a made-up shop of six kinds of things, three languages, brands and prices; tastes of made-up users

Then the setting in the config file is indexed by itself, and asked other queries under other filters, whose answers are
worked out here: every vector multiplied, every filter read by hand. A catalogue that is there already is not built
again, and one whose check is in the JSON file is left out; `--anew` forgets both.
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from msgspec.structs import replace
from rich.console import Console
from rich.table import Table

from deployments.machine.serve_config import ServeConfig, read_config
from load_tests.comparison import results
from load_tests.comparison.bench import ROOT
from load_tests.parts.catalogues import SHOPS, Shop
from recsys.data.interactions import Interactions
from recsys.datatypes import Condition, Filter, Floats, Item
from recsys.jobs.train import EventFiles, Lessons
from recsys.jobs.tune import Tuning, version_of
from recsys.reading.judgement import FileTallies
from recsys.shard.candidates import QUERY, CandidateSet
from recsys.shard.probes import nearest_query
from recsys.shard.recall import CANDIDATES
from recsys.shard.search import search
from recsys.shard.shard import Shard
from recsys.shard.sketches import Sketcher
from recsys.shard.snapshot import read_shard, write_index, write_rows, write_vectors
from recsys.state.item_log import START_OF_LOG
from recsys.tuning.filter_mix import filter_mix
from recsys.tuning.interval import Interval

_SEED = 90_001
"""Of queries and filters; `recsys tune` draws its own with 7, 8 and 1,007."""
_QUERIES, _FILTERED = 400, 200
"""Of each kind, and of each shape of filters."""
_BATCH, K = 32, 10
_TIE = 1e-6


def main() -> None:
    args = arguments()
    file: Path = args.out / "tuned.json"
    rows: dict[str, Any] = json.loads(file.read_text()) if file.exists() and not args.anew else {}
    for name in args.only.split(","):
        if name not in rows:
            rows[name] = run(name, SHOPS[name], args)
            results.write(rows, file)
    show(rows)
    print(f"written: {file}")
    if not all(row["met"] for row in rows.values()):
        raise SystemExit("a setting missed its target")


def run(name: str, shop: Shop, args: argparse.Namespace) -> dict[str, Any]:
    folder = args.out / "tuned" / name
    if args.anew:
        shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True, exist_ok=True)
    config = folder / "config.yaml"
    items, events = shop.items(folder), None if shop.events is None else shop.events(folder)
    if not (folder / "built").exists():
        write_config(config, folder, shop.declared)
        given = ["train", str(events), "--items", str(items)] if shop.trained else ["build", str(items)]
        _recsys(*given, "--allow-bad", "1", "--config", str(config))
        (folder / "built").touch()
    start = time.perf_counter()
    event_options = [] if events is None else ["--events", str(events)]
    tuned = json.loads(_recsys("tune", "--recall", str(args.recall), *event_options, "--json", "--config", str(config)))
    seconds = time.perf_counter() - start
    intervals = check(read_config(config), events)
    return {
        "items": tuned["items"],
        "tastes_of": tuned["tastes_of"],
        "recall": args.recall,
        "seconds": round(seconds, 1),
        "tried": len(tuned["tried"]),
        "index": tuned["chosen"]["index"],
        "ef_search": tuned["chosen"]["ef_search"],
        "queries_s_a_core": tuned["chosen"]["queries_s_a_core"],
        "bytes_an_item": tuned["chosen"]["bytes_an_item"],
        "checked": {group: [round(i.mean, 4), round(i.low, 4), round(i.high, 4)] for group, i in intervals.items()},
        "met": min(i.mean for i in intervals.values()) >= args.recall,
        "machine": results.machine(),
    }


def check(config: ServeConfig, events: Path | None) -> dict[str, Interval]:
    """Recall@10 of each group of queries, with what the config file says now."""
    store, manifest = version_of(config, None)
    work = Tuning.of(config, store, manifest)
    histories = None if events is None else _histories(config, events, work.item_ids)
    probes = work.probes(_SEED, _QUERIES, histories)
    rng, shares = np.random.default_rng(_SEED), {}
    with tempfile.TemporaryDirectory() as folder:
        shards = _indexed(config, work, Path(folder))
        for kind, vectors in probes.kinds.items():
            shares[kind] = _shares(shards, work, vectors, None)
        every = np.concatenate(list(probes.kinds.values()))
        for shape, some in filter_mix(work.catalogue.items, work.catalogue.declared, _SEED).items():
            each = [every[rng.integers(0, len(every), _FILTERED // len(some))] for _ in some]
            parts = [_shares(shards, work, vectors, given) for vectors, given in zip(each, some, strict=True)]
            shares[f"filter: {shape}"] = np.concatenate(parts)
    return {group: Interval.of(part[~np.isnan(part)]) for group, part in shares.items()}


def _indexed(config: ServeConfig, work: Tuning, folder: Path) -> list[Shard]:
    """Shards of the version's vectors, as a build indexes them and a replica loads them."""
    spec, catalogue, shards = config.platform.index, work.catalogue, []
    for number, part in enumerate(catalogue.parts):
        path, vectors = folder / str(number), catalogue.vectors[part]
        write_rows(path, [catalogue.items[row] for row in part.tolist()], vectors, Sketcher.fit(vectors))
        write_index(path, spec, 2)
        write_vectors(path, vectors, spec.originals)
        shards.append(read_shard(path, "tuned", spec, catalogue.declared, START_OF_LOG))
        shards[-1].tune(config.tuning)
    return shards


def _shares(shards: Sequence[Shard], work: Tuning, queries: Floats, given: Filter | None) -> Floats:
    """(m,) of each query the share of the ten nearest matches that the shards' answer has; NaN where nothing matches.

    Items as near as the last of the ten are as good as it; equal vectors count as one, as `recsys tune` says.
    """
    items, vectors = work.catalogue.items, work.catalogue.vectors
    matches = np.array([row for row, item in enumerate(items) if given is None or meets(item, given)], np.int64)
    shares = np.full(len(queries), np.nan, np.float32)
    if not len(matches):
        return shares
    place = {item.item_id: row for row, item in enumerate(items)}
    for start in range(0, len(queries), _BATCH):
        batch = queries[start : start + _BATCH]
        query = replace(nearest_query("tuned", batch, CANDIDATES), filters=(given,) * len(batch))
        answer = CandidateSet.merge([search(shard, query) for shard in shards])
        ids = answer.ids.strings()
        for b, vector in enumerate(batch):
            scores = vectors[matches] @ vector
            wanted = _distinct(matches[np.argsort(-scores, kind="stable")][: 20 * K], vectors)
            part = range(int(answer.offsets[b]), int(answer.offsets[b + 1]))
            order = sorted(part, key=lambda at: -float(answer.likeness[at, QUERY]))
            nearest = _distinct(np.array([place[ids[at]] for at in order], np.int64), vectors)
            least = float(vectors[wanted[-1]] @ vector) - _TIE
            hits = int(np.count_nonzero(vectors[nearest] @ vector >= least)) if len(nearest) else 0
            shares[start + b] = min(hits, len(wanted)) / len(wanted)
    return shares


def _distinct(rows: npt.NDArray[np.int64], vectors: Floats) -> npt.NDArray[np.int64]:
    """The first ten of them that differ in their vectors."""
    first: dict[bytes, int] = {}
    for row in rows.tolist():
        first.setdefault(vectors[row].tobytes(), row)
        if len(first) == K:
            break
    return np.array(list(first.values()), np.int64)


def meets(item: Item, given: Filter) -> bool:
    """Whether an item matches, read condition by condition: the shards' own masks are what is checked."""
    return (
        all(_holds(item, one) for one in given.must)
        and not any(_holds(item, one) for one in given.must_not)
        and (not given.should or any(_holds(item, one) for one in given.should))
    )


def _holds(item: Item, condition: Condition) -> bool:
    value: Any = item.attributes.get(condition.key)
    if value is None:
        return False
    if condition.op == "range":
        return condition.low <= value <= condition.high  # as `filter_mix` makes them: both ends belong to them
    return any(one in condition.values for one in (value if isinstance(value, list) else [value]))


def _histories(config: ServeConfig, events: Path, item_ids: list[str]) -> Interactions:
    lessons = Lessons([events])
    return EventFiles.open(lessons, lessons.options, config.serving).read(item_ids, lambda *_: None, FileTallies())


def write_config(file: Path, folder: Path, declared: Mapping[str, str]) -> None:
    """That of a laptop, with a folder and attributes of its own."""
    text = (ROOT / "configs" / "local.yaml").read_text()
    text = re.sub(r"data_dir: \S+", f"data_dir: {folder.resolve()}/data", text, count=1)
    keys = "".join(f"        {key}: {kind}\n" for key, kind in declared.items())
    text = re.sub(r"(      attributes:[^\n]*\n)(?:        \w+: \S+\n)+", lambda match: match[1] + keys, text, count=1)
    file.write_text(text)
    (folder / "data").mkdir(exist_ok=True)
    (folder.parent / "models").mkdir(exist_ok=True)
    if not (folder / "data" / "models").exists():  # one for all three
        (folder / "data" / "models").symlink_to((folder.parent / "models").resolve())
    read_config(file)


def _recsys(*arguments: str) -> str:
    """What the command prints."""
    print(f"recsys {' '.join(arguments)}", flush=True)
    command = [str(Path(sys.executable).with_name("recsys")), *arguments]
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"recsys {arguments[0]} ended with exit code {done.returncode}: {done.stdout[-2000:]}")
    return done.stdout


def show(rows: Mapping[str, Any]) -> None:
    table = Table("catalogue", "items", "tune took", "it wrote", "queries/s a core", "bytes/item", "group", "recall@10",
                  title="recsys tune, checked with other queries")  # fmt: skip
    for name, row in rows.items():
        for first, cells in _lines(name, row):
            table.add_row(*cells, end_section=first == "last")
    Console(width=150).print(table)


def _lines(name: str, row: Mapping[str, Any]) -> Iterator[tuple[str, list[str]]]:
    index, groups = row["index"], list(row["checked"].items())
    said = f"{index['engine']} m {index['m']}" if "m" in index else index["engine"]
    said += f", originals {index['originals']}, ef {row['ef_search']}"
    facts = [name, f"{row['items']:,}", f"{row['seconds']:.0f} s", said, f"{row['queries_s_a_core']:,}"]
    facts.append(f"{row['bytes_an_item']:,}")
    for number, (group, (mean, low, high)) in enumerate(groups):
        cells = facts if not number else [""] * len(facts)
        told = f"{mean:.4f} ({low:.3f} to {high:.3f})"
        yield "last" if number == len(groups) - 1 else "", [*cells, group, told]


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m load_tests.parts.tuned",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--only", default=",".join(SHOPS), help="catalogues")
    add("--recall", type=float, default=0.95)
    add("--out", type=Path, default=ROOT / "var")
    add("--anew", action="store_true")
    return parser.parse_args()


if __name__ == "__main__":
    main()
