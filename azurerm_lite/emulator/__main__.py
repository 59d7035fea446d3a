"""`python -m azurerm_lite.emulator`: the emulator as a command. Prints one line when it is ready, ends on SIGTERM."""

import argparse
import json
import shlex
import signal
import sys
import threading

from .seed import SeedError


def _arguments(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m azurerm_lite.emulator",
        description="A local Azure Resource Manager with one scale set to try things on. Listens on 127.0.0.1 only.",
    )
    parser.add_argument("--port", type=int, default=0, help="port to listen on (default: any free one)")
    parser.add_argument("--seed", default="default", metavar="NAME|FILE.json", help="the scale set at the start")
    parser.add_argument("--time-scale", type=float, default=1.0, metavar="X", help="run X times as fast as real time")
    parser.add_argument(
        "--proxy", action="store_true", help="serve Azure's own host names too, through a loopback proxy"
    )
    parser.add_argument("--throttle", action="store_true", help="refuse requests beyond Compute's limits")
    parser.add_argument("--faults", metavar="FILE.json", help="what goes wrong: a list of faults and habits")
    parser.add_argument(
        "--habit",
        action="append",
        default=[],
        metavar="NAME",
        help="a reported habit of Azure, besides the usual habits",
    )
    parser.add_argument("--record", metavar="FILE", help="append every request and response, as a line of JSON")
    parser.add_argument("--env", action="store_true", help="print export lines for a shell instead of JSON")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    arguments = _arguments(argv)
    try:
        from .habits import USUAL  # noqa: PLC0415
        from .http.server import serve  # noqa: PLC0415  (its packages may be missing, and that deserves a clear line)

        names = ("port", "time_scale", "faults", "proxy", "throttle", "record")
        options = {name: getattr(arguments, name) for name in names}
        emulator = serve(arguments.seed, habits=[*USUAL, *arguments.habit], **options)
    except ModuleNotFoundError as error:
        return _refuse(f"the emulator needs {error.name}: pip install 'azurerm_lite[emulator]'")
    except (SeedError, ValueError, OverflowError, OSError) as error:
        return _refuse(str(error))
    stopped = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopped.set())
    with emulator:
        if arguments.env:
            lines = [f"export {name}={shlex.quote(value)}" for name, value in emulator.env().items()]
            print("\n".join(lines), flush=True)
        else:
            print(json.dumps(emulator.ready()), flush=True)
        stopped.wait()
    return 0


def _refuse(reason: str) -> int:
    print(f"azurerm_lite.emulator: {reason}", file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main())
