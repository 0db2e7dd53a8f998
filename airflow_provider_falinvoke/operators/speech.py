"""Say texts: the fields of a speech model as typed parameters, and long texts in parts."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from airflow_provider_falinvoke.api.inputs import SpeechInput, input_type, prompt_of
from airflow_provider_falinvoke.api.portable import for_airflow
from airflow_provider_falinvoke.assets import announce
from airflow_provider_falinvoke.batch.engine import Batch
from airflow_provider_falinvoke.batch.home import JOURNAL, home_of
from airflow_provider_falinvoke.batch.items import Inputs
from airflow_provider_falinvoke.batch.storage import Folder
from airflow_provider_falinvoke.completion import amount_of, saving_of
from airflow_provider_falinvoke.exceptions import FalInvokeError, FalInvokeInputError
from airflow_provider_falinvoke.operators.typed import TypedInputOperator, is_literal
from airflow_provider_falinvoke.operators.waves import RunsBatch
from airflow_provider_falinvoke.speech.assembly import Assembly
from airflow_provider_falinvoke.speech.split_record import split_once
from airflow_provider_falinvoke.speech.splitting import Part

if TYPE_CHECKING:
    from airflow.sdk import Context, XComArg

#: ElevenLabs documents 10,000 characters for the default model and 5,000 for a newer one.
MAX_CHARACTERS = 5000
#: How many request_ids, and how much of what is left out, a result names; the manifest has it all.
_SHOWN = 100


class FalSpeechOperator(RunsBatch, TypedInputOperator):
    """Say a text with a fal model; a long one in parts that are joined again.

    A text of more than ``max_characters`` is split at sentences and said by several jobs at the same time, each of
    which is told what is said around it, where the model takes that. They are kept in a journal under ``output_path``
    like those of :class:`~airflow_provider_falinvoke.operators.batch.FalInvokeBatchOperator`, so that a retry says only
    the parts that are missing. Then they are joined: WAV and MP3 to one file, others stay a list.

    What is not given is left out of the request, so that the model's own default holds. The ranges are fal's, for
    ``fal-ai/elevenlabs/tts/multilingual-v2``.

    :param text: what to say.
    :param voice: who says it, ``Rachel`` by default; also ``Aria``, ``Roger``, ``Sarah``, ``George`` and others.
    :param language_code: the language, as ISO 639-1 has it (``de``). A model that cannot be told the language refuses
        it; left out, the text tells.
    :param speed: from 0.7 to 1.2, 1 by default.
    :param stability: from 0 to 1, 0.5 by default; less is livelier.
    :param similarity_boost: how close to the voice's recordings, from 0 to 1, 0.75 by default.
    :param style: how much to exaggerate the voice's style, from 0 (the default) to 1.
    :param timestamps: whether the output tells when each word is said, False by default.
    :param previous_text: what was said before, so that the speech goes on from there.
    :param next_text: what will be said after it.
    :param max_characters: a longer text is said in parts of at most so many characters, which needs ``output_path``;
        None never splits.
    :param model_id: a speech model.
    :param further_input: further fields of the model, by name; they pass as they are.

    The other parameters are those of :class:`~airflow_provider_falinvoke.operators.falinvoke.FalInvokeOperator`
    without ``input``, and so is what it returns. All parameters here are templated. What is said in parts returns
    further ``parts`` (their number), ``request_ids`` (the first hundred), and, with ``timestamps``, the paths
    ``timings`` (JSON), ``srt`` and ``vtt``; ``files`` holds the joined file, and ``manifest`` leads to a line for each
    part.
    """

    family = SpeechInput
    fields = (
        "text",
        "voice",
        "language_code",
        "speed",
        "stability",
        "similarity_boost",
        "style",
        "timestamps",
        "previous_text",
        "next_text",
    )
    template_fields: Sequence[str] = (*fields, "max_characters", *TypedInputOperator.template_fields)

    def __init__(
        self,
        *,
        text: str | XComArg,
        voice: str | XComArg | None = None,
        language_code: str | XComArg | None = None,
        speed: float | str | XComArg | None = None,
        stability: float | str | XComArg | None = None,
        similarity_boost: float | str | XComArg | None = None,
        style: float | str | XComArg | None = None,
        timestamps: bool | str | XComArg | None = None,
        previous_text: str | XComArg | None = None,
        next_text: str | XComArg | None = None,
        max_characters: int | str | XComArg | None = MAX_CHARACTERS,
        model_id: str | XComArg = "fal-ai/elevenlabs/tts/multilingual-v2",
        further_input: dict[str, Any] | str | XComArg | None = None,
        **kwargs: Any,
    ) -> None:
        self.text = text
        self.voice = voice
        self.language_code = language_code
        self.speed = speed
        self.stability = stability
        self.similarity_boost = similarity_boost
        self.style = style
        self.timestamps = timestamps
        self.previous_text = previous_text
        self.next_text = next_text
        self.max_characters = max_characters
        super().__init__(model_id=model_id, further_input=further_input, **kwargs)

    def check(self, given: Mapping[str, Any]) -> None:
        """Refuse a long text that nobody could join."""
        super().check(given)
        if not is_literal(self.max_characters) or not self._is_long(given):
            return
        if self.output_path is None or self.reuse or not self.wait_for_completion:
            raise FalInvokeInputError(
                f"text: it has {len(given['text'])} characters, more than max_characters ({self.max_characters}), so "
                "it is said in parts, which needs output_path, and wait_for_completion, and goes without reuse. "
                "max_characters=None says it whole."
            )

    @property
    def runs_batch(self) -> bool:
        """Whether the text is said in parts."""
        return self._is_long(self.input)

    def execute(self, context: Context) -> dict[str, Any] | str | None:
        """Say the text, in parts if it is long."""
        if not self.runs_batch:
            return super().execute(context)
        return self.first_wave(context)

    def open_batch(self, context: Context) -> Batch:
        """Return the batch of the parts."""
        request = self._request()
        self.check(request.input)
        saving = saving_of(self, context)
        limit = int(amount_of("max_characters", self.max_characters))
        parts = split_once(request.input["text"], limit, Folder(f"{home_of(saving)}/{JOURNAL}"))
        inputs = Inputs(
            [{"input": fields} for fields in self._inputs(request.input, parts)],
            conn_id=self.fal_conn_id,
            model_id=request.model_id,
            tags=self.tags,
            family=self.family,
        )
        return Batch.of(context["ti"], self.hook, self.batch_settings(), inputs=inputs, saving=saving)

    def close_batch(
        self, context: Context, batch: Batch, summary: dict[str, Any], error: FalInvokeError | None
    ) -> dict[str, Any]:
        """Join the parts, once all of them are home."""
        if error is not None:
            raise error
        saving = saving_of(self, context)
        # The first part's, which a retry keeps, so that no other speech has a file of this name.
        first = str(next(batch.rows())["request_id"])

        def name_of(extension: str) -> str:
            return saving.file_name.render(saving.place, request_id=first, number="all", extension=extension)

        parts = Assembly(batch.rows, Folder(str(saving.output_path)), name_of, batch.model_id)
        result = {
            "request_id": None,
            "request_ids": [row["request_id"] for row, _ in zip(batch.rows(), range(_SHOWN), strict=False)],
            "model_id": batch.model_id,
            "status": "COMPLETED",
            "created_at": min((row["created_at"] for row in batch.rows() if row.get("created_at")), default=None),
            "completed_at": max((row["completed_at"] for row in batch.rows() if row.get("completed_at")), default=None),
            "seconds": summary["seconds"],
            "prompt": prompt_of(self.input),
            "output": {},
            "flagged": [],
            "files": parts.files(),
            "left_out": _left_out(batch.rows()),
            "parts": summary["items"],
            "manifest": summary["manifest"],
            "estimated_cost": summary["estimated_cost"],
            **(parts.timings() if self.input.get("timestamps") else {}),
        }
        result = for_airflow(result)
        announce(context, self.outlets, result)
        self.brought_home = {**result, "request_id": result["manifest"]}
        return result

    def _is_long(self, fields: Mapping[str, Any]) -> bool:
        text = fields.get("text")
        if self.max_characters is None or not isinstance(text, str):
            return False
        return len(text) > amount_of("max_characters", self.max_characters, least=100, kind="a number of characters")

    def _inputs(self, fields: Mapping[str, Any], parts: Sequence[Part]) -> Iterator[dict[str, Any]]:
        """Yield the fields of each part; what is said around it goes along where the model is known to take that."""
        first, last = fields.get("previous_text"), fields.get("next_text")
        around = input_type(str(self.model_id)) is SpeechInput
        for number, part in enumerate(parts):
            before = first if number == 0 else part.before if around else None
            after = last if number == len(parts) - 1 else part.after if around else None
            yield {**fields, "text": part.text, "previous_text": before or None, "next_text": after or None}


def _left_out(rows: Iterable[Mapping[str, Any]]) -> list[str]:
    """Return what the parts' outputs hold and was not saved, in words."""
    found = (f"part {number}: {words}" for number, row in enumerate(rows, 1) for words in row.get("left_out") or ())
    return list(itertools.islice(found, _SHOWN))
