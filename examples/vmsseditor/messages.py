"""What a page may send, read and checked: the values that its route works with, or InvalidInput. PURE.

Everything here takes any bytes, text or JSON value, so that no request can end in anything but an answer.
"""

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from azurerm_lite import InvalidInput
from azurerm_lite._common.parsing import parse_json
from azurerm_lite.upgrade import Policy

Json = dict[str, Any]
MOST_IDS, LONGEST_ID = 1000, 300
WHOLE = ("capacity",)  # what of an edit is a number; the rest is text
ORDERS = ("start", "pause", "cancel", "resume", "roll back")


def body(data: bytes) -> Json:
    """The JSON object that a request carries."""
    document = parse_json(data, InvalidInput, "the request is not JSON")
    if not isinstance(document, dict):
        raise InvalidInput("a request is a JSON object")
    return document


def number(document: Mapping[str, Any], name: str = "number") -> int:
    """The number of what the page showed: a plan, an upgrade, a draft."""
    value = document.get(name)
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 2**53:
        raise InvalidInput(f"{name} must be the number of what the page shows: look at it again")
    return value


def line_number(text: str) -> int:
    """The number of the last log line that a page has; 0 where it sent none that could be."""
    return int(text) if text.isascii() and text.isdecimal() and len(text) < 17 else 0


def wishes(document: Mapping[str, Any]) -> Json:
    """What an edit asks for, field by field: text, or a whole number for the capacity."""
    for name, value in document.items():
        if name in WHOLE:
            if isinstance(value, bool) or not isinstance(value, int):
                raise InvalidInput(f"{name} must be a whole number")
        elif not isinstance(value, str):
            raise InvalidInput(f"{ascii(name)[:80]} must be text")
    return dict(document)


def action(document: Mapping[str, Any]) -> tuple[str, list[str] | None]:
    """An action and the instances it is for; None for all of them, and only where the page said so in words."""
    name, whole = document.get("action"), document.get("all", False)
    if not isinstance(name, str):
        raise InvalidInput("action must be the name of an action")
    if not isinstance(whole, bool):
        raise InvalidInput("all must be true or false")
    if whole and "ids" not in document:
        return name, None
    return name, _ids(document.get("ids", []), "ids")


def upgrade_wish(document: Mapping[str, Any]) -> tuple[str | None, Policy]:
    """The version (None: as in the model) and the policy of an upgrade to plan."""
    version = document.get("version")
    if version is not None and not isinstance(version, str):
        raise InvalidInput("version must be text")
    return version or None, _policy(document.get("policy", {}))


def order(document: Mapping[str, Any]) -> tuple[str, int]:
    """What to do with an upgrade, and the number of the plan or upgrade that the page showed."""
    word = document.get("do")
    if not isinstance(word, str) or word not in ORDERS:
        raise InvalidInput(f"do must be one of {', '.join(ORDERS)}")
    return word, number(document)


def _policy(stored: Any) -> Policy:
    if stored is None:
        return Policy()
    if not isinstance(stored, dict):
        raise InvalidInput("policy must be a JSON object")
    kinds = {field.name: str(field.type) for field in fields(Policy)}
    for name, value in stored.items():
        _check(name, value, kinds.get(name, ""))
    return Policy.from_dict(stored)


def _check(name: str, value: Any, kind: str) -> None:
    """A sequence is a list, a switch true or false, a word text; Policy itself checks numbers and ranges."""
    if kind == "<class 'bool'>" and not isinstance(value, bool):
        raise InvalidInput(f"{name} must be true or false")
    if kind == "<class 'str'>" and not isinstance(value, str):
        raise InvalidInput(f"{name} must be text")
    if not kind.startswith("tuple") or (value is None and "None" in kind):
        return
    if "str" in kind:
        _ids(value, name)
    elif not isinstance(value, list) or not all(isinstance(item, int) and not isinstance(item, bool) for item in value):
        raise InvalidInput(f"{name} must be a list of whole numbers")


def _ids(value: Any, name: str) -> list[str]:
    if not isinstance(value, list) or not all(isinstance(item, str) and 0 < len(item) <= LONGEST_ID for item in value):
        raise InvalidInput(f"{name} must be a list of ids, each of them text")
    if len(value) > MOST_IDS:
        raise InvalidInput(f"{name} has {len(value)} ids: a scale set has at most {MOST_IDS} instances")
    return value
