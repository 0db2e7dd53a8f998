"""Timings: read from every shape, moved by the real length of the sounds before, and shown as subtitles."""

from __future__ import annotations

import re
from typing import Any

import pytest

from airflow_provider_falinvoke.speech.subtitles import LINE, SECONDS, cues, srt, vtt
from airflow_provider_falinvoke.speech.timings import Word, glue, read_timings, together

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
        {"timestamps": []},
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
    ],
)
def test_what_cannot_be_read_is_none_and_no_error(output: Any) -> None:
    assert read_timings(output) is None


def test_characters_of_scripts_without_blanks_stay_single() -> None:
    found = read_timings({"timestamps": [[character, n, n + 1] for n, character in enumerate("今日は a bc")]})
    assert found is not None
    assert [word.text for word in found] == ["今", "日", "は", "a", "bc"]
    assert glue("今", "日") == ""
    assert glue("は", "a") == glue("a", "bc") == " "


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


def test_times_of_cues_grow() -> None:
    text = "".join(srt(cues(sentence(400))))
    stamps = re.findall(r"\d\d:\d\d:\d\d,\d{3}", text)
    assert stamps == sorted(stamps)
    assert len(stamps) > 20


def test_no_words_make_empty_subtitles() -> None:
    assert "".join(srt(cues([]))) == ""
    assert "".join(vtt(cues([]))) == "WEBVTT\n\n"
