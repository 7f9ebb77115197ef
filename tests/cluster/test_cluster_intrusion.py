"""Nothing of the platform can be used without its secrets; each attempt is made for real."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.intrusion import attempts
from tests.support.intrusion_rpc import Attempt
from tests.support.live import REPOSITORY, Live

pytestmark = [
    pytest.mark.cluster,
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),  # Ray's own, when it is imported
]


def row(attempt: Attempt) -> str:
    """As docs/security.md has it."""
    return f"| {attempt.target} | {attempt.what} | {attempt.answer} | {attempt.with_secret} |"


def test_every_attempt_without_the_secret_is_refused(live: Live, tmp_path: Path) -> None:
    made = attempts(live, tmp_path)
    assert len({attempt.target for attempt in made}) >= 15
    assert [row(attempt) for attempt in made if not attempt.refused] == []
    assert [row(attempt) for attempt in made if not attempt.works] == []
    # What is not in the page is printed here as it should stand there.
    documented = (REPOSITORY / "docs" / "security.md").read_text()
    assert [row(attempt) for attempt in made if row(attempt) not in documented] == []
