"""Changes of the running Serve config, one at a time.

Serve takes a whole config and has no compare-and-set. Two callers that read, change and submit at the same time would
undo each other's changes. A lock file in the platform's home makes the composers and commands of one machine take
turns. Callers on other machines do not share it. So the config is read again after the submit, and a lost change is
repeated.
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

"""Returns a changed copy of a Serve config."""

TAKEN_OVER_S = 5.0
"""Seconds to wait until Serve reports a submitted config. Its controller takes one over within half a second."""
_LOOK_S = 0.1
_TRIES = 3
_TURN_S = 30.0
"""Seconds that a caller waits for the lock, which is held for _TRIES times TAKEN_OVER_S at most."""


def rescale(rollout: Rollout, change: Change, home: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """Submit the config with the change. Return it, and Serve's details, once Serve has taken it over.

    `home`: the platform's folder. Raises RuntimeFailure when other callers keep undoing the change, and what `change`
    raises.
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
    """Exclude other changes of the config on this machine. Raises RuntimeFailure when the lock is not free in time."""
    busy = RuntimeFailure("another change of the replicas is under way; try again")
    with locked(home / "run" / "rescaling", busy, _TURN_S):
        yield
