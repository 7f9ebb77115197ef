"""Evaluation of the served recommendations on held-out interactions, compared with published methods."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from recsys.config.serving import Serving
from recsys.config.whole import Config
from recsys.data.interactions import Interactions
from recsys.datatypes import Floats, Item
from recsys.encoders.catalogue import Progress, encode_all
from recsys.errors import BadInput
from recsys.evaluation.metrics import Ints, better, judge, per_case
from recsys.evaluation.offline import Offline
from recsys.evaluation.splits import Holdout, Split, by_time, leave_last_out, rolling
from recsys.evaluation.trial import trial
from recsys.model.trained import Trained
from recsys.reading.dataset_folder import read_folder
from recsys.reading.dialect import ReadOptions
from recsys.reading.judgement import FileTallies
from recsys.training import baselines
from recsys.training.trainer import Trainer
from recsys.versions.build import Build, Content, by_text
from recsys.versions.manifest import tuned_of
from recsys.versions.prerequisites import check_room, check_tools

PROTOCOLS: Mapping[str, tuple[Split, Split]] = {
    "leave-last-out": (leave_last_out, rolling),
    "temporal": (by_time, by_time),
}
"""By name: the split of the test set, and the split of the validation set from the remainder."""
_NEEDS = {
    "leave-last-out": "it needs users with three different items",
    "temporal": "it needs users with events before and in the last tenth of all",
}
_CONTROLLED = 1000
"""Most test cases on which controls are evaluated."""
_SHORT = 3
"""Interactions of a short history."""
_COLD_SHARE = 0.1
"""Share of items without interactions in the cold-start test."""


@dataclass(frozen=True, slots=True)
class Evaluation:
    """An evaluation. `data`: all interactions, with the item ids of `items`; `texts`: their (I, d) unit vectors.

    Parameters, weights and trees are chosen on the validation set, which is split from the training set. The test set
    is used once, at the end.
    """

    protocol: str
    items: Sequence[Item]
    texts: Floats
    data: Interactions
    build: Build
    settings: Serving
    seed: int = 7

    def run(self, say: Progress = lambda *_: None, *, with_baselines: bool = True) -> dict[str, Any]:
        """Return the JSON-ready report. Raises BadInput when the protocol leaves no test case."""
        test, validation_split = split_off(self.protocol, self.data), PROTOCOLS[self.protocol][1]
        trainer = Trainer(self.build, self.settings, self.seed, validation_split)
        start = time.perf_counter()
        trained = trainer.train(self.items, self.texts, test.train, say)
        train_s = time.perf_counter() - start
        report: dict[str, Any] = {
            "protocol": self.protocol,
            "users": self.data.users,
            "items": len(self.items),
            "events": len(self.data),
            "cases": test.cases,
            "tied_last": self.data.tied_last,
            "data_sha256": self.data.sha256(),
            "train_s": round(train_s, 1),
        }
        with self._served(trained, test.train) as offline:
            report["index"] = tuned_of(offline.manifest)
            lists = offline.lists(test, lambda done, of: say("serve", done, of), diversity=0.0)
            report["served"] = judge(lists, test, self.texts, self.seed)
            report["controls"] = self._controls(offline, test, say)
            report["short_histories"] = self._short(offline, test)
        report["model"] = trained.card.model_dump() | {"trees": trained.ranker is not None}
        report["cold_items"] = self._cold(trainer, trained, say)
        if with_baselines:
            report["baselines"], report["ahead_of"] = self._baselines(validation_split(test.train), test, lists, say)
        return report

    def _served(self, trained: Trained, interactions: Interactions) -> AbstractContextManager[Offline]:
        content = Content(self.items, by_text(self.items, self.texts))
        return trial(self.build, content, trained, interactions, self.settings)

    def _baselines(
        self, validation: Holdout, test: Holdout, served: Ints, say: Progress
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        judged: dict[str, Any] = {}
        ahead: dict[str, Any] = {}
        total = len(baselines.affordable(len(self.items)))
        for name, chosen, lists in baselines.run(validation, test):
            judged[name] = {**judge(lists, test, self.texts, self.seed), "parameters": dict(chosen)}
            ahead[name] = dict(better(served, lists, test))
            say("baselines", len(judged), total)
        return judged, ahead

    def _controls(self, offline: Offline, test: Holdout, say: Progress) -> dict[str, dict[str, float]]:
        """Return the metrics of the same cases with each control."""
        cases = test.sample(_CONTROLLED, self.seed)
        tried: dict[str, dict[str, Any]] = {
            "none": {"diversity": 0.0},
            **{f"diversity {share}": {"diversity": share} for share in (0.1, 0.3, 0.5)},
            **{f"explore {share}": {"diversity": 0.0, "explore": share} for share in (0.1, 0.2)},
        }
        shown = ("ndcg@10", "hr@10", "coverage", "novelty", "intra_list_distance", "cold_share")
        table = {}
        for key, kind in self.build.platform.attributes.items():
            if kind in ("keyword", "keyword[]") and any(item.attributes.get(key) for item in self.items):
                tried[f"at most 3 of one {key}"] = {"diversity": 0.0, "caps": {key: 3}}
        for number, (name, options) in enumerate(tried.items()):
            say("controls", number, len(tried))
            served = offline.changed(caps=options.pop("caps", {}))
            judged = judge(served.lists(cases, lambda *_: None, **options), cases, self.texts, self.seed)
            table[name] = {metric: float(judged[metric]) for metric in shown}  # type: ignore[arg-type]
        say("controls", len(tried), len(tried))
        return table

    def _short(self, offline: Offline, test: Holdout) -> dict[str, Any]:
        """Return the metrics with histories cut to the last three interactions, beside popularity."""
        cut = replace(test, histories=test.histories.where(test.histories.ages < _SHORT))
        score = baselines.popularity(baselines.matrix(test.train))
        lists, popular = offline.lists(cut, lambda *_: None, diversity=0.0), baselines.rank(score, cut)
        return {
            "known": _SHORT,
            "served": _means(lists, cut),
            "popularity": _means(popular, cut),
            "ahead": dict(better(lists, popular, cut, "hr@10")),
        }

    def _cold(self, trainer: Trainer, trained: Trained, say: Progress) -> dict[str, Any]:
        """Return the hit rate of a tenth of the items after training without their interactions, beside chance."""
        test, cold = cold_items(self.data, self.seed)
        if not test.cases:
            return {}
        model = trainer.refit(trained, self.texts, test.train, say)
        cases = test.sample(_CONTROLLED, self.seed)
        with self._served(model, test.train) as offline:
            lists = {e: offline.lists(cases, lambda *_: None, diversity=0.0, explore=e, k=10) for e in (0.0, 0.1, 0.2)}
        unseen = len(self.items) - cases.histories.lengths
        return {
            "items": int(cold.sum()),
            "cases": cases.cases,
            "served": {f"explore {e}": _means(served, cases)["hr@10"] for e, served in lists.items()},
            "random": float((10 / unseen).mean()),
        }


def evaluate(
    folder: Path,
    config: Config,
    options: ReadOptions,
    protocol: str,
    say: Progress = lambda *_: None,
    *,
    seed: int = 7,
    with_baselines: bool = True,
    tallies: FileTallies | None = None,
) -> dict[str, Any]:
    """Train on a part of the folder's interactions, and evaluate the recommendations on the rest.

    `folder`, `options` and `tallies`: see `dataset_folder.read_folder`. The report is that of `Evaluation.run`, with
    the seconds of encoding and the summary of the files. Raises BadInput, before the work, for files that cannot be
    used, and when the protocol leaves no test case.
    """
    platform = config.platform
    check_tools(platform, training=True)
    read = read_folder(folder, platform.attributes, say, options, tallies)
    split_off(protocol, read.data)
    build = Build.of(config, say)
    check_room(platform, build.store.root, len(read.items), training=True)
    start = time.perf_counter()
    texts = encode_all(build.encoder, read.items, say)
    encode_s = round(time.perf_counter() - start, 1)
    evaluation = Evaluation(protocol, read.items, texts, read.data, build, config.serving, seed)
    report = evaluation.run(say, with_baselines=with_baselines)
    return {**report, "encode_s": encode_s, "seed": seed, "files": read.summary}


def split_off(protocol: str, data: Interactions) -> Holdout:
    """Return the test set of a protocol. Raises BadInput when it has no case."""
    test = PROTOCOLS[protocol][0](data)
    if not test.cases:
        raise BadInput(f"{protocol} leaves nobody to judge by: {_NEEDS[protocol]}")
    return test


def cold_items(data: Interactions, seed: int) -> tuple[Holdout, np.ndarray]:
    """Return the cold-start test, and the (I,) bool of its items.

    A random tenth of the items is cold: training has no interaction with them. For each user who interacted with one,
    the last such item is to be predicted from the interactions with other items.
    """
    cold = np.random.default_rng(seed).random(len(data.item_ids)) < _COLD_SHARE
    is_cold = cold[data.items]
    train, kept = data.where(~is_cold), data.where(is_cold)
    users = np.flatnonzero((train.lengths > 0) & (kept.lengths > 0))
    last = kept.select(users)
    last = last.where(last.ages == 0)
    histories = train.select(users)
    # The history also has interactions after the target, so recommendations are requested at the time of the last.
    now = np.maximum(last.times, histories.times[histories.offsets[1:] - 1])
    return Holdout(train, histories, last.items, last.offsets, now), cold


def _means(lists: Ints, test: Holdout) -> dict[str, float]:
    return {name: float(values.mean()) for name, values in per_case(lists, test).items()}
