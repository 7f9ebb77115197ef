"""A thousand simulated experiments whose truth is known: `python -m load_tests.experiments [--runs 1000]`.

Prints how often intervals contain the truth, how often equal variants seem to differ, how many people a split and an
interleaving need for a lift of 1 %, how good off-policy estimates are and when they are refused, and which canaries are
rolled back.
"""

from __future__ import annotations

import argparse
import time

from load_tests.experiments.canary import WORSE, canaries
from load_tests.experiments.coverage import bootstrap_coverage, coverage, false_positives, spared
from load_tests.experiments.logged_policy import Truth, judged
from load_tests.experiments.sensitivity import needed

PARTS = ("coverage", "looks", "interleaving", "off-policy", "canary")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", choices=PARTS, action="append")
    given = parser.parse_args()
    work = {
        "coverage": _coverage,
        "looks": _looks,
        "interleaving": _interleaving,
        "off-policy": _off_policy,
        "canary": _canary,
    }
    for part in given.only or PARTS:
        start = time.monotonic()
        work[part](given.runs, given.seed)
        print(f"  ({time.monotonic() - start:.0f} s)\n")


def _coverage(runs: int, seed: int) -> None:
    print(f"Intervals at 95 % that contain the truth, of {runs} runs with 1,000 people in each variant, true lift 5 %:")
    for name, share in coverage(runs, 1000, seed).items():
        print(f"  {name:50} {share:.1%}")
    print(f"  {'difference (bootstrap), 200 people in each':50} {bootstrap_coverage(runs, 200, seed):.1%}")
    print(f"  CUPED takes {spared(100_000, seed):.0%} of the variance away")


def _looks(runs: int, seed: int) -> None:
    print(f"Equal variants that seem to differ at 5 %, of {runs} runs of 28 days with 2,000 people in each variant:")
    for name, share in false_positives(runs, 2000, 28, seed).items():
        print(f"  {name:50} {share:.1%}")


def _interleaving(runs: int, seed: int) -> None:
    runs = min(runs, 200)
    told = needed(runs, seed)
    print(f"A lift of 1 % at 5 % and 80 % power; how often it was found, of {runs} runs:")
    print(f"  split          {told.split:9,} people, found in {told.split_found:.0%}")
    print(
        f"  interleaving   {told.interleaved:9,} people, found in {told.interleaved_found:.0%}, the opposite in ",
        end="",
    )
    print(f"{told.wrong:.0%}: {told.times_fewer:.0f} times fewer")


def _off_policy(runs: int, seed: int) -> None:
    print(f"Off-policy estimates whose 95 % interval contains the truth, of {runs} runs each:")
    for sharpness in (0.5, 1.0, 2.0, 8.0):
        truth = Truth.make(3, sharpness)
        for rows in (200, 1000, 5000):
            told = judged(truth, runs, rows, seed)
            covered = ", ".join(f"{name} {share:.1%}" for name, share in told.covered.items()) or "no estimate"
            print(f"  sharpness {sharpness:3}, {rows:5} rows, worth {told.effective:5.0f}: ", end="")
            print(f"{covered}; refused {told.refused:.0%}")


def _canary(runs: int, seed: int) -> None:
    runs = min(runs, 100)
    for lift, words in ((-WORSE, f"worse by {WORSE:.0%}"), (0.0, "equal"), (WORSE, f"better by {WORSE:.0%}")):
        told = canaries(runs, lift, seed)
        print(f"Canaries {words}: rolled back within {told.sample:,} people in {told.rolled_back:.0%} of {runs} runs")
        if told.rolled_back:
            print(f"  after {told.users:,.0f} people on the median")


if __name__ == "__main__":
    main()
