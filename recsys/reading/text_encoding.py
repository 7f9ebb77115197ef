"""Which encoding the bytes of a text are in.

Bytes that are UTF-8 are UTF-8: no other encoding gives that by chance. charset-normalizer tells the scripts of the
world apart, but not the Western encodings from each other by a few accents (it takes `Café Müller` for cp1250), so
those are read as cp1252, which is Latin-1 and what Windows adds to it.
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
"""Bytes outside ASCII from which on the script of a text can be told."""
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
"""Beginnings of the names of encodings of Latin letters, as charset-normalizer guesses them."""
_CYRILLIC_DOS = ("cp855", "cp866", "mac_cyrillic")
_LINES = 500


def encoding_of(sample: bytes) -> str:
    """Name of a codec of Python, for the first bytes of a file, of which the last character may be cut."""
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
    """Characters outside ASCII that are UTF-8, and bytes that are not."""
    try:
        sample.decode()
    except UnicodeDecodeError as error:
        if error.reason == "unexpected end of data":  # the last character is cut
            sample = sample[: error.start]
    outside = [char for char in sample.decode("utf-8", "surrogateescape") if not char.isascii()]
    broken = sum("\udc80" <= char <= "\udcff" for char in outside)
    return len(outside) - broken, broken


def _wide(sample: bytes) -> str | None:
    """UTF-16 without a mark: every other byte of its ASCII is zero."""
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
