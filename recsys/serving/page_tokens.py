"""What a page's token says: signed, so that nobody makes one up, and short enough for a query string.

218 bytes at the most, 291 characters: when it expires, a digest of the query, the list that the page is of and the
place in it, and a sketch of the items that were shown. The sketch is for the time when the list cannot be read.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import struct
import time
from dataclasses import dataclass

import msgspec

from recsys.datatypes import RecQuery
from recsys.errors import BadInput, PageExpired
from recsys.serving.shown_sketch import ShownSketch

LIVES_S = 1800
"""Seconds after which a token has expired; those of the next page live as long again."""
_FORMAT = 1
_HEAD = struct.Struct("<BI8s8sHI")
_SIGNATURE_BYTES = 12
NO_LIST = bytes(8)


@dataclass(frozen=True, slots=True)
class PageToken:
    fingerprint: bytes
    """8 bytes, of the query."""
    list_id: bytes
    """8 bytes; zeros: of no list."""
    place: int
    """Items of the list that are behind this page."""
    shown: ShownSketch
    """Of all items that were shown."""
    expires: int
    """Unix seconds."""


def written(token: PageToken, secret: bytes) -> str:
    head = _HEAD.pack(_FORMAT, token.expires, token.fingerprint, token.list_id, token.place, token.shown.count)
    signed = head + token.shown.bytes
    return _text(signed + _signature(signed, secret))


def read(text: str, secret: bytes, fingerprint: bytes) -> PageToken:
    """Raises BadInput for what is no token, or one of another query, and PageExpired."""
    content = _content(text)
    signed, signature = content[:-_SIGNATURE_BYTES], content[-_SIGNATURE_BYTES:]
    if len(signed) < _HEAD.size or not hmac.compare_digest(signature, _signature(signed, secret)):
        raise BadInput("page: is no token of this platform; send next_token as it came, or `first`", field="page")
    _, expires, mine, list_id, place, count = _HEAD.unpack_from(signed)
    if expires < time.time():
        raise PageExpired(f"page: the token has expired, {LIVES_S // 60} minutes after its page; begin with `first`")
    if mine != fingerprint:
        raise BadInput(
            "page: is of another query; a page has the user, text, item, scenario, filter and options of the first one",
            field="page",
            code="page_differs",
        )
    return PageToken(mine, list_id, place, ShownSketch(signed[_HEAD.size :], count), expires)


def fingerprint(query: RecQuery, text: str | None) -> bytes:
    """8 bytes of all that decides what a query's list holds; `k` may change from page to page."""
    decides = (
        query.scenario, query.user_id, text, query.like_item, query.filter, query.exclude, query.include_seen,
        query.diversity, query.explore, query.rules, sorted(query.context.items()),
        [(event.item_id, event.type, event.value) for event in query.basket],
    )  # fmt: skip
    return hashlib.blake2b(msgspec.msgpack.encode(decides), digest_size=8).digest()


def _text(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()


def _content(text: str) -> bytes:
    """Return what a text of `_text` holds, and nothing of any other text.

    Decoders take several texts for the same content: `/` for `_`, padding, other unused bits in the last character.
    """
    try:
        content = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    except (ValueError, binascii.Error):
        return b""
    return content if _text(content) == text else b""


def _signature(signed: bytes, secret: bytes) -> bytes:
    return hashlib.blake2b(signed, key=secret, person=b"page", digest_size=_SIGNATURE_BYTES).digest()
