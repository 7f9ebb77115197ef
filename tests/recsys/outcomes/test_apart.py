"""A report that another process makes is the same, and its failure is told."""

from __future__ import annotations

import duckdb
import pytest

from recsys.outcomes.apart import report_apart
from recsys.outcomes.joining import Question, report
from recsys.outcomes.log_files import LogFiles, hour_of
from recsys.outcomes.tables import answers_table, outcomes_table
from recsys.state.slate_columns import encode_answers, encode_outcome
from recsys.state.slate_stream import StreamEntry
from tests.support.slate_log import answer
from tests.support.world import event

BEGIN = 1_795_816_790.0
MS = round(BEGIN * 1000)
QUESTION = Question(BEGIN - 60, BEGIN + 600, ("scenario", "position"), 3600.0, {"click": "click", "buy": "conversion"})


@pytest.fixture
def files(tmp_path):
    files = LogFiles(tmp_path / "log")
    shown = answer("r1", ("a", "b"), at=BEGIN)
    bought = event("u", "a", type="buy", timestamp=BEGIN + 5, request_id="r1", value=2.5)
    files.merge("answers", hour_of(MS), f"{MS}.parquet", answers_table([entry(encode_answers([shown]))]))
    files.merge("outcomes", hour_of(MS), f"{MS}.parquet", outcomes_table([entry(encode_outcome(bought))]))
    return files


def entry(content):
    return StreamEntry(f"{MS}-0", 1, 0, bytes(8), content)


def test_it_is_the_same_report(files):
    """Groups, their keys and all counts."""
    joined = report_apart(files, QUESTION)
    assert joined == report(files, QUESTION)
    assert (joined.total.answers, joined.total.conversions, joined.total.value) == (1, 1, 2.5)
    assert [group.key for group in joined.groups] == [("home", 1), ("home", 2)]


def test_a_file_that_cannot_be_read_is_an_error(files, tmp_path):
    """Of one line, as of the report itself."""
    (tmp_path / "log" / "answers" / hour_of(MS) / f"{MS}.parquet").write_bytes(b"not a table")
    with pytest.raises(OSError, match="the log of answers cannot be read") as failure:
        report_apart(files, QUESTION)
    assert "Traceback" not in str(failure.value)


def test_what_a_library_writes_to_stdout_is_no_part_of_it(files, tmp_path, monkeypatch):
    """DuckDB writes a bar of progress there in a join of more than two seconds."""
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "sitecustomize.py").write_text("print('26% of it')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "site"))
    assert report_apart(files, QUESTION).total.answers == 1


def test_a_long_join_shows_no_bar(files, monkeypatch):
    """`recsys report --json` writes to stdout as well."""
    bars = []

    class Seen:
        def __init__(self, database):
            self.database = database

        def __getattr__(self, name):
            return getattr(self.database, name)

        def close(self):
            bars.append(self.database.execute("SELECT current_setting('enable_progress_bar')").fetchone())
            self.database.close()

    connect = duckdb.connect
    monkeypatch.setattr(duckdb, "connect", lambda *args, **options: Seen(connect(*args, **options)))
    report(files, QUESTION)
    assert bars == [(False,)]
