"""Every route of the emulator. A new ARM resource is a file beside this one, and its ROUTES here."""

from ..messages import Route
from . import entra, extensions, images, instances, operations, rolling_upgrades, scale_sets, subscriptions

ARM: list[Route] = [
    *subscriptions.ROUTES,
    *scale_sets.ROUTES,
    *instances.ROUTES,
    *extensions.ROUTES,
    *rolling_upgrades.ROUTES,
    *images.ROUTES,
    *operations.ROUTES,
]
LOGIN = entra.ROUTES  # without the action that a principal needs
MANAGED_IDENTITY = entra.MANAGED_ROUTES  # by path
METADATA = {"/metadata/endpoints": subscriptions.metadata_endpoints}  # by path; needs no token
