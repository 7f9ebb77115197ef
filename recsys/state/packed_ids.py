"""Ids as Redis keeps them in large numbers: one that is a UUID in hexadecimal takes 17 bytes instead of 32 or 36.

Most systems number events and requests by UUIDs. Redis keeps a hash of short entries in one piece of memory, so a
shorter id makes the hash smaller, and keeps more hashes short enough for it.
"""

from __future__ import annotations

_PLAIN, _DASHED = b"\0", b"\1"
"""How the text was spelt: 32 lowercase digits, or the same in groups of 8, 4, 4, 4 and 12. No id begins with either
character: ids have no control characters."""


def pack_id(text: str) -> str | bytes:
    """Return the id's packed form; the id itself where it has none."""
    if len(text) == 32:
        mark, digits = _PLAIN, text
    elif len(text) == 36:
        mark, digits = _DASHED, text.replace("-", "")
    else:
        return text
    try:
        packed = mark + bytes.fromhex(digits)
    except ValueError:
        return text
    return packed if unpack_id(packed) == text else text  # uppercase digits and spaces are read as well


def unpack_id(stored: bytes) -> str:
    """Return the id that was packed, or whose UTF-8 is stored."""
    if stored[:1] == _PLAIN:
        return stored[1:].hex()
    if stored[:1] == _DASHED:
        digits = stored[1:].hex()
        return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"
    return stored.decode()
