"""recsys partition: what it proposes makes shards about equally full, and is taken as it stands."""

from __future__ import annotations

from pathlib import Path

import orjson
import pytest
import yaml

from recsys.config.platform import Platform, RoutingSpec
from recsys.datatypes import Item
from recsys.routing import Router
from tests.support.command import Recsys

LANGUAGES = {"en": 60, "de": 20, "fr": 10, "it": 10}


@pytest.fixture
def files(tmp_path: Path, config: Path) -> Path:
    """A hundred items, most of them English, and a config file that declares their language."""
    document = yaml.safe_load(config.read_text())
    document["applications"][0]["args"]["attributes"] = {"language": "keyword", "year": "number"}
    config.write_text(yaml.safe_dump(document))
    items = [
        {"item_id": f"{language}-{n}", "title": f"word {n}", "attributes": {"language": language}}
        for language, count in LANGUAGES.items()
        for n in range(count)
    ]
    path = tmp_path / "many.jsonl"
    path.write_bytes(b"\n".join(map(orjson.dumps, items)))
    return path


def test_a_large_value_is_spread_and_small_ones_share(run: Recsys, config: Path, files: Path) -> None:
    """The proposal fits the platform, and routes the same items as evenly as it says."""
    done = run("partition", "language", files, "--shards", 3, "-c", config, "--json")
    assert done.code == 0, done.err
    proposal = orjson.loads(done.out)
    placed = proposal["routing"]["placed"]
    assert len(placed["en"]) == 2
    assert all(len(placed[small]) == 1 for small in ("de", "fr", "it"))
    assert sum(proposal["after"]) == sum(proposal["before"]) == 100
    assert max(proposal["after"]) < 50 <= 60 <= max(proposal["before"])
    routing = RoutingSpec.model_validate(proposal["routing"])
    Platform(shards=3, routing=routing, attributes={"language": "keyword"})
    router = Router(routing, 3)
    owners = [
        router.owner(Item(f"{language}-{n}", attributes={"language": language}))
        for language, count in LANGUAGES.items()
        for n in range(count)
    ]
    assert [owners.count(shard) for shard in range(3)] == proposal["after"]


def test_what_it_prints_can_be_pasted(run: Recsys, config: Path, files: Path) -> None:
    """The last lines are YAML for `args` of the config file."""
    done = run("partition", "language", files, "--shards", 3, "-c", config)
    assert done.code == 0, done.err
    shown = yaml.safe_load(done.out[done.out.index("shards: ") :])
    assert shown["shards"] == 3
    assert RoutingSpec.model_validate(shown["routing"]).placed["en"]


def test_an_attribute_that_cannot_route_is_refused(run: Recsys, config: Path, files: Path) -> None:
    """One that is no keyword, and one that is not declared, with those that are."""
    for name in ("year", "nothing"):
        done = run("partition", name, files, "-c", config)
        assert done.code == 1
        assert f"{name!r} is not declared as keyword; there are: language" in done.err + done.out


def test_a_placement_in_shards_that_are_none_is_refused() -> None:
    """By the value and the numbers that there are."""
    with pytest.raises(ValueError, match=r"'en' is in shards \[0, 2\]; name different ones from 0 to 1"):
        Platform(
            shards=2,
            routing=RoutingSpec(by="attribute", attribute="language", placed={"en": [0, 2]}),
            attributes={"language": "keyword"},
        )
