"""Events as lines: for people in a stream or a log, for programs as JSON.

The caller gives the stream; nothing is written anywhere else. A reader that has gone away, or a stream that cannot hold
a character, never stops an upgrade.
"""

import json
import logging
from collections.abc import Mapping
from typing import Any, TextIO

from .words import Event, Words, stamp, words


class Lines:
    """`on_event=Lines(sys.stderr)`: one line for each thing that is done, with its time."""

    def __init__(self, stream: TextIO) -> None:
        self._stream, self._reason = stream, ""

    def __call__(self, event: Event) -> None:
        said = self._said(event)
        if said.text:
            write(self._stream, f"{stamp(float(event['at']))} {said.line}\n")

    def _said(self, event: Event) -> Words:
        """The words; what is waited for, which is looked at again and again, once for each time that it is."""
        if event["kind"] != "waiting":
            said = words(event)
            self._reason = "" if said.text else self._reason
            return said
        known, self._reason = self._reason, str(event["reason"])
        return Words("") if self._reason == known else words({**event, "kind": "waiting for"})

    def __enter__(self) -> "Lines":
        return self

    def __exit__(self, *_: object) -> None:
        pass


class JsonLines(Lines):
    """`on_event=JsonLines(stream)`: every event as one line of JSON, with its numbers under "progress"."""

    def __call__(self, event: Event) -> None:
        write(self._stream, json.dumps(as_json(event), separators=(",", ":"), default=str) + "\n")


class LogLines(Lines):
    """`on_event=LogLines(logging.getLogger("roll-out"))`: the same lines as records; what is bad as a warning."""

    def __init__(self, log: logging.Logger) -> None:
        self._log, self._reason = log, ""

    def __call__(self, event: Event) -> None:
        said = self._said(event)
        if said.text:
            self._log.log(logging.WARNING if said.bad else logging.INFO, "%s", said.line)


def as_json(event: Event) -> Mapping[str, Any]:
    """The event without what only views use."""
    return {key: value for key, value in event.items() if key != "now"}


def write(stream: TextIO, text: str) -> None:
    """Written at once, in what characters the stream has."""
    try:
        encoding = stream.encoding or "utf-8"
        stream.write(text.encode(encoding, "backslashreplace").decode(encoding))
        stream.flush()
    except (OSError, ValueError):  # nobody reads any more, or it is closed
        return
