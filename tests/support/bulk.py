"""Bulk answers on the shards of a world."""

from __future__ import annotations

from recsys.serving.bulk_answers import BulkAnswers
from recsys.serving.members_view import MembersView
from recsys.versions.store import VersionStore


def beside(world, monkeypatch) -> BulkAnswers:
    """On the same shards; the world's store is not where its `data_dir` says."""
    monkeypatch.setattr(VersionStore, "of", lambda _: world.store)
    members = MembersView(world.redis, "batch")
    return BulkAnswers(world.platform, world.gateway.settings, world.redis, world.clients.__getitem__, members)
