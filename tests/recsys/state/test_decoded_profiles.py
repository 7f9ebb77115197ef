"""What was decoded lately is never more than what the bytes say, and is bounded in bytes."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from recsys.datatypes import unknown_user
from recsys.state.decoded_profiles import DecodedProfiles

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
    for is_put, user, blob, version, unknown in steps:
        meaning = ((user, blob, version, len(unknown.taste)), (0.0, ""))
        if is_put:
            decoded.put(user, blob, version, unknown, meaning)
        assert decoded.get(user, blob, version, unknown) in (meaning, *([] if is_put else [None]))
        assert decoded.size <= 8


def test_the_oldest_leave_first():
    decoded = DecodedProfiles(most_bytes=2)
    for user in "abc":
        decoded.put(user, b"1", "v1", UNKNOWN, (UNKNOWN, (0.0, user)))
    assert [decoded.get(user, b"1", "v1", UNKNOWN) is None for user in "abc"] == [True, False, False]
    assert decoded.get("c", None, "v1", UNKNOWN) is None
