"""Whether contenders answer the same: the items of a sample of users, and how many of them are right."""

from __future__ import annotations

import httpx

from load_tests.comparison.workload import Workload, user_id

Answers = list[list[str]]
"""Item ids for the first users, best first."""
USERS = 200


def ask(url: str, target: str, users: int) -> Answers:
    """SystemExit for an answer that is none, is not complete, or says that it is degraded."""
    answers = []
    with httpx.Client(base_url=url, timeout=10, trust_env=False) as client:
        for number in range(users):
            response = client.get(target.replace("USER", user_id(number)))
            if not response.is_success:
                raise SystemExit(f"{response.url} answers {response.status_code}: {response.text[:300]}")
            body = response.json()
            items = body["items"]
            if len(items) != 10 or body.get("degraded") or not all(item["title"] for item in items):
                raise SystemExit(f"{response.url} gives no full answer: {response.text[:300]}")
            answers.append([item["item_id"] for item in items])
    return answers


def overlap(left: Answers, right: Answers) -> float:
    """The mean share of items that two answers to the same user have in common."""
    shared = [len(set(a) & set(b)) / max(len(a), len(b)) for a, b in zip(left, right, strict=True)]
    return sum(shared) / len(shared)


def judge(answers: dict[str, Answers], work: Workload) -> tuple[dict[str, float], float | None]:
    """recall@10 of each contender against exact search, and the smallest overlap@10 of any two (None for one)."""
    exact = work.exact(min(USERS, work.users))
    recall = {name: round(overlap(given, exact), 4) for name, given in answers.items()}
    names = list(answers)
    pairs = [overlap(answers[a], answers[b]) for i, a in enumerate(names) for b in names[:i]]
    return recall, round(min(pairs), 4) if pairs else None
