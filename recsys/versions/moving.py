"""The end of a move to other shards: from then on one layout is written, and the logs of the other expire."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from redis.asyncio import Redis

from recsys.errors import RuntimeFailure
from recsys.routing import Layout
from recsys.state.layouts import ensure, keep_only
from recsys.state.membership import ComposerMember
from recsys.state.presence import everyone
from recsys.versions.promotion import alone
from recsys.versions.store import VersionStore

_LOOK_S = 0.2


async def under_way(store: VersionStore, redis: Redis) -> Sequence[Layout]:
    """Return the layouts that are written beside that of the version to serve; none: no move is under way."""
    current = store.current()
    if current is None:
        return ()
    served = store.manifest(current).built_for
    return [layout for layout in (await ensure(redis, served)).written if layout != served]


async def end_move(store: VersionStore, redis: Redis, within_s: float) -> Sequence[Layout]:
    """Keep the layout of the version to serve, and end the others. Return those that were ended.

    Whether that completes a move or gives one up is decided by what is promoted. Until this no write is missing in
    either, and a rollback between them loses nothing. Waits until every composer serves a version of the layout that
    stays; one that is silent counts until its record is deleted, after three minutes. Raises RuntimeFailure after
    `within_s` seconds: the move is still under way then.
    """
    deadline = asyncio.get_running_loop().time() + within_s
    while await under_way(store, redis):
        ended, behind = await try_to_end(store, redis)
        if not behind:
            return ended
        if asyncio.get_running_loop().time() > deadline:
            raise RuntimeFailure(
                f"{len(behind)} composers do not serve {store.current()} after {within_s:.0f} s, such as {behind[0]}; "
                "nothing is lost, and the same command goes on; `recsys status` says what they wait for"
            )
        await asyncio.sleep(_LOOK_S)
    return ()


async def try_to_end(store: VersionStore, redis: Redis) -> tuple[Sequence[Layout], Sequence[str]]:
    """As `end_move`, now or not at all. Return the layouts that were ended, and the composers that are in the way."""
    async with alone(redis):  # no promotion or rollback between the look and the end
        stays = store.manifest(store.current() or "").built_for
        if behind := await _elsewhere(store, redis, stays):
            return (), behind
        return await keep_only(redis, stays), ()


async def _elsewhere(store: VersionStore, redis: Redis, stays: Layout) -> list[str]:
    """Return the ids of composers that serve a version of another layout, or none yet."""
    composers = [one for one in await everyone(redis, silent_too=True) if isinstance(one, ComposerMember)]
    layouts = {one.version: one.built_for for one in store.versions()}

    def is_there(one: ComposerMember) -> bool:
        answers_by = [one.serving] if one.tries is None else [one.serving, one.tries]
        return all(version is not None and layouts.get(version) == stays for version in answers_by)

    return [one.id for one in composers if not is_there(one)]
