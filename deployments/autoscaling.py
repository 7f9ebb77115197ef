"""Serve's autoscaling policy: replicas by how busy they say they are, see `recsys/serving/scaling.py`.

Serve's own counts requests under way, and sees little here: they wait in the composers' coalescers, and composers reach
the shards past Serve. So replicas report their load through `record_autoscaling_stats`.
"""

from __future__ import annotations

from typing import Any

from ray.serve.config import AutoscalingContext

from recsys.serving.scaling import Load, Targets, wanted_replicas


class Utilisation:
    """Serve makes one for each deployment from `policy_kwargs` and calls it at every turn of its controller's loop:
    it only computes. Bounds and delays are Serve's, from `autoscaling_config`.
    """

    def __init__(self, **targets: float) -> None:
        self._targets = Targets(**targets)

    def __call__(self, context: AutoscalingContext) -> tuple[float, dict[str, Any]]:
        reported = context.aggregated_metrics or {}
        replicas = set.intersection(*(set(reported.get(name, {})) for name in Load.__dataclass_fields__))
        loads = [Load(**{name: reported[name][replica] for name in Load.__dataclass_fields__}) for replica in replicas]
        if not loads:  # with no replica at all, nobody would ever say that one is wanted
            return max(context.target_num_replicas, 1), {}
        wanted = wanted_replicas(loads, context.current_num_replicas, self._targets)
        # What is starting already was wanted a moment ago, and its share of the load is still on the others.
        starting = context.current_num_replicas < context.target_num_replicas
        return max(wanted, context.target_num_replicas) if starting else wanted, {}
