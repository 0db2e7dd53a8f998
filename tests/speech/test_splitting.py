"""Texts are split where a reader would pause, and nothing of them is lost."""

from __future__ import annotations

import itertools
import random
import re
import time
import unicodedata

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from airflow_provider_falinvoke.speech.splitting import CONTEXT, cuts, first_cuts, parts_of, split

FAMILY = "\U0001f468\u200d\U0001f469\u200d\U0001f467"
THUMB = "\U0001f44d\U0001f3fd"
FLAG = "\U0001f1e9\U0001f1ea"
ACCENTED = "e\u0301\u0323"
SYLLABLE = "\u1112\u1161\u11ab"


def texts(text: str, limit: int) -> list[str]:
    parts = [part.text for part in split(text, limit)]
    assert all(0 < len(part) <= limit for part in parts)
    assert all(part == part.strip() for part in parts)
    assert "".join("".join(parts).split()) == "".join(text.split()), "nothing but blanks is dropped"
    return parts


def test_a_text_within_the_limit_stays_whole() -> None:
    assert texts("One. Two.", 9) == ["One. Two."]
    assert texts("  One. \n", 9) == ["One."]
    assert texts("", 9) == texts(" \n\t ", 9) == []


def test_a_text_is_split_after_the_last_sentence_that_fits() -> None:
    assert texts("One two. Three four! Five six? Seven.", 25) == ["One two. Three four!", "Five six? Seven."]
    assert texts("One. Two.", 5) == ["One.", "Two."]
    assert texts("One. Two.", 4) == ["One.", "Two."], "the blank after a sentence does not count"


@pytest.mark.parametrize(
    ("text", "first"),
    [
        ('He said: "Stop." Then he left the room.', 'He said: "Stop."'),
        ("(It was late.) Nobody came to the door.", "(It was late.)"),
        ("Wait … Really? She did not say so then.", "Wait … Really?"),
        ("First line\n\nThe second paragraph goes on", "First line"),
        ("यह पहला वाक्य है। यह दूसरा वाक्य है और लंबा।", "यह पहला वाक्य है।"),
        ("هل أنت بخير؟ نعم أنا بخير والحمد لله اليوم.", "هل أنت بخير؟"),
        ("今日は晴れです。明日は雨が降るでしょうと言っていました。", "今日は晴れです。"),
        ("「はい。」と彼女は小さな声で静かに言いましたそして。", "「はい。」"),
    ],
)
def test_sentences_end_as_each_script_has_it(text: str, first: str) -> None:
    assert texts(text, 24)[0] == first


@pytest.mark.parametrize(
    "text",
    [
        "We met Dr. Watson and some other people there.",
        "It is by J. Smith who lives not far from here.",
        "Some fruits (e.g. apples) and berries are here too.",
        "Pi is 3.14159 or so they told us at the school.",
        "We waited... and waited for a long time in vain.",
    ],
)
def test_a_full_stop_that_ends_no_sentence_is_none(text: str) -> None:
    first = texts(text, 40)[0]
    assert len(first) > 20, first


@pytest.mark.parametrize(
    ("text", "whole"),
    [
        ("Er kam an. Das war am 3. Oktober und es regnete.", "3. Oktober"),
        ("Es ist klar. Nach Abs. 2 gilt das nicht mehr.", "Abs. 2"),
        ("We met a man. It was Capt. Jones of the Navy.", "Capt. Jones"),
        ("Das ist so. Laut Nr. 17 gilt das auch für ihn.", "Nr. 17"),
        ("We read it. See pp. 12 and so on, as they say.", "pp. 12"),
        ("Er sagt es. Mit z. B. Äpfeln und auch Birnen geht es.", "z. B. Äpfeln"),
        ("We saw him. King Louis XIV. Bourbon he was called then.", "XIV. Bourbon"),
        ("Das gilt so. Nach § 17 gilt das auch für ihn.", "§ 17"),
        ("Es regnet nun. Das kostet 10 000 Euro im Jahr.", "10 000"),
        ("Il pleut ici. Cela coûte 10\u00a0000\u00a0€ par an ici.", "10\u00a0000\u00a0€"),
        ("Он пришёл домой. Это был г. Москва и его люди.", "г. Москва"),
        ("円周率です。３．１４だと言われています。そうですか", "３．１４"),
        ("値段です。１，２３４円だと言われています。そうですか", "１，２３４"),
        ("時間です。１２：３０だと言われています。そうですか", "１２：３０"),
        ("今日は晴れでiPhoneを買いましたそれから帰りました", "iPhone"),
        ('Hello there. <break time="1.5s" /> And then we go.', '<break time="1.5s" />'),
        ("Hello there. [laughs out loud] And then we go on.", "[laughs out loud]"),
        ('Say it. <phoneme ph="a b">tomato or so</phoneme> now.', '<phoneme ph="a b">tomato or so</phoneme>'),
    ],
)
def test_what_belongs_together_is_not_torn_while_another_place_is_near(text: str, whole: str) -> None:
    for limit in range(len(whole) + 2, len(text)):
        assert any(whole in part for part in texts(text, limit)), limit


def test_what_belongs_together_and_is_too_long_is_torn_after_all() -> None:
    assert texts("1" * 30, 10) == ["1" * 10] * 3
    assert len(texts("<break " + "x" * 90 + ">", 30)) >= 4
    assert texts("Am 3. Oktober", 8) == ["Am", "3.", "Oktober"]


def test_a_number_at_the_end_of_a_sentence_or_a_paragraph_may_end_a_part() -> None:
    assert texts("It was in 1984. Then he left us all.", 30)[0] == "It was in 1984."
    assert texts("Then he saw Abs.\n\nThen he left us all.", 30)[0] == "Then he saw Abs."
    assert texts("This was chapter 3.\n\nThen he left us all.", 30)[0] == "This was chapter 3."


@pytest.mark.parametrize(
    ("text", "limit", "parts"),
    [
        ("One sentence. Two more.\n\n* * *", 25, ["One sentence.", "Two more.\n\n* * *"]),
        ("One sentence. Two more. …", 23, ["One sentence.", "Two more. …"]),
        ("* * *\n\nOne long sentence that goes on", 20, ["* * *\n\nOne long", "sentence that goes", "on"]),
        ("One. * * *\n\nOne long sentence that goes", 20, ["One. * * *", "One long sentence", "that goes"]),
        ("今日は晴れです。……", 8, ["今日は晴れで", "す。……"]),
    ],
)
def test_what_has_nothing_to_say_joins_its_neighbour(text: str, limit: int, parts: list[str]) -> None:
    assert texts(text, limit) == parts


PIECES = (
    *(
        "Am 3. Oktober ",
        "Abs. 2 ",
        "Capt. Jones ",
        "３．１４",
        '<break time="1.5s" />',
        "[sighs] ",
        "10 000 ",
        "z. B. ",
    ),
    *(
        "word ",
        "Wort, ",
        "end. ",
        "今日は",
        "晴れです。",
        "안녕 ",
        "สวัสดี",
        "\n\n",
        "* * *",
        "…",
        "\u0301",
        "e",
        FAMILY,
        FLAG,
        " ",
    ),
)


@settings(max_examples=60)
@given(st.lists(st.sampled_from(PIECES) | st.text(max_size=5), max_size=40).map("".join), st.integers(1, 90))
@example("…" * 20 + "a", 5)
def test_the_parts_of_a_text_are_the_text(text: str, limit: int) -> None:
    texts(text, limit)
    at = 0
    for end, part in zip(cuts(text, limit), split(text, limit), strict=True):
        assert text[at:end].strip() == part.text
        at = end
    assert text[at:].strip() == ""


@settings(max_examples=60)
@given(st.lists(st.sampled_from(PIECES), min_size=1, max_size=60).map("".join))
def test_each_part_has_something_to_say(text: str) -> None:
    """Where silence is shorter than half a part, as it is in what people write."""
    limit = 2 * max((len(run) for run in re.split(r"[^\W_]", text)), default=0) + 20
    if any(map(str.isalnum, text)):
        assert all(any(map(str.isalnum, part)) for part in texts(text, limit))


def test_a_text_that_an_older_version_split_is_split_alike() -> None:
    """These parts are those of the rules before there was a record of a split."""
    text = "Wir kamen. Am 3. Oktober sprach Capt. Jones, nach Abs. 2, mit Dr. No. Das dauerte. * * * Dann ging er fort."
    assert [part.text for part in parts_of(text, first_cuts(text, 30))] == [
        "Wir kamen. Am 3.",
        "Oktober sprach Capt.",
        "Jones, nach Abs.",
        "2, mit Dr. No. Das dauerte.",
        "* * * Dann ging er fort.",
    ]
    assert first_cuts("x" * 25 + "\ud83d\ude00", 26) == [25, 27]


def test_a_long_sentence_is_split_at_a_clause_then_at_a_word() -> None:
    assert texts("One two three, four five six; seven eight nine ten", 30) == [
        "One two three, four five six;",
        "seven eight nine ten",
    ]
    assert texts("one two three four five six", 13) == ["one two three", "four five six"]
    assert texts("今日は、とても、よい、天気です", 8)[0] == "今日は、とても、"


def test_what_has_no_blanks_is_cut_at_the_limit() -> None:
    assert texts("x" * 25, 10) == ["x" * 10, "x" * 10, "x" * 5]


@pytest.mark.parametrize("unit", [FAMILY, THUMB, FLAG, ACCENTED, SYLLABLE, "a\ufe0f", "\ud83d\ude00"])
@pytest.mark.parametrize("limit", range(6, 20))
def test_what_is_one_character_to_a_reader_is_never_torn(unit: str, limit: int) -> None:
    for part in texts("x" + unit * 40, limit):
        assert part.removeprefix("x").replace(unit, "") == ""


def test_one_that_alone_is_longer_than_the_limit_is_cut_after_all() -> None:
    assert len(texts("e" + "\u0301" * 5000, 100)) == 51
    assert len(texts("\u200d" * 1000, 100)) == 10
    halves = texts("\ud83d\ude00" * 30, 5)
    assert all(part.startswith("\ud83d") and part.endswith("\ude00") for part in halves)


@pytest.mark.parametrize(
    "text",
    [
        "." * 40_000,
        ". " * 20_000,
        '"' * 40_000,
        "a." * 20_000,
        "a. " + "b" * 40_000,
        " " * 40_000 + "x",
        ("x" + " " * 3000) * 12,
        FLAG * 20_000,
        "e" + "\u0301" * 40_000,
        "\u200d" * 40_000,
        "。" * 40_000,
        "x" * 40_000,
        "\n" * 40_000,
        "\ud83d\ude00" * 20_000,
        "Dr. " * 10_000,
        "1" * 40_000,
        "1." * 20_000,
        "3. " * 13_000,
        "<a " * 13_000,
        "<a>" * 13_000,
        "<" + "a" * 40_000,
        "[" * 40_000,
        "[a" * 20_000,
        "1 000 " * 7_000,
        "abs." + " " * 40_000 + "2",
        "* " * 20_000,
        "a" + "*" * 40_000,
        "\u00a0" * 20_000 + "x" * 20_000,
    ],
    ids=lambda text: repr(text[:6]),
)
def test_hostile_texts_take_no_more_than_their_length(text: str) -> None:
    """Twice as much takes some twice as long; the CPU's time is measured, which a busy machine does not stretch."""

    def seconds(some: str) -> float:
        since = time.process_time()
        texts(some, 2500)
        return time.process_time() - since

    half, whole = seconds(text[: len(text) // 2]), seconds(text)
    assert whole < 5 * half + 0.2


def test_random_texts_of_all_kinds_of_characters_lose_nothing() -> None:
    chance = random.Random(7)
    alphabet = [*"ab. ,;!?\n\"')(", "。", "、", "\u0301", "\u200d", FAMILY, THUMB, FLAG, "é", "\u00a0", "\u3000", "…"]
    for _ in range(300):
        text = "".join(chance.choice(alphabet) for _ in range(chance.randrange(200)))
        for part in texts(text, chance.randrange(8, 60)):
            assert part


def test_each_part_knows_what_is_said_around_it() -> None:
    sentences = [f"This is sentence number {number}." for number in range(60)]
    parts = split(" ".join(sentences), 700)
    assert len(parts) >= 3
    assert (parts[0].before, parts[-1].after) == ("", "")
    for one, two in itertools.pairwise(parts):
        assert one.text.endswith(two.before)
        assert two.text.startswith(one.after)
        assert CONTEXT * 0.8 < len(two.before) <= CONTEXT
        assert CONTEXT * 0.8 < len(one.after) <= CONTEXT


def test_the_context_of_a_part_begins_and_ends_with_whole_characters() -> None:
    for part in split(FAMILY * 200 + THUMB * 300, 500):
        for context in (part.before, part.after):
            assert context.replace(FAMILY, "").replace(THUMB, "") == ""
            assert not context or not unicodedata.category(context[0]).startswith("M")
