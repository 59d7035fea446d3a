"""azurerm_lite: upgrade the OS image of a virtual machine scale set without downtime, over raw ARM REST.

    import azurerm_lite as az
    arm = az.connect()
    web = az.ScaleSet("<subscription id>", "web-rg", "web")
    model = az.get_vmss(arm, *web)

Each name is loaded on first use, so that importing the package takes a few milliseconds.
"""

import logging
from typing import TYPE_CHECKING

from . import _lazy
from ._version import __version__ as __version__

if TYPE_CHECKING:
    from ._connect import connect as connect
    from ._connect import fetch_cloud as fetch_cloud
    from ._http.retry import Retry as Retry
    from .arm import Arm as Arm
    from .arm import Auth as Auth
    from .auth.credential import Credential as Credential
    from .auth.flows import azure_cli_credential as azure_cli_credential
    from .auth.flows import certificate_credential as certificate_credential
    from .auth.flows import client_secret_credential as client_secret_credential
    from .auth.flows import device_code_credential as device_code_credential
    from .auth.flows import get_access_token as get_access_token
    from .auth.flows import interactive_browser_credential as interactive_browser_credential
    from .auth.flows import managed_identity_credential as managed_identity_credential
    from .auth.flows import workload_identity_credential as workload_identity_credential
    from .auth.tokens import Token as Token
    from .clouds import CHINA as CHINA
    from .clouds import PUBLIC as PUBLIC
    from .clouds import US_GOVERNMENT as US_GOVERNMENT
    from .clouds import Cloud as Cloud
    from .clouds import custom_cloud as custom_cloud
    from .endpoints.extensions import delete_vmss_extension as delete_vmss_extension
    from .endpoints.extensions import delete_vmss_vm_diagnostic_run_command as delete_vmss_vm_diagnostic_run_command
    from .endpoints.extensions import delete_vmss_vm_extension as delete_vmss_vm_extension
    from .endpoints.extensions import delete_vmss_vm_run_command as delete_vmss_vm_run_command
    from .endpoints.extensions import get_vmss_extension as get_vmss_extension
    from .endpoints.extensions import get_vmss_vm_diagnostic_run_command as get_vmss_vm_diagnostic_run_command
    from .endpoints.extensions import get_vmss_vm_extension as get_vmss_vm_extension
    from .endpoints.extensions import get_vmss_vm_run_command as get_vmss_vm_run_command
    from .endpoints.extensions import list_vmss_extensions as list_vmss_extensions
    from .endpoints.extensions import list_vmss_vm_diagnostic_run_commands as list_vmss_vm_diagnostic_run_commands
    from .endpoints.extensions import list_vmss_vm_extensions as list_vmss_vm_extensions
    from .endpoints.extensions import list_vmss_vm_run_commands as list_vmss_vm_run_commands
    from .endpoints.extensions import patch_vmss_extension as patch_vmss_extension
    from .endpoints.extensions import patch_vmss_vm_diagnostic_run_command as patch_vmss_vm_diagnostic_run_command
    from .endpoints.extensions import patch_vmss_vm_extension as patch_vmss_vm_extension
    from .endpoints.extensions import patch_vmss_vm_run_command as patch_vmss_vm_run_command
    from .endpoints.extensions import put_vmss_extension as put_vmss_extension
    from .endpoints.extensions import put_vmss_vm_diagnostic_run_command as put_vmss_vm_diagnostic_run_command
    from .endpoints.extensions import put_vmss_vm_extension as put_vmss_vm_extension
    from .endpoints.extensions import put_vmss_vm_run_command as put_vmss_vm_run_command
    from .endpoints.images import get_image_version as get_image_version
    from .endpoints.images import list_gallery_image_versions as list_gallery_image_versions
    from .endpoints.images import list_image_versions as list_image_versions
    from .endpoints.images import list_usages as list_usages
    from .endpoints.images import newest_gallery_version as newest_gallery_version
    from .endpoints.images import resolve_image_version as resolve_image_version
    from .endpoints.rolling_upgrades import cancel_rolling_upgrade as cancel_rolling_upgrade
    from .endpoints.rolling_upgrades import get_lifecycle_hook_event as get_lifecycle_hook_event
    from .endpoints.rolling_upgrades import get_rolling_upgrade as get_rolling_upgrade
    from .endpoints.rolling_upgrades import list_lifecycle_hook_events as list_lifecycle_hook_events
    from .endpoints.rolling_upgrades import patch_lifecycle_hook_event as patch_lifecycle_hook_event
    from .endpoints.rolling_upgrades import start_extension_rolling_upgrade as start_extension_rolling_upgrade
    from .endpoints.rolling_upgrades import start_os_rolling_upgrade as start_os_rolling_upgrade
    from .endpoints.vmss import convert_vmss_to_single_placement_group as convert_vmss_to_single_placement_group
    from .endpoints.vmss import delete_vmss as delete_vmss
    from .endpoints.vmss import (
        force_recovery_service_fabric_platform_update_domain_walk as force_recovery_service_fabric_platform_update_domain_walk,  # noqa: E501
    )
    from .endpoints.vmss import get_vmss as get_vmss
    from .endpoints.vmss import get_vmss_instance_view as get_vmss_instance_view
    from .endpoints.vmss import list_vmss as list_vmss
    from .endpoints.vmss import list_vmss_location as list_vmss_location
    from .endpoints.vmss import list_vmss_os_upgrade_history as list_vmss_os_upgrade_history
    from .endpoints.vmss import list_vmss_skus as list_vmss_skus
    from .endpoints.vmss import list_vmss_sub as list_vmss_sub
    from .endpoints.vmss import manual_upgrade_instances as manual_upgrade_instances
    from .endpoints.vmss import patch_vmss as patch_vmss
    from .endpoints.vmss import put_vmss as put_vmss
    from .endpoints.vmss import reapply_vmss as reapply_vmss
    from .endpoints.vmss import scale_out_vmss as scale_out_vmss
    from .endpoints.vmss import set_orchestration_service_state as set_orchestration_service_state
    from .endpoints.vmss_vm import approve_rolling_upgrade_vmss_vm as approve_rolling_upgrade_vmss_vm
    from .endpoints.vmss_vm import attach_detach_data_disks_vmss_vm as attach_detach_data_disks_vmss_vm
    from .endpoints.vmss_vm import deallocate_vmss_vm as deallocate_vmss_vm
    from .endpoints.vmss_vm import delete_vmss_vm as delete_vmss_vm
    from .endpoints.vmss_vm import get_flexible_vm as get_flexible_vm
    from .endpoints.vmss_vm import get_flexible_vm_instance_view as get_flexible_vm_instance_view
    from .endpoints.vmss_vm import get_vmss_vm as get_vmss_vm
    from .endpoints.vmss_vm import get_vmss_vm_instance_view as get_vmss_vm_instance_view
    from .endpoints.vmss_vm import perform_maintenance_vmss_vm as perform_maintenance_vmss_vm
    from .endpoints.vmss_vm import power_off_vmss_vm as power_off_vmss_vm
    from .endpoints.vmss_vm import put_vmss_vm as put_vmss_vm
    from .endpoints.vmss_vm import redeploy_vmss_vm as redeploy_vmss_vm
    from .endpoints.vmss_vm import reimage_all_vmss_vm as reimage_all_vmss_vm
    from .endpoints.vmss_vm import reimage_vmss_vm as reimage_vmss_vm
    from .endpoints.vmss_vm import restart_vmss_vm as restart_vmss_vm
    from .endpoints.vmss_vm import retrieve_boot_diagnostics_vmss_vm as retrieve_boot_diagnostics_vmss_vm
    from .endpoints.vmss_vm import run_command_vmss_vm as run_command_vmss_vm
    from .endpoints.vmss_vm import simulate_eviction_vmss_vm as simulate_eviction_vmss_vm
    from .endpoints.vmss_vm import start_vmss_vm as start_vmss_vm
    from .endpoints.vmss_vms import approve_rolling_upgrade_vmss_vms as approve_rolling_upgrade_vmss_vms
    from .endpoints.vmss_vms import deallocate_vmss_vms as deallocate_vmss_vms
    from .endpoints.vmss_vms import delete_vmss_vms as delete_vmss_vms
    from .endpoints.vmss_vms import iter_vmss_vms as iter_vmss_vms
    from .endpoints.vmss_vms import list_vmss_vms as list_vmss_vms
    from .endpoints.vmss_vms import migrate_availability_zone_vmss_vms as migrate_availability_zone_vmss_vms
    from .endpoints.vmss_vms import perform_maintenance_vmss_vms as perform_maintenance_vmss_vms
    from .endpoints.vmss_vms import power_off_vmss_vms as power_off_vmss_vms
    from .endpoints.vmss_vms import redeploy_vmss_vms as redeploy_vmss_vms
    from .endpoints.vmss_vms import reimage_all_vmss_vms as reimage_all_vmss_vms
    from .endpoints.vmss_vms import reimage_vmss_vms as reimage_vmss_vms
    from .endpoints.vmss_vms import restart_vmss_vms as restart_vmss_vms
    from .endpoints.vmss_vms import start_vmss_vms as start_vmss_vms
    from .errors import ArmError as ArmError
    from .errors import AuthError as AuthError
    from .errors import AzurermLiteError as AzurermLiteError
    from .errors import BusyError as BusyError
    from .errors import CertificateError as CertificateError
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
    from .model.compare import Change as Change
    from .model.compare import diff as diff
    from .model.completions import fingerprint as fingerprint
    from .model.edits import Edit as Edit
    from .model.edits import image_text as image_text
    from .model.edits import set_capacity as set_capacity
    from .model.edits import set_image_id as set_image_id
    from .model.edits import set_image_sku as set_image_sku
    from .model.edits import set_image_uri as set_image_uri
    from .model.edits import set_image_version as set_image_version
    from .model.edits import set_vm_size as set_vm_size
    from .model.patches import merge_patch as merge_patch
    from .operation import Operation as Operation
    from .types import ScaleSet as ScaleSet
    from .update import update_vmss as update_vmss

_EXPORTS = {
    "arm": "Arm Auth",
    "_connect": "connect fetch_cloud",
    "auth.credential": "Credential",
    "auth.tokens": "Token",
    "auth.flows": "azure_cli_credential certificate_credential client_secret_credential device_code_credential "
    "get_access_token interactive_browser_credential managed_identity_credential workload_identity_credential",
    "clouds": "CHINA PUBLIC US_GOVERNMENT Cloud custom_cloud",
    "errors": "ArmError AuthError AzurermLiteError BusyError CertificateError ConcurrencyError ConflictError "
    "CredentialError ForbiddenError InvalidInput NotFoundError OperationCanceled OperationFailed "
    "OperationSuperseded OperationTimeout OutcomeUnknown ProtocolError ThrottledError TransportError",
    "model.edits": "Edit image_text set_capacity set_image_id set_image_sku set_image_uri set_image_version "
    "set_vm_size",
    "model.compare": "Change diff",
    "model.completions": "fingerprint",
    "model.patches": "merge_patch",
    "operation": "Operation",
    "_http.retry": "Retry",
    "types": "ScaleSet",
    "endpoints.extensions": "delete_vmss_extension delete_vmss_vm_extension delete_vmss_vm_run_command "
    "get_vmss_extension get_vmss_vm_extension get_vmss_vm_run_command list_vmss_extensions list_vmss_vm_extensions "
    "list_vmss_vm_run_commands patch_vmss_extension patch_vmss_vm_extension patch_vmss_vm_run_command "
    "put_vmss_extension put_vmss_vm_extension put_vmss_vm_run_command delete_vmss_vm_diagnostic_run_command "
    "get_vmss_vm_diagnostic_run_command list_vmss_vm_diagnostic_run_commands patch_vmss_vm_diagnostic_run_command "
    "put_vmss_vm_diagnostic_run_command",
    "endpoints.images": "get_image_version list_gallery_image_versions list_image_versions list_usages "
    "newest_gallery_version resolve_image_version",
    "update": "update_vmss",
    "endpoints.rolling_upgrades": "cancel_rolling_upgrade get_rolling_upgrade start_os_rolling_upgrade "
    "start_extension_rolling_upgrade get_lifecycle_hook_event list_lifecycle_hook_events patch_lifecycle_hook_event",
    "endpoints.vmss": "convert_vmss_to_single_placement_group delete_vmss "
    "force_recovery_service_fabric_platform_update_domain_walk get_vmss get_vmss_instance_view list_vmss "
    "list_vmss_location list_vmss_os_upgrade_history list_vmss_skus list_vmss_sub manual_upgrade_instances "
    "patch_vmss put_vmss reapply_vmss scale_out_vmss set_orchestration_service_state",
    "endpoints.vmss_vms": "approve_rolling_upgrade_vmss_vms deallocate_vmss_vms delete_vmss_vms iter_vmss_vms "
    "list_vmss_vms migrate_availability_zone_vmss_vms perform_maintenance_vmss_vms power_off_vmss_vms "
    "redeploy_vmss_vms reimage_all_vmss_vms reimage_vmss_vms restart_vmss_vms start_vmss_vms",
    "endpoints.vmss_vm": "approve_rolling_upgrade_vmss_vm attach_detach_data_disks_vmss_vm deallocate_vmss_vm "
    "delete_vmss_vm get_flexible_vm get_flexible_vm_instance_view get_vmss_vm get_vmss_vm_instance_view "
    "perform_maintenance_vmss_vm power_off_vmss_vm put_vmss_vm redeploy_vmss_vm reimage_all_vmss_vm reimage_vmss_vm "
    "restart_vmss_vm retrieve_boot_diagnostics_vmss_vm run_command_vmss_vm simulate_eviction_vmss_vm start_vmss_vm",
}
_MODULE_OF, __getattr__ = _lazy.names(__name__, _EXPORTS)
__all__ = sorted(_MODULE_OF)  # noqa: PLE0605  # pyright: ignore[reportUnsupportedDunderAll]

logging.getLogger(__name__).addHandler(logging.NullHandler())


def __dir__() -> list[str]:
    return sorted([*_MODULE_OF, "__version__"])
