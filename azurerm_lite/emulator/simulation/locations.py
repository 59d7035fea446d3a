"""Regions: how Azure spells them, and which there are.

https://learn.microsoft.com/azure/reliability/regions-list
"""

from collections.abc import Iterable

_NAMES = """
    australiacentral australiacentral2 australiaeast australiasoutheast austriaeast belgiumcentral brazilsouth
    brazilsoutheast canadacentral canadaeast centralindia centralus centraluseuap chilecentral chinaeast chinaeast2
    chinaeast3 chinanorth chinanorth2 chinanorth3 denmarkeast eastasia eastus eastus2 eastus2euap francecentral
    francesouth germanynorth germanywestcentral indonesiacentral israelcentral italynorth japaneast japanwest
    jioindiacentral jioindiawest koreacentral koreasouth malaysiasouth malaysiawest mexicocentral newzealandnorth
    northcentralus northeurope norwayeast norwaywest polandcentral qatarcentral southafricanorth southafricawest
    southcentralus southeastasia southindia spaincentral swedencentral swedensouth switzerlandnorth switzerlandwest
    uaecentral uaenorth uksouth ukwest usdodcentral usdodeast usgovarizona usgovtexas usgovvirginia westcentralus
    westeurope westindia westus westus2 westus3
"""
REGIONS = frozenset(_NAMES.split())


def normalize(location: str) -> str:
    """A location as Azure shows it, whatever the spelling: "West US 2" and "WestUS2" are westus2."""
    return "".join(location.split()).lower()


def known_regions(others: Iterable[str]) -> frozenset[str]:
    """The regions of Azure, and these others."""
    return REGIONS.union(map(normalize, others))
