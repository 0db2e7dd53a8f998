"""What a task's job will cost, and whether that is too much: an operator's prices, or its connection's."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from airflow_provider_falinvoke.api.models import InvokeRequest, object_of
from airflow_provider_falinvoke.api.pricing import Price, estimate, read_prices
from airflow_provider_falinvoke.completion import amount_of
from airflow_provider_falinvoke.exceptions import FalInvokeInputError
from airflow_provider_falinvoke.hooks.falinvoke import FalInvokeHook
from airflow_provider_falinvoke.side_effects import not_stopping_the_task

log = logging.getLogger(__name__)


def check_cost(request: InvokeRequest, prices: Any, max_cost: float | str | None, hook: FalInvokeHook) -> None:
    """Refuse a job that is too dear, before anything is sent.

    :param prices: by model_id; None takes the connection's.
    :param max_cost: the most that it may cost; None for any cost.
    :raises FalInvokeInputError: it is estimated to cost more, or there is no estimate to compare.
    """
    cost = estimate(request, _prices(prices, hook))
    if cost is not None:
        log.info("Estimated cost: %.6g", cost)
    if max_cost is None:
        return
    limit = amount_of("max_cost", max_cost)
    if cost is None:
        raise FalInvokeInputError(
            f"max_cost is set, but what a job of {request.model_id} costs is not known; nothing was sent. Give its "
            "price in prices, or in the connection's extra."
        )
    if cost > limit:
        raise FalInvokeInputError(
            f"The job would cost some {cost:.6g}, more than max_cost ({limit:.6g}); nothing was sent."
        )


def estimated_cost(model_id: Any, input: Any, prices: Any, hook: FalInvokeHook) -> float | None:
    """Return what a job that is done was estimated to cost; None where that is not known."""
    with not_stopping_the_task("The cost cannot be estimated any more"):  # its parameters may render to anything by now
        known = _prices(prices, hook)
        return estimate(InvokeRequest.read(object_of(input), model_id=model_id), known) if known else None
    return None


def _prices(prices: Any, hook: FalInvokeHook) -> Mapping[str, Price]:
    return hook.endpoint.extra.prices if prices is None else read_prices(prices)
