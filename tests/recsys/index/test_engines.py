"""An engine is one file: found by its name, with its own settings, in recsys/index or in another package."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path

import numpy as np
import pytest

import recsys.index
from recsys.config.index import IndexSpec, engine_names
from recsys.config.platform import Platform
from recsys.config.tuning import ShardTuning
from recsys.datatypes import RecQuery
from recsys.errors import BadInput, VersionError
from recsys.index.base import engine
from recsys.serving.settings_follower import parsed
from recsys.versions.opening import open_shard
from tests.support.engines import DIMENSION, random_vectors
from tests.support.live import REPOSITORY

TOY = '''"""A toy: exact, and scores rounded to a number of digits."""

from pathlib import Path
from typing import Any

import numpy as np
from pydantic import Field, field_validator

from recsys.config.index import IndexSpec
from recsys.index import flat
from recsys.index.graph_index import GraphIndex, load_nodes


class Spec(IndexSpec):
    engine: str = "toy"
    digits: int = Field(3, ge=1, le=7)

    @field_validator("engine")
    @classmethod
    def judge_engine(cls, engine: str) -> str:
        if engine not in ("toy", "toy:round"):
            raise ValueError("the toy has one kind, toy:round")
        return engine


class Toy(flat.FlatIndex):
    def __init__(self, spec: Spec, dimension: int) -> None:
        super().__init__(dimension)
        self.digits = spec.digits

    def search(self, codes: Any, k: int) -> Any:
        nodes, scores = super().search(codes, k)
        return nodes, np.round(scores, self.digits)


def create(spec: Spec, dimension: int) -> GraphIndex:
    return GraphIndex(Toy(spec, dimension))


def load(path: Path, spec: Spec, dimension: int) -> GraphIndex:
    graph, nodes = Toy(spec, dimension), load_nodes(path)
    with np.load(path, allow_pickle=False) as stored:
        graph.add(stored["vectors"], 1)
        graph.hide(stored["hidden"])
    return GraphIndex(graph, nodes)
'''


@pytest.fixture
def in_the_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """One file more in recsys/index."""
    folder = tmp_path / "index"
    folder.mkdir()
    (folder / "toy.py").write_text(TOY)
    monkeypatch.setattr(recsys.index, "__path__", [*recsys.index.__path__, str(folder)])
    yield "recsys.index.toy"
    sys.modules.pop("recsys.index.toy", None)


@pytest.fixture
def in_a_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """One file of another installed package, which names it as an entry point."""
    site = tmp_path / "site"
    (site / "toys-1.0.dist-info").mkdir(parents=True)
    (site / "toys-1.0.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: toys\nVersion: 1.0\n")
    (site / "toys-1.0.dist-info" / "entry_points.txt").write_text("[recsys.engines]\ntoy = toys_engine\n")
    (site / "toys_engine.py").write_text(TOY)
    monkeypatch.syspath_prepend(str(site))
    yield "toys_engine"
    sys.modules.pop("toys_engine", None)


@pytest.mark.parametrize("added", ["in_the_folder", "in_a_package"])
async def test_an_engine_that_one_file_adds_is_built_searched_and_served(
    added: str, request: pytest.FixtureRequest, make_world
) -> None:
    """The config takes its name and its settings, the version keeps them, and it answers as the exact engine does."""
    module = request.getfixturevalue(added)
    assert "toy" in engine_names()
    platform = Platform.model_validate({"index": {"engine": "toy", "digits": 5}})
    assert type(platform.index).__module__ == module
    again = Platform.model_validate_json(platform.model_dump_json())
    assert again == platform
    query = RecQuery(k=10, like_item="space-0", scenario="similar", explain=True)
    exact = await make_world(index=IndexSpec.of("flat"), root=request.getfixturevalue("tmp_path") / "exact")
    wanted = await exact.gateway.recommend(query)
    await exact.redis.flushall()
    world = await make_world(index=platform.index)
    assert world.store.manifest(world.store.current()).index == platform.index
    shard = open_shard(world.store, world.store.current(), 0)
    assert shard.index.graph.digits == 5
    answer = await world.gateway.recommend(query)
    assert [item.item_id for item in answer.items] == [item.item_id for item in wanted.items]
    assert len(answer.items) == 10


def refused(**index: object) -> str:
    with pytest.raises(BadInput) as error:
        parsed(Platform, {"index": index}, "args")
    return str(error.value)


def test_an_unknown_engine_is_refused_with_the_names_that_there_are(in_the_folder: str) -> None:
    """In one line, and for a file of recsys/index that is no engine too."""
    names = "annoy, faiss, flat, hnsw, hnsw_int8, milvus, pgvector, pinecone, qdrant, toy"
    for name in ("hsnw", "base", "../flat", "toy.x", ""):
        assert refused(engine=name) == f"args.index: engine: there is no {name!r}; there are {names}"
    assert refused(engine=7).startswith("args.index: engine: there is no 7")


def test_a_setting_that_is_not_the_engines_is_refused(in_the_folder: str) -> None:
    """Each engine has its own: `flat` has none, and the toy knows no `m`."""
    assert refused(engine="flat", m=16) == "args.index.m: is not known; leave it out"
    assert refused(engine="toy", m=16) == "args.index.m: is not known; leave it out"
    assert refused(engine="toy", digits=9).startswith("args.index.digits: must be at most 7, not 9")
    assert refused(m=1).startswith("args.index.m: must be at least 4, not 1")


def test_what_stands_behind_a_colon_is_the_engines(in_the_folder: str) -> None:
    """Its `Spec` reads it, and refuses what it does not understand; the engines that have no kinds take none."""
    assert IndexSpec.of("toy:round").engine == "toy:round"
    assert refused(engine="toy:square") == "args.index.engine: the toy has one kind, toy:round"
    assert refused(engine="hnsw:flat") == "args.index.engine: hnsw has no kinds; leave out ':flat'"


def test_the_library_of_an_engine_is_imported_when_an_index_is_made() -> None:
    """Reading the config file, which every command and every replica does, takes no engine's library."""
    code = (
        "import sys\n"
        "from recsys.config.index import IndexSpec, engine_names\n"
        "[IndexSpec.of(name) for name in engine_names()]\n"
        "assert not {'faiss', 'hnswlib', 'psycopg', 'pymilvus', 'pinecone', 'qdrant_edge'} & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("name", engine_names())
def test_the_settings_of_an_engine_carry_its_name(name: str) -> None:
    assert IndexSpec.of(name) == type(IndexSpec.of(name))()


@pytest.mark.parametrize(
    ("engine_name", "reason"),
    [
        ("faiss:IVF16;Flat", "behind faiss: stands a factory string"),
        ("annoy:dot", "annoy has no kinds"),
    ],
)
def test_what_no_engine_takes_is_told(engine_name: str, reason: str) -> None:
    """A kind that cannot be is refused with the config file, by its field."""
    with pytest.raises(ValueError, match=reason):
        IndexSpec.of(engine_name)


def test_a_factory_string_that_does_not_fit_is_told_before_anything_is_built() -> None:
    """Whether faiss can make it depends on the dimension: a build says so in one line."""
    spec = IndexSpec.of("faiss:IVF16,PQ7")
    with pytest.raises(VersionError, match=r"index.engine: faiss makes no IVF16,PQ7 of 16 dimensions"):
        engine(spec).create(spec, 16)


def test_effort_is_doubled_within_its_limit() -> None:
    """A build tries the operator's effort, then twice as much each time; a larger one of the operator's stays."""
    spec = IndexSpec.of("faiss:IVF16,Flat", ef_search_limit=300)
    assert spec.ef_searches(64) == [64, 128, 256, 300]
    assert spec.ef_searches(500) == [500]


@pytest.mark.parametrize("kind", ["IVF32,Flat", "OPQ16,IVF32,PQ16x4,RFlat"])
def test_lists_are_looked_at_in_proportion_to_the_neighbours(kind):
    """A search under a filter asks for thousands. Of a sixth of all vectors it finds more than the lists hold that a
    search for ten looks at, though nothing was tuned.
    """
    rng = np.random.default_rng(0)
    vectors = rng.standard_normal((6000, 32)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    spec = IndexSpec.of(f"faiss:{kind}")
    index = engine(spec).create(spec, 32)
    index.add(np.arange(6000), vectors)
    index.tune(ShardTuning(ef_search=2))
    rows, _ = index.search(vectors[:3], 1000)
    nearest = np.argsort(-(vectors[:3] @ vectors.T), axis=1)[:, :1000]
    assert min(len(np.intersect1d(*pair)) for pair in zip(rows, nearest, strict=True)) >= 800


def test_the_page_of_the_engines_says_what_they_say_themselves() -> None:
    """Each is in the table of docs/engines.md once, with its extra and with what becomes of items after the build."""
    page = (REPOSITORY / "docs" / "engines.md").read_text().partition("\n## ")[0]
    table = [[cell.strip() for cell in line.strip("|").split("|")] for line in page.splitlines() if line[:3] == "| `"]
    rows = {row[0].strip("`").partition(":")[0]: row for row in table}
    extras = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert sorted(rows) == engine_names()
    assert len(table) == len(rows)
    for name, (_, extra, comes, goes, *_) in rows.items():
        spec = IndexSpec.of(name)
        assert extra == (f"`{name}`" if spec.needs else "none")
        assert not spec.needs or extras[name]
        assert (comes == "scored beside it") == (not spec.grows)
        assert (goes == "dropped from answers") == (not spec.removes)


@pytest.mark.parametrize("code", ["SQ8", "PQ8x4", "PQ8x4fs", "RaBitQ", "PQ8x4fs,RFlat"])
def test_codes_of_a_loaded_index_are_read_as_before(code: str, tmp_path: Path) -> None:
    """By its vectors, and by a search that falls short of its lists and reads them all: the process once died."""
    spec, vectors = IndexSpec.of(f"faiss:IVF16,{code}"), random_vectors(900)
    index = engine(spec).create(spec, DIMENSION)
    index.add(np.arange(900), vectors)
    index.save(tmp_path / "index.bin")
    loaded = engine(spec).load(tmp_path / "index.bin", spec, DIMENSION)
    rows = np.arange(0, 900, 7)
    np.testing.assert_array_equal(loaded.vectors(rows), index.vectors(rows))
    assert float(np.einsum("nd,nd->n", loaded.vectors(rows), vectors[rows]).mean()) > 0.75
    for one in (index, loaded):
        one.tune(ShardTuning(ef_search=1))
        one.remove(np.arange(400))
    found, _ = loaded.search(vectors[:5], 450)
    np.testing.assert_array_equal(found, index.search(vectors[:5], 450)[0])
    assert (found >= 400).all()
