"""The plan of a rollback, so that people see it before they confirm it; shared by rolling_upgrade.py and vmsseditor."""

import azurerm_lite as az
from azurerm_lite.upgrade import Plan, journal
from azurerm_lite.upgrade.undo import way_back


def rollback_plan(arm: az.Arm, path: str) -> Plan:
    """What a rollback of the upgrade in this journal would do, for `upgrade` to run. Reads only."""
    return way_back(arm, journal.read(path))
