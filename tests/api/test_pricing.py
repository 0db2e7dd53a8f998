"""Estimates: exact where the user gave a price and the request says how much of it; None otherwise."""

from __future__ import annotations

import json
from typing import Any

import pytest

from airflow_provider_falinvoke.api.models import InvokeRequest
from airflow_provider_falinvoke.api.pricing import estimate, read_prices
from airflow_provider_falinvoke.exceptions import FalInvokeInputError

MODEL = "fal-ai/some/model"


@pytest.mark.parametrize(
    ("price", "fields", "cost"),
    [
        ({"per_image": 0.003}, {"prompt": "x"}, 0.003),
        ({"per_image": 0.003}, {"prompt": "x", "num_images": 4}, 0.012),
        ({"per_megapixel": 0.5}, {"image_size": {"width": 1000, "height": 2000}, "num_images": 2}, 2.0),
        ({"per_megapixel": 1}, {"image_size": "square_hd"}, 1.048576),
        ({"per_megapixel": 1}, {"output_format": "landscape_4_3"}, 0.786432),
        ({"per_megapixel": 1}, {"prompt": "x"}, None),
        ({"per_megapixel": 1}, {"image_size": "of a house"}, None),
        ({"per_megapixel": 1}, {"image_size": {"width": "wide"}}, None),
        ({"per_megapixel": 1}, {"image_size": 7}, None),
        ({"per_second": 0.01}, {"prompt": "x", "seconds_total": 30}, 0.3),
        ({"per_second": 0.01}, {"prompt": "x"}, None),
        ({"per_megapixel": 1}, {"image_size": {"width": "512", "height": "1000"}}, 0.512),
        ({"per_megapixel": 1}, {"image_size": {"width": -512, "height": 1000}}, None),
        ({"per_1000_characters": 0.2}, {"text": "a" * 500}, 0.1),
        ({"per_image": 0}, {"prompt": "x"}, 0.0),
    ],
)
def test_the_estimate_is_the_price_times_what_the_request_says(
    price: dict[str, float], fields: dict[str, Any], cost: float | None
) -> None:
    request = InvokeRequest.build(MODEL, fields)
    found = estimate(request, read_prices({MODEL: price}))
    assert found == (pytest.approx(cost) if cost is not None else None)


def test_the_documented_audio_model_makes_190_seconds_where_nobody_says() -> None:
    model = "fal-ai/stable-audio-25/text-to-audio"
    request = InvokeRequest.build(model, {"prompt": "x"})
    assert estimate(request, read_prices({model: {"per_second": 0.01}})) == pytest.approx(1.9)


def test_without_a_price_for_the_model_nothing_is_guessed() -> None:
    assert estimate(InvokeRequest.build(MODEL, {"prompt": "x"}), read_prices({"another": {"per_image": 1}})) is None


def test_prices_may_be_json() -> None:
    prices = {MODEL: {"per_image": 1.5}}
    assert read_prices(json.dumps(prices)) == read_prices(prices)


@pytest.mark.parametrize(
    "prices",
    [
        "{",
        {MODEL: {}},
        {MODEL: {"per_image": 1, "per_second": 1}},
        {MODEL: {"per_image": -1}},
        {MODEL: {"per_day": 1}},
        [],
    ],
)
def test_what_is_no_price_is_refused(prices: Any) -> None:
    with pytest.raises(FalInvokeInputError, match=r"^prices"):
        read_prices(prices)
