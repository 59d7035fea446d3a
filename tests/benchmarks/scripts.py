"""The same small script three times, as people write it: log in with a client secret, read a scale set, print its size.

All of them take what they need from the environment, as azure-identity names it.
"""

OURS = """
import azurerm_lite as az
arm = az.connect()
print(az.get_vmss(arm, SUBSCRIPTION, "web-rg", "web")["sku"]["capacity"])
"""

BY_HAND = """
import msal, requests
app = msal.ConfidentialClientApplication(
    os.environ["AZURE_CLIENT_ID"],
    client_credential=os.environ["AZURE_CLIENT_SECRET"],
    authority=f"{BASE}/{os.environ['AZURE_TENANT_ID']}",
    instance_discovery=False,
)
token = app.acquire_token_for_client(["https://management.azure.com/.default"])["access_token"]
group = f"{BASE}/subscriptions/{SUBSCRIPTION}/resourceGroups/web-rg"
url = f"{group}/providers/Microsoft.Compute/virtualMachineScaleSets/web"
answer = requests.get(f"{url}?api-version=2024-07-01", headers={"Authorization": f"Bearer {token}"}, timeout=60)
answer.raise_for_status()
print(answer.json()["sku"]["capacity"])
"""

OFFICIAL = """
from azure.identity import ClientSecretCredential
from azure.mgmt.compute import ComputeManagementClient
credential = ClientSecretCredential(
    os.environ["AZURE_TENANT_ID"],
    os.environ["AZURE_CLIENT_ID"],
    os.environ["AZURE_CLIENT_SECRET"],
    authority=BASE,
    disable_instance_discovery=True,
)
scopes = ["https://management.azure.com/.default"]
client = ComputeManagementClient(credential, SUBSCRIPTION, base_url=BASE, credential_scopes=scopes)
print(client.virtual_machine_scale_sets.get("web-rg", "web").sku.capacity)
"""

HEAD = """
import os
SUBSCRIPTION, BASE = os.environ["AZURE_SUBSCRIPTION_ID"], os.environ["AZURE_RM_ENDPOINT"]
"""
SCRIPTS = {"azurerm_lite": HEAD + OURS, "requests and msal": HEAD + BY_HAND, "azure-mgmt-compute": HEAD + OFFICIAL}
IMPORTS = {
    "azurerm_lite": "azurerm_lite",
    "requests and msal": "requests, msal",
    "azure-mgmt-compute": "azure.identity, azure.mgmt.compute",
    "httpx": "httpx",
    "azurerm": "azurerm",
}
# What it costs in a process that has imported nothing else.
IMPORT = "import time\nbegun = time.process_time()\nimport {}\nprint(time.process_time() - begun)"
# Bytes and number of distributions that these names bring, without compiled caches and optional extras.
SIZE = """
import importlib.metadata as metadata, json, re, sys
found, queue = {}, sys.argv[1:]
while queue:
    name = re.match(r"[A-Za-z0-9._-]+", queue.pop())[0].lower().replace("_", "-")
    if name not in found:
        try:
            one = metadata.distribution(name)
        except metadata.PackageNotFoundError:
            continue  # for another Python or system
        found[name] = sum(file.size or 0 for file in one.files or ())
        queue += [need for need in one.requires or () if "extra ==" not in need]
print(json.dumps({"bytes": sum(found.values()), "distributions": len(found)}))
"""
SIZES = {
    "requests and msal": ("requests", "msal"),
    "azure-mgmt-compute": ("azure-mgmt-compute", "azure-identity"),
    "httpx": ("httpx",),
    "azurerm": ("azurerm",),
}
