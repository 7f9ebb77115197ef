"""What checks the settings that `recsys tune` writes, on a made-up shop; nothing is built."""

from __future__ import annotations

import json

import numpy as np
import pytest

from deployments.machine.serve_config import read_config
from load_tests.parts.catalogues import SHOPS
from load_tests.parts.tuned import meets, write_config
from recsys.columns import Column
from recsys.datatypes import Item
from recsys.shard.attributes import Attributes
from recsys.tuning.filter_mix import SHAPES, filter_mix


@pytest.fixture(scope="module")
def shop(tmp_path_factory):
    folder = tmp_path_factory.mktemp("shop")
    items, events = SHOPS["shop"].items(folder), SHOPS["shop"].events(folder)
    return folder, [json.loads(line) for line in items.read_text().splitlines()], events


def test_people_of_the_shop_like_things_that_it_has(shop, tmp_path):
    """Every event names an item, and the two files are the same at every run."""
    folder, items, events = shop
    ids, before = {item["item_id"] for item in items}, events.read_text()
    assert all(json.loads(line)["item_id"] in ids for line in before.splitlines())
    assert SHOPS["shop"].events(tmp_path).read_text() == before
    assert SHOPS["shop"].items(tmp_path).read_bytes() == SHOPS["shop"].items(folder).read_bytes()


@pytest.mark.parametrize("name", SHOPS)
def test_the_config_file_is_read_with_the_catalogues_own_attributes(tmp_path, name):
    """And with a folder of its own for versions."""
    file = tmp_path / name / "config.yaml"
    file.parent.mkdir()
    write_config(file, file.parent, SHOPS[name].declared)
    config = read_config(file)
    assert dict(config.platform.attributes) == dict(SHOPS[name].declared)
    assert config.platform.home() == (tmp_path / name / "data").resolve()


def test_filters_read_by_hand_match_what_shards_match(shop):
    """In every shape of filters that `recsys tune` asks."""
    declared = SHOPS["shop"].declared
    items = [Item(item["item_id"], "", "", item["attributes"], None) for item in shop[1][:2000]]
    attributes = Attributes(declared, Column(np.float64))
    attributes.extend(0, [item.attributes for item in items])
    shapes = filter_mix(items, declared, 3)
    assert set(SHAPES) <= set(shapes)
    for given in (one for some in shapes.values() for one in some):
        mask = attributes.mask(given, len(items))
        assert mask.tolist() == [meets(item, given) for item in items]
