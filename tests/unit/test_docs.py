"""What docs/testing.md promises besides its blocks, which tests/docs runs."""

from typing import Any

from azurerm_lite.emulator import VirtualClock, serve


def test_the_shared_server_is_reset(azurerm_server: Any) -> None:
    azurerm_server.set_health("3", "unhealthy")
    azurerm_server.reset()
    (scale_set,) = azurerm_server.simulation.scale_sets
    assert scale_set.instances["3"].health == ""


def test_there_is_no_way_to_listen_beyond_this_machine() -> None:
    with serve(clock=VirtualClock()) as emulator:
        assert emulator._server.bind_addr[0] == emulator._metadata.bind_addr[0] == "127.0.0.1"
