"""azurerm_lite: upgrade the OS image of a virtual machine scale set without downtime, over raw ARM REST.

    import azurerm_lite as az
    arm = az.connect()
    web = az.ScaleSet("<subscription id>", "web-rg", "web")
    model = az.get_vmss(arm, *web)

Names are loaded when they are first used, so that importing the package costs next to nothing.
"""

import importlib
import logging
from typing import TYPE_CHECKING, Any

from ._version import __version__ as __version__

if TYPE_CHECKING:
    from .arm import Arm as Arm
    from .arm import connect as connect
    from .auth import Credential as Credential
    from .auth import Token as Token
    from .clouds import CHINA as CHINA
    from .clouds import PUBLIC as PUBLIC
    from .clouds import US_GOVERNMENT as US_GOVERNMENT
    from .clouds import Cloud as Cloud
    from .clouds import custom_cloud as custom_cloud
    from .credentials import client_secret_credential as client_secret_credential
    from .credentials import get_access_token as get_access_token
    from .errors import ArmError as ArmError
    from .errors import AuthError as AuthError
    from .errors import AzurermLiteError as AzurermLiteError
    from .errors import BusyError as BusyError
    from .errors import ConcurrencyError as ConcurrencyError
    from .errors import ConflictError as ConflictError
    from .errors import CredentialError as CredentialError
    from .errors import ForbiddenError as ForbiddenError
    from .errors import InvalidInput as InvalidInput
    from .errors import NotFoundError as NotFoundError
    from .errors import OperationCanceled as OperationCanceled
    from .errors import OperationFailed as OperationFailed
    from .errors import OperationSuperseded as OperationSuperseded
    from .errors import OperationTimeout as OperationTimeout
    from .errors import OutcomeUnknown as OutcomeUnknown
    from .errors import ProtocolError as ProtocolError
    from .errors import ThrottledError as ThrottledError
    from .errors import TransportError as TransportError
    from .model import Change as Change
    from .model import Edit as Edit
    from .model import diff as diff
    from .model import fingerprint as fingerprint
    from .model import image_text as image_text
    from .model import merge_patch as merge_patch
    from .model import set_capacity as set_capacity
    from .model import set_image_id as set_image_id
    from .model import set_image_sku as set_image_sku
    from .model import set_image_uri as set_image_uri
    from .model import set_image_version as set_image_version
    from .model import set_vm_size as set_vm_size
    from .operation import Operation as Operation
    from .retry import Retry as Retry
    from .types import ScaleSet as ScaleSet
    from .vmss import get_vmss as get_vmss
    from .vmss import get_vmss_instance_view as get_vmss_instance_view
    from .vmss import get_vmss_vm as get_vmss_vm
    from .vmss import get_vmss_vm_instance_view as get_vmss_vm_instance_view
    from .vmss import list_vmss as list_vmss
    from .vmss import list_vmss_sub as list_vmss_sub
    from .vmss import list_vmss_vms as list_vmss_vms
    from .vmss import manual_upgrade_instances as manual_upgrade_instances
    from .vmss import patch_vmss as patch_vmss
    from .vmss import put_vmss as put_vmss

_HOME = {
    "arm": "Arm connect",
    "auth": "Credential Token",
    "credentials": "client_secret_credential get_access_token",
    "clouds": "CHINA PUBLIC US_GOVERNMENT Cloud custom_cloud",
    "errors": "ArmError AuthError AzurermLiteError BusyError ConcurrencyError ConflictError CredentialError "
    "ForbiddenError InvalidInput NotFoundError OperationCanceled OperationFailed OperationSuperseded OperationTimeout "
    "OutcomeUnknown ProtocolError ThrottledError TransportError",
    "model": "Change Edit diff fingerprint image_text merge_patch set_capacity set_image_id set_image_sku "
    "set_image_uri set_image_version set_vm_size",
    "operation": "Operation",
    "retry": "Retry",
    "types": "ScaleSet",
    "vmss": "get_vmss get_vmss_instance_view get_vmss_vm get_vmss_vm_instance_view list_vmss list_vmss_sub "
    "list_vmss_vms manual_upgrade_instances patch_vmss put_vmss",
}
_ROOM_OF = {name: room for room, names in _HOME.items() for name in names.split()}
__all__ = sorted(_ROOM_OF)  # noqa: PLE0605  # pyright: ignore[reportUnsupportedDunderAll]

logging.getLogger(__name__).addHandler(logging.NullHandler())


def __getattr__(name: str) -> Any:
    if name not in _ROOM_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f".{_ROOM_OF[name]}", __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*_ROOM_OF, "__version__"])
