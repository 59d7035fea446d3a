"""Keep tokens and secrets out of tracebacks, reprs, JSON and pickles.

A crash reporter collects the local variables of every frame in a traceback. A function that takes a token or a body,
which may hold passwords, is therefore marked with `conceal_locals`: the traceback of its errors keeps its lines and
shows no values. A function that passes a secret to a library is marked with `conceals`, which removes the frames. This
module imports nothing of the package, so that every module may use it.
"""

import contextlib
import functools
import inspect
import traceback
from collections.abc import Callable, Iterator, MutableMapping
from typing import Any, NoReturn, ParamSpec, TypeVar

_PACKAGE = __name__.partition(".")[0]

P = ParamSpec("P")
R = TypeVar("R")
E = TypeVar("E", bound=BaseException)


class Headers(MutableMapping[str, str]):
    """Request headers whose repr hides their values and that cannot be pickled."""

    __slots__ = ("_values",)

    def __init__(self, values: MutableMapping[str, str] | dict[str, str]) -> None:
        self._values = dict(values)

    def __getitem__(self, name: str) -> str:
        return self._values[name]

    def __setitem__(self, name: str, value: str) -> None:
        self._values[name] = value

    def __delitem__(self, name: str) -> None:
        del self._values[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __repr__(self) -> str:
        return f"<Headers: {', '.join(self)}>"

    def __reduce__(self) -> NoReturn:
        raise TypeError("the headers of a request hold a token and cannot be pickled")

    def copy(self) -> "Headers":
        """A copy that hides its values too; urllib3 copies the headers that it sends."""
        return Headers(self._values)


def without_frames(error: E) -> E:
    """The error without its traceback, cause and context, whose frames hold requests."""
    error.__cause__ = error.__context__ = None
    error.__suppress_context__ = True
    return error.with_traceback(None)


def conceals(function: Callable[P, R]) -> Callable[P, R]:
    """Decorate a function that takes a secret: its errors have no frame that holds the arguments."""

    @functools.wraps(function)
    def call(*arguments: P.args, **options: P.kwargs) -> R:
        try:
            return function(*arguments, **options)
        except BaseException as error:
            failure = without_frames(error)
        arguments, options = (), {}  # type: ignore[assignment]
        raise failure

    return call


def conceal_locals(function: Callable[P, R]) -> Callable[P, R]:
    """Decorate a function that may hold a secret: no frame of this package in its errors shows a value.

    The traceback keeps its lines. Frames of other packages, and of functions that the caller passes in, stay as they
    are.
    """

    @functools.wraps(function)
    def call(*arguments: P.args, **options: P.kwargs) -> R:
        try:
            return function(*arguments, **options)
        except BaseException as error:
            arguments, options = (), {}  # type: ignore[assignment]
            clear_frames(error)
            raise

    return call


def conceal_functions(module: dict[str, Any]) -> None:
    """Mark every public function of a module, given by its globals, with `conceal_locals`: none can be forgotten."""
    for name, value in list(module.items()):
        if inspect.isfunction(value) and value.__module__ == module["__name__"] and not name.startswith("_"):
            module[name] = conceal_locals(value)


def clear_frames(error: BaseException) -> None:
    """Empty the frames of this package that an error, and the errors before it, came through."""
    chain: list[BaseException] = [error]
    for link in chain:  # it grows
        chain += [before for before in (link.__cause__, link.__context__) if before is not None and before not in chain]
        for frame, _ in traceback.walk_tb(link.__traceback__):
            if frame.f_globals.get("__name__", "").partition(".")[0] == _PACKAGE:
                with contextlib.suppress(RuntimeError):  # it is still running: the next function up empties it
                    frame.clear()
