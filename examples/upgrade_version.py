"""Upgrade one instance to a new image version, in as few calls as possible.

    python examples/upgrade_version.py 22.04.202611120 0

It logs in with the credential in the environment. AZURE_SUBSCRIPTION_ID, AZURERM_LITE_RESOURCE_GROUP and
AZURERM_LITE_VMSS_NAME name the scale set. `python -m azurerm_lite.emulator --env` prints commands that set them all for
a local emulator.
"""

import os
import sys

import azurerm_lite as az
from azurerm_lite.errors import printable


def main(version: str, instance_id: str) -> None:
    names = ("AZURE_SUBSCRIPTION_ID", "AZURERM_LITE_RESOURCE_GROUP", "AZURERM_LITE_VMSS_NAME")
    scale_set = az.ScaleSet(*(os.environ.get(name, "") for name in names))
    arm = az.connect()

    model = az.get_vmss(arm, *scale_set)
    print(f"{arm}\n{scale_set.vmss_name} has {az.image_text(model)}")
    az.get_vmss_vm(arm, *scale_set, instance_id)  # raises NotFoundError for an unknown instance

    edit = az.set_image_version(model, version)
    if edit.paths:
        az.put_vmss(arm, *scale_set, edit.model).wait()
    az.manual_upgrade_instances(arm, *scale_set, [instance_id]).wait()

    vm = az.get_vmss_vm(arm, *scale_set, instance_id)["properties"]
    running = vm["storageProfile"]["imageReference"].get("exactVersion")
    print(printable(f"instance {instance_id}: version {running}, {vm['provisioningState']}"))


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit("usage: upgrade_version.py NEW_VERSION INSTANCE_ID")
    try:
        main(*sys.argv[1:])
    except az.AzurermLiteError as error:
        sys.exit(f"upgrade_version: {error}")
