"""The tables of signals and of sources, and what follows from them."""

from __future__ import annotations

import re

import pytest

from recsys.config.platform import Platform
from recsys.config.scenarios import Scenario, Source
from recsys.config.serving import Serving
from recsys.errors import BadInput, VersionError
from recsys.ranking import signals
from recsys.ranking.scenarios import check
from recsys.ranking.signals import SIGNALS
from recsys.shard import sources
from recsys.shard.sources import BITS, COLUMNS, SOURCES
from recsys.shard.trail_measures import LIKENESS, TRAIL
from recsys.training.blend import GRIDS, START
from recsys.versions.opening import open_serve
from tests.support.live import REPOSITORY


def with_home(**home: object) -> Serving:
    known = Serving()
    scenario = known.scenarios["home"].model_copy(update=home)
    return known.model_copy(update={"scenarios": {**known.scenarios, "home": scenario}})


@pytest.mark.parametrize(
    ("home", "says"),
    [
        ({"weights": {"tast": 1.0}}, "home.weights.tast: there is no 'tast'; there are query, taste, long, "),
        (
            {"sources": (Source(source="new"), Source(source="old"))},
            "home.sources.1.source: there is no 'old'; ",
        ),
        (
            {"sources": (Source(source="asked"),)},
            "are similar, because_you_liked, trending, popular, recent, new",
        ),
        ({"caps": {"genre": 2}}, "scenarios.home.caps.genre: declare it under args.attributes as keyword or keyword[]"),
    ],
)
def test_a_scenario_names_what_there_is(home: dict[str, object], says: str) -> None:
    """The names that there are stand in the error, and the field in its `field`."""
    with pytest.raises(BadInput) as error:
        check(with_home(**home), Platform())
    assert says in str(error.value)
    assert str(error.value).startswith(f"{error.value.field}: ")


def test_a_scenario_without_weights_and_sources_has_those_of_the_tables() -> None:
    """As the home page has them, unless the config file names others."""
    check(with_home(), Platform())
    assert Serving().scenarios["home"] == Scenario(learned=True, diversity=0.1)
    assert signals.DEFAULT == {"taste": 1.0, "because": 0.3, "popularity": 0.4, "trend": 0.3, "recency": 0.05}
    assert sources.DEFAULT == {
        "similar": 50, "because_you_liked": 20, "trending": 20, "popular": 30, "recent": 10, "new": 10
    }  # fmt: skip


def test_every_number_of_a_table_has_its_place() -> None:
    """Bits differ, columns of likeness differ, grids are tried in their turn and hold where the search starts."""
    assert sorted(BITS.values()) == [1 << n for n in range(len(SOURCES))]
    assert set(COLUMNS) < set(sources.DEFAULT)
    assert sorted(TRAIL.values()) == list(range(LIKENESS - len(TRAIL), LIKENESS))
    turns = [signal.turn for signal in SIGNALS.values() if signal.grid]
    assert len(set(turns)) == len(turns)
    assert [SIGNALS[name].turn for name in GRIDS] == sorted(turns)
    assert all(START[name] in grid for name, grid in GRIDS.items())


def test_the_page_of_the_api_shows_the_tables() -> None:
    """docs/http-api.md says of each signal and source what its row says."""
    rows = re.findall(
        r"^\| `(\w+)` \| (\S+) \| (.+) \|$", (REPOSITORY / "docs" / "http-api.md").read_text(), re.MULTILINE
    )
    shown = {row for row in rows if row[0] in SIGNALS or row[0] in SOURCES}
    wanted = {(name, f"{signal.weight:g}", signal.says) for name, signal in SIGNALS.items()}
    assert shown == wanted | {(name, str(source.k or "-"), source.says) for name, source in SOURCES.items()}


def test_a_version_of_unknown_signals_is_not_served(lesson, tmp_path) -> None:
    """It would be ranked by what is left of its blend."""
    store, version = lesson.build.store, lesson.version.version
    manifest = lesson.version.model_copy(update={"weights": {**(lesson.version.weights or {}), "mood": 1.0}})
    made = store.folder(version) / "manifest.json"
    known = made.read_text()
    try:
        made.write_text(manifest.model_dump_json())
        with pytest.raises(VersionError, match="blends mood, which this release does not have; train again"):
            open_serve(store, version)
    finally:
        made.write_text(known)
