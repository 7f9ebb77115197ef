"""The training data of the ranking: the candidates that the served pipeline gathers for validation cases."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from recsys.datatypes import Floats
from recsys.evaluation.offline import Offline
from recsys.evaluation.splits import Holdout
from recsys.ranking import known_features
from recsys.ranking.known_features import CONTEXT, NOTHING, USER, Attributes, Known
from recsys.ranking.signals import SIGNALS
from recsys.ranking.tree_ranker import features, ranks

Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

_CANDIDATES = 50
"""Items requested. With the sources of the home scenario this gives about 200 candidates."""


@dataclass(frozen=True, slots=True)
class CaseTable:
    """n candidates of c cases, each with a target among its candidates. Case i has `offsets[i]:offsets[i + 1]`."""

    signals: Floats
    """(n, len(SIGNALS)) float32."""
    hit: Bools
    """(n,) whether the candidate is a target of its case."""
    offsets: Ints
    """(c + 1,) int64."""
    history: Floats
    """(c,) float32 number of interactions in the user's profile."""
    session: Floats
    """(c,) float32 number of interactions in the current session."""
    sources: Ints
    """(n,) int64 bit mask of the sources that proposed the candidate."""
    users: Ints
    """(c,) int64 the user of the case, as a number."""
    cases: int
    """Number of all cases. Those without a target among their candidates are not in the table and score 0."""
    disliked: Bools | None = None
    """(n,) whether the user dislikes the candidate; None: nobody dislikes any."""
    known_names: tuple[str, ...] = ()
    """What is known of users and moments, see `ranking/known_features.py`."""
    known_values: Floats | None = None
    """(c, len(known_names)) float32; None: nothing is known."""

    @property
    def owners(self) -> Ints:
        """(n,) the case of each candidate."""
        return np.repeat(np.arange(len(self.offsets) - 1), np.diff(self.offsets))

    def ndcg(self, scores: Floats) -> npt.NDArray[np.float64]:
        """Return (c,) float64 NDCG@10. A case may have several targets. Ties rank the target last."""
        hits = np.flatnonzero(self.hit)
        owner = self.owners[hits]
        sizes = np.diff(self.offsets)[owner]
        starts = np.cumsum(sizes) - sizes
        rivals = np.arange(sizes.sum()) + np.repeat(self.offsets[owner] - starts, sizes)
        rank = np.add.reduceat(scores[rivals] >= np.repeat(scores[hits], sizes), starts, dtype=np.int64) - 1
        gain = np.bincount(owner, np.where(rank < 10, 1.0 / np.log2(rank + 2.0), 0.0), len(self.offsets) - 1)
        return gain / np.cumsum(1.0 / np.log2(np.arange(2, 12)))[np.minimum(np.bincount(owner), 10) - 1]

    def mean(self, scores: Floats) -> float:
        """Return the mean NDCG@10 over all cases."""
        return float(self.ndcg(scores).sum() / max(self.cases, 1)) if len(self.hit) else 0.0

    def best(self, scores: Floats, n: int) -> CaseTable:
        """Return the n best candidates of each case, for cases with a target among these.

        Targets further down are left out: kept beside only the best candidates, they would teach trees that a low score
        means a target.
        """
        near = ranks(self.offsets, scores) < n
        cases = np.add.reduceat(self.hit & near, self.offsets[:-1], dtype=np.int64) > 0
        keep = near & cases[self.owners]
        sizes = np.bincount(self.owners[keep], minlength=len(cases))[cases]
        return CaseTable(
            self.signals[keep],
            self.hit[keep],
            np.concatenate([[0], np.cumsum(sizes)]),
            self.history[cases],
            self.session[cases],
            self.sources[keep],
            self.users[cases],
            self.cases,
            None if self.disliked is None else self.disliked[keep],
            self.known_names,
            None if self.known_values is None else self.known_values[cases],
        )

    def features(self, scores: Floats) -> Floats:
        """Return (n, len(FEATURES) + len(known_names)) float32, see `ranking/tree_ranker.py`."""
        table = features(self.offsets, self.sources, self.signals, scores, self.history, self.session)
        return table if self.known_values is None else np.concatenate([table, self.known_values[self.owners]], axis=1)


@dataclass(frozen=True, slots=True)
class _Case:
    """The candidates of one case."""

    signals: Floats
    hit: Bools
    sources: Ints
    history: float
    session: float
    user: int
    disliked: Bools
    context: Attributes


def gather(offline: Offline, holdout: Holdout, known: Known = NOTHING) -> CaseTable:
    """Return the candidates, with their signals, that the version gathers for the cases. `known`: what there is beside
    events.
    """
    cases = list(_cases(offline, holdout, known))
    users = list(dict.fromkeys(holdout.histories.user_ids))
    attributes = [known.users.get(user, {}) for user in users] if known.users else []
    names = known_features.names_of(attributes, USER)
    if known.moments:
        names += known_features.names_of([case.context for case in cases], CONTEXT)
    values = None
    if names:
        rows = [known_features.told_apart(attributes[c.user] if attributes else {}, c.context) for c in cases]
        values = known_features.table(names, rows)
    none = np.zeros(0, np.int64)
    disliked = np.concatenate([none > 0, *(case.disliked for case in cases)])
    return CaseTable(
        signals=np.concatenate([np.zeros((0, len(SIGNALS)), np.float32), *(case.signals for case in cases)]),
        hit=np.concatenate([none > 0, *(case.hit for case in cases)]),
        offsets=np.cumsum([0, *(len(case.hit) for case in cases)]),
        history=np.array([case.history for case in cases], np.float32),
        session=np.array([case.session for case in cases], np.float32),
        sources=np.concatenate([none, *(case.sources for case in cases)]),
        users=np.array([case.user for case in cases], np.int64),
        cases=holdout.cases,
        disliked=disliked if disliked.any() else None,
        known_names=names,
        known_values=values,
    )


def _cases(offline: Offline, holdout: Holdout, known: Known) -> Iterator[_Case]:
    """Yield the cases with a target among their candidates."""
    place = {item: i for i, item in enumerate(holdout.train.item_ids)}
    number = {user: n for n, user in enumerate(dict.fromkeys(holdout.histories.user_ids))}
    none = np.zeros(0, np.int64)
    for first, gathered in offline.gathered(holdout, _CANDIDATES):
        candidates = gathered.candidates
        histories, sessions = gathered.histories, gathered.sessions
        items = np.fromiter((place.get(i, -1) for i in candidates.ids.strings()), np.int64, len(candidates.keys))
        for b, (start, end) in enumerate(zip(candidates.offsets[:-1], candidates.offsets[1:], strict=True)):
            case = first + b
            targets = holdout.targets[holdout.target_offsets[case] : holdout.target_offsets[case + 1]]
            hit = np.isin(items[start:end], targets)
            if hit.any():
                own, user_id = slice(start, end), holdout.histories.user_ids[case]
                against = none if holdout.disliked is None else holdout.disliked.of_user(case)
                yield _Case(
                    gathered.signals[own], hit, candidates.sources[own], histories[b], sessions[b], number[user_id],
                    np.isin(items[own], against), known.moment(user_id, holdout.target_ids(case)),
                )  # fmt: skip
