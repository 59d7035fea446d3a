"""Edit and upgrade scale sets on a local web page.

    python examples/vmsseditor --emulator
    python examples/vmsseditor --subscription 00000000-0000-0000-0000-000000000000

Logs in with what the environment has. The page is served on 127.0.0.1 only, to the one browser that opens the link.
Enter shows a new link, Ctrl-C ends it; an upgrade that runs then can be resumed by the next editor.
"""

import argparse
import contextlib
import os
import signal
import sys
import threading
import webbrowser
from collections.abc import Iterator
from pathlib import Path

import azurerm_lite as az

if not __package__:  # started as a folder: let its modules be found as a package
    sys.path[0] = str(Path(__file__).parent.parent)

try:
    from vmsseditor.app import serve
    from vmsseditor.desk import Desk
except ModuleNotFoundError as missing:
    sys.exit(f"vmsseditor needs {missing.name}: pip install 'azurerm_lite[editor]'")


def arguments() -> argparse.Namespace:
    form = argparse.RawDescriptionHelpFormatter
    parse = argparse.ArgumentParser(prog="vmsseditor", description=__doc__, formatter_class=form)
    parse.add_argument("--subscription", default=os.environ.get("AZURE_SUBSCRIPTION_ID"), help="whose scale sets")
    parse.add_argument("--emulator", action="store_true", help="on the built-in emulator, 30 times as fast as Azure")
    parse.add_argument("--port", type=int, default=0, help="of the page (default: any free one)")
    parse.add_argument("--journals", type=Path, default=Path(), metavar="FOLDER", help="where upgrades write them")
    parse.add_argument("--no-browser", action="store_true", help="only print the link")
    return parse.parse_args()


@contextlib.contextmanager
def opened(chosen: argparse.Namespace) -> Iterator[Desk]:
    """A Desk: on Azure, or on an emulator that lives as long as this block."""
    if not chosen.emulator:
        if not chosen.subscription:
            raise az.InvalidInput("which subscription? Give --subscription, or set AZURE_SUBSCRIPTION_ID")
        with az.connect() as arm:
            yield Desk(arm, chosen.subscription, chosen.journals)
        return
    from vmsseditor import demo  # noqa: PLC0415  (only when it is asked for)

    with (
        demo.start() as emulator,
        az.connect(env=emulator.env(), sleep=emulator.clock.sleep, now=emulator.clock.time) as arm,
    ):
        yield Desk(arm, emulator.subscription_id, chosen.journals, pace=demo.PACE)


def main() -> int:
    chosen = arguments()
    for number in (signal.SIGINT, signal.SIGTERM):  # a shell's background does not hear Ctrl-C by itself
        signal.signal(number, signal.default_int_handler)
    try:
        with opened(chosen) as desk:
            server, door = serve(desk, chosen.port)
            threading.Thread(target=server.serve_forever, name="vmsseditor", daemon=True).start()
            link = door.link()
            print(f"vmsseditor{' on the EMULATOR' if chosen.emulator else ''}: {link}", flush=True)
            if not chosen.no_browser:
                webbrowser.open(link)
            for _ in sys.stdin:
                print(door.link(), flush=True)
            threading.Event().wait()
    except KeyboardInterrupt:
        return 0
    except (az.AzurermLiteError, OSError) as error:
        print(f"vmsseditor: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
