"""What a build would do: the result of `--dry-run`."""

from __future__ import annotations

from dataclasses import dataclass

from recsys.versions.build import Build, Content
from recsys.versions.prerequisites import check_room
from recsys.versions.promotion import refuse_shrunken


@dataclass(frozen=True, slots=True)
class PlannedBuild:
    items: int
    texts: int
    """Distinct texts to encode: the served version has no vector for them, and none was supplied."""
    shards: int
    served: str | None
    """The version that is served now. None: no version is served."""
    served_items: int

    @classmethod
    def of(cls, build: Build, content: Content, *, allow_shrink: bool) -> PlannedBuild:
        """Return the plan. Raises what the build would raise before its work: RuntimeFailure when memory or disk are
        too small, VersionError for a catalogue that is empty or shrinks too far.
        """
        items = {item.item_id: item for item in content.items}
        refuse_shrunken(build.store, len(items), allow_shrink=allow_shrink)
        check_room(build.platform, build.store.root, len(items))
        served = build.store.current()
        return cls(
            len(items),
            len({item.passage() for item in items.values()} - content.encoded.keys()),
            build.platform.shards,
            served,
            0 if served is None else build.store.manifest(served).items,
        )
