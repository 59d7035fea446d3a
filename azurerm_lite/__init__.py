"""azurerm_lite: upgrade the OS image of a virtual machine scale set without downtime, over raw ARM REST."""

__version__ = "0.1.0.dev0"
