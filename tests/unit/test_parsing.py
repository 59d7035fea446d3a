"""Text from outside: what is read, what is refused, and that a refusal is the caller's own error without a secret."""

import json
import subprocess
import sys
from typing import Any
from urllib.parse import urlsplit

import pytest

from azurerm_lite._common.parsing import DEEPEST, finite_number, parse_json, parse_with
from azurerm_lite.errors import CredentialError, InvalidInput, ProtocolError


def nested(levels: int) -> str:
    return '{"a":[' * (levels // 2) + "1" + "]}" * (levels // 2)


GOOD = [
    ("null", None),
    ("-0", 0),
    ("1e308", 1e308),
    (str(10**307), 10**307),
    ('{"a":1,"A":2}', {"a": 1, "A": 2}),
    ('{"é":"🦀"}', {"é": "🦀"}),
    ('"\\ud83e\\udd80"', "🦀"),
    ('"\\\\ud800"', "\\ud800"),
    ('"' + "[" * 5000 + '"', "[" * 5000),
    ("[" + ",".join(["[]"] * 5000) + "]", [[]] * 5000),
    (json.dumps(["[" * 500, '"{\\' * 500, "\\"]), ["[" * 500, '"{\\' * 500, "\\"]),
]


@pytest.mark.parametrize(("text", "value"), GOOD)
def test_json_is_read_as_it_stands(text: str, value: Any) -> None:
    assert parse_json(text, InvalidInput) == value
    assert parse_json(text.encode(), InvalidInput) == value
    assert parse_json(b"\xef\xbb\xbf" + text.encode(), InvalidInput) == value


def test_a_hundred_levels_are_read_and_no_more() -> None:
    assert parse_json(nested(DEEPEST), InvalidInput)
    with pytest.raises(InvalidInput, match="nested more than 100 levels"):
        parse_json(nested(DEEPEST + 2), InvalidInput)


LONG = '"x":[' + ",".join(["1"] * 200_000) + "]"
BAD = [
    ("", "Expecting value"),
    ("<html>", "Expecting value"),
    ('{"a":1', "delimiter"),
    ("[1] 2", "Extra data"),
    ('{"a":NaN}', "NaN is not JSON"),
    ("[Infinity]", "Infinity is not JSON"),
    ("-Infinity", "-Infinity is not JSON"),
    ("1e999", "1e999 is too large"),
    ("[-1e400]", "too large"),
    (str(10**400), "too large"),
    (str(-(10**308)), "too large"),
    ("9" * 100_000, "too large"),
    ('{"a":1,"b":{"c":1,"c":1}}', "the key 'c' stands twice"),
    ('{"\\u202e":1,"\\u202e":2}', r"the key '\\u202e' stands twice"),
    (f'{{"a":1,{LONG},"a":2}}', "the key 'a' stands twice"),
    ('"\\ud800"', "half a character"),
    ('{"\\udfff":1}', "half a character"),
    (chr(0xD800).join('""'), "half a character"),
    ("[" * 100_000, "nested"),
    ('{"a":' * 100_000, "nested"),
    (nested(4000), "nested"),
    ("[" * 1000 + "]" * 1000, "nested"),
    ("[" * 1000 + "}" * 1000, "nested"),
    ("[]{}" * 1000 + "}" * 1000, "Extra data"),
    ('"\\"' + "[" * 1000, "Unterminated string"),
]


@pytest.mark.parametrize(("text", "why"), BAD)
@pytest.mark.parametrize("error", [ProtocolError, InvalidInput, CredentialError])
def test_what_cannot_be_read_without_loss_is_the_callers_error(text: str, why: str, error: type[Exception]) -> None:
    with pytest.raises(error, match=f"the file: .*{why}") as caught:
        parse_json(text, error, "the file")
    assert len(str(caught.value)) < 250
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None


@pytest.mark.parametrize("data", [b'{"a":"\xff"}', '{"a":1}'.encode("utf-16"), b"\xed\xa0\x80"])
def test_bytes_that_are_not_utf_8_are_refused(data: bytes) -> None:
    with pytest.raises(ProtocolError, match="not UTF-8"):
        parse_json(data, ProtocolError)


@pytest.mark.parametrize("value", [None, 5, [], {}, object()])
def test_what_is_no_text_is_refused(value: Any) -> None:
    with pytest.raises(InvalidInput, match="neither text nor bytes"):
        parse_json(value, InvalidInput)


def test_an_error_shows_nothing_of_the_text() -> None:
    for text in ('{"password":"secret"', '{"password":"secret","password":"secret"}', '["secret", NaN]', "[secret]"):
        with pytest.raises(InvalidInput) as caught:
            parse_json(text, InvalidInput)
        assert "secret" not in str(caught.value)


def recurse(text: str) -> Any:
    return recurse(text)


@pytest.mark.parametrize(
    ("parser", "text"),
    [
        (int, "x"),
        (float, "x"),
        (urlsplit, "http://[::1"),
        (recurse, "x"),
        (str.encode, chr(0xD800)),
        (bytes.decode, b"\xff"),
    ],
)
def test_any_parser_raises_the_callers_error(parser: Any, text: Any) -> None:
    with pytest.raises(InvalidInput, match="the address cannot be read") as caught:
        parse_with(parser, text, InvalidInput, "the address")
    assert caught.value.__context__ is None


def test_what_a_parser_gives_is_passed_on() -> None:
    assert parse_with(int, "12", InvalidInput, "it") == 12


@pytest.mark.parametrize("value", [0, 3.5, "3600", " 7 "])
def test_numbers_and_their_texts_are_read(value: Any) -> None:
    assert finite_number(value, InvalidInput, "it", least=0) == float(value)


@pytest.mark.parametrize(
    "value", [None, True, [], "x", "", "nan", "inf", float("nan"), float("inf"), 10**400, "1e999", -1, "9" * 5000, 1e12]
)
def test_other_numbers_are_refused(value: Any) -> None:
    with pytest.raises(InvalidInput, match="expires_in is not a number from 0 to 1e"):
        finite_number(value, InvalidInput, "expires_in", least=0, most=1e11)


def test_a_thread_with_a_small_stack_survives_deep_json() -> None:
    """C's own recursion is what overflows there; it ends the process when nobody counts the levels."""
    code = """
import threading
from azurerm_lite._common.parsing import parse_json
threading.stack_size(256 * 1024)
def run():
    try:
        parse_json("[" * 1_000_000, ValueError)
    except ValueError as error:
        print(error)
thread = threading.Thread(target=run); thread.start(); thread.join()
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout.strip()) == (0, "nested more than 100 levels deep")
