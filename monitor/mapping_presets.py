"""Decides how well-known recognisers' results are read: ready mappings, as data.

Each is written from the vendor's public documentation (`source`) and tested on messages of the shapes documented there
(tests/adapters/vendor_messages). A vendor's result knows what was said, not who was heard: the fields that a preset
leaves open are given beside it, from the record's key or headers, or as constants.

All of them follow these rules. Where the vendor says that nothing was heard, the text is empty (a deletion, which is
evidence); where its message has another shape, the text is missing and the message rejected. What a stream sends beside
final results is partial. Confidence is read where the vendor gives one of a result, not averaged from words.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple


class Preset(NamedTuple):
    """A ready mapping.

    rules  field (or `ts_unit`, `ts_offset_unit`) -> JMESPath expression, or alternatives of which the first that finds
           something counts
    """

    shape: str
    """Which messages it reads, for the documentation."""
    source: str
    rules: Mapping[str, str | tuple[str, ...]]


_AWS_RESULTS = "(TranscriptEvent.Transcript || Transcript).Results"
"""Some SDKs hand out the event's payload, some the event."""

_AZURE_SILENCE = """contains(`["NoMatch", "InitialSilenceTimeout", "BabbleTimeout"]`, @)"""

# `[x][?condition] | [0].{is: value}.is` reads "value if the condition holds of x, else null": JMESPath has no other if.

PRESETS: Mapping[str, Preset] = {
    "amazon-transcribe": Preset(
        shape="Amazon Transcribe, a batch job's result file: `jobName`, `results.transcripts`",
        source="https://docs.aws.amazon.com/transcribe/latest/dg/how-input.html",
        rules={
            "id": "jobName",
            "text": "join(' ', results.transcripts[].transcript)",
            "language": "results.language_code",
        },
    ),
    "amazon-transcribe-streaming": Preset(
        shape="Amazon Transcribe, a `TranscriptEvent` of a stream: `Transcript.Results`, alone or in `TranscriptEvent`",
        source="https://docs.aws.amazon.com/transcribe/latest/APIReference/API_streaming_Result.html",
        # No speaker: "0" and "1" name a person within a stream, and would be taken for the same two in all streams.
        rules={
            "final": (
                f"{_AWS_RESULTS}[0].{{is: IsPartial == `false`}}.is",
                f"[{_AWS_RESULTS}][?@ == `[]`] | [0].{{is: `false`}}.is",  # sent to keep the connection alive
            ),
            "id": f"{_AWS_RESULTS}[0].ResultId",
            "ts_offset": f"{_AWS_RESULTS}[0].StartTime",
            "text": f"join(' ', {_AWS_RESULTS}[].Alternatives[0].Transcript)",
            "language": f"{_AWS_RESULTS}[0].LanguageCode",
        },
    ),
    "google-speech": Preset(
        shape="Google Speech-to-Text v1 and v2, the answer of `recognize`: `results[].alternatives`",
        source="https://cloud.google.com/speech-to-text/v2/docs/reference/rest/v2/RecognizeResponse",
        rules={
            "id": ("requestId", "metadata.requestId"),
            "text": (
                "join(' ', results[].alternatives[0].transcript)",
                "(requestId || metadata.requestId || totalBilledTime || metadata.totalBilledDuration) && ''",
            ),
            "language": "results[0].languageCode",
            "confidence": "avg(results[].alternatives[0].confidence || `[]`)",
        },
    ),
    "google-speech-streaming": Preset(
        shape="Google Speech-to-Text v1 and v2, one answer of a stream: `results[].isFinal`",
        source="https://cloud.google.com/speech-to-text/docs/reference/rest/v2/StreamingRecognitionResult",
        rules={
            "final": "results[0].isFinal == `true`",
            "text": "join(' ', results[?isFinal].alternatives[0].transcript)",
            "language": "results[0].languageCode",
            "confidence": "results[0].alternatives[0].confidence",
        },
    ),
    "azure-speech": Preset(
        shape="Azure Speech, short audio or SDK, simple and detailed: `RecognitionStatus`, `DisplayText`, `NBest`",
        source="https://learn.microsoft.com/azure/ai-services/speech-service/rest-speech-to-text-short",
        rules={
            "final": (
                "[RecognitionStatus][?@ == 'EndOfDictation'] | [0].{is: `false`}.is",
                "[Text][?@ != `null`] | [0].{is: `false`}.is",  # a hypothesis of a stream
            ),
            "id": "Id",
            "ts_offset": "to_number(Offset)",
            "ts_offset_unit": "ticks",
            "text": (
                "NBest[0].Display",
                "DisplayText",
                f"[RecognitionStatus][?{_AZURE_SILENCE}] | [0].{{is: ''}}.is",
            ),
            "language": "PrimaryLanguage.Language",
            "confidence": "NBest[0].Confidence",
        },
    ),
    "azure-speech-batch": Preset(
        shape="Azure Speech, a batch transcription's result file: `combinedRecognizedPhrases`",
        source="https://learn.microsoft.com/azure/ai-services/speech-service/batch-transcription-get",
        rules={
            "ts": "timestamp",
            "text": "join(' ', combinedRecognizedPhrases[].display)",
            "language": "recognizedPhrases[0].locale",
        },
    ),
    "deepgram": Preset(
        shape="Deepgram `listen`, a recording: `metadata`, `results.channels`",
        source="https://developers.deepgram.com/reference/speech-to-text/listen-pre-recorded",
        rules={
            "id": "metadata.request_id",
            "ts": "metadata.created",
            "text": "join(' ', results.channels[].alternatives[0].transcript)",
            "language": "results.channels[0].detected_language",
            "model": "values(metadata.model_info || `{}`)[0].name",
            "confidence": "results.channels[0].alternatives[0].confidence",
        },
    ),
    "deepgram-streaming": Preset(
        shape="Deepgram `listen`, one `Results` message of a stream: `channel`, `is_final`",
        source="https://developers.deepgram.com/reference/speech-to-text/listen-streaming",
        rules={
            "final": (
                "is_final",
                "[type][?@ != 'Results'] | [0].{is: `false`}.is",  # Metadata, SpeechStarted, UtteranceEnd
            ),
            "id": "join(':', [metadata.request_id, to_string(channel_index[0]), to_string(start)])",
            "ts_offset": "start",
            "text": "channel.alternatives[0].transcript",
            "language": "channel.alternatives[0].languages[0]",
            "model": "metadata.model_info.name",
            "session": "metadata.request_id",
            "confidence": "channel.alternatives[0].confidence",
        },
    ),
    "whisper": Preset(
        shape="Whisper: OpenAI `json` and `verbose_json`, faster-whisper's `segments`, whisper.cpp's `transcription`",
        source="https://platform.openai.com/docs/api-reference/audio/verbose-json-object",
        rules={
            "text": ("text", "join('', segments[].text)", "join('', transcription[].text)"),
            "language": ("language", "result.language"),
            "model": ("params.model", "model.type"),
        },
    ),
}
