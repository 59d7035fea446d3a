"""Edit and upgrade scale sets on a local web page.

    python examples/vmsseditor --emulator
    python examples/vmsseditor --subscription 00000000-0000-0000-0000-000000000000

Logs in with what the environment has. The page is served on 127.0.0.1 only, to the one browser that opens the link,
within five minutes. Enter shows a new link, Ctrl-C ends it; an upgrade that runs then is resumed by the next editor.
"""

import argparse
import contextlib
import html
import os
import shutil
import signal
import sys
import tempfile
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
    from vmsseditor.security import LINK_SECONDS, Door
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


@contextlib.contextmanager
def door_file(door: Door) -> Iterator[Path]:
    """A file that leads a browser to a link of its own, for this user's eyes only.

    The link itself would stand in the arguments of the browser's process, where every user of the machine reads it and
    may be quicker. The file is removed as soon as the link was used or is too old.
    """
    folder = Path(tempfile.mkdtemp(prefix="vmsseditor-"))  # mode 0700

    def remove() -> None:
        shutil.rmtree(folder, ignore_errors=True)

    link, path = html.escape(door.link(), quote=True), folder / "open.html"
    with os.fdopen(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "w", encoding="utf-8") as file:
        file.write(
            '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">\n'
            '<meta name="referrer" content="no-referrer">\n'
            f'<meta http-equiv="refresh" content="0;url={link}"><title>vmsseditor</title></head>\n'
            f'<body><a href="{link}">Open the editor</a></body></html>\n'
        )
    door.on_enter = remove
    timer = threading.Timer(LINK_SECONDS, remove)
    timer.daemon = True
    timer.start()
    try:
        yield path
    finally:
        timer.cancel()
        remove()


def show(door: Door, chosen: argparse.Namespace) -> None:
    """Print a link, open another one in a browser, and print a new one at each Enter."""
    print(f"vmsseditor{' on the EMULATOR' if chosen.emulator else ''}: {door.link()}", flush=True)
    with contextlib.ExitStack() as stack:
        if not chosen.no_browser:
            webbrowser.open(stack.enter_context(door_file(door)).as_uri())
        for _ in sys.stdin:
            print(door.link(), flush=True)
        threading.Event().wait()


def main() -> int:
    chosen = arguments()
    for number in (signal.SIGINT, signal.SIGTERM):  # a shell's background does not hear Ctrl-C by itself
        signal.signal(number, signal.default_int_handler)
    try:
        with opened(chosen) as desk:
            server, door = serve(desk, chosen.port)
            threading.Thread(target=server.serve_forever, name="vmsseditor", daemon=True).start()
            show(door, chosen)
    except KeyboardInterrupt:
        return 0
    except (az.AzurermLiteError, OSError) as error:
        print(f"vmsseditor: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
