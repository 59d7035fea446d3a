"""A scale set as a picture: update domains down, fault domains across, for each zone and placement group.

from azurerm_lite.heatmap import grid
print(grid(az.list_vmss_vms(arm, *web, expand="instanceView"), "health", title="web"))
"""

from .grid import COLOURS, Cell, Grid, Look, Panel, grid

__all__ = ["COLOURS", "Cell", "Grid", "Look", "Panel", "grid"]
