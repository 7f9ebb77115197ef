"""Schemathesis against a running platform and its own OpenAPI page.

`make fuzz` (or `python -m load_tests.traffic.fuzz --host URL`) makes up over 5,000 calls: valid ones, slightly wrong
ones, and ones with no, with wrong or with other methods than are documented. What asks for a key gets that of
$RECSYS_API_KEY.
Exit code 1 when an answer is a 5xx, has a status or a body that the page does not document, or should not have been
given. Left out is one check: that whatever fits the JSON schema is taken; a filter has rules that no schema can say.
Items, users and versions that were there before are there afterwards: only calls that read are made about them.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

_SETTINGS = """
[phases]
examples.extra-data-sources.responses = false
coverage.extra-data-sources.responses = false
fuzzing.extra-data-sources.responses = false

[[operations]]
include-name-regex = "^GET "
phases.examples.extra-data-sources.responses = true
phases.coverage.extra-data-sources.responses = true
phases.fuzzing.extra-data-sources.responses = true
"""
"""Schemathesis's own. Left to itself it takes ids out of answers and deletes the items and users that have them."""
_RIGHT_EDGES = """
[[operations]]
include-name = "{}"
phases.coverage.generation.mode = "positive"
phases.coverage.extra-data-sources.responses = false
"""


@dataclass(frozen=True)
class Fuzzed:
    """What came of it."""

    statuses: Counter[int]
    """Answers by status."""
    report: str
    """Schemathesis's own words; the end names each failure and how to repeat it."""
    passed: bool

    @property
    def cases(self) -> int:
        return self.statuses.total()


def fuzz(host: str, examples: int, seed: int = 1, key: str | None = None, *, right_edges: Sequence[str] = ()) -> Fuzzed:
    """`examples`: calls made up at random for each operation, beside those at its schema's edges. `right_edges`:
    operations, such as `POST /v1/search`, of which only the edges of what is right are tried.
    """
    program = str(Path(sys.executable).with_name("schemathesis"))
    with tempfile.TemporaryDirectory() as folder:  # schemathesis keeps its own findings where it runs
        events, settings = Path(folder) / "events.ndjson", Path(folder) / "settings.toml"
        settings.write_text(_SETTINGS + "".join(map(_RIGHT_EDGES.format, right_edges)), encoding="utf-8")
        options = ["--checks=all", "--exclude-checks=positive_data_acceptance", "--continue-on-failure", "--no-color"]
        options += [f"--max-examples={examples}", f"--seed={seed}", "--phases=examples,coverage,fuzzing"]
        options += ["--request-timeout=30", "--report=ndjson", f"--report-ndjson-path={events}"]
        # Scaling by chance asks for hundreds of replicas, and every one that comes is a process. A stream lasts as long
        # as a call may, and a version that is rolled back by chance is forgotten.
        options += ["--exclude-path-regex=^/v1/(live|admin/(scale|hold|rollback))$"]
        if key is not None:
            options.append(f"--header=Authorization: Bearer {key}")
        done = subprocess.run(
            [program, f"--config-file={settings}", "run", f"{host}/openapi.json", *options],
            cwd=folder, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL,
        )  # fmt: skip
        statuses = _statuses(events) if events.exists() else Counter()
    return Fuzzed(statuses, done.stdout + done.stderr, done.returncode == 0)


def _statuses(events: Path) -> Counter[int]:
    """Of every answer that the event log holds."""
    statuses: Counter[int] = Counter()
    for line in events.read_text(encoding="utf-8").splitlines():
        recorder = json.loads(line).get("ScenarioFinished", {}).get("recorder", {})
        for call in recorder.get("interactions", {}).values():
            if response := call.get("response"):
                statuses[response["status_code"]] += 1
    return statuses


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Schemathesis against a running platform.")
    parser.add_argument("--host", default="http://127.0.0.1:8000")
    parser.add_argument("--examples", type=int, default=400, help="random calls for each operation")
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args(arguments)
    fuzzed = fuzz(given.host, given.examples, given.seed, os.environ.get("RECSYS_API_KEY"))
    print(fuzzed.report)
    print(f"{fuzzed.cases} calls answered: {dict(sorted(fuzzed.statuses.items()))}")
    return 0 if fuzzed.passed else 1


if __name__ == "__main__":
    sys.exit(main())
