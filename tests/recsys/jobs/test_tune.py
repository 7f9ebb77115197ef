"""What `recsys tune` asks the settings: other queries to verify than to choose, of other users."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from recsys.config.encoder import EncoderSpec
from recsys.config.platform import Platform
from recsys.config.serving import Serving
from recsys.config.tuning import ShardTuning
from recsys.config.whole import Config
from recsys.data.interactions import Interactions
from recsys.jobs import tune
from recsys.jobs.tune import Tuning
from recsys.tuning.halving import Outcome, Target
from recsys.tuning.questions import Questions
from recsys.versions.store import VersionStore
from tests.support.people import build, publish
from tests.support.world import catalogue


def group(asked: Questions, name: str) -> np.ndarray:
    return np.stack([vector for vector, of in zip(asked.vectors, asked.groups, strict=True) if of == name])


def test_who_verifies_is_not_who_chose(tmp_path, monkeypatch):
    """Every second user likes one topic and the others another: the choice is made by the one, and proved by the other
    half. Texts and items are other ones, too.
    """
    store = VersionStore(tmp_path / "versions")
    manifest = publish(build(store))
    topics = list(dict.fromkeys(item.item_id.partition("-")[0] for item in catalogue()))[:2]
    rows = [(f"u{user:02}", f"{topics[user % 2]}-{n}", float(n)) for user in range(40) for n in range(6)]
    names, liked, times = zip(*rows, strict=True)
    asked: dict[bool, Questions] = {}

    class Asking:
        """In place of the search for settings."""

        def __init__(self, *given: Any) -> None:
            self._ask: Callable[[bool, int], Questions] = given[4]

        def run(self, _: Any) -> Outcome:
            asked.update({other: self._ask(other, 12) for other in (False, True)})
            return Outcome(None, (), {})

    monkeypatch.setattr(tune, "Halving", Asking)
    config = Config(
        Platform(data_dir=str(tmp_path / "data"), encoder=EncoderSpec(kind="hashing")), Serving(), ShardTuning()
    )
    work = Tuning.of(config, store, manifest)
    report = work.asked_by(Interactions.of(names, liked, times, catalogue=work.item_ids)).run(Target(0.9), ["flat"])
    assert (report.tastes_of, report.outcome.choice) == ("users", None)
    likes = {topic: work.texts[[name.startswith(topic) for name in work.item_ids]].mean(axis=0) for topic in topics}
    for other, topic in enumerate(topics):
        near = {name: group(asked[bool(other)], "tastes") @ middle for name, middle in likes.items()}
        assert (near[topic] > near[topics[1 - other]]).all()
    for kind in ("texts", "items"):
        first, others = (set(map(bytes, group(asked[other], kind))) for other in (False, True))
        assert first != others
