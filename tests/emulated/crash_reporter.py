"""What a crash reporter sees of an error: locals of frames, texts and arguments. And every callable of the package."""

import functools
import importlib
import inspect
import pkgutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import azurerm_lite as az

OURS = str(Path(az.__file__).parent)
_TESTS = str(Path(__file__).parents[1])
MARK = "MARKER"  # stands in every secret of a test


def inside(value: object, depth: int = 6) -> Iterator[str]:
    """The repr of a value, and of what is in it where it is plain data."""
    yield repr(value)
    if depth and isinstance(value, Mapping):
        for key, item in value.items():
            yield from (repr(key), *inside(item, depth - 1))
    elif depth and isinstance(value, list | tuple | set | frozenset):
        for item in value:
            yield from inside(item, depth - 1)


def leaks(error: BaseException | None, everywhere: bool = False) -> list[str]:
    """Each place that shows a marked secret: texts and arguments of the error and its causes, and locals of frames."""
    found = []
    while error is not None:
        texts = [str(error), repr(error), repr(error.args), *inside(dict(vars(error)))]
        found += ["the error itself" for text in texts if MARK in text]
        trace = error.__traceback__
        while trace is not None:
            code, values = trace.tb_frame.f_code, trace.tb_frame.f_locals
            if (everywhere and not code.co_filename.startswith(_TESTS)) or code.co_filename.startswith(OURS):
                shown = [name for name, value in values.items() if any(MARK in text for text in inside(value))]
                found += [f"{Path(code.co_filename).name}:{code.co_name}.{name}" for name in shown]
            trace = trace.tb_next
        error = error.__cause__ or error.__context__
    return found


def failure_of(call: Callable[[], object]) -> BaseException:
    """What a call raises, which it must."""
    error = error_of(call)
    assert error is not None, "it did not fail"
    return error


def error_of(call: Callable[[], object]) -> BaseException | None:
    """What a call raises, None for a call that succeeds."""
    try:
        call()
    except BaseException as error:
        return error
    return None


@functools.cache
def callables() -> dict[str, Any]:
    """Every function, class and method of the package, by its name."""
    named: dict[str, Any] = {}
    for info in pkgutil.walk_packages(az.__path__, "azurerm_lite."):
        if info.name.endswith("__main__"):
            continue
        module = importlib.import_module(info.name)
        for name, value in vars(module).items():
            if getattr(value, "__module__", None) != module.__name__:
                continue
            if inspect.isfunction(value) or inspect.isclass(value):
                named[f"{info.name}.{name}"] = value
            for inner, method in vars(value).items() if inspect.isclass(value) else ():
                if inspect.isfunction(plain := getattr(method, "__func__", method)):
                    named[f"{info.name}.{name}.{inner}"] = plain
    return named
