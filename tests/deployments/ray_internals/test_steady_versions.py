"""Which replicas Serve restarts when `args` change: those of which something has changed."""

from __future__ import annotations

import pytest

from recsys.config.platform import Platform

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # Ray's own, when it is imported


def versions(**args: object) -> dict[str, str | None]:
    """Version by deployment, as Serve's controller is handed it."""
    from ray.serve._private.build_app import build_app as built  # noqa: PLC0415 - takes seconds

    from deployments.app import AppArgs, build_app  # noqa: PLC0415
    from deployments.ray_internals.steady_versions import handed_version  # noqa: PLC0415

    deployments = built(build_app(AppArgs(**args)), name="recsys").deployments
    return {one.name: handed_version(one, "of the application") for one in deployments}


def test_another_number_of_shards_restarts_nothing() -> None:
    """The version of every deployment that stays is the same, also where a default is written down."""
    two, three = versions(shards=2), versions(shards=3, routing={"by": "hash"}, keep_versions=3)
    assert three.keys() - two.keys() == {"shard-2"}
    assert {name: three[name] for name in two} == two
    assert len(set(three.values())) == 1


def test_any_other_argument_restarts_all() -> None:
    """They are what replicas are made with."""
    assert Platform().keep_versions != 4
    assert set(versions().values()).isdisjoint(versions(keep_versions=4).values())
