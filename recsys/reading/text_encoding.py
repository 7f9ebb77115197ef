"""Detection of a text's encoding from its first bytes.

Bytes that are valid UTF-8 are read as UTF-8: texts in other encodings are hardly ever valid. charset-normalizer
distinguishes scripts, but not the Western encodings by a few accents (it takes `Café Müller` for cp1250). Those are
read as cp1252, a superset of Latin-1's printable characters.
"""

from __future__ import annotations

import codecs
from itertools import islice

_BOMS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_ENOUGH = 200
"""Least bytes outside ASCII from which the script of a text can be determined."""
_WESTERN: tuple[str, ...] = (
    "ascii",
    "cp1252",
    "cp1250",
    "cp1254",
    "cp1257",
    "cp1258",
    "cp437",
    "cp775",
    "cp85",
    "cp86",
    "cp500",
    "cp037",
)
_WESTERN += ("latin", "iso8859_1", "iso8859_2", "iso8859_3", "iso8859_4", "iso8859_9", "hp_roman8", "mac_", "cp1140")
"""Prefixes of the names that charset-normalizer gives to encodings of Latin letters."""
_CYRILLIC_DOS = ("cp855", "cp866", "mac_cyrillic")
"""Encodings that have a prefix of _WESTERN and are Cyrillic."""
_LINES = 500
"""Lines outside ASCII that are given to charset-normalizer."""


def encoding_of(sample: bytes) -> str:
    """Return the name of a Python codec. `sample`: the first bytes of a file; its last character may be cut."""
    for mark, name in _BOMS:
        if sample.startswith(mark):
            return name
    if sample.isascii():
        return _wide(sample) or "utf-8"
    valid, broken = _utf8_characters(sample)
    if valid > broken or not broken:
        return "utf-8"
    return _wide(sample) or _legacy(sample)


def _utf8_characters(sample: bytes) -> tuple[int, int]:
    """Return the number of valid UTF-8 characters outside ASCII, and of invalid bytes."""
    try:
        sample.decode()
    except UnicodeDecodeError as error:
        if error.reason == "unexpected end of data":  # the last character is cut
            sample = sample[: error.start]
    outside = [char for char in sample.decode("utf-8", "surrogateescape") if not char.isascii()]
    broken = sum("\udc80" <= char <= "\udcff" for char in outside)
    return len(outside) - broken, broken


def _wide(sample: bytes) -> str | None:
    """Return UTF-16 without a byte order mark, where every other byte of ASCII text is zero. None: it is not that."""
    part = sample[:4096]
    if len(part) < 8 or b"\0" not in part:
        return None
    even, odd = part[::2].count(0), part[1::2].count(0)
    half = len(part) // 2
    if odd > 0.4 * half and even < 0.1 * half:
        return "utf-16-le"
    return "utf-16-be" if even > 0.4 * half and odd < 0.1 * half else None


def _legacy(sample: bytes) -> str:
    lines = (line for line in sample.splitlines() if not line.isascii())
    telling = b"\n".join(islice(lines, _LINES))
    if sum(byte > 127 for byte in telling) >= _ENOUGH:
        from charset_normalizer import from_bytes  # noqa: PLC0415 - only files in old encodings need it

        best = from_bytes(telling).best()
        if best is not None and (best.encoding in _CYRILLIC_DOS or not best.encoding.startswith(_WESTERN)):
            return best.encoding
    try:
        telling.decode("cp1252")
    except UnicodeDecodeError:
        return "latin-1"
    return "cp1252"
