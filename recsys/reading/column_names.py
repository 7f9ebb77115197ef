"""Common names of columns, used to propose a mapping. A column is never read by such a name without `--map`."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

_ALIASES: Mapping[str, tuple[str, ...]] = {
    field: tuple(names.split())
    for field, names in {
        "item_id": "itemid item id sku asin parentasin productid product movieid movie filmid bookid isbn isbn13 "
        "songid trackid artistid articleid newsid videoid gameid showid contentid offerid businessid "
        "placeid venueid recipeid courseid jobid hotelid appid listingid adid code",
        "title": "name titel titre productname producttitle itemname movietitle booktitle headline trackname",
        "text": "description desc body content overview summary plot abstract beschreibung details",
        "created_at": "createdat created published publishedat publicationdate releasedate released dateadded "
        "launchdate",
        "user_id": "userid user visitorid visitor customerid customer memberid clientid reviewerid sessionid uid",
        "timestamp": "time ts date datetime eventtime unixtime ratedat reviewtime unixreviewtime playedat created",
        "type": "event eventtype eventname action behavior behaviour interaction interactiontype",
        "value": "rating score stars overall rate bookrating quantity",
        "event_id": "eventid reviewid",
        "request_id": "requestid",
    }.items()
}


def squeezed(column: str) -> str:
    """Return a name in lower case without anything but letters and digits: `Movie-ID` and `movie_id` are the same."""
    return re.sub(r"[\W_]", "", column.rpartition(":")[0] or column).lower()


def is_telling(cell: str) -> bool:
    """Return whether a cell is a common column name, which makes its row a header."""
    name = squeezed(cell)
    return any(name == squeezed(field) or name in aliases for field, aliases in _ALIASES.items())


def proposed(columns: Iterable[str], fields: Iterable[str]) -> dict[str, str]:
    """Return the most probable column of each field that has no column of its own name.

    No column is proposed for two fields, and none that has the name of a field.
    """
    header = list(columns)
    free = {squeezed(column.rpartition(".")[2]): column for column in reversed(header)}
    free |= {squeezed(column): column for column in reversed(header)}
    names = list(fields)
    taken = {field for field in names if field in header}
    mapping: dict[str, str] = {}
    for field in names:
        if field in header:
            continue
        for alias in (squeezed(field), *_ALIASES.get(field, ())):
            column = free.get(alias)
            if column is not None and column not in taken:
                mapping[field] = column
                taken.add(column)
                break
    return mapping
