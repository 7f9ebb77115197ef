"""One change of the running Serve config at a time.

Serve takes a whole config and has no compare-and-set. So two callers that read, change and submit at the same moment
would undo each other. A lock file in the platform's home lets the composers and the commands of one machine take turns.
Where callers share no file system, the look after the submit finds most changes that were undone: they are made again.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from deployments.machine.live_scaling import ignored, running_config
from deployments.machine.rollout import Rollout
from recsys.errors import RuntimeFailure
from recsys.files import locked

Change = Callable[[dict[str, Any]], dict[str, Any]]

TAKEN_OVER_S = 5.0
_LOOK_S = 0.1
"""Serve's controller takes a config over at its next turn, within half a second."""
_TRIES = 3
_TURN_S = 30.0
"""Seconds that a caller waits for its turn: a turn takes `_TRIES` times `TAKEN_OVER_S` at the most."""


def rescale(rollout: Rollout, change: Change, home: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """The config with the change, once Serve has taken it over, and Serve's details then.

    `home`: the platform's folder. Raises RuntimeFailure when others are changing the config all the time, and what
    `change` raises.
    """
    with turn(home):
        for _ in range(_TRIES):
            changed = change(running_config(rollout.details()))
            rollout.submit(changed)
            deadline = time.monotonic() + TAKEN_OVER_S
            while ignored(changed, details := rollout.details()):
                if time.monotonic() > deadline:
                    break
                time.sleep(_LOOK_S)
            else:
                return changed, details
    raise RuntimeFailure("Serve did not take the change over; look at `recsys status`, then try again")


@contextmanager
def turn(home: Path) -> Iterator[None]:
    """While it lasts, nobody else on this machine changes the config. RuntimeFailure when others take too long."""
    busy = RuntimeFailure("another change of the replicas is under way; try again")
    with locked(home / "run" / "rescaling", busy, _TURN_S):
        yield
