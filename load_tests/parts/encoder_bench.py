"""How fast each backend of the encoder is, and how near to torch: `python -m load_tests.parts.encoder_bench`.

Each contender (backend x threads) lives in a process of its own, so that memory, load time and thread settings are its
own. They take turns: one measurement at a time, every contender in every round, and the median of the rounds counts.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import platform
import statistics
import time
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import psutil
import typer
from rich.console import Console
from rich.table import Table

from recsys.config.encoder import Backend, EncoderSpec
from recsys.data.movielens import fetch_ml100k
from recsys.datatypes import Floats
from recsys.encoders.loading import load_encoder, prepare_encoder
from recsys.encoders.probe_texts import PROBE_TEXTS

BACKENDS: tuple[Backend, ...] = ("torch", "onnx", "onnx-int8")
NEIGHBOURS = 10
_BATCHES = (1, 32)


@dataclass
class Contender:
    """A process with one encoder, which does what it is told over a pipe."""

    backend: Backend
    threads: int
    pipe: Connection
    load_s: float
    rss_mb: float
    texts_per_s: dict[str, list[float]] = field(default_factory=dict)

    def ask(self, *what: Any) -> Any:
        self.pipe.send(what)
        return self.pipe.recv()


def main(
    out: Annotated[Path, typer.Option(help="Where the figures go.")] = Path("var/encoder.json"),
    data: Annotated[Path, typer.Option(help="Folder of MovieLens and of the exported models.")] = Path("var"),
    model: Annotated[str, typer.Option(help="As encoder.model.")] = EncoderSpec().model,
    rounds: Annotated[int, typer.Option(min=1)] = 7,
) -> None:
    """Texts a second at batches of 1 and 32, on 1 and 2 threads; cosine and neighbours kept, over all films."""
    films = _films(data)
    sentences = list(PROBE_TEXTS)
    spec, models = EncoderSpec(model=model), data / "models"
    for backend in BACKENDS:
        prepare_encoder(spec.model_copy(update={"backend": backend}), models, threads=os.cpu_count() or 1)
    contenders = [_start(spec, models, backend, threads) for threads in (1, 2) for backend in BACKENDS]
    sets = {"films": films[:128], "sentences": sentences * 2}
    for _ in range(rounds):
        for name, texts in sets.items():
            for batch in _BATCHES:
                for contender in contenders:
                    measured = contender.ask("time", texts if batch > 1 else texts[:24], batch)
                    contender.texts_per_s.setdefault(f"{name}, {batch}", []).append(measured)
    single = [c for c in contenders if c.threads == 1]
    reference = {name: single[0].ask("encode", texts) for name, texts in (("films", films), ("sentences", sentences))}
    rows = [_row(c, single, reference, films, sentences) for c in contenders]
    for contender in contenders:
        contender.pipe.send(("stop",))
    _show(rows)
    rate = {(row["backend"], row["threads"]): row["texts_per_s"]["films, 32"] for row in rows}
    result = {
        "machine": {"cpu": _cpu(), "cores": os.cpu_count(), "load": os.getloadavg()},
        "encoder_int8_vs_fp32": round(rate["onnx-int8", 1] / rate["torch", 1], 2),
        "encoder_onnx_vs_fp32": round(rate["onnx", 1] / rate["torch", 1], 2),
        "encoder_int8_cosine": min(rows[BACKENDS.index("onnx-int8")]["cosine_mean"].values()),
        "contenders": rows,
    }
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(result, indent=2))
    print(f"int8 / torch fp32, batches of 32, one thread: {result['encoder_int8_vs_fp32']}; written to {out}")


def _films(data: Path) -> list[str]:
    data_set = fetch_ml100k(data / "ml-100k", print)
    rows = map(json.loads, data_set.items_file.read_text().splitlines())
    return [f"{row['title']}. {row['text']}" if row["text"] else row["title"] for row in rows]


def _start(spec: EncoderSpec, models: Path, backend: Backend, threads: int) -> Contender:
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    os.environ["OMP_NUM_THREADS"] = str(threads)
    context.Process(
        target=_serve, args=(spec.model_copy(update={"backend": backend}), models, threads, theirs), daemon=True
    ).start()
    return Contender(backend, threads, ours, *ours.recv())


def _serve(spec: EncoderSpec, models: Path, threads: int, pipe: Connection) -> None:
    bare, start = psutil.Process().memory_info().rss, time.perf_counter()
    encoder = load_encoder(spec, models, threads=threads)
    encoder.encode(["the first text"])
    pipe.send((time.perf_counter() - start, (psutil.Process().memory_info().rss - bare) / 2**20))
    while (message := pipe.recv())[0] != "stop":
        texts = message[1]
        if message[0] == "encode":
            pipe.send(np.concatenate([encoder.encode(texts[i : i + 32]) for i in range(0, len(texts), 32)]))
        elif message[0] == "rss":
            pipe.send(psutil.Process().memory_info().rss / 2**20)
        else:
            start = time.perf_counter()
            for i in range(0, len(texts), message[2]):
                encoder.encode(texts[i : i + message[2]])
            pipe.send(len(texts) / (time.perf_counter() - start))


def _row(
    contender: Contender, single: list[Contender], reference: dict[str, Floats], films: list[str], sentences: list[str]
) -> dict[str, Any]:
    vectors_of = {"films": contender.ask("encode", films), "sentences": contender.ask("encode", sentences)}
    cosines = {name: (vectors * reference[name]).sum(1) for name, vectors in vectors_of.items()}
    kept = [
        len(set(a) & set(b)) / NEIGHBOURS
        for a, b in zip(_nearest(vectors_of["films"]), _nearest(reference["films"]), strict=True)
    ]
    rates = {name: round(statistics.median(values), 1) for name, values in contender.texts_per_s.items()}
    torch = next(c for c in single if c.backend == "torch").texts_per_s
    return {
        "backend": contender.backend,
        "threads": contender.threads,
        "texts_per_s": rates,
        "vs_torch_1_thread": {name: round(rate / statistics.median(torch[name]), 2) for name, rate in rates.items()},
        "cosine_mean": {name: round(float(values.mean()), 5) for name, values in cosines.items()},
        "cosine_min": {name: round(float(values.min()), 5) for name, values in cosines.items()},
        "neighbours_kept": round(float(np.mean(kept)), 4),
        "load_s": round(contender.load_s, 2),
        "loading_adds_mb": round(contender.rss_mb),
        "rss_after_mb": round(contender.ask("rss", [])),
    }


def _nearest(vectors: Floats) -> Any:
    """The exact NEIGHBOURS of each row, itself left out."""
    likeness = vectors @ vectors.T
    np.fill_diagonal(likeness, -np.inf)
    return np.argpartition(-likeness, NEIGHBOURS, axis=1)[:, :NEIGHBOURS]


def _show(rows: list[dict[str, Any]]) -> None:
    rates = list(rows[0]["texts_per_s"])
    table = Table(
        "backend", "threads", *rates, "cosine", "lowest", "kept@10", "load s", "MB", title="texts/s (x torch)"
    )
    for row in rows:
        cells = [f"{row['texts_per_s'][name]:.0f} ({row['vs_torch_1_thread'][name]})" for name in rates]
        lowest = min(row["cosine_min"].values())
        cells += [f"{row['cosine_mean']['films']:.4f}", f"{lowest:.4f}", f"{row['neighbours_kept']:.3f}"]
        table.add_row(row["backend"], str(row["threads"]), *cells, str(row["load_s"]), str(row["rss_after_mb"]))
    Console(width=140).print(table)


def _cpu() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.machine()


if __name__ == "__main__":
    typer.run(main)
