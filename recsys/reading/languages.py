"""Which languages texts are in, roughly: by script, and for Latin letters by the small words that every sentence has.

A model of languages would be surer; this one tells whether a catalogue is one that an English model understands.
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
"""Small words of one language from which on a text is of it."""


def language_of(text: str) -> str | None:
    """None: too short to tell."""
    for script, letters in _SCRIPTS.items():
        if len(letters.findall(text)) * 2 > len(text) / 2:
            return script
    words = [word.lower() for word in _WORD.findall(text)]
    scores = {language: sum(word in known for word in words) for language, known in _WORDS.items()}
    best = max(scores, key=lambda language: scores[language])
    return best if scores[best] >= _LEAST else None


def shares(texts: Iterable[str]) -> dict[str, float]:
    """Share of each language among the texts that are long enough to tell, the largest first."""
    counts = Counter(language for text in texts if (language := language_of(text)) is not None)
    total = sum(counts.values())
    return {language: count / total for language, count in counts.most_common()}
