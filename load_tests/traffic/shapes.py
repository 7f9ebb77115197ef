"""Open-loop traffic: how many requests a second are sent, whatever the answers do.

A simulated user sends one request a second, so users are requests a second. Answers slower
than a second hold their user back: past that point, where the platform should have answered 429, the loop closes.
"""

from __future__ import annotations

from collections.abc import Callable

from locust import LoadTestShape

from load_tests.traffic.summary import options_of

Shape = Callable[[float], float]
"""Share of the test's time that has passed -> share of its peak rate."""

SURGE = (0.15, 0.4)
"""Shares of the test's time between which a surge is at its peak; long enough after it for replicas to go again."""

SHAPES: dict[str, Shape] = {
    "ramp": lambda t: t,
    "sustain": lambda _t: 1.0,
    "spike": lambda t: 1.0 if 0.4 <= t < 0.6 else 0.2,
    "surge": lambda t: 1.0 if SURGE[0] <= t < SURGE[1] else 0.1,
    "drain": lambda t: 1.0 - t,
    "soak": lambda _t: 0.5,
}
_SETTLED_WITHIN_S = 2
"""A new rate is reached within this time."""


class Traffic(LoadTestShape):
    """The shape that --shape names, up to --peak requests a second, for --seconds."""

    def tick(self) -> tuple[int, float] | None:
        if self.runner is None:
            raise RuntimeError("Locust asks for a rate once it runs")
        options = options_of(self.runner.environment)
        passed = self.get_run_time() / options.seconds
        if passed >= 1:
            return None
        users = max(round(options.peak * SHAPES[options.shape](passed)), 1)
        return users, max(abs(users - self.get_current_user_count()) / _SETTLED_WITHIN_S, 1)
