"""Recommendations for all users as files: each user once, an interrupted run goes on, nothing is written over."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from recsys.data.answer_files import ANSWERS
from recsys.data.answer_plan import AnswerPlan, alone, answers_file, begun, plan, users_of
from recsys.data.parquet_folders import files_of
from recsys.datatypes import RecQuery
from recsys.errors import BadInput, VersionError
from recsys.jobs.batch import Asked, answer_chunk, users_of_platform
from recsys.serving.bulk_answers import BulkAnswers
from tests.support.bulk import beside
from tests.support.world import event

ASKED = b'{"scenario":"home","k":3}'


async def named(*users: str) -> AsyncIterator[str]:
    for user in users:
        yield user


def planned(folder: Path, *users: str, per_chunk: int = 2) -> AnswerPlan:
    return asyncio.run(plan(folder, ASKED, named(*users), per_chunk))


def test_users_are_listed_once_in_chunks(tmp_path: Path) -> None:
    """Redis may name one twice; where there is nobody there is no chunk."""
    with alone(tmp_path):
        made = planned(tmp_path, "a", "b", "a", "c")
        assert (made.chunks, made.todo, made.users) == ({0: 2, 1: 1}, (0, 1), 3)
        assert [users_of(tmp_path, chunk) for chunk in made.todo] == [["a", "b"], ["c"]]
    empty = tmp_path / "empty"
    with alone(empty):
        assert planned(empty).users == 0
        planned(empty).finish()
    assert [path.name for path in empty.iterdir()] == ["_SUCCESS"]


def test_an_interrupted_run_goes_on_with_its_ownusers_of_platform(tmp_path: Path) -> None:
    """And only as the run that it was."""
    with alone(tmp_path):
        planned(tmp_path, "a", "b", "c")
        (tmp_path / "part-00000.parquet").write_bytes(b"half a file")
        left = begun(tmp_path, ASKED)
        assert left is not None
        assert left.todo == (0, 1)
        with pytest.raises(BadInput, match="interrupted run"):
            begun(tmp_path, b'{"scenario":"email","k":3}')
    with alone(tmp_path), pytest.raises(VersionError), alone(tmp_path):
        pass


def test_a_folder_that_holds_something_is_refused(tmp_path: Path) -> None:
    """A complete run, and files of somebody else's."""
    (tmp_path / "letters.txt").write_text("mine")
    with alone(tmp_path), pytest.raises(BadInput, match="letters"):
        begun(tmp_path, ASKED)
    done = tmp_path / "done"
    with alone(done):
        planned(done).finish()
    with alone(done), pytest.raises(BadInput, match="complete"):
        begun(done, ASKED)


async def test_all_users_of_the_platform_get_a_row(make_world, monkeypatch, tmp_path: Path) -> None:
    """With their items in order; the folder reads as one data set, and is complete when it says so."""
    world = await make_world()
    users = [f"u{n}" for n in range(30)]
    await world.gateway.record([event(user, f"sea-{n % 12}") for n, user in enumerate(users)])
    await world.counted()
    config = type("Config", (), {"serving": world.gateway.settings})
    answers: BulkAnswers = beside(world, monkeypatch)
    out = tmp_path / "out"
    with alone(out):
        made = await plan(out, ASKED, users_of_platform(world.redis, config, lambda *_: None), per_chunk=12)
        done = [await answer_chunk(answers, out, chunk, Asked("home", 3)) for chunk in made.todo]
        left = begun(out, ASKED)
        assert left is not None
        assert (left.todo, left.waiting) == ((), 0)
        left.finish()
    assert [(one.users, one.degraded, one.empty) for one in done] == [(12, 0, 0), (12, 0, 0), (6, 0, 0)]
    table = pq.read_table(files_of([out]))
    assert table.schema.equals(ANSWERS)
    assert sorted(table.column("user_id").to_pylist()) == sorted(users)
    assert len(set(table.column("request_id").to_pylist())) == 30
    row = table.to_pylist()[0]
    slate = await world.gateway.recommend(RecQuery(k=3, user_id=row["user_id"]))
    assert [item["item_id"] for item in row["items"]] == [item.item_id for item in slate.items]
    assert pq.read_metadata(answers_file(out, 0)).num_rows == 12
    await answers.close()
