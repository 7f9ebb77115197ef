"""One spelling of ids, keywords and queries, wherever they come from: files, HTTP bodies, paths, filters.

The rule: Unicode's composed form (NFC), without white space at the ends. `é` written as one character or as `e` and an
accent is the same; case and width are kept, for `US` and `us` may be two things.
"""

from __future__ import annotations

import unicodedata

_SPACE = "\t\n\x0b\x0c\r \x85\xa0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a\u2028\u2029"
_SPACE += "\u202f\u205f\u3000"
"""Unicode's White_Space, which pydantic strips as well; Python's own `strip` adds four control characters."""


def canonical(text: str) -> str:
    """The text by that rule. Nearly all ids are ASCII, which NFC never changes."""
    return text.strip(_SPACE) if text.isascii() else unicodedata.normalize("NFC", text).strip(_SPACE)
