"""What is counted of answers and their outcomes, and the ratios that follow from it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Measures:
    """Counts of a group of answers, or of places in them. An item of an answer counts once, however many events say the
    same of it.
    """

    answers: int
    items: int
    """Items in the answers."""
    impressions: int
    """Items that an event of type impression says were seen."""
    clicks: int
    """Items that were clicked."""
    clicks_of_impressions: int
    """Those of them that were seen as well, by an event."""
    answers_with_click: int
    conversions: int
    """Items that were bought, or what else counts as a conversion."""
    answers_with_conversion: int
    value: float
    """Sum of the values of the conversions, each event once."""

    @classmethod
    def of(cls, row: Sequence[Any]) -> Measures:
        """In the order of the fields; a value of None is 0."""
        named: dict[str, Any] = dict(zip(cls.__slots__, row, strict=True))
        return cls(**{**named, "value": float(named["value"] or 0.0)})

    @property
    def click_through(self) -> float | None:
        """Share of the items that were clicked; None where there are none, as for the other ratios."""
        return _ratio(self.clicks, self.items)

    @property
    def click_through_seen(self) -> float | None:
        """Share of the seen items that were clicked."""
        return _ratio(self.clicks_of_impressions, self.impressions)

    @property
    def answer_click_through(self) -> float | None:
        """Share of the answers of which at least one item was clicked."""
        return _ratio(self.answers_with_click, self.answers)

    @property
    def conversion(self) -> float | None:
        """Share of the answers of which at least one item was bought."""
        return _ratio(self.answers_with_conversion, self.answers)

    @property
    def value_per_answer(self) -> float | None:
        return _ratio(self.value, self.answers)


RATIOS = ("click_through", "click_through_seen", "answer_click_through", "conversion", "value_per_answer")


def _ratio(part: float, whole: int) -> float | None:
    return part / whole if whole else None
