"""Training of a model: hyperparameters and ranking on the validation set, everything else on all interactions."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields, replace

import numpy as np
import scipy.sparse as sp

from recsys.config.serving import Serving
from recsys.data.interactions import Interactions, faded, taste_rows
from recsys.datatypes import Floats, Item
from recsys.encoders.catalogue import Progress
from recsys.evaluation.metrics import per_case
from recsys.evaluation.splits import Holdout, Split, rolling
from recsys.evaluation.trial import trial
from recsys.model.attention import Attention
from recsys.model.card import ModelCard, Negatives
from recsys.model.space import Space
from recsys.model.trained import Trained, looks_at
from recsys.ranking.known_features import NOTHING, Known
from recsys.training.blend import START, blended, choose_weights, scaled
from recsys.training.case_table import gather
from recsys.training.factors import Factors, factorise, from_text
from recsys.training.item_operators import Matrix, follows, strongest
from recsys.training.negatives import judge
from recsys.training.parameter_search import Grams, Parameters, choose, ranked
from recsys.training.ranker_training import train_ranker
from recsys.tuning.measuring import refuse_hopeless
from recsys.versions.build import Build, Content, by_text

DIMENSION = 128
"""Length of item and context factors, the learned part of a vector; see docs/training.md."""
_NEAR = 100
"""Neighbours of an item: on validation as good as 400."""
_FOLLOWS = 50
"""Followers of an item, see `item_operators.follows`."""
_RIDGE = 10.0
"""Regularisation of the map from texts, which are unit vectors, to factors. On validation 3 to 30 rank new films alike.
"""
_TEXT_WEIGHTS = (0.02, 0.05, 0.1, 0.2, 0.4)
"""Weights of the text part to try."""
_RANKED = 6000
"""Most validation cases that the ranking learns from."""
_SAMPLE = 1000
"""Users whose scores determine the scale."""
_SCORES = 20_000_000
"""Scores in memory at a time: 80 MB."""


@dataclass(frozen=True, slots=True)
class Trainer:
    """Trains models. `build` describes the versions; nothing is written to its store. `split` separates the validation
    set, on which hyperparameters are chosen.
    """

    build: Build
    settings: Serving
    seed: int = 7
    split: Split = rolling
    rank: bool = True
    """Whether a tree ranker may be trained."""
    known: Known = NOTHING
    """What there is beside events, which trees may look at."""

    def train(
        self, items: Sequence[Item], texts: Floats, data: Interactions, say: Progress = lambda *_: None
    ) -> Trained:
        """Return a model of `data`, which has the item ids of `items`. `texts`: their (I, d) float32 unit vectors.

        Raises VersionError, before anything is learned, when no permitted index setting would reach the recall.
        """
        start = time.perf_counter()
        refuse_hopeless(texts, self.build.platform.index, self.build.tuning.ef_search)
        holdout, sha256 = self.split(data), data.sha256()
        chosen = choose(holdout, self.seed, say)
        parameters, quality = chosen.parameters, chosen.quality
        factors = factorise(chosen.operator, DIMENSION, self.seed)
        attention, negatives = self._network(holdout, factors, say)
        first = self._assemble(texts, holdout.train, chosen.operator, factors, attention, parameters)
        del chosen  # free the operator, the largest object here
        if negatives is None or not negatives.used:
            holdout, data = replace(holdout, disliked=None), replace(data, disliked=None)
        first, ranking_quality = self._rank(first, items, texts, holdout, say)
        model = self._learn(texts, data, parameters, say, first)
        card = ModelCard(
            data_sha256=sha256,
            users=data.users,
            items=len(data.item_ids),
            events=len(data),
            until=data.until,
            seed=self.seed,
            seconds=round(time.perf_counter() - start, 1),
            parameters=asdict(parameters) | {"text_weight": model.space.text_weight},
            validation={"operator": quality, **ranking_quality},
            negatives=negatives,
        )
        return replace(model, weights=first.weights, ranker=first.ranker, card=card)

    def refit(self, trained: Trained, texts: Floats, data: Interactions, say: Progress = lambda *_: None) -> Trained:
        """Return a model of other interactions with the same hyperparameters, weights and trees."""
        chosen = {f.name: trained.card.parameters[f.name] for f in fields(Parameters)}
        negatives = trained.card.negatives
        if negatives is None or not negatives.used:
            data = replace(data, disliked=None)
        model = self._learn(texts, data, Parameters(**chosen), say, trained)
        return replace(model, weights=trained.weights, ranker=trained.ranker, card=trained.card)

    def _learn(
        self, texts: Floats, data: Interactions, parameters: Parameters, say: Progress, like: Trained
    ) -> Trained:
        """Return a model with the choices of `like`: text weight, balance, and whether it has an attention network."""
        say("learn", 0, 3)
        operator = Grams(data).operator(parameters.ridge)
        say("learn", 1, 3)
        factors = factorise(operator, DIMENSION, self.seed)
        say("learn", 2, 3)
        attend = like.attention is not None and looks_at("attention", like.weights, like.ranker)
        attention = _attention(data, factors, self.seed, say) if attend else None
        model = self._assemble(texts, data, operator, factors, attention, parameters)
        say("learn", 3, 3)
        chosen = {"text_weight": like.space.text_weight, "balance": like.space.balance}
        keywords = looks_at("affinity", like.weights, like.ranker)
        return replace(model, space=model.space.model_copy(update=chosen), keywords=keywords)

    def _network(self, holdout: Holdout, factors: Factors, say: Progress) -> tuple[Attention | None, Negatives | None]:
        """Return the network of the validation's training set, and whether it learned from dislikes; None: there are
        none.
        """
        train = holdout.train
        plain = _attention(replace(train, disliked=None), factors, self.seed, say)
        if not train.disliked:
            return plain, None
        with_dislikes = _attention(train, factors, self.seed, say)
        negatives = judge(with_dislikes, plain, holdout.sample(_RANKED, self.seed))
        return with_dislikes if negatives.used else plain, negatives

    def _assemble(
        self,
        texts: Floats,
        data: Interactions,
        operator: Matrix,
        factors: Factors,
        attention: Attention | None,
        parameters: Parameters,
    ) -> Trained:
        near, after = strongest(operator, _NEAR), strongest(follows(data), _FOLLOWS)
        counts = data.counts().astype(np.float32)
        scale = _scale(factors.contexts, factors.items, data, parameters)
        # The product of both changes by 1/scale only. Item factors of length 1 weigh as much as texts in the graph.
        length = float(np.sqrt((factors.items[counts > 0] ** 2).sum(axis=1).mean())) if counts.any() else 0.0
        length = length or 1.0  # no user has two items
        item_factors = factors.items / np.float32(length)
        contexts = factors.contexts * np.float32(length / scale)
        return Trained(
            item_ids=data.item_ids,
            items=item_factors,
            contexts=contexts,
            known=counts > 0,
            near=near / np.float32(scale),
            follows=_scaled(after),
            item_map=from_text(texts, item_factors, counts, _RIDGE),
            context_map=from_text(texts, contexts, counts, _RIDGE),
            attention=attention,
            keywords=True,
            space=Space(
                text=texts.shape[1],
                learned=DIMENSION,
                half_life=parameters.half_life,
                long_weight=parameters.long_weight,
            ),
            weights=START,
            ranker=None,
            card=_NO_CARD,
        )

    def _rank(
        self, model: Trained, items: Sequence[Item], texts: Floats, holdout: Holdout, say: Progress
    ) -> tuple[Trained, dict[str, float]]:
        """Return the model with text weight, blend and trees, learned from the candidates of a version of it."""
        cases = holdout.sample(_RANKED, self.seed)
        if not cases.cases:
            return replace(model, space=model.space.model_copy(update={"text_weight": _TEXT_WEIGHTS[1]})), {}
        model = self._with_text_weight(model, texts, cases)
        content = Content(items, by_text(items, texts))
        with trial(self.build, content, model, holdout.train, _learned(self.settings)) as offline:
            say("rank", 0, 3)
            model = replace(model, space=offline.serve.space)
            table = gather(offline, cases, self.known)
        say("rank", 1, 3)
        weights = scaled(table, choose_weights(table))
        quality = {"blend": table.mean(blended(table, weights))}
        say("rank", 2, 3)
        ranker = None
        if self.rank:
            ranker, quality["trees"] = train_ranker(table, weights, self.seed, self.build.threads)
        say("rank", 3, 3)
        return replace(model, weights=weights, ranker=ranker), quality

    def _with_text_weight(self, model: Trained, texts: Floats, cases: Holdout) -> Trained:
        """Return the model with the text weight that ranks all unseen items best. It is never 0: new items have only
        texts.
        """
        cases = cases.sample(max(_SCORES // len(texts), 1), self.seed)
        space = model.space
        rows = taste_rows(cases.histories, space.half_life, space.long_weight)
        learned = (rows @ model.contexts) @ model.items.T
        tastes = faded(cases.histories, self.settings.taste_half_life) @ texts
        alike = (tastes / np.maximum(np.linalg.norm(tastes, axis=1, keepdims=True), 1e-9)) @ texts.T
        qualities = [
            per_case(ranked(learned + np.float32(weight) * alike, cases.histories, 10), cases)["ndcg@10"].mean()
            for weight in _TEXT_WEIGHTS
        ]
        chosen = _TEXT_WEIGHTS[int(np.argmax(qualities))]
        return replace(model, space=space.model_copy(update={"text_weight": chosen}))


_NO_CARD = ModelCard(data_sha256="", users=0, items=0, events=0, seed=0, seconds=0.0, parameters={}, validation={})


def _attention(data: Interactions, factors: Factors, seed: int, say: Progress) -> Attention | None:
    from recsys.training.attention import train_attention  # noqa: PLC0415 - PyTorch, which takes seconds to import

    return train_attention(data, factors, seed, say)


def _learned(settings: Serving) -> Serving:
    """Return the settings with the home scenario as a trained version serves it."""
    home = settings.scenarios["home"].model_copy(update={"learned": True})
    return settings.model_copy(update={"scenarios": {**settings.scenarios, "home": home}})


def _scale(contexts: Floats, items: Floats, data: Interactions, parameters: Parameters) -> float:
    """Return the divisor with which 99.9 % of users' best scores are at most 1."""
    users = np.flatnonzero(data.lengths)
    if not len(users):
        return 1.0
    sample = data.select(np.random.default_rng(0).choice(users, min(_SAMPLE, len(users)), replace=False))
    best = ((taste_rows(sample, parameters.half_life, parameters.long_weight) @ contexts) @ items.T).max(axis=1)
    return max(float(np.quantile(best, 0.999)), 1e-6)


def _scaled(table: sp.csr_array) -> sp.csr_array:
    """Return the table scaled so that the sum over five likes, each decayed by 0.6, is at most 1.

    The largest possible sum is 2.3 times the largest weight.
    """
    top = float(table.data.max(initial=0.0))
    return table / np.float32(2.3 * top) if top else table
