"""Serve's HAProxy manager looks every 20 ms whether a HAProxy that it starts or reloads has taken over.

By itself it looks at once, when HAProxy is never there yet, and then after half a second; no other reload begins until
then, and the one that names a new replica is the second of two.
"""

from __future__ import annotations

import asyncio
import time
from typing import Any

LOOK_S = 0.02
_SOON_S = 5.0
"""Seconds after which it goes on as by itself."""


def look_often() -> None:
    """From now on the manager of this process, if it becomes one, looks so often."""
    from ray.serve._private import haproxy  # noqa: PLC0415 - not before the fork server may import Ray

    api: Any = haproxy.HAProxyApi
    wait_on = api._wait_for_hap_availability  # noqa: SLF001 - Serve has no setting for it

    async def wait(self: Any, proc: Any, *given: Any, **named: Any) -> None:
        end = time.monotonic() + _SOON_S
        while proc.returncode is None and time.monotonic() < end:
            if await self._get_running_pid() == proc.pid:
                return
            await asyncio.sleep(LOOK_S)
        await wait_on(self, proc, *given, **named)  # which has the words for one that has ended

    api._wait_for_hap_availability = wait  # noqa: SLF001 - likewise
