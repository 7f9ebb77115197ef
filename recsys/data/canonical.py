"""The canonical spelling of ids, keywords and queries from files, HTTP bodies, paths and filters.

It is Unicode's composed form (NFC) without white space at the ends. `é` as one character equals `e` with a combining
accent. Case and width are kept: `US` and `us` may be different things.
"""

from __future__ import annotations

import unicodedata

_SPACE = "\t\n\x0b\x0c\r \x85\xa0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a\u2028\u2029"
_SPACE += "\u202f\u205f\u3000"
"""Unicode's White_Space, which pydantic strips too. Python's `strip` would also remove four control characters."""


def canonical(text: str) -> str:
    """Return the canonical spelling of a text. NFC never changes ASCII, which nearly all ids are."""
    return text.strip(_SPACE) if text.isascii() else unicodedata.normalize("NFC", text).strip(_SPACE)
