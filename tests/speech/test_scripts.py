"""Subtitles are valid to parsers of their formats, whatever is said, and show all of it."""

from __future__ import annotations

import io
import itertools
from typing import Any

import pytest
import srt as srt_format
import webvtt
from hypothesis import given, settings
from hypothesis import strategies as st

from airflow_provider_falinvoke.speech.punctuation import is_unspaced
from airflow_provider_falinvoke.speech.subtitles import LINES, cues, srt, vtt
from airflow_provider_falinvoke.speech.timings import Word, fit, read_timings, together

SAID = {
    "Latin": "Dr. No said: “Stop!” Then — after 3.14 s — he left & went <home>. Ça va? Straße.",
    "Cyrillic": "Привет, мир! Как дела? Это был г. Иванов, и он ушёл. Всё хорошо.",
    "Greek": "Καλημέρα κόσμε! Τι κάνεις; Όλα καλά, ευχαριστώ πολύ. Ναι.",
    "Arabic": "مرحبا بالعالم! كيف حالك؟ أنا بخير، شكرا لك. مع السلامة.",
    "Hebrew": "שלום עולם! מה שלומך? אני בסדר, תודה רבה. להתראות.",
    "Devanagari": "नमस्ते दुनिया! आप कैसे हैं? मैं ठीक हूँ, धन्यवाद। फिर मिलेंगे।",
    "Hangul": "안녕하세요 여러분! 어떻게 지내세요? 저는 잘 지내요, 감사합니다. 안녕히 가세요.",
    "Han": "你好，世界！你好吗？我很好，谢谢你。圆周率是３．１４。再见！",
    "Kana": "こんにちは、せかい！おげんきですか？はい、げんきです。カタカナもあります。",
    "Thai": "สวัสดีชาวโลก คุณเป็นอย่างไรบ้าง ผมสบายดี ขอบคุณมาก แล้วพบกันใหม่",
}


def subtitles(words: list[Word]) -> tuple[list[Any], list[Any]]:
    """Return what the parsers read, and make sure that they have nothing to complain of."""
    srt_text, vtt_text = "".join(srt(cues(words))), "".join(vtt(cues(words)))
    by_srt = list(srt_format.parse(srt_text))
    assert [cue.index for cue in by_srt] == list(range(1, len(by_srt) + 1))
    assert srt_format.compose(by_srt, reindex=False, strict=True) == srt_text
    by_vtt = webvtt.from_buffer(io.StringIO(vtt_text), format="vtt").captions
    assert len(by_vtt) == len(by_srt) == len(list(cues(words)))
    for cue in by_srt:
        assert cue.end > cue.start
        assert "" not in cue.content.split("\n")
        assert "-->" not in cue.content
    for before, after in itertools.pairwise(by_srt):
        assert after.start >= before.start
    for one, other in zip(by_vtt, by_srt, strict=True):
        assert one.start_in_seconds == int(other.start.total_seconds())
        assert len(one.lines) == len(other.content.split("\n"))
    return by_srt, by_vtt


def shown(by_srt: list[Any]) -> str:
    return "".join(cue.content for cue in by_srt)


@pytest.mark.parametrize("spelled", [True, False], ids=["characters", "words"])
@pytest.mark.parametrize("text", SAID.values(), ids=SAID)
def test_subtitles_are_valid_and_show_all_that_is_said(text: str, spelled: bool) -> None:
    items = list(text) if spelled else text.split()
    words = read_timings({"timestamps": [[item, n * 0.15, n * 0.15 + 0.1] for n, item in enumerate(items)]})
    assert words is not None
    by_srt, by_vtt = subtitles(list(together([(words, 20.0)] * 3)))
    assert "".join(shown(by_srt).split()) == "".join(text.split()) * 3
    assert len(by_srt) > 2
    assert all(len(cue.content.split("\n")) <= LINES for cue in by_srt)
    for cue in by_srt:
        for line in cue.content.split("\n"):
            # Of words of a script without blanks nobody knows which had one between them after all.
            assert line in f"{text} {text} {text}" or (not spelled and is_unspaced(line[0]))
    assert all(cue.raw_text for cue in by_vtt)


TIMES = st.floats(0, 30) | st.sampled_from((0, 0.0004, 1e-9, 29.9996))
TEXTS = st.text(max_size=8) | st.sampled_from(
    ("-->", "--->", "\n\n", "a\n\nb", "1", "NOTE", "WEBVTT", "\x00", "<b>", "&", "\r")
)


@settings(max_examples=100)
@given(st.lists(st.tuples(TEXTS, TIMES, TIMES).map(list), max_size=30))
def test_subtitles_of_whatever_a_model_tells_are_valid(timestamps: list[Any]) -> None:
    words = fit(read_timings({"timestamps": timestamps}) or [], 30.0) or []
    subtitles(list(together([(words, 30.0), (words, 30.0)])))
