"""Timings: read from every shape, moved by the real length of the sounds before, and shown as subtitles."""

from __future__ import annotations

import re
from typing import Any

import pytest

from airflow_provider_falinvoke.speech.subtitles import LINE, SECONDS, cues, srt, vtt
from airflow_provider_falinvoke.speech.timings import Word, fit, read_timings, together

HELLO = [Word("Hello", 0.0, 0.4), Word("world.", 0.5, 0.9)]
CHARACTERS = list("Hello world.")
STARTS = [0.0, 0.1, 0.2, 0.3, 0.35, 0.4, 0.5, 0.55, 0.6, 0.7, 0.8, 0.85]
ENDS = [0.1, 0.2, 0.3, 0.35, 0.4, 0.5, 0.55, 0.6, 0.7, 0.8, 0.85, 0.9]
ALIGNMENT = {
    "characters": CHARACTERS,
    "character_start_times_seconds": STARTS,
    "character_end_times_seconds": ENDS,
}


@pytest.mark.parametrize(
    "timestamps",
    [
        [{"text": "Hello", "start": 0, "end": 0.4}, {"text": "world.", "start": 0.5, "end": 0.9}],
        [{"word": " Hello ", "start_time": 0, "end_time": 0.4}, {"word": "world.", "start_time": 0.5, "end_time": 0.9}],
        [["Hello", 0, 0.4], ["world.", 0.5, 0.9]],
        {"words": [["Hello", 0, 0.4], ["world.", 0.5, 0.9]]},
        ALIGNMENT,
        [ALIGNMENT],
        {"alignment": ALIGNMENT},
        [{"character": c, "start": s, "end": e} for c, s, e in zip(CHARACTERS, STARTS, ENDS, strict=True)],
    ],
)
def test_every_shape_is_read(timestamps: Any) -> None:
    assert read_timings({"timestamps": timestamps}) == HELLO


def test_an_alignment_may_stand_beside_the_audio() -> None:
    assert read_timings({"audio": {"url": "x"}, "alignment": ALIGNMENT}) == HELLO


def test_a_piece_or_a_word_that_is_not_timed_costs_no_other_its_time() -> None:
    """ElevenLabs' alignments may be null (elevenlabs/elevenlabs-docs #76), and so may the times of single words."""
    assert read_timings({"timestamps": [None, ALIGNMENT, None]}) == HELLO
    assert read_timings({"timestamps": [{"alignment": ALIGNMENT, "normalized_alignment": None}]}) == HELLO
    assert read_timings({"timestamps": [{"alignment": None, "normalized_alignment": ALIGNMENT}]}) == HELLO
    words = [["In", 0, 0.4], ["1984", None, None], ["it", 0.9, None], ["was", None, 1.2], {"text": "(laughs)"}]
    assert read_timings({"timestamps": words}) == [
        Word("In", 0, 0.4),
        Word("1984", 0.4, 0.4),
        Word("it", 0.9, 0.9),
        Word("was", 1.2, 1.2),
        Word("(laughs)", 1.2, 1.2),
    ]


def test_pieces_that_count_from_their_own_beginning_follow_one_another() -> None:
    two = read_timings({"timestamps": [ALIGNMENT, ALIGNMENT]})
    assert two is not None
    assert [word.text for word in two] == ["Hello", "world.Hello", "world."] or len(two) == 4
    assert two[-1].end == pytest.approx(1.8)


@pytest.mark.parametrize(
    "output",
    [
        None,
        "text",
        {},
        {"timestamps": None},
        {"timestamps": "0.1"},
        {"timestamps": [1, 2]},
        {"timestamps": [{"text": "a"}]},
        {"timestamps": [{"text": "a", "start": "0", "end": "1"}]},
        {"timestamps": [{"text": 5, "start": 0, "end": 1}]},
        {"timestamps": [{"text": "a", "start": float("nan"), "end": 1}]},
        {"timestamps": [{"text": "a", "start": -1, "end": 1}]},
        {"timestamps": [{"text": "a", "start": True, "end": 1}]},
        {"timestamps": {**ALIGNMENT, "characters": ["a"]}},
        {"timestamps": {**ALIGNMENT, "character_end_times_seconds": None}},
        {"timestamps": [["a", 1]]},
        {"timestamps": [["a", None, None]]},
        {"timestamps": [None]},
    ],
)
def test_what_cannot_be_read_is_none_and_no_error(output: Any) -> None:
    assert read_timings(output) is None


def spelled(text: str) -> list[list[Any]]:
    """Return the times of each character of a text, as models tell them."""
    return [[character, n / 10, (n + 1) / 10] for n, character in enumerate(text)]


def written(words: list[Word] | None) -> str:
    return "".join(" " * (word.blank and number > 0) + word.text for number, word in enumerate(words or ()))


def test_an_empty_list_is_one_of_no_words() -> None:
    assert read_timings({"timestamps": []}) == []
    assert read_timings({"timestamps": [], "words": [["ab", 0, 1]]}) == [Word("ab", 0.0, 1.0)]


def test_starts_that_are_a_little_out_of_order_are_put_in_order_and_move_nothing() -> None:
    words = read_timings({"timestamps": [["one", 0, 1], ["two", 1.0, 1.2], ["three", 0.9, 1.5], ["four", 1.5, 2]]})
    assert words is not None
    moved = list(together([(words, 3.0), (words, 3.0)]))
    assert [word.start for word in moved] == [0, 1.0, 1.0, 1.5, 3.0, 4.0, 4.0, 4.5]
    assert all(word.end >= word.start for word in moved)


@pytest.mark.parametrize(
    ("starts", "read"),
    [
        ([0, 1.0, 0.9, 1.5], [0, 1.0, 0.9, 1.5]),
        ([0, 1.0, 0, 0.5], [0, 1.0, 1.2, 1.7]),
        ([0, 1.0, 0.05, 0.5, 0, 0.6], [0, 1.0, 1.25, 1.7, 1.9, 2.5]),
        ([0, 1.0, 0.3, 1.5], [0, 1.0, 0.3, 1.5]),
        ([0.05, 0.0, 0.3], [0.05, 0.0, 0.3]),
    ],
)
def test_another_piece_begins_only_where_the_start_falls_to_about_zero(starts: list[float], read: list[float]) -> None:
    words = read_timings({"timestamps": [["word", start, start + 0.2] for start in starts]})
    assert words is not None
    assert [word.start for word in words] == pytest.approx(read)


@pytest.mark.parametrize(
    "text",
    [
        "안녕하세요 여러분, 반갑습니다.",
        "한국어와 English 그리고 3.14입니다.",
        "今日はiPhoneを買いました。明日は東京へ。",
        "我有3.14个OK的苹果。",
        "สวัสดีครับ ผมชื่อสมชาย",
        "नमस्ते दुनिया। यह है",
        "مرحبا بكم، أهلا!",
        "e\u0301te\u0301 d'hiver (oui) [non]",
        "(a) 'b' \"c\" d.",
    ],
)
def test_characters_are_put_together_as_the_text_has_them(text: str) -> None:
    assert written(read_timings({"timestamps": spelled(text)})) == text


def test_a_character_of_several_code_points_among_others_makes_no_words_of_letters() -> None:
    items = spelled("Hello you world")
    items[4][0] = "o\u0301"
    assert written(read_timings({"timestamps": items})) == "Hello\u0301 you world"


def test_words_of_scripts_without_blanks_have_none_between_them_and_those_of_hangul_do() -> None:
    def words(*texts: str) -> str:
        return written(read_timings({"timestamps": [[text, n, n + 1] for n, text in enumerate(texts)]}))

    assert words("今日は", "晴れ", "です。") == "今日は晴れです。"
    assert words("안녕하세요", "여러분") == "안녕하세요 여러분"
    assert words("สวัสดี", "ครับ") == "สวัสดีครับ"
    assert words("ສະບາຍ", "ດີ") == "ສະບາຍດີ"
    assert words("សួស្តី", "អ្នក") == "សួស្តីអ្នក"
    assert words("မင်္ဂလာ", "ပါ") == "မင်္ဂလာပါ"
    assert words("今日は", "sunny", "です") == "今日は sunny です"


def test_times_that_are_not_those_of_the_sound_are_none() -> None:
    assert fit(HELLO, 0.2) == [Word("Hello", 0.0, 0.2), Word("world.", 0.2, 0.2)]
    assert fit([Word("late", 1500.0, 1600.0)], 2.0) is None
    assert fit([], 2.0) == []


def test_objects_around_the_times_are_opened_and_not_without_end() -> None:
    deep: Any = [["ab", 0, 1]]
    assert read_timings({"timestamps": {"a": {"b": deep}}}) == [Word("ab", 0.0, 1.0)]
    for _ in range(5000):
        deep = {"a": deep}
    assert read_timings({"timestamps": deep}) is None


def test_characters_of_scripts_without_blanks_stay_single() -> None:
    found = read_timings({"timestamps": [[character, n, n + 1] for n, character in enumerate("今日は a bc")]})
    assert found is not None
    assert [word.text for word in found] == ["今", "日", "は", "a", "bc"]


def test_a_word_that_ends_before_it_starts_has_no_length() -> None:
    assert read_timings({"timestamps": [["ab", 2, 1]]}) == [Word("ab", 2.0, 2.0)]


def test_parts_follow_by_their_real_length_and_not_by_their_last_word() -> None:
    joined = list(together([(HELLO, 1.5), ((), 0.25), (HELLO, 2.0)]))
    assert [word.start for word in joined] == [0.0, 0.5, 1.75, 2.25]
    assert joined[-1] == Word("world.", 2.25, 2.65)


def sentence(count: int, *, seconds: float = 0.3, at: float = 0.0, text: str = "word") -> list[Word]:
    return [Word(text, at + n * seconds, at + (n + 1) * seconds - 0.05) for n in range(count)]


def test_a_cue_is_a_sentence() -> None:
    words = [*HELLO, Word("How", 1.0, 1.2), Word("are", 1.2, 1.4), Word("you?”", 1.4, 1.6), Word("Fine", 1.7, 2.0)]
    assert [cue.lines for cue in cues(words)] == [("Hello world.",), ("How are you?”",), ("Fine",)]


def test_a_cue_has_two_lines_and_seven_seconds_at_the_most_and_ends_at_a_silence() -> None:
    for cue in cues(sentence(200)):
        assert cue.end - cue.start <= SECONDS
        assert len(cue.lines) <= 2
        assert all(len(line) <= LINE for line in cue.lines)
    for cue in cues(sentence(20, seconds=2.0)):
        assert cue.end - cue.start <= SECONDS
    assert len(list(cues([*sentence(3), *sentence(3, at=3.0)]))) == 2


def test_every_word_is_shown_once() -> None:
    words = [Word(f"w{n}", n * 0.3, n * 0.3 + 0.2) for n in range(500)]
    shown = " ".join(" ".join(cue.lines) for cue in cues(words))
    assert shown.split() == [word.text for word in words]


def test_a_word_longer_than_a_line_is_shown_alone() -> None:
    long = Word("x" * 100, 0.0, 1.0)
    assert ("x" * 100,) in [cue.lines for cue in cues([long, *sentence(3, at=1.0), long])]


def test_srt_and_vtt_are_as_players_want_them() -> None:
    words = [Word("A<b>&", 0.0, 0.5), Word("-->", 0.6, 1.0), Word("c.", 3661.5, 3662.0004)]
    assert "".join(srt(cues(words))) == (
        "1\n00:00:00,000 --> 00:00:01,000\nA<b>& ->\n\n2\n01:01:01,500 --> 01:01:02,000\nc.\n\n"
    )
    assert "".join(vtt(cues(words))) == (
        "WEBVTT\n\n00:00:00.000 --> 00:00:01.000\nA&lt;b&gt;&amp; --&gt;\n\n01:01:01.500 --> 01:01:02.000\nc.\n\n"
    )


def test_an_arrow_of_any_length_is_no_arrow_in_a_cue() -> None:
    for arrow in ("-->", "--->", "------->", "a-->b"):
        (cue,) = list(srt(cues([Word(arrow, 0.0, 1.0)])))
        assert cue.count("-->") == 1
        assert "".join(vtt(cues([Word(arrow, 0.0, 1.0)]))).count("-->") == 1


def test_a_cue_is_shown_for_a_while_and_not_with_the_next_one() -> None:
    words = [Word("One.", 0.0, 0.0), Word("Two.", 0.2, 0.9), Word("Three.", 0.8, 0.8), Word("Four.", 0.8, 0.8)]
    assert [(cue.start, cue.end) for cue in cues(words)] == [(0.0, 0.2), (0.2, 0.8), (0.8, 0.801), (0.8, 1.3)]


def test_times_of_cues_grow() -> None:
    text = "".join(srt(cues(sentence(400))))
    stamps = re.findall(r"\d\d:\d\d:\d\d,\d{3}", text)
    assert stamps == sorted(stamps)
    assert len(stamps) > 20


def test_no_words_make_empty_subtitles() -> None:
    assert "".join(srt(cues([]))) == ""
    assert "".join(vtt(cues([]))) == "WEBVTT\n\n"
