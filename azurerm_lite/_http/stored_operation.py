"""Validate an operation that was stored as JSON. PURE.

It may come from an untrusted file, so it is refused before any request unless it holds only expected fields: paths on
our own origin, and no hosts, tokens or code.
"""

from collections.abc import Mapping
from typing import Any, get_args

from .._common import parsing
from ..errors import InvalidInput, TransportError, short_repr
from ..types import JsonDict, MonitorKind
from . import responses
from .wire import RUNNING, TERMINAL, Monitor

KIND, SCHEMA = "azurerm_lite.operation", 1
_KINDS = get_args(MonitorKind)
_TIMES = {"least": -1e11, "most": 1e11}  # seconds since 1970


def _is_id(value: object) -> bool:
    return isinstance(value, str) and len(value) < 200 and value.isascii() and value.isprintable()


def validate(stored: Mapping[str, Any], base: str) -> JsonDict:
    """The arguments of Operation from a stored operation. Raises: InvalidInput unless every field is valid.

    `base`: the origin that all paths must be on.
    """
    if not isinstance(stored, Mapping) or stored.get("kind") != KIND:
        raise InvalidInput("not a stored operation: it has no kind azurerm_lite.operation")
    if stored.get("schema") != SCHEMA:
        raise InvalidInput(
            f"stored operation has schema {short_repr(stored.get('schema'))}, this version reads {SCHEMA}"
        )
    method, status, instances = stored.get("method"), stored.get("status"), stored.get("instances")
    if method not in ("PUT", "PATCH", "POST", "DELETE") or status not in (RUNNING, *TERMINAL):
        raise InvalidInput("stored operation has no valid method and status")
    if not isinstance(stored.get("started_at"), int | float):
        raise InvalidInput("stored operation has no valid started_at")
    started_at = parsing.finite_number(stored["started_at"], InvalidInput, "stored operation's started_at", **_TIMES)
    ids = {key: stored.get(key) for key in ("request_id", "correlation_id")}
    if not all(value is None or _is_id(value) for value in ids.values()):
        raise InvalidInput("stored operation has invalid ids")
    path, monitor = _validate_path(stored.get("path"), base), _validate_monitor(stored.get("monitor"), base)
    if not path or (status == RUNNING and monitor.kind == "none"):
        raise InvalidInput("stored operation does not say what it is about, or where it is watched")
    return {
        "method": method,
        "path": path,
        "monitor": monitor,
        "status": status,
        "started_at": started_at,
        "instances": None if instances is None else _validate_monitor(instances, base, ("instances",)),
        **ids,
    }


def _validate_monitor(stored: object, base: str, kinds: tuple[str, ...] = _KINDS) -> Monitor:
    if not isinstance(stored, Mapping) or stored.get("kind") not in kinds:
        raise InvalidInput("stored operation has no valid monitor")
    ids = stored.get("ids", [])
    if not isinstance(ids, list) or not all(_is_id(instance_id) and 0 < len(instance_id) < 100 for instance_id in ids):
        raise InvalidInput("stored operation has invalid instance ids")
    monitor = Monitor(
        stored["kind"],
        _validate_path(stored.get("path"), base),
        _validate_path(stored.get("result_path"), base),
        tuple(ids),
    )
    if monitor.kind != "none" and not monitor.path:
        raise InvalidInput("stored operation does not say where it is watched")
    return monitor


def monitor_to_dict(monitor: Monitor) -> JsonDict:
    """A Monitor as plain JSON."""
    return {**monitor._asdict(), "ids": list(monitor.ids)}


def _validate_path(path: object, base: str) -> str:
    if path == "":
        return ""
    if not isinstance(path, str) or not path.startswith("/"):
        raise InvalidInput("stored operation holds an address instead of a path")
    try:
        return responses.same_origin_path(path, base)
    except TransportError as error:
        raise InvalidInput(f"stored operation is not ours: {error}") from None
