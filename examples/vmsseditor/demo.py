"""What there is to edit with --emulator: scale sets of several kinds, in a time that runs fast enough to watch."""

from azurerm_lite.emulator import Emulator, Seed, serve

PACE = 30.0


def sets() -> list[Seed]:
    """Uniform in five update domains, in three zones, Flexible, and a thousand in ten placement groups."""
    return [
        Seed.build("web", capacity=20, health_source="extension", tags={"service": "shop", "tier": "front"}),
        Seed.build("web-zones", capacity=30, zones=["1", "2", "3"], health_source="extension"),
        Seed.build("work-flexible", capacity=9, orchestration="Flexible", fault_domains=3, resource_group="work-rg"),
        Seed.build("work-large", capacity=1000, resource_group="work-rg"),
    ]


def start(pace: float = PACE) -> Emulator:
    """A running emulator that holds them."""
    first, *others = sets()
    emulator = serve(first, time_scale=pace)
    for one in others:
        emulator.add(one)
    return emulator
