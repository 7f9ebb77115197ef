"""Building a new version of what is live, as a task of the Ray cluster: its memory is free again when it ends."""

from __future__ import annotations

import asyncio
import os

import ray

from recsys.compacting import compact
from recsys.config import Platform, ShardTuning

_NICE = 10
"""The build takes the processor time that serving leaves."""


@ray.remote(num_cpus=1, max_retries=0)
def rebuild(platform: Platform) -> str:
    """Build, promote, drop what is kept no longer; the version's name. It ends with the composer that asked for it,
    and the next one's goes on where it was.
    """
    os.nice(_NICE)
    made = asyncio.run(compact(platform, ShardTuning(), platform.redis(), lambda *_: None, then_promote=True))
    return made.version
