"""Clients that nobody here wrote, unmodified, over real TLS: they judge the emulator."""

from collections.abc import Iterator
from typing import Any

import pytest

from azurerm_lite.emulator import serve


@pytest.fixture
def emulator() -> Iterator[Any]:
    """An emulator in its own time, two thousand times as fast as ours, so that a poll or two sees the end."""
    with serve(time_scale=2000) as running:
        yield running


class Watch:
    """What really happened to the instances of the emulator's scale set, whatever its clients were told."""

    def __init__(self, emulator: Any) -> None:
        self.scale_set = emulator.simulation.scale_sets.get(
            emulator.subscription_id, emulator.resource_group, emulator.vmss_name
        )
        self._emulator, self._mark = emulator, 0
        self.interrupted()

    def interrupted(self) -> set[str]:
        """Which instances went down since this was asked the last time, and are up again."""
        history = self._emulator.simulation.state.availability
        began, self._mark = self._mark, len(history)
        down = {one for _, name, one, up in history[began:] if name == self.scale_set.name and not up}
        return {one for one in down if one in self.scale_set.instances and self.scale_set.instances[one].is_available}

    def power(self) -> dict[str, set[str]]:
        """The instances by the state of their power."""
        found: dict[str, set[str]] = {}
        for one in self.there:
            found.setdefault(one.power, set()).add(one.instance_id)
        return found

    def made_anew(self) -> set[str]:
        """The instances whose disk was made from the present model."""
        return {one.instance_id for one in self.there if one.disk_version == self.scale_set.model_version}

    def running(self, version: str) -> set[str]:
        """The instances that run this version of their image."""
        images = {one.instance_id: one.document["properties"]["storageProfile"] for one in self.there}
        return {one for one, storage in images.items() if storage["imageReference"]["exactVersion"] == version}

    @property
    def there(self) -> list[Any]:
        return list(self.scale_set.instances.values())


@pytest.fixture
def watch(emulator: Any) -> Watch:
    return Watch(emulator)
