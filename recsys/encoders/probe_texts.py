"""Fixed texts in several lengths: some show the quantiser what activations look like, others check its work.

A change of CALIBRATION_TEXTS changes vectors: raise `REVISIONS` in `base.py` with it.
"""

# ruff: noqa: E501 - texts, not code

from __future__ import annotations

_FILMS = (
    "The Long Harbour (1994). Drama, Romance.",
    "A Dog Named Tuesday (1987). Children's, Comedy.",
    "Night Train to Lisbon (1961). Thriller, Film-Noir.",
    (
        "The Third Moon (2019). Science fiction. A botanist is sent to a mining colony where the crops fail one by one, "
        "and finds that the soil remembers who worked it before."
    ),
    "Nine Brothers (1972). War, Action, Adventure.",
    "Salt. Documentary.",
    "Une saison au bord de la mer (2003). Comédie dramatique.",
    "Return of the Clockmaker (1999). Animation, Children's, Musical. Two orphans wind up a city that has stopped.",
)
_PRODUCTS = (
    "Waterproof hiking boots, women's, size 39, dark green",
    (
        "Noise-cancelling over-ear headphones with 40 hours of battery, USB-C charging and a folding case. Two devices "
        "can be connected at the same time; calls use four microphones."
    ),
    "Cast iron pan 28 cm",
    "4K monitor, 27 inch, 144 Hz, HDMI 2.1 and DisplayPort 1.4",
    "Refill pack of fine-tip pens (black, 12 pieces)",
    "Organic oat milk, unsweetened, 6 x 1 l. Contains gluten. Keep it cool once it is open and use it within five days.",
    "Kinderfahrrad 16 Zoll, rot, mit Stützrädern",
    "Mechanical keyboard with brown switches, ISO layout, hot-swappable, aluminium frame",
)
_READING = (
    (
        "The central bank left its interest rate unchanged on Thursday and said that inflation would return to its target "
        "later than expected. Markets had been divided over the decision; bond yields rose by five basis points in the "
        "afternoon, while shares of lenders gained and those of builders fell."
    ),
    "How to prune an apple tree in late winter",
    (
        "Researchers have measured how quickly a glacier in the eastern Alps loses mass, by flying the same line every "
        "month for six years. The loss doubled after 2017. Dust from deserts, which darkens the snow, explains about a "
        "third of it; warmer summers explain most of the rest, and the remainder is within the error of the instruments."
    ),
    "Chapter 7: sorting, searching and hashing",
    "She closed the shop at six, walked down to the river, and did not come back until the lamps were lit.",
    "Election results by district, 2021 (CSV, 2.3 MB)",
    (
        "Slow-roasted tomatoes with garlic and thyme: halve the tomatoes, lay them on a tray, add oil and salt, and leave "
        "them in the oven for three hours at 120 degrees."
    ),
    "Match report: the visitors equalise in stoppage time after a mistake by the goalkeeper",
)
_SEARCHES = (
    "funny films for a rainy afternoon",
    "cheap flights",
    "something like a spy thriller but set in the nineteenth century, without too much violence",
    "running shoes flat feet",
    "what should I read after a long family saga?",
    "python asyncio timeout",
    "90s",
    "senior nurse, part time, within 20 km, night shifts possible",
)
_GROUPS = (_FILMS, _PRODUCTS, _READING, _SEARCHES)


def _texts(first: int) -> tuple[str, ...]:
    """Every second text of each group, and two long ones out of all groups."""
    alone = tuple(text for group in _GROUPS for text in group[first::2])
    return alone + tuple(" ".join(group[i] for group in _GROUPS) for i in (first, first + 2))


CALIBRATION_TEXTS = _texts(0)
PROBE_TEXTS = _texts(1)
"""18 texts, none of which calibrates."""
