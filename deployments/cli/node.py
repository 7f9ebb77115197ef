"""recsys node: this machine's part of a cluster."""

from __future__ import annotations

import signal
import socket
from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

import typer
from rich.console import Console

from deployments.cli.options import DryRun, Json, out, print_json
from deployments.cli.platform import tell_urls, urls
from deployments.cli.progress import phases
from deployments.machine.cluster_node import ClusterNode, Place
from deployments.machine.preflight import GIB
from deployments.machine.runtime import Resources
from deployments.machine.serve_config import ServeConfig, read_config, read_for_serve
from recsys.errors import RuntimeFailure
from recsys.state.redis_url import sentinel_url

_MIB = 1 << 20

ClusterFile = Annotated[
    Path,
    typer.Option("--config", "-c", envvar="RECSYS_CONFIG", help="The Serve config file, the same on every machine."),
]
Address = Annotated[
    str | None,
    typer.Option("--address", help="This machine's IP address; by default the one that it reaches Redis from."),
]
_DEFAULT = Path("configs/production.yaml")


def add_to(cli: typer.Typer) -> None:
    group = typer.Typer(help="This machine's part of a cluster.", no_args_is_help=True)
    for command in (up, drain, down):
        group.command()(command)
    cli.add_typer(group, name="node")


def up(
    config: ClusterFile = _DEFAULT,
    head: Annotated[bool, typer.Option("--head", help="Be the head: the first machine to start.")] = False,
    join: Annotated[
        str | None, typer.Option(help="Join the head at this HOST:PORT; its port is args.ports.gcs.")
    ] = None,
    machines: Annotated[
        int,
        typer.Option(min=1, help="With --head: start replicas when so many machines are there; they spread over them."),
    ] = 1,
    address: Address = None,
    cpus: Annotated[int | None, typer.Option(min=1, help="Cores for replicas; all by default.")] = None,
    object_store: Annotated[int, typer.Option(min=75, help="MiB of shared memory, for batch jobs.")] = 256,
    token_file: Annotated[
        Path | None,
        typer.Option(
            envvar="RECSYS_TOKEN_FILE",
            help="File with the cluster's secret token; by default run/token in data_dir, which the head makes.",
        ),
    ] = None,
    block: Annotated[
        bool, typer.Option("--block", help="Stay, and end with exit code 1 when Ray ends here: for a service manager.")
    ] = False,
    dry_run: DryRun = False,
    json: Json = False,
) -> None:
    """Start Ray and HAProxy on this machine. The head hands the config file to Serve, others join it."""
    if head == (join is not None):
        raise RuntimeFailure("say either --head, on the first machine, or --join HOST:PORT, on each other one")
    serve_config, console = read_for_serve(config), out(quiet=json)
    place = Place(address=address or own_address(serve_config), joins=join, machines=machines, token_file=token_file)
    node = ClusterNode(serve_config, place.address)
    resources = Resources(num_cpus=cpus, object_store_bytes=object_store * _MIB, memory_needed=2 * GIB)

    def warn(line: str) -> None:
        console.print(line, style="yellow", markup=False, soft_wrap=True)

    if dry_run:
        instance = node.foreseen(place, resources=resources, warn=warn)
        what = "the head" if join is None else f"a node of the cluster at {join}"
        if json:
            print_json({"dry_run": True, "address": instance.address, **urls(instance)})
        console.print(f"would start {what} at {instance.address}. Nothing was changed.", soft_wrap=True)
        return
    with phases(console) as say:
        instance = node.up(place, say, resources=resources, warn=warn)
        say.end()
    if json:
        print_json({"address": instance.address, **urls(instance), "token_file": str(instance.token_file)})
    else:
        tell_urls(instance, console)
    if block:
        _stay(node, console)


def drain(
    config: ClusterFile = _DEFAULT,
    address: Address = None,
    within: Annotated[
        float, typer.Option(min=1, help="Seconds for which a replica waits for another one elsewhere.")
    ] = 300.0,
    dry_run: DryRun = False,
    json: Json = False,
) -> None:
    """Have this machine's replicas replaced elsewhere, then return: `recsys node down` harms nobody from then on."""
    node, console = _node(config, address), out(quiet=json)
    instance = node.running()
    if dry_run:
        console.print(f"would drain the node at {instance.address}. Nothing was changed.", soft_wrap=True)
        if json:
            print_json({"dry_run": True, "address": instance.address})
        return
    with phases(console) as say:
        node.drain(say, within_s=within)
        say.end()
    if json:
        print_json({"drained": instance.address})
    else:
        console.print(f"{instance.address} is drained; end it with: recsys node down", soft_wrap=True)


def down(config: ClusterFile = _DEFAULT, address: Address = None, dry_run: DryRun = False, json: Json = False) -> None:
    """Stop what `recsys node up` started on this machine, and nothing else. Data stays."""
    node, console = _node(config, address), out(quiet=json)
    if dry_run:
        running = node.processes()
        console.print(f"would stop {running} processes of {node.home}. Nothing was changed.", soft_wrap=True)
        if json:
            print_json({"dry_run": True, "processes": running})
        return
    with phases(console) as say:
        stopped = node.down(say)
        say.end()
    if json:
        print_json({"stopped": stopped})
    else:
        console.print(f"{stopped} processes stopped" if stopped else "nothing was running", soft_wrap=True)


def own_address(config: ServeConfig) -> str:
    """Return the address from which this machine reaches the platform's Redis. Raises RuntimeFailure for none."""
    url = config.platform.external_redis() or ""
    named = sentinel_url(url)
    place = urlsplit(url)
    host, port = named.sentinels[0] if named is not None else (place.hostname or "", place.port or 6379)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:  # connecting sends nothing
        try:
            probe.connect((host, port))
            return str(probe.getsockname()[0])
        except OSError as error:
            raise RuntimeFailure(f"this machine's address cannot be told ({error}): name it with --address") from None


def _node(config: Path, address: str | None) -> ClusterNode:
    serve_config = read_config(config)
    return ClusterNode(serve_config, address or own_address(serve_config))


def _stay(node: ClusterNode, console: Console) -> None:
    """Wait for the end of a vital process, then stop what is left. Raises RuntimeFailure: it is to be started again."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # a service manager's way to say Ctrl-C
    try:
        ended = node.watch(lambda line: console.print(line, markup=False))
    except KeyboardInterrupt:
        node.down()
        return
    node.down()
    raise RuntimeFailure(f"{ended} has ended, and the rest of this machine was stopped: start it again")
