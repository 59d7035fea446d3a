"""What the documents show works: each Python block of docs/testing.md is run as it stands."""

import re
import textwrap
from pathlib import Path
from typing import Any

import pytest

from azurerm_lite.emulator import VirtualClock, serve

DOCS = Path(__file__).parents[2] / "docs"


def blocks(name: str) -> list[str]:
    return re.findall(r"^```python\n(.*?)^```", (DOCS / name).read_text(), re.S | re.M)


@pytest.mark.parametrize("number", range(len(blocks("testing.md"))))
def test_the_blocks_of_testing_md_run(number: int, arm: Any, arm_emulator: Any) -> None:
    names: dict[str, Any] = {"emulator": arm_emulator}
    exec(textwrap.dedent(blocks("testing.md")[number]), names)
    for name, value in list(names.items()):
        if name.startswith("test_"):
            value(arm, arm_emulator)


def test_the_shared_server_is_reset(arm_server: Any) -> None:
    arm_server.set_health("3", "unhealthy")
    arm_server.reset()
    (scale_set,) = arm_server.world.scale_sets
    assert scale_set.instances["3"].health == ""


def test_there_is_no_way_to_listen_beyond_this_machine() -> None:
    with serve(clock=VirtualClock()) as emulator:
        assert emulator._server.bind_addr[0] == emulator._metadata.bind_addr[0] == "127.0.0.1"
