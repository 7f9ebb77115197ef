"""docs/contributing.md is followed: each thing is added to a copy of the repository by touching the files that the page
lists, and is seen at work there.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.copied_code import Copy, copied
from tests.support.live import REPOSITORY
from tests.support.own_valkey import Valkey

PAGE = REPOSITORY / "docs" / "contributing.md"


def listed(section: str) -> set[str]:
    """The files of a section's numbered list."""
    text = PAGE.read_text().partition(f"\n## {section}\n")[2].partition("\n## ")[0]
    return {name for line in re.findall(r"^\d\. (.+?):", text, re.MULTILINE) for name in re.findall(r"`([^`]+)`", line)}


WORLD = """
import asyncio, sys
from pathlib import Path
from recsys.config.serving import Serving
from recsys.datatypes import RecQuery
from recsys.state.connection import connect
from recsys.transport import wire
from tests.support.world import World, event

def home(**scenario):
    known = Serving(budget_s=20).model_dump()
    known["scenarios"]["home"] |= scenario
    return Serving.model_validate(known)

def over_the_wire(shard):
    # What a shard is asked and answers, as composers on other machines have it.
    search = shard.search
    async def wired(query):
        answer = await search(wire.decode_query(wire.encode(query)))
        return wire.decode_candidates(wire.encode(answer))
    shard.search = wired

async def with_world(use, **options):
    redis = connect(sys.argv[1], timeout_s=20)
    await redis.flushall()
    async with World(root=Path(sys.argv[2]), redis=redis, shards=1, **options) as world:
        for shard in world.clients:
            over_the_wire(shard)
        await use(world)
    await redis.aclose()
"""


def an_engine(copy: Copy) -> str:
    """Named in the config with a setting of its own, it is built, kept in the manifest and served."""
    copy.add(
        "recsys/index/toy.py",
        "from recsys.config.index import IndexSpec\n"
        "from recsys.index import flat\n\n\n"
        "class Spec(IndexSpec):\n"
        "    engine: str = 'toy'\n"
        "    lists: int = 3\n\n\n"
        "create, load = flat.create, flat.load\n",
    )
    return (
        WORLD + "async def use(world):\n"
        "    manifest = world.store.manifest(world.store.current())\n"
        "    assert (manifest.index.engine, manifest.index.lists) == ('toy', 7), manifest.index\n"
        "    slate = await world.gateway.recommend(RecQuery(k=5, like_item='sea-1', scenario='similar'))\n"
        "    assert len(slate.items) == 5\n"
        "asyncio.run(with_world(use, index={'engine': 'toy', 'lists': 7}))\n"
    )


ROW = """    "toy": Signal({says!r}, {compute}, trail={trail}, weight=0.5, grid=(0.0, 1.0), turn=99),
"""
SIGNAL = """
from recsys.ranking.scenarios import check
from recsys.ranking.signals import SIGNALS
from recsys.ranking.tree_ranker import FEATURES
from deployments.api.answer_schemas import RecommendedItem

async def use(world):
    check(home(weights={"toy": 2.0}), world.platform)  # the config file may name it
    await world.gateway.record([event("u", f"sea-{i}") for i in (2, 3, 4)])
    slate = await world.gateway.recommend(RecQuery(k=10, user_id="u", explain=True))
    told = [item.signals["toy"] for item in slate.items]
    assert any(told) and all(abs(item.score - 2 * value) < 1e-5 for item, value in zip(slate.items, told)), told
    world.gateway.configure(home(learned=False))
    slate = await world.gateway.recommend(RecQuery(k=1, user_id="u", explain=True))  # by its own weight
    [item] = slate.items
    default = {"taste": 1.0, "because": 0.3, "popularity": 0.4, "trend": 0.3, "recency": 0.05, "toy": 0.5}
    assert abs(item.score - sum(w * item.signals[n] for n, w in default.items())) < 1e-5
    assert "a toy" in RecommendedItem.model_json_schema()["properties"]["signals"]["description"]

asyncio.run(with_world(use, serving=home(weights={"toy": 2.0}, learned=False)))
from recsys.training.blend import GRIDS, START
assert GRIDS["toy"] == (0.0, 1.0) and list(GRIDS)[-1] == "toy" and START["toy"] == 0.0 and "toy" in FEATURES
"""
END_OF_SIGNALS = '}  # fmt: skip\n"""By name, in the order of the columns of `measure`."""'


def a_signal(copy: Copy) -> str:
    """It is computed, weighted by the config file, explained, a feature of the trees, and in the training's grid."""
    row = ROW.format(says="a toy: the age in days", compute="toy", trail=False)
    copy.insert("recsys/ranking/signals.py", END_OF_SIGNALS, row)
    copy.insert(
        "recsys/ranking/signals.py",
        "SIGNALS = {\n",
        "def toy(c: CandidateSet, moment: Moment) -> npt.NDArray[np.floating]:\n"
        "    return (moment.now - c.columns[:, 2]) / (86_400.0 * 10_000)\n\n\n",
    )
    return WORLD + SIGNAL


def a_source(copy: Copy) -> str:
    """A column ranks all items: the config file may name it, and the answer says that items come from it."""
    copy.insert(
        "recsys/shard/sources.py",
        '}\n"""By name. A candidate carries',
        '    "oldest": CandidateSource("created first", 5, lambda items, rows: -items.created_at.view[rows]),\n',
    )
    return (
        WORLD + "from recsys.ranking.scenarios import check\n"
        "async def use(world):\n"
        "    only = home(sources=[{'source': 'oldest', 'k': 8}], diversity=0.0)\n"
        "    check(only, world.platform)\n"
        "    everything = await world.gateway.recommend(RecQuery(k=100))\n"
        "    assert 'oldest' in {r['code'] for item in everything.items for r in item.reasons}\n"
        "    world.gateway.configure(only)\n"
        "    slate = await world.gateway.recommend(RecQuery(k=8))\n"
        "    assert {item.source for item in slate.items} == {'oldest'}\n"
        "    assert {int(item.item_id.split('-')[1]) for item in slate.items} == {10, 11}\n"
        "asyncio.run(with_world(use))\n"
    )


def a_call(copy: Copy) -> str:
    """It answers behind the same limits and scopes as all calls, and the OpenAPI page has it."""
    copy.insert(
        "deployments/api/answer_schemas.py",
        "class RefusedOut(AnswerBody):",
        "class ToyOut(AnswerBody):\n    item_id: str\n    letters: int\n\n\n",
    )
    imports = "from deployments.api.answer_schemas import"
    copy.insert("deployments/api/reads.py", imports, f"{imports} ToyOut\n")
    copy.insert(
        "deployments/api/reads.py",
        '    @routes.post("/search", **slate_out)',
        '    @routes.get("/items/{item_id}/letters")\n'
        "    async def letters(item_id: ItemId) -> ToyOut:\n"
        "        return ToyOut(item_id=item_id, letters=len(item_id))\n\n",
    )
    return (
        WORLD + "import httpx\n"
        "from deployments.api.access import scope_of\n"
        "from deployments.api.app import make_api\n"
        "from deployments.api.traces import Traces\n"
        "from recsys.access.gate import Gate\n"
        "async def use(world):\n"
        "    front = make_api(world.gateway, Gate(), Traces('r'))\n"
        "    transport = httpx.ASGITransport(app=front)\n"
        "    async with httpx.AsyncClient(transport=transport, base_url='http://localhost') as http:\n"
        "        answer = await http.get('/v1/items/sea-1/letters')\n"
        "        assert answer.json() == {'item_id': 'sea-1', 'letters': 5}, answer.text\n"
        "        assert (await http.get('/v1/items/sea-1/letters?x=1')).status_code == 422\n"
        "        assert '/v1/items/{item_id}/letters' in (await http.get('/openapi.json')).json()['paths']\n"
        "    assert scope_of('GET', '/v1/items/sea-1/letters') == 'read'\n"
        "asyncio.run(with_world(use))\n"
    )


def a_command(copy: Copy) -> str:
    """`recsys toy` runs, and `recsys --help` lists it."""
    copy.add(
        "deployments/cli/toy.py",
        "import typer\n\n\n"
        "def add_to(cli: typer.Typer) -> None:\n"
        "    cli.command()(toy)\n\n\n"
        "def toy(name: str) -> None:\n"
        "    typer.echo(f'hello {name}')\n",
    )
    copy.insert("deployments/cli/commands.py", '    "keys": (', '    "toy": ("toy", "Greets."),\n')
    return (
        "from typer.testing import CliRunner\n"
        "from deployments.cli import make_cli\n"
        "assert 'hello you' in CliRunner().invoke(make_cli(), ['toy', 'you']).output\n"
        "assert 'Greets.' in CliRunner().invoke(make_cli(), ['--help']).output\n"
    )


@dataclass(frozen=True)
class Addition:
    touched: set[str]
    wrong: str


@pytest.fixture(scope="module")
def additions(tmp_path_factory: pytest.TempPathFactory, shared_valkey: Valkey) -> dict[Callable[[Copy], str], Addition]:
    """All made in one copy, and seen at work in one process."""
    copy, touched, scripts = copied(tmp_path_factory.mktemp("copy"), shared_valkey.url), {}, {}
    for add in (an_engine, a_signal, a_source, a_call, a_command):
        copy.touched = set()
        scripts[add.__name__] = add(copy)
        touched[add] = copy.touched
    wrong = copy.run(**scripts)
    return {add: Addition(files, wrong[add.__name__]) for add, files in touched.items()}


def test_an_engine_is_added_by_one_file(additions) -> None:
    assert additions[an_engine].wrong == ""
    assert additions[an_engine].touched == {name.replace("<name>", "toy") for name in listed("A vector engine")}


def test_a_signal_of_what_candidates_carry_is_added_by_one_file(additions) -> None:
    assert additions[a_signal].wrong == ""
    assert additions[a_signal].touched <= listed("A ranking signal")
    assert len(additions[a_signal].touched) == 1


def test_a_source_of_candidates_is_added_by_one_file(additions) -> None:
    assert additions[a_source].wrong == ""
    assert additions[a_source].touched <= listed("A source of candidates")
    assert len(additions[a_source].touched) == 1


def test_a_call_is_added_by_its_route_and_its_schema(additions) -> None:
    files = {name if "/" in name else f"deployments/api/{name}" for name in listed("An HTTP call")}
    assert additions[a_call].wrong == ""
    assert additions[a_call].touched <= files
    assert len(additions[a_call].touched) == 2


def test_a_command_is_added_by_its_file_and_its_line(additions) -> None:
    assert additions[a_command].wrong == ""
    assert additions[a_command].touched == {name.replace("<name>", "toy") for name in listed("A command")}


def test_a_signal_that_shards_measure_is_added_by_two_files(tmp_path: Path, shared_valkey: Valkey, lesson) -> None:
    """As above, of a version that learned something: the last likes travel to the shards for it alone."""
    copy = copied(tmp_path, shared_valkey.url)
    row = ROW.format(says="a toy: whether training knew the item", compute='Likeness(TRAIL["toy"])', trail=True)
    copy.insert("recsys/ranking/signals.py", END_OF_SIGNALS, row)
    copy.insert(
        "recsys/shard/trail_measures.py",
        "MEASURES: dict[",
        "def toy(t: Trails) -> Floats:\n    return t.slots >= 0\n\n\n",
    )
    copy.insert("recsys/shard/trail_measures.py", '    ("affinity",): affinity,\n', '    ("toy",): toy,\n')
    store = copy.root / "versions" / "signal"
    shutil.copytree(lesson.build.store.root, store)
    from recsys.versions.store import VersionStore  # noqa: PLC0415

    VersionStore(store).promote(lesson.version.version)
    assert copy.run(signal=WORLD.replace("shards=1", "shards=2") + SIGNAL) == {"signal": ""}
    assert copy.touched == listed("A ranking signal")
