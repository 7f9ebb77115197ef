"""What Ray's raylet starts for a worker with a `runtime_env`, which it then puts in front of worker.py's command line.

Ray's own imports Ray to set a few variables, and then starts Python anew. Here a fork gets the variables; anything else
that a `runtime_env` may ask for goes Ray's way. Ray knows this file by its name.
"""

from __future__ import annotations

import argparse
import json
import os
import runpy
import sys
from collections.abc import Sequence


def simple(arguments: Sequence[str]) -> tuple[list[str], dict[str, str]] | None:
    """(worker.py's command line, variables to set) of a `runtime_env` of variables alone; None: it asks for more."""
    parser = argparse.ArgumentParser(allow_abbrev=False)
    parser.add_argument("--serialized-runtime-env-context", default="{}")
    parser.add_argument("--language")
    parsed, command = parser.parse_known_args(arguments)
    wanted = json.loads(parsed.serialized_runtime_env_context)
    variables = wanted.pop("env_vars", {})
    same_python = wanted.pop("py_executable", sys.executable) == sys.executable
    if parsed.language != "PYTHON" or not same_python or any(wanted.values()) or "$" in "".join(variables.values()):
        return None
    return command, variables


if __name__ == "__main__":
    del sys.path[0]  # this folder
    from deployments.ray_internals.forking.client import forked

    request = simple(sys.argv[1:])
    if request is None or not forked(request[0], {**os.environ, **request[1]}):
        runpy.run_module("ray._private.workers.setup_worker", run_name="__main__", alter_sys=True)
