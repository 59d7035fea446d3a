"""Keep tokens and secrets out of tracebacks, reprs, JSON and pickles.

A crash reporter collects the local variables of every frame in a traceback. A function that takes a secret is therefore
marked with `conceals`, which removes the frames of its errors.
"""

import functools
import inspect
from collections.abc import Callable, Iterator, MutableMapping
from typing import Any, NoReturn, ParamSpec, TypeVar

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

    wrapper: Any = call
    wrapper.__kwdefaults__ = getattr(function, "__kwdefaults__", None)  # shared, so that a change of it has an effect
    return call


def conceal_tokens(functions: dict[str, Any], arm_of: Callable[[Any], Any], parameter: str = "auth") -> None:
    """Replace the first argument of every public function of a module by an Arm, so that no frame holds a bare token.

    `functions`: the globals of the module. `parameter`: the name of the first argument; other functions stay.
    """
    for name, function in list(functions.items()):
        code = getattr(function, "__code__", None)
        is_local = getattr(function, "__module__", "") == functions["__name__"] and not name.startswith("_")
        if code is not None and is_local and code.co_varnames[:1] == (parameter,) and code.co_argcount:
            functions[name] = _with_arm(function, arm_of, parameter)


def _with_arm(function: Callable[..., Any], arm_of: Callable[[Any], Any], parameter: str) -> Callable[..., Any]:
    @functools.wraps(function)
    def call(*arguments: Any, **options: Any) -> Any:
        if arguments:
            arguments = (arm_of(arguments[0]), *arguments[1:])
        elif parameter in options and parameter in inspect.signature(function).parameters:
            options[parameter] = arm_of(options[parameter])
        return function(*arguments, **options)

    return call
