"""Write the table of bodies of the emulator from the published OpenAPI; `--check` says whether it is current.

    AZURERM_LITE_ARM_DATA=FOLDER python tools/make_schema.py [--check]

FOLDER/openapi holds Azure's documents (azure-rest-api-specs, Microsoft.Compute); they are read and not copied. The
table, azurerm_lite/emulator/schemas/2024-07-01.json, has the operations that the emulator has, and each type that their
bodies reach. `azurerm_lite.emulator.schema` says how the text of a property is read.
"""

import json
import os
import re
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from azurerm_lite.emulator.api import routes
from azurerm_lite.emulator.schema import API_VERSION, TABLE

PROVIDER = "Microsoft.Compute/"
Json = Any
Types = dict[str, dict[str, str]]

# Bodies that the documents at hand do not describe, as their pages at learn.microsoft.com/rest/api/compute do.
BEYOND_OPERATIONS = {
    "POST virtualMachineScaleSets/scaleOut/action": "VMScaleSetScaleOutInput !",
    "POST virtualMachineScaleSets/migrateVMAvailabilityZone/action": "VMScaleSetMigrateVMZoneInput",
    "PATCH virtualMachineScaleSets/lifecycleHookEvents/write": "VMScaleSetLifecycleHookEvent !",
    "POST virtualMachineScaleSets/virtualMachines/runCommand/action": "RunCommandInput !",
    **dict.fromkeys(
        (
            f"{method} virtualMachineScaleSets/virtualMachines/{kind}/write"
            for kind in ("runCommands", "diagnosticRunCommands")
            for method in ("PUT", "PATCH")
        ),
        "VirtualMachineRunCommand !",
    ),
}
BEYOND_TYPES: Types = {
    "VMScaleSetScaleOutInput": {"capacity": "integer ! 1..1000", "properties": "VMScaleSetScaleOutInputProperties"},
    "VMScaleSetScaleOutInputProperties": {"zone": "string"},
    "VMScaleSetMigrateVMZoneInput": {"instanceIds": "[string]", "targetZone": "string"},
    "VMScaleSetLifecycleHookEvent": {
        "id": "string ~",
        "name": "string ~",
        "type": "string ~",
        "properties": "VMScaleSetLifecycleHookEventProperties",
    },
    "VMScaleSetLifecycleHookEventProperties": {
        "type": "string ~",
        "state": "string ~",
        "waitUntil": "string",
        "defaultAction": "string ~",
        "maxWaitUntil": "string ~",
        "targetResources": "[VMScaleSetLifecycleHookEventTargetResource]",
    },
    "VMScaleSetLifecycleHookEventTargetResource": {
        "resource": "SubResource",
        "actionState": "string",
        "lifecycleAction": "string",
    },
    "RunCommandInput": {"commandId": "string !", "script": "[string]", "parameters": "[RunCommandInputParameter]"},
    "RunCommandInputParameter": {"name": "string !", "value": "string !"},
    "VirtualMachineRunCommand": {
        "id": "string ~",
        "name": "string ~",
        "type": "string ~",
        "location": "string !",
        "tags": "{string} 0..50",
        "properties": "VirtualMachineRunCommandProperties",
    },
    "VirtualMachineRunCommandProperties": {
        "source": "VirtualMachineRunCommandScriptSource",
        "parameters": "[RunCommandInputParameter]",
        "protectedParameters": "[RunCommandInputParameter]",
        "asyncExecution": "boolean",
        "runAsUser": "string",
        "runAsPassword": "string",
        "timeoutInSeconds": "integer",
        "outputBlobUri": "string",
        "errorBlobUri": "string",
        "outputBlobManagedIdentity": "RunCommandManagedIdentity",
        "errorBlobManagedIdentity": "RunCommandManagedIdentity",
        "treatFailureAsDeploymentFailure": "boolean",
        "provisioningState": "string ~",
        "instanceView": "object ~",
    },
    "VirtualMachineRunCommandScriptSource": {
        "script": "string",
        "scriptUri": "string",
        "commandId": "string",
        "scriptUriManagedIdentity": "RunCommandManagedIdentity",
        "galleryScriptReferenceId": "string",
    },
    "RunCommandManagedIdentity": {"clientId": "string", "objectId": "string"},
}
# Enumerations that stay open, whatever the document lists: sizes are born between two versions of the API.
OPEN = frozenset({"vmSize"})
# Limits that stand in Azure's pages and not in the OpenAPI.
# https://learn.microsoft.com/azure/virtual-machine-scale-sets/virtual-machine-scale-sets-placement-groups
# https://learn.microsoft.com/azure/azure-resource-manager/management/azure-subscription-service-limits (tags, IPs)
# https://learn.microsoft.com/azure/virtual-machines/sizes/overview (interfaces and disks of the largest sizes)
LIMITS = {
    ("Sku", "capacity"): "0..1000",
    ("Resource", "tags"): "0..50",
    ("VirtualMachineScaleSet", "zones"): "0..3",
    ("VirtualMachineScaleSetNetworkProfile", "networkInterfaceConfigurations"): "0..8",
    ("VirtualMachineScaleSetNetworkConfigurationProperties", "ipConfigurations"): "0..256",
    ("VirtualMachineScaleSetStorageProfile", "dataDisks"): "0..64",
    # No page has a number for a scale set; this is far above every recorded one.
    ("VirtualMachineScaleSetExtensionProfile", "extensions"): "0..100",
}


class Document:
    """The definitions of a folder of OpenAPI documents, by file and name, and the types that were reached so far."""

    def __init__(self, folder: Path) -> None:
        self._files = {path.name: json.loads(path.read_text(encoding="utf-8-sig")) for path in folder.rglob("*.json")}
        self.types: Types = {}

    def operations(self) -> Iterator[tuple[str, str, Json, str]]:
        """Method, path, body parameter (None: no body) and file of every operation."""
        for name, document in sorted(self._files.items()):
            for path, methods in document.get("paths", {}).items():
                for method, operation in methods.items():
                    bodies = [entry for entry in operation["parameters"] if entry.get("in") == "body"]
                    yield method.upper(), path, bodies[0] if bodies else None, name

    def spec(self, schema: Mapping[str, Json], file: str) -> str:
        """The text of one schema; every type that it names is in `types` afterwards."""
        if "$ref" in schema:
            other, _, pointer = str(schema["$ref"]).partition("#/definitions/")
            file = other.rpartition("/")[2] or file
            return self._named(pointer, file)
        kind = schema.get("type")
        if "enum" in schema:
            return "=" + "|".join(str(value) for value in schema["enum"])
        if kind == "array":
            return f"[{self.spec(schema['items'], file)}]"
        if isinstance(schema.get("additionalProperties"), dict):
            return f"{{{self.spec(schema['additionalProperties'], file)}}}"
        return "int64" if schema.get("format") == "int64" else str(kind or "object")

    def _named(self, name: str, file: str) -> str:
        definition = self._files[file]["definitions"][name]
        if not self._is_object(definition):
            return self.spec(definition, file)
        if name not in self.types:
            self.types[name] = {}  # first, since types may reach themselves
            self.types[name].update(self._properties(name, definition, file))
        return name

    def _is_object(self, definition: Mapping[str, Json]) -> bool:
        return bool(definition.get("properties") or definition.get("allOf"))

    def _properties(self, name: str, definition: Mapping[str, Json], file: str) -> dict[str, str]:
        properties: dict[str, str] = {}
        for base in definition.get("allOf", ()):
            properties |= self.types[self.spec(base, file)]
        required = definition.get("required", ())
        for key, entry in definition.get("properties", {}).items():
            text = "string" if key in OPEN else self.spec(entry, file)
            properties[key] = " ".join([text, *_marks(entry, key in required, LIMITS.get((name, key), ""))])
        return properties


def _marks(schema: Mapping[str, Json], required: bool, limits: str) -> Iterator[str]:
    if required:
        yield "!"
    if schema.get("readOnly"):
        yield "~"
    if limits or "minimum" in schema or "maximum" in schema:
        yield limits or f"{schema.get('minimum', '')}..{schema.get('maximum', '')}"
    since = re.search(r"[Mm]inimum api-version: (\d{4}-\d\d-\d\d)", schema.get("description", ""))
    if since:
        yield f"@{since[1]}"


def emulated() -> dict[tuple[str, str], str]:
    """The writes of the emulator: method and path, in lower case and without names of parameters -> its key."""
    return {
        (method, _shape(path)): f"{method} {action.removeprefix(PROVIDER)}"
        for method, path, _, action in routes.ARM
        if method in ("PUT", "PATCH", "POST")
    }


def _shape(path: str) -> str:
    return re.sub(r"<[^>]*>|{[^}]*}", "*", path).lower()


def table(folder: Path) -> dict[str, Json]:
    """The whole table: operations, with the type of the body of each, and the types."""
    document, keys = Document(folder), emulated()
    operations: dict[str, str] = {}
    for method, path, body, file in document.operations():
        key = keys.get((method, _shape(path)))
        if key is not None and body is not None:
            # Azure judges a PATCH by the type of PUT: azure-rest-api-specs 36582.
            schema = body["schema"] if method != "PATCH" else _put_body(document, path)
            operations[key] = document.spec(schema, file) + (" !" if body.get("required") else "")
    operations |= {key: text for key, text in BEYOND_OPERATIONS.items() if key in keys.values()}
    types = document.types | {name: fields for name, fields in BEYOND_TYPES.items() if name not in document.types}
    return {
        "apiVersion": API_VERSION,
        "operations": dict(sorted(operations.items())),
        "types": {name: types[name] for name in sorted(_reached(types, operations))},
    }


def _put_body(document: Document, path: str) -> Json:
    bodies = [body for method, other, body, _ in document.operations() if (method, other) == ("PUT", path)]
    return bodies[0]["schema"]


def _reached(types: Types, operations: Mapping[str, str]) -> set[str]:
    """The types that a body can reach without passing a read-only property."""
    reached: set[str] = set()
    waiting = [_name(text) for text in operations.values()]
    while waiting:
        name = waiting.pop()
        if name in types and name not in reached:
            reached.add(name)
            waiting += [_name(text) for text in types[name].values() if "~" not in text.split()]
    return reached


def _name(text: str) -> str:
    return text.partition(" ")[0].strip("[]{}")


def rendered(content: Mapping[str, Json]) -> str:
    """The table as the file has it: one line for each property."""
    return json.dumps(content, indent=1) + "\n"


def main(arguments: list[str]) -> int:
    folder = os.environ.get("AZURERM_LITE_ARM_DATA")
    if not folder:
        print("AZURERM_LITE_ARM_DATA is not set: no OpenAPI at hand", file=sys.stderr)
        return 2
    text = rendered(table(Path(folder) / "openapi"))
    if "--check" not in arguments:
        TABLE.parent.mkdir(exist_ok=True)
        TABLE.write_text(text)
        return 0
    if not TABLE.exists() or TABLE.read_text() != text:
        print(f"{TABLE} is not current: run tools/make_schema.py", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
