"""What a command writes is its own: no library's log lines, warnings or bars; and its bars count what they name."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import orjson
import pytest
from rich.console import Console

from deployments.cli.progress import bars
from tests.support.command import HASHING
from tests.support.live import COMMAND, local_config

UNREPORTED = {"ORT_DISABLE_TELEMETRY": "1"}
"""Set by whoever loads an encoder."""
FOREIGN = ("site-packages", "INFO", "WARNING", "Warning", "it/s]", "HTTP Request", "LightGBM", "|####")


def test_what_libraries_log_and_warn_is_shown_to_nobody() -> None:
    """Also after one of them has set up logging for the whole process; our own warnings are shown."""
    code = """
import logging, warnings
from deployments.cli.log_filter import own_logs_only
with own_logs_only():
    import onnxruntime.quantization.matmul_nbits_quantizer
    logging.getLogger("httpx").info("HTTP Request")
    logging.getLogger("other").error("broken")
    warnings.warn("old")
    logging.getLogger("recsys.x").info("no")
    logging.getLogger("recsys.x").warning("ours")
"""
    done = subprocess.run(
        [sys.executable, "-c", code], env=os.environ | UNREPORTED, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "ours\n")


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a config file, items.jsonl and events.jsonl, in which every user likes three neighbours in turn."""
    folder = tmp_path_factory.mktemp("shop")
    local_config(folder / "config.yaml", data_dir=str(folder / "var"), encoder=HASHING)
    items = [{"item_id": f"i{n}", "title": f"Thing {n}", "genres": ["a", "b"][n % 2]} for n in range(60)]
    events = [
        {"user_id": f"u{n}", "item_id": f"i{(n + step) % 60}", "type": "like", "timestamp": 1.7e9 + 100 * n + step}
        for n in range(50)
        for step in range(5)
    ]
    (folder / "items.jsonl").write_bytes(b"\n".join(map(orjson.dumps, items)))
    (folder / "events.jsonl").write_bytes(b"\n".join(map(orjson.dumps, events)))
    return folder


@pytest.mark.parametrize(
    "arguments",
    [
        ("build", "items.jsonl", "--promote"),
        ("train", "events.jsonl", "--items", "items.jsonl", "--json"),
        ("versions", "--json"),
    ],
    ids=lambda arguments: arguments[0],
)
def test_a_command_writes_nothing_but_its_own_lines(shop: Path, arguments: tuple[str, ...]) -> None:
    """In a process of its own, as people run it: with --json nothing at all beside the JSON."""
    path = {"PYTHONPATH": str(Path(__file__).parents[3]), "PATH": "/usr/bin:/bin", "HOME": str(shop)}
    path |= {"OMP_NUM_THREADS": "1"}  # as in `tests/conftest.py`
    command = [*COMMAND, *arguments, "--config", "config.yaml"]
    done = subprocess.run(command, cwd=shop, env=path, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stderr
    assert not [word for word in FOREIGN if word in done.stderr + done.stdout], done.stderr + done.stdout
    if "--json" in arguments:
        assert done.stderr == ""
        orjson.loads(done.stdout)


def test_bars_count_what_they_name() -> None:
    """Files that are read are measured in bytes, and say so; all else is counted."""
    console = Console(record=True, width=120, force_terminal=True)
    with bars(console) as report:
        report("read items", 5_849_000, 5_849_000)
        report("encode", 60, 60)
    shown = console.export_text()
    assert "5.8/5.8 MB" in shown
    assert "60/60" in shown
