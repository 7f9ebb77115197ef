"""A made-up shop as people have one: products in one export, a week of events in four dialects. No file fits ours."""

from __future__ import annotations

import json
import unicodedata
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

COLORS = ("red", "blue", "green")
_NAMES = (
    "A {} lamp for the desk and for the wall, number {}",
    "Eine {} Lampe für den Tisch und für die Wand, Nummer {}",
    "Une {} lampe pour la table et pour le mur, numéro {}",
)
_MONDAY_S = 1_764_547_200
"""2025-12-01, the first day of the week of events."""
_HOUR_S = 3600


def write_products(folder: Path, count: int) -> Path:
    """Nested fields, truth values, prices in words, three languages; one price is a dash."""
    products = [
        {
            "sku": n + 1000,
            "name": _NAMES[n % 3].format(COLORS[n % 3], n),
            "details": {"color": COLORS[n % 3], "price": f"${n % 9 + 1},{n % 900 + 100:03}.00" if n else "—"},
            "available": n % 4 > 0,
            "categories": "lighting|home" if n % 2 else "lighting",
        }
        for n in range(count)
    ]
    file = folder / "products.json"
    file.write_text(json.dumps({"products": products}, indent=1))
    return file


def write_clicks(folder: Path, products: int, users: int = 40) -> Path:
    """Eight a user: semicolons, cp1252, ids as floats, milliseconds, two types of which one is not ours."""
    rows = []
    for user in range(users):
        for n in range(8):
            product, kind = (user * 7 + n * 3) % products + 1000, "addtocart" if n % 3 else "view"
            rows.append(f"José {user};{product}.0;{kind};{1_764_000_000_000 + user * 60_000 + n}")
    file = folder / "clicks.csv"
    file.write_text("visitor;product;event;when\n" + "\n".join(rows), "cp1252")
    return file


def write_other_events(folder: Path, products: int, users: int = 40) -> list[Path]:
    """Of the same people: orders as nested JSON lines, in another spelling of their names; tabs with dates in words;
    Parquet with seconds.
    """
    orders, views, visits = folder / "orders.jsonl", folder / "views.tsv", folder / "visits.parquet"
    rows = [
        {
            "customer": {"id": unicodedata.normalize("NFD", f"José {user}")},
            "sku": str((user * 7 + 3) % products + 1000),
            "action": "transaction",
            "time": f"2025-12-0{user % 7 + 1}T10:{user:02}:00+01:00",
        }
        for user in range(users)
    ]
    orders.write_text("\n".join(map(json.dumps, rows)))
    lines = [
        f"José {user}\t{(user * 11 + n) % products + 1000}\tpageview\tDecember 0{n + 1}, 2025"
        for user in range(users)
        for n in range(3)
    ]
    views.write_text("userId\titemId\teventType\tdate\n" + "\n".join(lines))
    times = [_MONDAY_S + user * _HOUR_S for user in range(users)]
    visits_of = {
        "user": [f"José {user} " for user in range(users)],
        "item": [user % products + 1000 for user in range(users)],
        "behavior": ["like"] * users,
        "ts": times,
    }
    pq.write_table(pa.table(visits_of), visits)
    return [orders, views, visits]
