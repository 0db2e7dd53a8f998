"""What all items of a batch will cost together, and whether that is too much."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from airflow_provider_falinvoke.batch.phases import Asked
from airflow_provider_falinvoke.exceptions import FalInvokeInputError

log = logging.getLogger(__name__)


def cost_of_all(asked: Sequence[Asked], max_cost: float | None) -> float | None:
    """Return what all items are estimated to cost, None where that of one is not known.

    :param max_cost: the most that they may cost; None for any cost.
    :raises FalInvokeInputError: they are estimated to cost more, or there is no estimate to compare.
    """
    unknown = [index for index, one in enumerate(asked) if one.cost is None]
    if unknown:
        if max_cost is None:
            return None
        raise FalInvokeInputError(
            f"max_cost is set, but what {len(unknown)} of the items cost is not known (item {unknown[0]} is the "
            f"first, a job of {asked[unknown[0]].model_id}); nothing was sent. Give the price in prices, or in the "
            "connection's extra."
        )
    cost = sum(one.cost or 0.0 for one in asked)
    log.info("Estimated cost of all %d items: %.6g", len(asked), cost)
    if max_cost is not None and cost > max_cost:
        raise FalInvokeInputError(
            f"The batch would cost some {cost:.6g}, more than max_cost ({max_cost:.6g}); nothing was sent."
        )
    return cost
