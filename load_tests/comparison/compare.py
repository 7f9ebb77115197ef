"""The platform beside other ways to build it, same data and same client: `python -m load_tests.comparison.compare`."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections import defaultdict
from dataclasses import asdict
from pathlib import Path
from typing import Any

from load_tests.comparison import results, toggled
from load_tests.comparison.answers import USERS, Answers, ask, judge
from load_tests.comparison.bench import ROOT, Bench
from load_tests.comparison.cheapest import ENGINES, show, tune
from load_tests.comparison.contenders import URL, Contender, contenders
from load_tests.comparison.profiling import Foreign, cpu_seconds, record, report, show_cores
from load_tests.comparison.workload import Workload
from load_tests.comparison.wrk import Measured, drive, middle

CLIENTS, SECONDS, REPEATS = [1, 8, 32, 64, 128], 8, 3
_WARM_UP_S = 2
_TRIES = 3
SAME = 0.98
"""The smallest overlap@10 at which contenders count as answering the same."""


def main() -> None:
    args = arguments().parse_args()
    if args.sweep:
        from load_tests.growth.sweep import sweep  # noqa: PLC0415

        args.plots = args.plots or args.out
        sweep(args)
        return
    work = workload(args)
    args.clients, args.seconds = args.clients or CLIENTS, args.seconds or SECONDS
    args.repeats = args.repeats or REPEATS
    switched = toggled.toggles(experiments=args.experiments, viewers=args.viewers, rules=args.rules)
    with Bench(work, args.out / "compare", args.config) as bench:
        chosen = contenders(bench, args.only)
        for needed in dict.fromkeys(c.needs for c in chosen if c.needs):
            bench.prepare(needed, again=args.rebuild)
        alike = [c for c in chosen if c.needs in ENGINES]
        settings = {c.name: tune(c, bench, args.recall) for c in alike if args.recall is not None}
        for learned in [c for c in chosen if c.name == results.TRAINED and results.OURS in settings]:
            learned.ef = settings[results.OURS]["ef"]  # what is right is another thing for each user there
        runs, answers = measure(chosen, work, args)
        ours = [c for c in chosen if c.name == results.OURS and switched]
        pairs = [pair for c in ours for pair in toggled.in_turn(c, switched, work, args.clients, args.pairs)]
    recall, overlap = judge(answers, work)
    workload_run = {**asdict(work), "seconds": args.seconds, "repeats": args.repeats, "settings": settings}
    result = results.summary(runs, workload_run, overlap, recall, encoders(args))
    result["pairs"] = [asdict(pair) for pair in pairs]
    results.write(result, args.out / "compare.json")
    results.plot(runs, args.out / "compare.png")
    results.show(runs, result)
    if pairs:
        toggled.show(pairs)
    if settings:
        show(settings)
    print(f"written: {args.out / 'compare.json'}, {args.out / 'compare.png'}")
    if overlap is not None and overlap < SAME:
        raise SystemExit(f"the contenders answer differently: overlap@10 is {overlap}, under {SAME}")


def encoders(args: argparse.Namespace) -> dict[str, Any] | None:
    """What `parts/encoder_bench.py` runs, in a process of its own; None when the run is of some contenders only."""
    if args.only:
        return None
    out = args.out / "encoder.json"
    command = [
        sys.executable,
        "-m",
        "load_tests.parts.encoder_bench",
        f"--out={out}",
        f"--data={args.out}",
        "--rounds=3",
    ]
    subprocess.run(command, cwd=ROOT, check=True, stdin=subprocess.DEVNULL)
    timings: dict[str, Any] = json.loads(out.read_text())
    return timings


def measure(
    chosen: list[Contender], work: Workload, args: argparse.Namespace
) -> tuple[dict[str, list[Measured]], dict[str, Answers]]:
    """Each round starts every contender once, in turn and every other time in reverse; medians over the rounds."""
    runs: dict[str, dict[int, list[Measured]]] = {c.name: defaultdict(list) for c in chosen}
    answers: dict[str, Answers] = {}
    for repeat in range(args.repeats):
        for contender in chosen if repeat % 2 == 0 else reversed(chosen):
            print(f"round {repeat + 1}/{args.repeats}: {contender.name}", flush=True)
            try:
                contender.start()
                if contender.needs:
                    given = ask(URL, contender.target, min(USERS, work.users))
                if contender.needs in ENGINES:
                    answers[contender.name] = given
                drive(URL, contender.target, work.users, 32, _WARM_UP_S)
                for clients in args.clients:
                    runs[contender.name][clients].append(calmest(contender, work, clients, args))
                if args.profile and repeat == 0 and contender.name in (results.OURS, results.TRAINED):
                    profile(contender, work, args.out / f"profile-{contender.name}", args.profile)
            finally:
                contender.stop()
    return {name: [middle(each[n]) for n in args.clients] for name, each in runs.items()}, answers


def calmest(contender: Contender, work: Workload, clients: int, args: argparse.Namespace) -> Measured:
    """Measures again while other programs take cores, at most three times; the run that was disturbed least."""
    tries: list[tuple[float, Measured]] = []
    while len(tries) < _TRIES and all(cores > args.calm for cores, _ in tries):
        with Foreign(contender.processes()) as foreign:
            run = drive(URL, contender.target, work.users, clients, args.seconds)
        tries.append((foreign.cores, run))
        print(f"  {run}  others took {foreign.cores:.2f} cores", flush=True)
    return min(tries, key=lambda one: one[0])[1]


def profile(contender: Contender, work: Workload, folder: Path, clients: int, seconds: int = 8) -> None:
    """After the measurement, for sampling slows what it samples."""
    processes = contender.processes()
    before = cpu_seconds(processes)
    drive(URL, contender.target, work.users, clients, seconds)
    show_cores(before, cpu_seconds(processes), seconds)
    spies = record(processes, folder, seconds)
    drive(URL, contender.target, work.users, clients, seconds + 1)
    report(spies, folder)


def workload(args: argparse.Namespace) -> Workload:
    return Workload(args.items, args.dimension, args.shards, args.users, args.candidates, args.ef)


def arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m load_tests.comparison.compare", description=__doc__)
    add, default = parser.add_argument, Workload()
    add("--items", type=int, default=default.items)
    add("--dimension", type=int, default=default.dimension)
    add("--shards", type=int, default=default.shards)
    add("--users", type=int, default=default.users)
    add("--candidates", type=int, default=default.candidates, help="that a shard, or the one index, returns")
    add("--ef", type=int, default=default.ef, help="of every HNSW search")
    add("--recall", type=float, help="each contender with the smallest ef at which its recall@10 is this, and not --ef")
    add("--clients", type=_numbers, help="connections, as 1,8,32; a comparison takes 1 to 128, a sweep 1 and 32")
    add("--seconds", type=int, help="of each measurement: 8 in a comparison, 4 in a sweep")
    add(
        "--repeats",
        type=int,
        help="rounds over all contenders, whose medians are shown (3); or runs of a point of a sweep (1)",
    )
    add("--calm", type=float, default=0.3, help="cores that other programs may take before a run is repeated")
    add("--only", type=lambda text: text.split(","), default=[], help="contenders, as recsys,monolith")
    add("--rules", action="store_true", help="the platform with three rules and without them, in turn")
    add("--experiments", action="store_true", help="the platform with two experiments and without them, in turn")
    add(
        "--viewers",
        type=int,
        default=0,
        help="the platform with so many viewers of the console's Operations and without, in turn",
    )
    add("--pairs", type=int, default=8, help="slices of 5 s each with and without them, for each number of clients")
    add("--config", type=Path, default=ROOT / "configs/benchmark.yaml", help="Serve config file of the platform")
    add("--out", type=Path, default=ROOT / "var")
    add("--rebuild", action="store_true", help="build the indexes anew")
    add("--profile", type=int, nargs="?", const=32, metavar="CLIENTS", help="py-spy on the platform at so many clients")
    add("--values", type=_numbers, default=None, help="of what is swept, as 10000,40000")
    add("--sweep", choices=("items", "shards", "candidates", "clients", "all"), help="vary one instead")
    add("--plots", type=Path, help="folder of a sweep's pictures; as --out unless given")
    return parser


def _numbers(text: str) -> list[int]:
    return [int(part) for part in text.split(",")]


if __name__ == "__main__":
    main()
