"""Which languages texts are in."""

from __future__ import annotations

from recsys.reading.languages import language_of, shares


def test_languages_are_told_roughly() -> None:
    """By script, or by the small words of every sentence; a name says nothing."""
    assert language_of("The lamp is on the table by the window") == "English"
    assert language_of("Die Lampe steht auf dem Tisch und ist nicht an") == "German"
    assert language_of("東京の物語") == "Chinese or Japanese"
    assert language_of("Лампа на столе") == "Cyrillic"
    assert language_of("Lamp") is None
    assert shares(["The cat of the house", "Lamp", "Der Hund und die Katze"]) == {"English": 0.5, "German": 0.5}
