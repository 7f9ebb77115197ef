"""What a build would do, for whoever wants to know before."""

from __future__ import annotations

from dataclasses import dataclass

from recsys.versions.build import Build, Content
from recsys.versions.prerequisites import check_room
from recsys.versions.promotion import refuse_shrunken


@dataclass(frozen=True, slots=True)
class PlannedBuild:
    items: int
    texts: int
    """Texts that would be encoded: the served version holds no vector of them, and none was brought."""
    shards: int
    served: str | None
    """The version that is served now; None: none is."""
    served_items: int

    @classmethod
    def of(cls, build: Build, content: Content, *, allow_shrink: bool) -> PlannedBuild:
        """Raises what is known to end the build: RuntimeFailure where there is no room, VersionError for a catalogue
        that is empty or shrinks too far.
        """
        items = {item.item_id: item for item in content.items}
        refuse_shrunken(build.store, len(items), allow_shrink=allow_shrink)
        check_room(build.platform, build.store.root, len(items))
        served = build.store.current()
        return cls(
            len(items),
            len({item.passage() for item in items.values()} - content.known.keys()),
            build.platform.shards,
            served,
            0 if served is None else build.store.manifest(served).items,
        )
