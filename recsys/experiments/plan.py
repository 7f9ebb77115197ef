"""How many users an experiment needs, before it is begun."""

from __future__ import annotations

from recsys.config.experiments import Experiment
from recsys.experiments.metrics import users_of
from recsys.outcomes.by_user import UserRows
from recsys.statistics.power import users_needed_sequential
from recsys.statistics.sequential import LEAST_USERS, mixture


def users_needed(experiment: Experiment, rows: UserRows) -> int | None:
    """Return the users of all variants together, by what the scenario's users did lately: `rows`, of one variant.

    None where nothing is known yet, and for an interleaving, whose clicks tell only once there are some.
    """
    users = users_of(rows, experiment.metric, 0)
    if experiment.kind == "interleaving" or len(users) < LEAST_USERS or not users.ratio:
        return None
    deviation = float(users.linearised().std(ddof=1))
    if not deviation:
        return None
    # The variant with the fewest users decides, in its comparison with the control.
    weights = [variant.weight for variant in experiment.running.values()]
    fewest, control = min(weights[1:] or weights), weights[0]
    wanted = experiment.effect * users.ratio
    both = users_needed_sequential(deviation, wanted, mixture(wanted), share=fewest / (fewest + control))
    return round(both * sum(weights) / (fewest + control))
