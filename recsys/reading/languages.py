"""The approximate languages of texts: by script, and for Latin letters by the small words that every sentence has.

A language model would be more accurate. This is enough to see whether an English encoder suits a catalogue.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable

_SMALL_WORDS = {
    "English": "the of and in to a is for with on by from this that an are your it as at",
    "German": "der die das und in den von zu mit für auf ist ein eine im dem nicht des sich als",
    "French": "le la les de des et en un une du pour dans est sur avec au qui par il elle",
    "Spanish": "el la los las de y en un una del para con que es por su al como más se",
    "Italian": "il lo la gli le di e in un una del per con che è da al dei nel si",
    "Portuguese": "o a os as de e em um uma do da para com que é por no na dos ao",
    "Dutch": "de het een en van in op te voor met is dat die zijn aan niet er om bij uit",
}
_SCRIPTS = {
    "Cyrillic": re.compile(r"[\u0400-\u04ff]"),
    "Chinese or Japanese": re.compile(r"[\u3040-\u30ff\u3400-\u9fff]"),
    "Korean": re.compile(r"[\uac00-\ud7af]"),
    "Arabic": re.compile(r"[\u0600-\u06ff]"),
    "Greek": re.compile(r"[\u0370-\u03ff]"),
    "Hebrew": re.compile(r"[\u0590-\u05ff]"),
    "Indic": re.compile(r"[\u0900-\u0dff]"),
    "Thai": re.compile(r"[\u0e00-\u0e7f]"),
}
_WORDS = {language: frozenset(words.split()) for language, words in _SMALL_WORDS.items()}
_WORD = re.compile(r"[^\W\d_]+")
_LEAST = 2
"""Least small words of a language that a text must have."""


def language_of(text: str) -> str | None:
    """Return the language of a text, or its script. None: the text is too short."""
    for script, letters in _SCRIPTS.items():
        if len(letters.findall(text)) * 2 > len(text) / 2:
            return script
    words = [word.lower() for word in _WORD.findall(text)]
    scores = {language: sum(word in small for word in words) for language, small in _WORDS.items()}
    best = max(scores, key=lambda language: scores[language])
    return best if scores[best] >= _LEAST else None


def shares(texts: Iterable[str]) -> dict[str, float]:
    """Return the share of each language among the texts whose language was determined, the largest first."""
    counts = Counter(language for text in texts if (language := language_of(text)) is not None)
    total = sum(counts.values())
    return {language: count / total for language, count in counts.most_common()}
