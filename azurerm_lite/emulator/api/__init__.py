"""The API of Azure Resource Manager: one module for each resource. `routes` lists them all."""
