"""Which earlier item belongs to which input: no job is lost, and none is paid again, in whatever order they come."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_falinvoke.batch.arrangement import arrange, moves
from airflow_provider_falinvoke.batch.copies import UNSETTLED
from airflow_provider_falinvoke.batch.phases import Asked, Item, Phase

PRINTS = st.lists(st.sampled_from("abcd"), max_size=8)
KEPT = [phase for phase in Phase if phase not in (Phase.WAITING, Phase.FAILED)]


def left_of(prints: str, phases: str) -> list[Item]:
    """Return earlier items: done, failed, waiting, intended, lost."""
    of = {"d": Phase.DONE, "f": Phase.FAILED, "w": Phase.WAITING, "i": Phase.INTENT, "l": Phase.AMBIGUOUS}
    made = [
        Item(n, Asked(print_, "m"), of[phase]) for n, (print_, phase) in enumerate(zip(prints, phases, strict=True))
    ]
    return [replace(item, asked=Asked("", "")) if phases[item.index] == "l" else item for item in made]


def asked_for(prints: str) -> list[Asked]:
    return [Asked(one, "m") for one in prints]


def test_an_item_follows_its_request() -> None:
    left = left_of("abc", "ddd")
    assert arrange(left, asked_for("abc")) == [0, 1, 2]
    assert arrange(left, asked_for("xabc")) == [None, 0, 1, 2]
    assert arrange(left, asked_for("cab")) == [2, 0, 1]
    assert arrange(left, asked_for("ab")) == [0, 1, 2], "for a later try"
    assert arrange(left, asked_for("bx")) == [1, None, 2, 0]
    assert arrange(left_of("aab", "ddd"), asked_for("baaa")) == [2, 1, 0, None]


def test_nothing_is_kept_of_what_was_not_paid() -> None:
    assert arrange(left_of("abc", "wfd"), asked_for("cx")) == [2, None, None]
    assert arrange(left_of("aa", "wd"), asked_for("a")) == [1, None], "one job is enough"


def test_a_doubt_stays_in_its_place_unless_its_request_has_another() -> None:
    assert arrange(left_of("ab", "id"), asked_for("xb")) == [0, 1], "a template may render anew at each try"
    assert arrange(left_of("ab", "id"), asked_for("xab")) == [None, 0, 1]
    assert arrange(left_of("ab", "id"), asked_for("bx")) == [1, None, 0]


def test_an_item_whose_request_is_lost_keeps_some_input_from_being_paid_again() -> None:
    assert arrange(left_of("ab", "ld"), asked_for("ba")) == [1, 0]
    assert arrange(left_of("ab", "ld"), asked_for("b")) == [1, None, 0]


@given(PRINTS, PRINTS, st.data())
def test_no_job_is_lost_and_no_more_is_paid_than_is_new(before: list[str], now: list[str], data: st.DataObject) -> None:
    phases = data.draw(st.lists(st.sampled_from(Phase), min_size=len(before), max_size=len(before)))
    left = [Item(n, Asked(one, "m"), phase) for n, (one, phase) in enumerate(zip(before, phases, strict=True))]
    order = arrange(left, asked_for("".join(now)))
    placed = [old for old in order if old is not None]
    assert len(placed) == len(set(placed)), "each once"
    assert {item.index for item in left if item.phase in KEPT} <= set(placed)
    assert len(order) >= max(len(left), len(now))
    for old, one in zip(order, now, strict=False):
        assert old is None or left[old].asked.fingerprint == one or left[old].phase in UNSETTLED
    had = Counter(item.asked.fingerprint for item in left if item.phase in KEPT)
    new = sum((Counter(now) - had).values())
    paid = [old for old in order[: len(now)] if old is None or left[old].phase not in KEPT]
    assert len(paid) <= new
    if before == now:
        assert not moves(order)
