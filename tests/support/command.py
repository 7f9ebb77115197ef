"""What the tests of the command share: a catalogue, what a call of `recsys` came to, and what it may not import."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import orjson

HASHING = {"kind": "hashing", "dimension": 16}
ITEMS: list[dict[str, Any]] = [
    {"item_id": str(n), "title": f"Film {n}", "text": "A film.", "genres": ["Drama", "War"], "year": 1990.0 + n}
    for n in range(1, 41)
]
SLOW = {
    "ray", "torch", "transformers", "sentence_transformers", "pandas", "lightgbm", "sklearn", "matplotlib", "onnx",
    "onnxruntime", "onnxscript", "fastapi",
}  # fmt: skip
"""Each takes tenths of seconds to import, or seconds."""


@dataclass(frozen=True)
class Done:
    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return orjson.loads(self.out)

    def error(self) -> str:
        """The one line of a command that failed; rich's empty progress display is a blank one before it."""
        assert self.code == 1
        assert self.out == ""
        [line] = [line for line in self.err.splitlines() if line.strip()]
        assert line.startswith("recsys: ")
        return line


Recsys = Callable[..., Done]
