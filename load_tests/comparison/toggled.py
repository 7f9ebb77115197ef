"""What something costs that can be switched while the platform runs: slices of load without and with it, in turn.

A contender by itself scatters by a tenth from start to start, more than what is asked here. Both sides of a pair are of
the same processes, seconds apart.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import count
from typing import Any

import httpx
import numpy as np
import numpy.typing as npt
from rich.console import Console
from rich.table import Table

from load_tests.comparison.bench import ROOT
from load_tests.comparison.contenders import URL, Contender
from load_tests.comparison.profiling import cpu_seconds
from load_tests.comparison.rules import RULES
from load_tests.comparison.workload import Workload
from load_tests.comparison.wrk import drive


@dataclass(frozen=True)
class Toggle:
    name: str
    on: Callable[[], AbstractContextManager[None]]
    """What is switched is on while it is entered."""
    settle_s: int
    """Seconds of load after it was switched on, before anything is measured."""


_SECONDS = 5
_WARM_UP_S = 1
_LOOKED_AT_S = 25
"""A guard steps every ten seconds. At its first step after a start it joins the log of answers for some seconds, and
later every five minutes or more seldom: what a start costs is not what running costs."""


@dataclass(frozen=True)
class Pairs:
    """Medians over the rounds, with the quartiles of the ratios of what was measured with it and without it."""

    name: str
    clients: int
    rps: float
    """With it, as the next one."""
    p50_ms: float
    rps_ratio: tuple[float, float, float]
    """Lower quartile, median, upper quartile."""
    p50_ratio: tuple[float, float, float]
    cpu_ratio: tuple[float, float, float]
    """Of the platform's CPU time an answer."""
    errors: int


def toggles(*, experiments: bool, viewers: int, rules: bool) -> list[Toggle]:
    """Those that are wanted."""
    chosen = []
    if rules:
        chosen.append(Toggle("rules", with_rules, _WARM_UP_S))
    if experiments:
        numbers = count()
        chosen.append(Toggle("experiments", lambda: running_experiments(next(numbers)), _LOOKED_AT_S))
    if viewers:
        chosen.append(Toggle("viewers", partial(watching, viewers), _WARM_UP_S))
    return chosen


def in_turn(
    contender: Contender, chosen: Sequence[Toggle], work: Workload, clients: list[int], rounds: int
) -> list[Pairs]:
    """Start the platform once and measure each toggle with each number of clients, `rounds` pairs of slices."""
    contender.start()
    try:
        drive(URL, contender.target, work.users, 32, _SECONDS)
        pairs = []
        for toggle in chosen:
            for connections in clients:
                pairs.append(_pairs(contender, toggle, work, connections, rounds))
                print(f"  {pairs[-1]}", flush=True)
        return pairs
    finally:
        contender.stop()


@contextmanager
def running_experiments(number: int, url: str = URL) -> Iterator[None]:
    """Two experiments, on the scenario that is asked for and on another one. Their variants are scenarios of their own
    that give the same answers, so that only the cost differs. `number` makes their names new.
    """
    with httpx.Client(base_url=f"{url}/v1/admin", timeout=30, trust_env=False) as client:
        scenarios = client.get("/scenarios").raise_for_status().json()["scenarios"]
        names = {scenario: f"{scenario}_twice_{number}" for scenario in ("home", "similar")}
        for scenario, name in names.items():
            twice = {signal: 2 * weight for signal, weight in scenarios[scenario]["weights"].items()}
            variants: dict[str, Any] = {"control": {}, "twice": {"settings": {"weights": twice}}}
            body = {"scenario": scenario, "experiment": {"name": name, "variants": variants}}
            client.post("/experiments", json=body).raise_for_status()
        try:
            yield
        finally:
            for name in names.values():
                client.post(f"/experiments/{name}/stop", json={"reason": "measured"}).raise_for_status()


@contextmanager
def with_rules(url: str = URL) -> Iterator[None]:
    """The rules of `rules.py` in the scenario that is asked for."""
    with httpx.Client(base_url=f"{url}/v1/admin", timeout=30, trust_env=False) as client:
        client.patch(
            "/scenarios", json={"scenarios": {"home": {"rules": RULES}}, "author": "load test"}
        ).raise_for_status()
        try:
            yield
        finally:
            client.post("/scenarios/undo", json={"author": "load test"}).raise_for_status()


@contextmanager
def watching(viewers: int) -> Iterator[None]:
    """So many viewers of the console's Operations page, in a process of their own that shares the machine."""
    command = [sys.executable, "-m", "load_tests.comparison.viewers", URL, str(viewers)]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            if not process.stdout.readline():
                raise SystemExit("the viewers have ended")
            yield
            if process.poll() is not None:
                raise SystemExit("the viewers have ended")
        finally:
            process.kill()


def _pairs(contender: Contender, toggle: Toggle, work: Workload, clients: int, rounds: int) -> Pairs:
    processes = contender.processes()

    def measured(settle_s: int = _WARM_UP_S) -> tuple[float, float, float, int]:
        drive(URL, contender.target, work.users, clients, settle_s)  # what is switched empties caches
        before = sum(cpu_seconds(processes).values())
        run = drive(URL, contender.target, work.users, clients, _SECONDS)
        taken = sum(cpu_seconds(processes).values()) - before
        return run.rps, run.p50_ms, taken / (run.rps * _SECONDS), run.errors

    off, on = [], []
    for number in range(rounds):
        if number % 2 == 0:
            off.append(measured())
        with toggle.on():
            on.append(measured(toggle.settle_s))
        if number % 2:
            off.append(measured())
    without, with_it = np.array(off), np.array(on)
    rps, p50, cpu = (_quartiles(with_it[:, column] / without[:, column]) for column in range(3))
    middle = np.median(with_it, axis=0)
    errors = int(without[:, 3].sum() + with_it[:, 3].sum())
    return Pairs(toggle.name, clients, round(float(middle[0]), 1), round(float(middle[1]), 3), rps, p50, cpu, errors)


def _quartiles(ratios: npt.NDArray[np.float64]) -> tuple[float, float, float]:
    low, middle, high = np.round(np.quantile(ratios, [0.25, 0.5, 0.75]), 3).tolist()
    return low, middle, high


def show(pairs: list[Pairs]) -> None:
    table = Table("with", "clients", "requests/s", "p50 ms", "requests/s, ratio", "p50, ratio", "CPU, ratio", "errors")
    for p in pairs:
        shares = (f"{m:.3f} [{low:.3f}, {high:.3f}]" for low, m, high in (p.rps_ratio, p.p50_ratio, p.cpu_ratio))
        table.add_row(p.name, str(p.clients), f"{p.rps:,.0f}", f"{p.p50_ms:.3g}", *shares, str(p.errors))
    Console(width=120).print(table)
