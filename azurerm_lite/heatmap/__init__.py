"""Draw a scale set as a heatmap: update domains as rows, fault domains as columns, a panel per zone and group.

from azurerm_lite.heatmap import grid
print(grid(az.list_vmss_vms(arm, *web, expand="instanceView"), "health", title="web"))
"""

from .cells import STYLES, Cell, ColorBy, Panel, Style
from .grid import Grid, grid

__all__ = ["STYLES", "Cell", "ColorBy", "Grid", "Panel", "Style", "grid"]
