"""The log lines of a platform's parts."""

from __future__ import annotations

import shutil
from datetime import datetime
from pathlib import Path

import orjson
import pytest

from deployments.machine.log_files import Logs
from recsys.errors import NotFound

AT = datetime(2026, 11, 27, 17, 50, 14).astimezone().timestamp()


def serve_line(message: str, second: int, level: str = "INFO", **more: str) -> str:
    at = f"2026-11-27 17:50:{second:02},250"
    return orjson.dumps({"asctime": at, "levelname": level, "message": message, **more}).decode() + "\n"


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A home with the logs of a session that has ended."""
    serve = tmp_path / "logs" / "ray" / "serve"
    serve.mkdir(parents=True)
    (serve / "replica_recsys_Composer_ab12.log").write_text(serve_line("serving version v1", 15))
    (serve / "replica_recsys_shard-0_cd34.log").write_text(
        serve_line("opens", 14) + serve_line("failed", 16, "ERROR", exc_text="Traceback:\n  broken")
    )
    (serve / "controller_77.log").write_text(serve_line("starting", 13))
    (serve.parent / "gcs_server.out").write_text("[2026-11-27 17:50:12,500 W 7 7] (gcs) slow\nof it more\n")
    (tmp_path / "logs" / "valkey.log").write_text("7:M 27 Nov 2026 17:50:11.750 # no room\n")
    return tmp_path


def test_lines_of_all_parts_stand_in_one_order(home: Path) -> None:
    """By their times, each with its level, part and replica; Ray's own are left out unless they are asked for."""
    found = Logs(home / "logs").new_lines(None)
    assert [(line.part, line.replica, line.level, line.message) for line in found] == [
        ("valkey", "", "WARNING", "no room"),
        ("serve", "", "INFO", "starting"),
        ("shard-0", "cd34", "INFO", "opens"),
        ("Composer", "ab12", "INFO", "serving version v1"),
        ("shard-0", "cd34", "ERROR", "failed\nTraceback:\n  broken"),
    ]
    assert [round(line.at - AT, 2) for line in found] == [-2.25, -0.75, 0.25, 1.25, 2.25]
    [line] = Logs(home / "logs", ["ray"]).new_lines(None)
    assert (line.level, line.message) == ("WARNING", "(gcs) slow\nof it more")


def test_parts_are_asked_for_by_name(home: Path) -> None:
    assert [line.part for line in Logs(home / "logs", ["composer", "VALKEY"]).new_lines(None)] == ["valkey", "Composer"]
    with pytest.raises(NotFound, match=r"shard-7 has no log in .*; there are Composer, ray, serve, shard-0, valkey"):
        Logs(home / "logs", ["shard-7"]).new_lines(None)


def test_what_comes_later_is_read_once_also_when_the_session_ends(home: Path, tmp_path: Path) -> None:
    """Whole lines only, files of new replicas, and what was written last before the logs moved into the home."""
    session = tmp_path / "session"
    shutil.move(home / "logs" / "ray", session)
    composer, logs = session / "serve" / "replica_recsys_Composer_ab12.log", Logs(home / "logs")
    assert len(logs.new_lines(session)) == 5
    with composer.open("a") as file:
        file.write(serve_line("one", 20) + serve_line("two", 21)[:30])
    (session / "serve" / "replica_recsys_Composer_new1.log").write_text(serve_line("hello", 22))
    assert [line.message for line in logs.new_lines(session)] == ["one", "hello"]
    with composer.open("a") as file:
        file.write(serve_line("two", 21)[30:])
    shutil.move(session, home / "logs" / "ray")
    assert [line.message for line in logs.new_lines(None)] == ["two"]
    assert logs.new_lines(None) == []
