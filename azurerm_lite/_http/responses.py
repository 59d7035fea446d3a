"""Check the shape of responses and the links in them, and refuse what ARM would not send. PURE."""

import re
from collections.abc import Mapping
from urllib.parse import unquote, urlsplit

from .._common import parsing
from ..errors import ProtocolError, short_repr
from ..types import Json, JsonDict

# --- shapes ----------------------------------------------------------------------------------------------------------


def check_object(value: Json, what: str) -> JsonDict:
    """The value itself. Raises: ProtocolError unless it is a JSON object whose `properties`, if any, are an object."""
    if not isinstance(value, dict):
        raise ProtocolError(f"expected {what}, got {describe_shape(value)}")
    if not isinstance(value.get("properties", {}), dict):
        raise ProtocolError(f"expected {what}, got one whose properties are {describe_shape(value['properties'])}")
    return value


def describe_shape(value: Json) -> str:
    """The JSON type of a value as text for an error: "a list"."""
    if value is None:
        return "nothing"
    names = {dict: "an object", list: "a list", str: "a text", bool: "true or false"}
    return next((name for kind, name in names.items() if isinstance(value, kind)), "a number")


def is_resource(value: Json) -> bool:
    """Whether a JSON value can be a resource: an object with an `id` string or a `properties` object."""
    if not isinstance(value, dict) or not ("id" in value or "properties" in value):
        return False
    return isinstance(value.get("id", ""), str) and isinstance(value.get("properties", {}), dict)


def check_objects(value: Json, what: str) -> list[JsonDict]:
    """The value itself. Raises: ProtocolError unless it is a list of JSON objects."""
    if not isinstance(value, list):
        raise ProtocolError(f"expected {what}, got {describe_shape(value)}")
    for item in value:
        check_object(item, f"{what}, each of them an object")
    return value


def check_write(method: str, status: int, body: Json, *, has_status: bool = False) -> None:
    """Check the body of a 2xx response to a write: the resource, an object, or nothing where ARM may send nothing.

    `has_status`: there is a status link, so the resource is read after the operation.
    Raises: ProtocolError.
    https://learn.microsoft.com/azure/azure-resource-manager/management/async-operations
    """
    may_be_empty = method not in ("PUT", "PATCH") or status == 202 or has_status
    if not may_be_empty or (body and method in ("PUT", "PATCH")):
        if not is_resource(body):
            raise ProtocolError(f"{status} to {method} came with {describe_shape(body)} instead of the resource")
    elif body is not None:
        check_object(body, f"an object or nothing with {status} to {method}")


def is_truncated(headers: Mapping[str, str], data: bytes) -> bool:
    """Whether a body without a declared length ends in the middle of its JSON."""
    if not data or "content-length" in headers or "transfer-encoding" in headers:
        return False
    return data.lstrip()[:1] in (b"{", b"[") and parsing.is_unfinished(data)


# --- links -----------------------------------------------------------------------------------------------------------

_URL = re.compile(r"(?P<origin>[a-z][a-z0-9+.-]*://[^/?#]*)?(?P<path>/[^?#]*)(?P<query>\?[^#]*)?(#.*)?", re.IGNORECASE)
_ORIGIN = re.compile(r"(https?)://(\[[0-9a-f:]+\]|[a-z0-9.-]+)(?::([0-9]{1,5}))?", re.IGNORECASE)
_NO_URL_CHARACTER = re.compile(r"[^!#$%&'()*+,\-./0-9:;=?@A-Z_a-z~\[\]]")
LONGEST_URL = 16_384


class UnusableLink(ProtocolError):
    """A link in a response that must not be followed. `foreign`: it is a valid address of another origin."""

    def __init__(self, url: object, fault: str, *, foreign: bool = False) -> None:
        super().__init__(f"the server's link {short_repr(url, 200)} {fault}: not followed")
        self.foreign = foreign


def same_origin_path(url: object, base: str) -> str:
    """The path and query of a link in a response. Raises: UnusableLink unless it is on the origin `base`.

    Parsers disagree about backslashes, user info and dot segments, so an unusual link is refused and never corrected.
    https://daniel.haxx.se/blog/2022/01/10/dont-mix-url-parsers/
    """
    if fault := _text_fault(url):
        raise UnusableLink(url, fault)
    match = _URL.fullmatch(str(url))
    if match is None:
        raise UnusableLink(url, "is no address of the form https://host/path")
    path, origin = match["path"], match["origin"]
    if fault := _origin_fault(origin) if origin is not None else "":
        raise UnusableLink(url, fault)
    if origin is not None and _origin(origin) != _origin(base):
        raise UnusableLink(url, f"is not on {base}", foreign=True)
    if "//" in path or any(_is_dots(part) for part in path.split("/")):
        raise UnusableLink(url, "has a path that does not stay put")
    return path + (match["query"] or "")


def _text_fault(url: object) -> str:
    """What is wrong with the characters of a link, or ""."""
    if not isinstance(url, str) or not url:
        return "is empty" if url == "" else "is no text"
    if len(url) > LONGEST_URL:
        return f"has more than {LONGEST_URL} characters"
    if not url.isascii():
        return "has letters outside ASCII"
    if (wrong := _NO_URL_CHARACTER.search(url)) is None:
        return ""
    if wrong[0].isspace():
        return "has a blank or a line break in it"
    return f"has {wrong[0]!r} in it, which no address may"


def _origin_fault(origin: str) -> str:
    """Why an origin cannot exist, or ""."""
    address = origin.partition("://")[2].rpartition("@")[2]
    host, port = re.fullmatch(r"(\[.*\]|.*?)(?::([^:\]]*))?", address).groups()  # type: ignore[union-attr]
    if port is not None and not (re.fullmatch("[0-9]{1,5}", port) and 0 < int(port) < 65_536):
        return f"names port {short_repr(port, 40)}, which cannot be (1 to 65535)"
    if not host:
        return "names no host"
    if "[" in host or "]" in host or ":" in host:
        try:
            urlsplit(f"https://{host}").hostname  # noqa: B018  (checks the address between the brackets)
        except parsing.PARSER_ERRORS:
            return f"names the host {short_repr(host, 80)}, which cannot be"
        if not re.fullmatch(r"\[[0-9a-f:.]+\]", host, re.IGNORECASE):
            return f"names the host {short_repr(host, 80)}, which cannot be"
    return ""


def _is_dots(part: str) -> bool:
    plain = unquote(unquote(part))
    return plain in (".", "..") or "/" in plain or "\\" in plain


def _origin(address: str) -> tuple[str, str, int] | None:
    """The scheme, host and port of a plain address, or None."""
    match = _ORIGIN.fullmatch(address)
    if match is None:
        return None
    scheme = match[1].lower()
    return scheme, match[2].lower(), int(match[3] or (443 if scheme == "https" else 80))
