"""Two contenders in turn, each in a process of its own: `python -m load_tests.ann.paired`.

    python -m load_tests.ann.paired --items 30000                    # our shard on hnswlib beside hnswlib itself
    python -m load_tests.ann.paired --sets glove --ours recsys:hnsw_int8 --other usearch

`make compare-ann` measures contenders minutes apart, and a machine that is shared is not the same minutes later. Here a
pass over the queries by one is followed at once by a pass by the other, and each round gives one ratio of each. Both
are set to the smallest effort that reaches the recall. An effort is a whole number, and at the recall of 0.95 the next
one may cost 7 % more: so the pass before it is timed too, and the cost of exactly this recall lies between the two.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from load_tests.ann.contender import BATCH, Driver, driver, recall_of, set_for
from load_tests.ann.datasets import MAKERS, load, title
from load_tests.ann.runs import Run

ROOT = Path(__file__).parents[2]
_WARM = 2
"""Rounds that do not count."""
_QUANTILES = (0.1, 0.5, 0.9)


@dataclass(frozen=True, slots=True)
class Efforts:
    """The smallest effort that reaches the recall, and the largest that does not; the same twice where there is none.

    `share`: how far from the lower to the higher one the recall lies, 0 to 1.
    """

    low: int
    high: int
    share: float
    recall: float
    """At `high`."""

    @classmethod
    def of(cls, contender: Driver, batches: list[Any], truth: Any, recall: float) -> Efforts:
        high, reached = set_for(contender, batches, truth, recall)
        low = max(high - 1, contender.efforts[0])
        contender.tune(low)
        under = recall_of(np.concatenate([contender.rows(contender.search(batch)) for batch in batches]), truth)
        if not under < recall <= reached:
            return cls(high, high, 1.0, reached)
        return cls(low, high, (recall - under) / (reached - under), reached)

    def cost(self, low: float, high: float) -> float:
        return low + self.share * (high - low)


def serve(name: str, data: Path, folder: Path, recall: float) -> None:
    """Answer all queries at both efforts for each line of standard input, and print what that took."""
    contender = driver(name)
    queries, truth = np.load(data / "queries.npy"), np.load(data / "truth.npy")
    batches = [queries[start : start + BATCH] for start in range(0, len(queries), BATCH)]
    contender.open(folder, queries.shape[1])
    try:
        efforts = Efforts.of(contender, batches, truth, recall)
        print(json.dumps({"effort": efforts.high, "recall": round(efforts.recall, 4)}), flush=True)
        for _ in sys.stdin:
            taken = []
            for effort in (efforts.low, efforts.high):
                contender.tune(effort)
                start, cpu = time.perf_counter(), time.process_time()
                for batch in batches:
                    contender.search(batch)
                taken.append((time.perf_counter() - start, time.process_time() - cpu))
            wall, cpu = (efforts.cost(*both) / len(queries) * 1e6 for both in zip(*taken, strict=True))
            print(json.dumps({"us": wall, "cpu_us": cpu}), flush=True)
    finally:
        contender.close()


class Process:
    """Of a contender that is built, and waits to be asked."""

    def __init__(self, run: Run, name: str, data: Path, recall: float) -> None:
        command = [sys.executable, "-m", "load_tests.ann.paired", "--serve", name, str(data), str(run.folder)]
        self._name = name
        self._process = subprocess.Popen(
            [*command, str(recall)], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self.setting = self._line()
        """The effort that it is set to, and the recall that this has."""

    def ask(self) -> dict[str, float]:
        assert self._process.stdin is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        return self._line()

    def _line(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise SystemExit(f"{self._name} ended while it was asked; its error stands above")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def end(self) -> None:
        self._process.communicate()


def measure(processes: list[Process], rounds: int) -> dict[str, list[dict[str, float]]]:
    """What each took in each round; who is first changes from round to round."""
    taken: list[list[dict[str, float]]] = [[] for _ in processes]
    for number in range(_WARM + rounds):
        for which in range(len(processes)) if number % 2 else reversed(range(len(processes))):
            answer = processes[which].ask()
            if number >= _WARM:
                taken[which].append(answer)
    return {"ours": taken[0], "other": taken[1]}


def ratios(taken: dict[str, list[dict[str, float]]], of: str) -> list[float]:
    """Quantiles of the rounds' ratios: the other's time over ours, so that more than 1 is faster."""
    pairs = [theirs[of] / ours[of] for ours, theirs in zip(taken["ours"], taken["other"], strict=True)]
    return [round(float(quantile), 3) for quantile in np.quantile(pairs, _QUANTILES)]


def main() -> None:
    if sys.argv[1:2] == ["--serve"]:
        serve(sys.argv[2], Path(sys.argv[3]), Path(sys.argv[4]), float(sys.argv[5]))
        return
    args = arguments().parse_args()
    data = load(args.sets, args.items, args.queries, args.data)
    names = [args.ours, args.other]
    processes: list[Process] = []
    try:
        for name in names:
            run = Run(name, data, args.recall, 0.0)
            if error := run.build(float("inf")).get("error"):
                raise SystemExit(f"{name}: {error}")
            processes.append(Process(run, name, data, args.recall))
        taken = measure(processes, args.rounds)
    finally:
        for process in processes:
            process.end()
    print(f"{title(args.sets, data)}, recall@10 {args.recall}, {args.rounds} rounds in turn")
    for name, process, side in zip(names, processes, ("ours", "other"), strict=True):
        medians = {of: round(float(np.median([one[of] for one in taken[side]])), 1) for of in ("us", "cpu_us")}
        print(f"  {name}: {json.dumps(process.setting | medians)}")
    for of, words in (("us", "queries/s"), ("cpu_us", "queries/CPU second")):
        low, median, high = ratios(taken, of)
        print(f"{args.ours} / {args.other}, {words}: {median} (80 % of rounds: {low} to {high})")


def arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m load_tests.ann.paired",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--sets", default="clustered", choices=list(MAKERS), help="of vectors")
    add("--items", type=int, help="of the set; all that there are, 60,000 of the clustered ones")
    add("--queries", type=int, default=1600)
    add("--recall", type=float, default=0.95)
    add("--rounds", type=int, default=20)
    add("--ours", default="recsys:hnsw")
    add("--other", default="hnswlib")
    add("--data", type=Path, default=ROOT / "var" / "compare-ann", help="folder of vectors and indexes")
    return parser


if __name__ == "__main__":
    main()
