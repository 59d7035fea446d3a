"""The PATCH that we send leads to the wanted model, whichever way Azure takes it.

Three ways are known: a plain JSON merge (RFC 7396), ARM's contract (tags are replaced), and the provider that makes
storageProfile anew from the image. They are written here from their sources and know nothing of the package.
"""

import copy
import json
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from azurerm_lite import model as m
from azurerm_lite.errors import InvalidInput
from tests.fuzz import some
from tests.models import DATA, built, holder, models, places, recorded

STORAGE = ("properties", "virtualMachineProfile", "storageProfile")


# --- the three ways --------------------------------------------------------------------------------------------------


def plain_merge(target: Any, patch: Any) -> Any:
    """RFC 7396, section 2, MergePatch."""
    if not isinstance(patch, dict):
        return copy.deepcopy(patch)
    result = copy.deepcopy(target) if isinstance(target, dict) else {}
    for name, value in patch.items():
        if value is None:
            result.pop(name, None)
        else:
            result[name] = plain_merge(result.get(name), value)
    return result


def by_contract(target: Any, patch: Any) -> Any:
    """azure-resource-manager-rpc, Patch Resource: tags are replaced by those that are sent, and none is null."""
    result = plain_merge(target, patch)
    if "tags" in patch:
        assert all(isinstance(value, str) for value in patch["tags"].values())
        result["tags"] = dict(patch["tags"])
    return result


def rebuilt(target: Any, patch: Any) -> Any:
    """As reported: what a storage profile leaves out is derived from the image; without an image it is refused.

    A set in mode Rolling or Automatic refuses what lacks its upgrade policy or its health probe; to null the rolling
    policy does nothing. A null in a typed body is the same as nothing.
    """
    result = by_contract(target, patch)
    named, had = at(patch, STORAGE), at(target, STORAGE)
    if isinstance(named, dict):
        assert named.get("imageReference") or not had.get("imageReference"), "ImageReference is null"
        storage = holder(result, STORAGE)[STORAGE[-1]]
        if not isinstance(named.get("osDisk"), dict):
            storage["osDisk"] = {"createOption": "FromImage", "managedDisk": {"storageAccountType": "Derived"}}
        if named.get("dataDisks") is None:
            storage["dataDisks"] = []
    policy = at(target, ("properties", "upgradePolicy")) or {}
    if str(policy.get("mode")).lower() in ("rolling", "automatic"):
        assert at(patch, ("properties", "upgradePolicy", "mode")) is not None, "upgradePolicy is missing"
        probe = ("properties", "virtualMachineProfile", "networkProfile", "healthProbe")
        assert not at(target, probe) or at(patch, probe, "none") != "none", "the health probe is missing"
    if policy.get("rollingUpgradePolicy") and "rollingUpgradePolicy" not in (
        result["properties"].get("upgradePolicy") or {}
    ):
        result["properties"]["upgradePolicy"]["rollingUpgradePolicy"] = policy["rollingUpgradePolicy"]
    return result


def at(value: Any, place: tuple[str, ...], default: Any = None) -> Any:
    for key in place:
        if not isinstance(value, dict) or key not in value:
            return default
        value = value[key]
    return value


# --- what is compared ------------------------------------------------------------------------------------------------

READ_ONLY = ("id", "name", "type", "etag", "systemData")
SECRETS = ("adminPassword", "customData", "userData", "protectedSettings")


def shape(model: Any) -> Any:
    """A model as far as a writer can make it: nulls and empty parts are nothing, and ids of identities are Entra's."""
    result = {key: value for key, value in copy.deepcopy(model).items() if key not in READ_ONLY}
    properties = result.get("properties") or {}
    for key in ("provisioningState", "uniqueId", "timeCreated"):
        properties.pop(key, None)
    (properties.get("virtualMachineProfile") or {}).pop("timeCreated", None)
    ((at(result, STORAGE) or {}).get("imageReference") or {}).pop("exactVersion", None)
    identity = result.get("identity") or {}
    kind = str(identity.get("type", "None"))
    users = sorted(
        key.lower() for key, value in (identity.get("userAssignedIdentities") or {}).items() if value is not None
    )
    result["identity"] = "none" if kind == "None" else f"{kind} {users if 'UserAssigned' in kind else ''}"
    return without_nothing(result)


def without_nothing(value: Any) -> Any:
    if isinstance(value, dict):
        inner = {key: without_nothing(one) for key, one in value.items() if key not in SECRETS}
        return {key: one for key, one in inner.items() if one not in (None, {}, [])}
    return value


# --- edits -----------------------------------------------------------------------------------------------------------

WORDS = st.sampled_from(
    ["x", "Premium_LRS", "1.0.1", "Rolling", "Manual", "Automatic", "futureWord", "/subscriptions/t"]
)
VALUES = WORDS | st.integers(0, 99) | st.booleans() | st.none() | st.lists(WORDS, max_size=2)
VALUES |= st.dictionaries(st.sampled_from(["futureKey", "id", "name"]), WORDS, max_size=2)
EDITS = st.lists(
    st.tuples(st.integers(0, 10**6), st.sampled_from(["replace", "remove", "add", "alter"]), VALUES),
    min_size=1,
    max_size=4,
)
TAGS = st.dictionaries(st.sampled_from(["team", "owner", "env"]), st.text(max_size=3), max_size=3)


def edited(model: Any, edits: list[Any]) -> Any:
    """The model with each edit at some place of it."""
    result = copy.deepcopy(model)
    for number, what, value in edits:
        every = list(places(result))
        place = every[number % len(every)]
        within = holder(result, place)
        if what == "remove":
            del within[place[-1]]
        elif what == "add" and isinstance(within, dict):
            within["futureField"] = value
        elif what == "alter":
            within[place[-1]] = altered(within[place[-1]])
        else:
            within[place[-1]] = copy.deepcopy(value)
    return result


def altered(value: Any) -> Any:
    """Another value of the same kind."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, int | float):
        return value + 1
    if isinstance(value, str):
        return value + "x"
    return [*value, value[0]] if isinstance(value, list) and value else value


def check(old: Any, new: Any) -> None:
    try:
        patch = m.merge_patch(old, new)
    except InvalidInput:  # which those are, the last test here says
        return
    before = copy.deepcopy(old)
    if patch:
        for way in (by_contract, rebuilt):
            assert shape(way(old, patch)) == shape(new), (way.__name__, patch)
        merged, wanted = shape(plain_merge(old, patch)), shape(new)
        gone = set(merged.get("tags", {})) - set(wanted.get("tags", {}))  # which only replacement takes away
        merged["tags"] = {key: value for key, value in merged.get("tags", {}).items() if key not in gone}
        assert without_nothing(merged) == wanted, patch
        if shape(old).get("sku", {}).get("capacity") == wanted.get("sku", {}).get("capacity"):
            assert "capacity" not in (patch.get("sku") or {})
    else:
        assert shape(old) == shape(new)
    assert old == before
    assert shape(m.apply_patch(old, patch)) == shape(new)
    assert m.merge_patch(new, new) == {}


@some
@given(models(), EDITS)
def test_the_patch_leads_to_the_wanted_model_whichever_way_azure_takes_it(model: Any, edits: Any) -> None:
    new = edited(model, edits)
    assume(isinstance(new.get("location", ""), str))
    check(model, new)


@some
@given(models(), TAGS, EDITS)
def test_tags_come_out_as_wanted_whatever_else_is_changed(model: Any, tags: Any, edits: Any) -> None:
    new = edited(model, edits)
    new["tags"] = tags
    check(model, new)


@some
@given(models(), models())
def test_one_recorded_model_becomes_another_or_is_refused(old: Any, new: Any) -> None:
    check(old, new)


@pytest.mark.skipif(not DATA, reason="AZURERM_LITE_ARM_DATA is not set: no recorded models at hand")
def test_every_recorded_model_takes_a_new_image_a_tag_and_a_size() -> None:
    assert len(recorded()) > 30
    for old in recorded():
        for place, value in (
            (("tags", "release"), "42"),
            (("sku", "name"), "Standard_D4s_v5"),
            ((*STORAGE, "imageReference", "version"), "9.9.9"),
            ((*STORAGE, "dataDisks"), [{"lun": 7}]),
            ((*STORAGE, "osDisk", "caching"), "ReadOnly"),
        ):
            new = copy.deepcopy(old)
            new.setdefault("tags", {})
            if at(new, place[:-1]) is None:
                continue
            holder(new, place)[place[-1]] = value
            patch = m.merge_patch(old, new)
            assert patch, place
            check(old, new)


def test_what_cannot_be_sent_is_refused_and_nothing_else() -> None:
    """Each place of a model, altered and removed: refused is only what the table names."""
    old, refused = built(), set()
    for place in places(old):
        for what in ("alter", "remove"):
            new = copy.deepcopy(old)
            within = holder(new, place)
            if what == "remove":
                del within[place[-1]]
            else:
                within[place[-1]] = altered(within[place[-1]])
            try:
                m.merge_patch(old, new)
            except InvalidInput:
                refused.add((".".join(map(str, place)), what))
            else:
                check(old, new)
    storage = ".".join(STORAGE)
    assert refused == {
        ("location", "alter"),
        ("location", "remove"),
        *((place, "remove") for place in ("sku", "sku.name", "sku.capacity", "plan", "properties", "identity.type")),
        ("properties.upgradePolicy", "remove"),
        ("properties.upgradePolicy.mode", "remove"),
        ("properties.upgradePolicy.rollingUpgradePolicy", "remove"),
        ("properties.virtualMachineProfile", "remove"),
        ("properties.virtualMachineProfile.osProfile", "remove"),
        ("properties.virtualMachineProfile.networkProfile", "remove"),
        (storage, "remove"),
        (f"{storage}.osDisk", "remove"),
        (f"{storage}.imageReference", "remove"),
        *((f"{storage}.osDisk.{key}", what) for key in ("osType", "createOption") for what in ("alter", "remove")),
    }
    assert json.dumps(old) == json.dumps(built())
