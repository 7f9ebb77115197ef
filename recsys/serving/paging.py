"""Pages of a list: the first ranks it, the others are cut from what was ranked then.

The list is frozen in Redis. A later page takes the next items of it, and leaves out those that are gone or that the
user has seen meanwhile: so no write, no event and no other version moves an item to another page. Diversity and caps
are applied to the list as a whole. Where it ends, the best of what is not in it is ranked and put behind it, with caps
and diversity that go on from what is in it.

Where the list cannot be read, because Redis is away or has lost it, the page is ranked anew without the items of the
token's sketch, and `degraded` says `pages`.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence

import numpy as np
from msgspec import structs
from redis.asyncio import Redis
from redis.exceptions import RedisError

from recsys.answers import Recommendation, Slate
from recsys.datatypes import Item, Keys, RecQuery, item_keys
from recsys.errors import Unavailable
from recsys.ranking.served_version import Serve
from recsys.ranking.slate_notes import FEWER
from recsys.serving.page_tokens import LIVES_S, NO_LIST, PageToken, fingerprint, read, written
from recsys.serving.shown_sketch import ShownSketch
from recsys.state.page_lists import PageItem, PageList, PageLists
from recsys.state.presence import secret

FIRST = "first"
"""What is asked for instead of a token."""
DEGRADED = "pages"
"""The list of an earlier page could not be read, or this one's not be kept."""
RANKED = 300
"""Items that are ranked at a time: to spread them takes some 20 ms."""
_DEEPEST = 1000
"""Items that are ranked where the list is lost and many were shown."""
_SPARE = 20
"""Items looked up beyond those wanted, for some may be gone."""

Rank = Callable[[RecQuery], Awaitable[Slate]]
Lookup = Callable[[Sequence[str]], Awaitable[tuple[Mapping[str, Item], Sequence[str]]]]
Seen = Callable[[str], Awaitable[tuple[Keys, Sequence[str]]]]


class Pager:
    """`items` gives what is there of some ids, and the parts that did not answer. `seen` gives the keys of what a user
    has seen, and the same. `serve` is the version of the answers.
    """

    def __init__(self, redis: Redis, items: Lookup, seen: Seen, serve: Callable[[], Serve]) -> None:
        self._redis = redis
        self._lists = PageLists(redis, LIVES_S)
        self._items = items
        self._seen = seen
        self._serve = serve
        self._secret: bytes | None = None

    async def ready(self) -> None:
        """Read what signs tokens, so that pages do not need Redis for it. It is read later where Redis is away."""
        with contextlib.suppress(Unavailable):
            await self._key()

    async def page(self, query: RecQuery, text: str | None, page: str, rank: Rank) -> Slate:
        """The page, with the token of the next one where there is more.

        `page`: a token, or `first`. `text`: what is searched for; None: nothing is. `rank` answers a query by itself.
        Raises BadInput and PageExpired as `page_tokens.read`, Unavailable where the secret that signs was never read.
        """
        key, mine = await self._key(), fingerprint(query, text)
        if page == FIRST:
            return await self._anew(query, mine, ShownSketch(), rank)
        token = read(page, key, mine)
        try:
            frozen = None if token.list_id == NO_LIST else await self._lists.load(token.list_id)
        except (RedisError, OSError):
            frozen = None
        if frozen is not None:
            return await self._cut(query, token, frozen, rank)
        slate = await self._anew(query, mine, token.shown, rank)
        return structs.replace(slate, degraded=tuple(dict.fromkeys((*slate.degraded, DEGRADED))))

    async def _anew(self, query: RecQuery, mine: bytes, shown: ShownSketch, rank: Rank) -> Slate:
        """Rank, freeze what was not shown, and answer its begin."""
        deep = min(RANKED + shown.count, _DEEPEST)
        ranked = await rank(structs.replace(query, k=deep, request_id=None, noted=False))
        kept = ranked.items
        if shown.count and kept:
            fresh = ~shown.holds([item.item_id for item in kept])
            kept = tuple(item for item, new in zip(kept, fresh.tolist(), strict=True) if new)
        frozen = PageList(tuple(map(_frozen, kept)), ended=len(ranked.items) < deep)
        list_id = NO_LIST if ranked.degraded else await self._freeze(os.urandom(len(NO_LIST)), frozen)
        chosen = [structs.replace(item, rank=shown.count + n) for n, item in enumerate(kept[: query.k], start=1)]
        lacking = () if list_id != NO_LIST or ranked.degraded else (DEGRADED,)
        place, more = len(chosen), len(kept) > len(chosen) or not frozen.ended
        token = self._token(mine, list_id, place, shown, chosen)
        return self._slate(query, chosen, (*ranked.degraded, *lacking), ranked, token if more else None)

    async def _cut(self, query: RecQuery, token: PageToken, frozen: PageList, rank: Rank) -> Slate:
        """The items of the list that follow, ranked on where it ends."""
        chosen: list[Recommendation] = []
        place, list_id = token.place, token.list_id
        degraded: list[str] = []
        while len(chosen) < query.k:
            window = frozen.items[place : place + query.k - len(chosen) + _SPARE]
            if not window:
                if frozen.ended:
                    break
                longer, lacking = await self._longer(query, frozen, rank)
                degraded += lacking
                list_id = NO_LIST if lacking else await self._freeze(list_id, longer)
                if len(longer.items) == len(frozen.items):
                    frozen = longer
                    break
                frozen = longer
                continue
            there, lacking = await self._there(query, window)
            degraded += lacking
            for item in window:
                place += 1
                if item.item_id in there:
                    chosen.append(_thawed(item, there[item.item_id], token.shown.count + len(chosen) + 1))
                    if len(chosen) == query.k:
                        break
        if list_id == NO_LIST and not degraded:
            degraded.append(DEGRADED)
        more = place < len(frozen.items) or not frozen.ended
        following = self._token(token.fingerprint, list_id, place, token.shown, chosen)
        return self._slate(query, chosen, degraded, None, following if more else None)

    async def _longer(self, query: RecQuery, frozen: PageList, rank: Rank) -> tuple[PageList, Sequence[str]]:
        """The list with the best of what is not in it behind it, and the parts that did not answer."""
        ids = [item.item_id for item in frozen.items]
        deeper = structs.replace(query, k=RANKED, exclude=(*query.exclude, *ids), after=tuple(ids), request_id=None)
        ranked = await rank(structs.replace(deeper, noted=False))
        ended = len(ranked.items) < RANKED and not ranked.degraded
        return PageList((*frozen.items, *map(_frozen, ranked.items)), ended), ranked.degraded

    async def _there(self, query: RecQuery, window: Sequence[PageItem]) -> tuple[Mapping[str, Item], Sequence[str]]:
        """What of the window may still be shown, and the parts that did not answer."""
        ids = [item.item_id for item in window]
        items, lacking = await self._items(ids)
        now = time.time()
        items = {item_id: item for item_id, item in items.items() if _shows(item, now)}
        if query.user_id is None or query.include_seen:
            return items, lacking
        seen, without = await self._seen(query.user_id)
        unseen = ~np.isin(item_keys(ids), seen)
        kept = {
            item_id: items[item_id]
            for item_id, new in zip(ids, unseen.tolist(), strict=True)
            if new and item_id in items
        }
        return kept, (*lacking, *without)

    async def _freeze(self, list_id: bytes, pages: PageList) -> bytes:
        """The list's id, once Redis has it; NO_LIST where Redis does not take it."""
        try:
            await self._lists.save(list_id, pages)
        except (RedisError, OSError):
            return NO_LIST
        return list_id

    def _token(
        self, mine: bytes, list_id: bytes, place: int, shown: ShownSketch, chosen: Sequence[Recommendation]
    ) -> str:
        after = shown.with_items([item.item_id for item in chosen])
        assert self._secret is not None
        return written(PageToken(mine, list_id, place, after, int(time.time()) + LIVES_S), self._secret)

    def _slate(
        self,
        query: RecQuery,
        chosen: Sequence[Recommendation],
        degraded: Sequence[str],
        ranked: Slate | None,
        token: str | None,
    ) -> Slate:
        serve = self._serve()
        notes = tuple(note for note in (ranked.notes if ranked else ()) if note != FEWER)
        return Slate(
            items=tuple(chosen),
            index_version=ranked.index_version if ranked else serve.version,
            model_version=ranked.model_version if ranked else serve.model,
            degraded=tuple(dict.fromkeys(degraded)),
            notes=(*notes, *((FEWER,) if 0 < len(chosen) < query.k else ())),
            stages=ranked.stages if ranked else {},
            batch=ranked.batch if ranked else None,
            next_page=token,
        )

    async def _key(self) -> bytes:
        if self._secret is None:
            try:
                self._secret = await secret(self._redis)
            except (RedisError, OSError) as error:
                raise Unavailable("what signs pages cannot be read; try again, or ask without `page`") from error
        return self._secret


def _shows(item: Item, now: float) -> bool:
    """Whether answers may have the item at this moment, in Unix seconds."""
    begins, ends = item.available_from, item.available_until
    return not item.hidden and (begins is None or begins <= now) and (ends is None or now < ends)


def _frozen(item: Recommendation) -> PageItem:
    return PageItem(item.item_id, item.score, item.source, item.reasons, item.signals, item.contributions)


def _thawed(frozen: PageItem, item: Item, rank: int) -> Recommendation:
    """With the title of today."""
    return Recommendation(
        frozen.item_id, item.title, rank, frozen.score, frozen.source, frozen.reasons, frozen.signals,
        frozen.contributions,
    )  # fmt: skip
