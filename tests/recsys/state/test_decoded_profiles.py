"""What was decoded lately is never more than what the bytes say, is bounded in bytes, and goes with its user."""

from __future__ import annotations

import gc
import weakref
from itertools import count, product
from types import SimpleNamespace

from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs

from recsys.datatypes import unknown_user
from recsys.state import profile_cache, redis_keys
from recsys.state.decoded_profiles import DecodedProfiles
from recsys.state.profile_cache import PAGE
from recsys.state.profile_codec import Cached
from recsys.state.users import UserStore
from tests.support.user_store import append, event, loaded, save

UNKNOWN, OTHER = unknown_user(3), unknown_user(4)

STEPS = st.lists(
    st.tuples(
        st.booleans(),
        st.sampled_from(["u", "v", "w"]),
        st.binary(min_size=1, max_size=6),
        st.sampled_from(["v1", "v2"]),
        st.sampled_from([UNKNOWN, OTHER]),
    )
)


@given(STEPS)
def test_only_the_same_bytes_for_the_same_version_are_what_they_were(steps):
    """Whatever came before, and however little room there is."""
    decoded = DecodedProfiles(most_bytes=8)
    blobs = {(user, blob) for _, user, blob, _, _ in steps}
    for is_put, user, blob, version, unknown in steps:
        meaning = Cached(unknown, 0.0, f"{user} {blob!r} {version}")
        if is_put:
            decoded.put(user, blob, version, unknown, meaning)
        assert decoded.get(user, blob, version, unknown) in (meaning, *([] if is_put else [None]))
        kinds = list(product(blobs, ["v1", "v2"], [UNKNOWN, OTHER]))
        kept = {(user, blob) for (user, blob), v, kind in kinds if decoded.get(user, blob, v, kind) is not None}
        assert sum(len(blob) for _, blob in kept) <= 8


def test_the_oldest_leave_first():
    decoded = DecodedProfiles(most_bytes=2)
    for user in "abc":
        decoded.put(user, b"1", "v1", UNKNOWN, Cached(UNKNOWN, 0.0, user))
    assert [decoded.get(user, b"1", "v1", UNKNOWN) is None for user in "abc"] == [True, False, False]
    assert decoded.get("c", None, "v1", UNKNOWN) is None


async def test_a_look_for_erased_users_rests_between_its_trips(redis, monkeypatch) -> None:
    """Requests have the event loop meanwhile; behind the last trip there is nothing to rest for. However slow a trip
    is, the rests are three seconds together at the most.
    """
    rests: list[float] = []
    clock = count(step=60)

    async def rest(seconds: float) -> None:
        rests.append(seconds)

    monkeypatch.setattr(profile_cache, "asyncio", SimpleNamespace(sleep=rest))
    monkeypatch.setattr(profile_cache, "time", SimpleNamespace(monotonic=lambda: float(next(clock))))
    users = [f"u{n}" for n in range(2 * PAGE + 1)]
    assert await UserStore(redis, ttl_s=1000, history=5).profiles.drop_outdated(users) == users
    assert len(rests) == 2
    assert 0.0 < sum(rests) <= 3.0


def test_a_remembered_profile_is_one_object_to_the_garbage_collector():
    """It visits each once, when 20,000 have come, and requests wait: of ten thousand users there were five of each."""
    decoded, profiles = DecodedProfiles(), [structs.replace(UNKNOWN, sequence=n) for n in range(100)]
    gc.collect()
    before = len(gc.get_objects())
    for n, profile in enumerate(profiles):
        decoded.put(f"u{n}", b"1", "v1", UNKNOWN, Cached(profile, 0.0, "e"))
    gc.collect()
    assert len(gc.get_objects()) - before < 20


async def test_an_erased_user_leaves_the_memory_of_every_process(redis) -> None:
    """Also one whose new history began meanwhile, and one who expired; the profiles of others stay."""
    here, there = (UserStore(redis, ttl_s=1000, history=5) for _ in range(2))
    for number, user in enumerate(("erased", "back", "expired", "stays")):
        await save(there, await append(there, event(number, "a", user)), user=user)
    tastes = {user: [weakref.ref((await loaded(store, user=user)).taste) for store in (here, there)]
              for user in ("erased", "back", "expired", "stays")}  # fmt: skip
    assert all(taste() is not None for pair in tastes.values() for taste in pair)
    for user in ("erased", "back"):
        await here.erase(user)
    await append(here, event(9, "a", "back", at=4e9))
    await redis.delete(redis_keys.sequence("expired"))
    for store in (here, there):
        assert sorted(await store.profiles.drop_outdated(["never came"])) == ["erased", "expired", "never came"]
    assert {user: [taste() is None for taste in pair] for user, pair in tastes.items()} == {
        "erased": [True, True], "back": [True, True], "expired": [True, True], "stays": [False, False],
    }  # fmt: skip
