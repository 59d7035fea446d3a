"""Versions of images as servers and callers spell them: odd ones are passed over or refused, never misread."""

from typing import Any

import pytest

import azurerm_lite as az
from azurerm_lite.endpoints.images import sort_versions

IMAGE = (
    "/subscriptions/11111111-2222-3333-4444-555555555555/resourceGroups/rg"
    "/providers/Microsoft.Compute/galleries/g/images/i"
)


def model(image_id: str) -> Any:
    return {"properties": {"virtualMachineProfile": {"storageProfile": {"imageReference": {"id": image_id}}}}}


def image_of(edit: az.Edit) -> str:
    shown: Any = edit.model
    return str(shown["properties"]["virtualMachineProfile"]["storageProfile"]["imageReference"]["id"])


@pytest.mark.parametrize("name", ["1.x.²", "٣.0.0", "9" * 5000, "", ".", "1..2", "-1.0.0", "1e3.0.0"])
def test_a_version_that_is_no_number_comes_before_those_that_are(name: str) -> None:
    assert sort_versions(["1.0.0", name, "1.0.10", "1.0.9"])[-2:] == ["1.0.9", "1.0.10"]


@pytest.mark.parametrize("odd", [None, 5, "x", [], [5], {}, True, {"targetRegions": 5}, {"targetRegions": [5, None]}])
def test_a_gallery_version_of_another_shape_is_passed_over(odd: Any) -> None:
    profile = {"targetRegions": [{"name": "West US 2"}]}
    right = {"name": "1.0.0", "properties": {"provisioningState": "Succeeded", "publishingProfile": profile}}
    others = [{"name": "9.0.0", "properties": odd}]
    others += [{"name": "9.0.0", "properties": {"provisioningState": "Succeeded", "publishingProfile": odd}}]
    others += [{"name": "9.0.0", "properties": {"publishingProfile": {"targetRegions": odd}}}]
    assert az.newest_gallery_version([*others, right], "westus2") == "1.0.0"


@pytest.mark.parametrize(
    "end", ["", "/", "/versions/latest", "/versions/latest/", "/versions/LATEST", "/Versions/Latest/"]
)
def test_every_spelling_of_the_newest_version_is_the_image_without_one(end: str) -> None:
    edit = az.set_image_id(model(f"{IMAGE}/versions/1.0.0"), IMAGE + end)
    assert image_of(edit) == IMAGE
    assert az.set_image_id(model(IMAGE + end), IMAGE).paths == ()
    assert az.set_image_version(model(IMAGE + end), "latest").paths == ()
    assert image_of(az.set_image_version(model(IMAGE + end), "2.0.0")) == f"{IMAGE}/versions/2.0.0"


@pytest.mark.parametrize(
    "end", ["/versions/", "/versions/latest/x", "/versions/ latest", "//", "/versions/1.0.0//", " "]
)
def test_what_is_no_id_of_an_image_is_refused(end: str) -> None:
    with pytest.raises(az.InvalidInput):
        az.set_image_id(model(f"{IMAGE}/versions/1.0.0"), IMAGE + end)


@pytest.mark.parametrize("version", ["\u0661.\u0660.\u0660", "1.0.0\n", "1.0", "1.0.0.0", " 1.0.0", "1.0.x", "²"])
def test_a_version_has_three_numbers_in_plain_digits(version: str) -> None:
    with pytest.raises(az.InvalidInput, match="three numbers"):
        az.set_image_version(model(f"{IMAGE}/versions/1.0.0"), version)
