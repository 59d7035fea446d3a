"""Write events as lines: as text into a stream or a log, or as JSON.

A stream that is closed or cannot encode a character never stops an upgrade.
"""

import json
import logging
from collections.abc import Callable, Mapping
from typing import Any, TextIO

from .._common import arguments
from .event_text import Event, EventText, describe, format_timestamp


class Lines:
    """`on_event=Lines(sys.stderr)`: a line of text with its time for each event that has something to say."""

    def __init__(self, stream: TextIO) -> None:
        arguments.typed(Callable, stream=getattr(stream, "write", None))
        self._stream, self._reason = stream, ""

    def __call__(self, event: Event) -> None:
        text = self._describe(event)
        if text.text:
            write(self._stream, f"{format_timestamp(float(event['at']))} {text.line}\n")

    def _describe(self, event: Event) -> EventText:
        """Describe an event. Every poll repeats the reason to wait, so a reason has text only when it changes."""
        if event["kind"] != "waiting":
            text = describe(event)
            self._reason = "" if text.text else self._reason
            return text
        previous, self._reason = self._reason, str(event["reason"])
        return EventText("") if self._reason == previous else describe({**event, "kind": "waiting for"})

    def __enter__(self) -> "Lines":
        return self

    def __exit__(self, *_: object) -> None:
        pass


class JsonLines(Lines):
    """`on_event=JsonLines(stream)`: every event as one line of JSON, with its numbers under "progress"."""

    def __call__(self, event: Event) -> None:
        write(self._stream, json.dumps(as_json(event), separators=(",", ":"), default=str) + "\n")


class LogLines(Lines):
    """`on_event=LogLines(logging.getLogger("upgrade"))`: the lines as INFO records, bad news as WARNING."""

    def __init__(self, log: logging.Logger) -> None:
        arguments.typed(Callable, log=getattr(log, "log", None))
        self._log, self._reason = log, ""

    def __call__(self, event: Event) -> None:
        text = self._describe(event)
        if text.text:
            self._log.log(logging.WARNING if text.bad else logging.INFO, "%s", text.line)


def as_json(event: Event) -> Mapping[str, Any]:
    """A copy of an event that JSON can hold: without "now", which only views use."""
    return {key: value for key, value in event.items() if key != "now"}


def write(stream: TextIO, text: str) -> None:
    """Write and flush; characters that the stream's encoding lacks are escaped."""
    try:
        encoding = stream.encoding or "utf-8"
        stream.write(text.encode(encoding, "backslashreplace").decode(encoding))
        stream.flush()
    except (OSError, ValueError):  # the reader is gone, or the stream is closed
        return
