"""What dislikes are worth as negatives of training, on MovieLens 100K: `python -m load_tests.parts.dislikes`.

A rating of 4 or 5 is a like, one of 1 or 2 a dislike. Half of everybody's dislikes, and everybody's last like, are kept
back. One model learns from the likes and the other half, one from the likes alone; both then rank for the same
histories of likes. What was kept back of the dislikes should come lower, and the like no lower.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from pathlib import Path
from unittest import mock

import numpy as np
import numpy.typing as npt
import orjson
from rich.console import Console
from rich.table import Table

from deployments.machine.serve_config import read_for_serve
from load_tests.comparison.bench import ROOT
from recsys.config.whole import Config
from recsys.data.dislikes import Dislikes
from recsys.data.interactions import Interactions
from recsys.data.movielens import Ml100k, fetch_ml100k
from recsys.encoders.catalogue import encode_all
from recsys.evaluation.metrics import per_case
from recsys.evaluation.splits import Holdout, leave_last_out
from recsys.evaluation.trial import trial
from recsys.model.card import Negatives
from recsys.reading.dataset_folder import read_folder
from recsys.reading.dialect import ReadOptions
from recsys.training import trainer
from recsys.training.trainer import Trainer
from recsys.versions.build import Build, Content, by_text

_AGAINST = -0.5
"""Weight of a dislike; training looks at its sign."""
_RESAMPLED = 2000
Shares = npt.NDArray[np.float64]


def rated(data: Ml100k, catalogue: list[str]) -> Interactions:
    rows = [orjson.loads(line) for line in data.events_file.read_bytes().splitlines()]
    rows = [row for row in rows if row["value"] != 3]
    weights = [1.0 if row["value"] > 3 else _AGAINST for row in rows]
    users, items, times = ([row[name] for row in rows] for name in ("user_id", "item_id", "timestamp"))
    return Interactions.of(users, items, [float(at) for at in times], weights, catalogue)


def low_shares(lists: npt.NDArray[np.int64], kept_back: Dislikes, told: Dislikes, depth: int) -> Shares:
    """(cases,) float64: of what was kept back of each user's dislikes, the share among the first `depth` of the list;
    NaN for users without any. What the user has told is no longer in the list, as in an answer.
    """
    shares = np.full(len(lists), np.nan)
    for user, row in enumerate(lists):
        wanted = kept_back.of_user(user)
        if len(wanted):
            shown = row[~np.isin(row, told.of_user(user))][:depth]
            shares[user] = np.isin(wanted, shown).mean()
    return shares


def interval(difference: Shares, seed: int) -> tuple[float, float, float]:
    """Mean and 95 % interval of a difference between the same users, by bootstrap over them."""
    values = difference[~np.isnan(difference)]
    draws = np.random.default_rng(seed).choice(values, (_RESAMPLED, len(values))).mean(axis=1)
    low, high = np.quantile(draws, [0.025, 0.975]).tolist()
    return float(values.mean()), low, high


def compared(config: Config, data: Ml100k, seed: int) -> dict[str, tuple[float, float, tuple[float, float, float]]]:
    """Measure -> with dislikes, without, and the difference with its interval."""
    quiet = lambda *_: None  # noqa: E731
    read = read_folder(data.items_file.parent, config.platform.attributes, quiet, ReadOptions())
    build = Build.of(config, quiet)
    texts = encode_all(build.encoder, read.items, quiet)
    test: Holdout = leave_last_out(rated(data, [item.item_id for item in read.items]))
    every, train = test.disliked, test.train
    assert every is not None
    assert train.disliked is not None
    half = np.random.default_rng(seed).random((train.users, len(train.item_ids))) < 0.5
    taught = train.disliked.where(half[train.disliked.owners, train.disliked.items])
    cases = np.searchsorted(np.array(train.user_ids), np.array(test.histories.user_ids))
    told = taught.select(cases)
    kept_back = every.where(~half[cases[every.owners], every.items])
    content, lists = Content(read.items, by_text(read.items, texts)), {}
    for name, disliked in (("with", taught), ("without", None)):
        learned_from = replace(train, disliked=disliked)
        trained = Trainer(build, config.serving, seed).train(read.items, texts, learned_from, quiet)
        if (negatives := trained.card.negatives) is not None:
            print(f"learned from dislikes: {negatives.used}; {negatives}")
        with trial(build, content, trained, learned_from, config.serving) as offline:
            lists[name] = offline.lists(test, quiet, diversity=0.0)
    measures = {
        f"kept-back dislikes among the first {depth}": {
            name: low_shares(found, kept_back, told, depth) for name, found in lists.items()
        }
        for depth in (10, 50)
    }
    measures["NDCG@10 of the last like"] = {name: per_case(found, test)["ndcg@10"] for name, found in lists.items()}
    return {
        what: (
            float(np.nanmean(each["with"])),
            float(np.nanmean(each["without"])),
            interval(each["with"] - each["without"], seed),
        )
        for what, each in measures.items()
    }


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m load_tests.parts.dislikes", description=__doc__)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--forced", action="store_true", help="Learn from dislikes whatever they are worth.")
    parser.add_argument("--config", type=Path, default=ROOT / "configs/local.yaml")
    parser.add_argument("--out", type=Path, default=ROOT / "var")
    given = parser.parse_args()
    if given.forced:
        forced = Negatives(used=True, reason="forced", gap=0, gap_error=0, shown=0, shown_error=0)
        mock.patch.object(trainer, "judge", return_value=forced).start()
    data = fetch_ml100k(given.out / "ml-100k", lambda _phase: None)
    outcome = compared(read_for_serve(given.config), data, given.seed)
    (given.out / "dislikes.json").write_text(json.dumps(outcome, indent=2) + "\n")
    table = Table("", "with dislikes", "without", "difference, 95 %")
    for what, (taught, plain, (mean, low, high)) in outcome.items():
        table.add_row(what, f"{taught:.4f}", f"{plain:.4f}", f"{mean:+.4f} [{low:+.4f}, {high:+.4f}]")
    Console(width=120).print(table)


if __name__ == "__main__":
    main()
