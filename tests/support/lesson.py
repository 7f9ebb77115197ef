"""What a model has learned from `people`: trained once, for every test that needs one and changes nothing of it."""

from __future__ import annotations

from dataclasses import dataclass

from recsys.config.serving import Serving
from recsys.datatypes import Floats
from recsys.encoders.catalogue import encode_all
from recsys.evaluation.splits import Holdout, leave_last_out
from recsys.model.trained import Trained
from recsys.training.trainer import Trainer
from recsys.versions.build import Build
from recsys.versions.manifest import Manifest
from recsys.versions.store import VersionStore
from tests.support.people import build, people, publish
from tests.support.world import catalogue


@dataclass(frozen=True)
class Lesson:
    """A model of `people`, what it learned from, and a store to publish it in."""

    build: Build
    """Tests publish versions in its store, and promote none of them there."""
    held: Holdout
    """What the model learned from, and the last like of everybody, which it did not see."""
    texts: Floats
    """(items, DIMENSION) vectors of the catalogue's passages."""
    trainer: Trainer
    model: Trained
    version: Manifest
    """The model, published."""

    @classmethod
    def learned(cls, store: VersionStore) -> Lesson:
        made, held = build(store), leave_last_out(people())
        texts, trainer = encode_all(made.encoder, catalogue()), Trainer(made, Serving())
        model = trainer.train(catalogue(), texts, held.train)
        assert model.attention is not None  # which tests of it need
        return cls(made, held, texts, trainer, model, publish(made, model))
