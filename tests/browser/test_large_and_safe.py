"""A thousand instances, people who do not see colours or use no mouse, and pages and names that mean harm."""

import json
import time
import urllib.error
import urllib.request
from typing import Any

import pytest

from azurerm_lite.emulator import Seed

from .conftest import Open, Stand
from .test_editor import cell, press
from .test_rolling import keep

EVIL = "<img src=x onerror=document.title='owned'><script>document.title='owned'</script>"


def test_a_thousand_instances_show_within_two_seconds_and_repaint_one_cell(
    stand: Stand, visit: Open, request: pytest.FixtureRequest
) -> None:
    stand.emulator.add(Seed.build("large", capacity=1000))
    page = visit("web (20, westus2)")
    with page.expect_response(lambda answer: "/large/picture" in answer.url) as answered:
        page.locator("#pick").select_option(label="large (1000, westus2)")
    assert answered.value.ok
    began = time.monotonic()
    cell(page, "999").wait_for()
    assert page.locator(".cell").count() == 1000
    took = time.monotonic() - began
    size = len(page.content().encode())
    print(f"1000 instances: {took:.2f} s after the list, {size // 1000} KB of HTML")
    assert took < 2
    assert size < 300_000
    watch = """() => { window.touched = new Set();
        const id = (node) => node.dataset?.id ?? node.parentNode?.dataset?.id;
        new MutationObserver(all => all.forEach(one => touched.add(id(one.target))))
        .observe(document.querySelector('#map'), {subtree: true, childList: true, characterData: true,
            attributes: true, attributeFilter: ['data-state', 'aria-label']}) }"""
    page.evaluate(watch)
    with stand.emulator.simulation.lock:
        stand.scale_set("large").instances["123"].power = "stopped"
    page.locator('.cell[data-id="123"][data-state="stopped"]').wait_for()
    assert page.evaluate("() => [...touched]") == ["123"]
    if request.config.getoption("--write-images"):
        keep(page, "thousand")


@pytest.mark.parametrize("colours", ["light", "dark"])
def test_axe_finds_nothing_serious(stand: Stand, visit: Open, colours: str) -> None:
    from axe_playwright_python.sync_playwright import Axe

    page = visit(color_scheme=colours)
    cell(page, "3").click()
    for opens in ("", "Edit …"):
        if opens:
            press(page, opens)
        found = Axe().run(page).response["violations"]
        serious = [
            (one["id"], [node["html"][:120] for node in one["nodes"][:3]])
            for one in found
            if one["impact"] in ("serious", "critical")
        ]
        assert not serious


def test_script_in_names_and_tags_is_text(stand: Stand, visit: Open) -> None:
    stand.emulator.add(Seed.build("evil", capacity=3, tags={"note": EVIL}))
    with stand.emulator.simulation.lock:
        instances = stand.scale_set("evil").instances
        one = instances.pop("1")
        one.instance_id = one.document["instanceId"] = EVIL
        instances[EVIL] = one
    page = visit("evil (3, westus2)")
    page.locator("dd", has_text="<script>").wait_for()
    assert page.locator("#map img, #map script, #properties img").count() == 0
    page.locator('.cell[aria-label*="<img"]').click()
    assert "<img" in page.locator("#chosen").inner_text()
    assert page.title() == "vmsseditor"


def ask(stand: Stand, path: str, **headers: str) -> tuple[int, str]:
    """A request as somebody else's program would send it."""
    body = headers.pop("body", None)
    request = urllib.request.Request(
        f"http://127.0.0.1:{stand.server.server_port}{path}", body.encode() if body else None, headers
    )
    try:
        with urllib.request.urlopen(request) as answer:  # noqa: S310
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


def test_who_is_not_our_page_is_turned_away(stand: Stand, page: Any) -> None:
    cookie = "; ".join(f"{one['name']}={one['value']}" for one in page.context.cookies())
    key = page.evaluate("() => localStorage.getItem('vmsseditor-key')")
    origin = f"http://127.0.0.1:{stand.server.server_port}"
    known = {"Cookie": cookie, "X-Vmsseditor-Key": key, "Origin": origin}
    act = "/api/sets/web-rg/web/act"
    write = {**known, "Content-Type": "application/json", "body": json.dumps({"action": "start", "ids": ["0"]})}
    assert ask(stand, "/api/sets", **known)[0] == 200
    assert ask(stand, "/api/sets", **{**known, "Host": "evil.example"})[0] == 403
    assert ask(stand, "/", Host=f"evil.example:{stand.server.server_port}")[0] == 403
    assert ask(stand, "/")[0] == 403
    assert ask(stand, "/api/sets", **{**known, "X-Vmsseditor-Key": "x"})[0] == 401
    assert ask(stand, "/api/sets", **{**known, "Cookie": "x=y"})[0] == 401
    assert ask(stand, act, **{**write, "Origin": "http://evil.example"})[0] == 403
    assert ask(stand, act, **{**write, "Sec-Fetch-Site": "same-site"})[0] == 403
    assert ask(stand, act, **{**write, "Content-Type": "text/plain"})[0] == 403
    assert ask(stand, act, **{name: value for name, value in write.items() if name != "Origin"})[0] == 403
    assert ask(stand, act, **{**write, "body": '{"action": "restart"}'})[0] == 400  # no ids are not all of them
    assert stand.emulator.recorder.writes() == []
    assert ask(stand, act, **write)[0] == 200


def test_a_link_works_once_and_nothing_of_azure_is_in_the_page(stand: Stand, page: Any) -> None:
    link = stand.door.link()
    path = link.partition(str(stand.server.server_port))[2]
    assert ask(stand, path)[0] == 200
    assert ask(stand, path)[0] == 403
    (cookie,) = page.context.cookies()
    assert (cookie["httpOnly"], cookie["sameSite"]) == (True, "Strict")
    assert "token" not in page.url
    token = stand.arm.credential.get_token(stand.arm.cloud.scope).token
    answers = [ask(stand, path)[1] for path in ("/static/main.js", "/static/index.html")]
    for text in (page.content(), *answers, json.dumps(page.evaluate("() => ({...localStorage})"))):
        assert token not in text
        assert stand.emulator.client_secret not in text


def test_a_foreign_page_can_do_nothing_with_the_session(stand: Stand, page: Any) -> None:
    port = stand.server.server_port
    foreign = page.context.new_page()
    foreign.route(
        "http://evil.example/*", lambda route: route.fulfill(body="<title>evil</title>", content_type="text/html")
    )
    foreign.goto("http://evil.example/")
    attack = """async (port) => { const found = [];
        const send = (host, type) => fetch(`http://${host}:${port}/api/sets/web-rg/web/act`, {
            method: 'POST', credentials: 'include', headers: {'Content-Type': type},
            mode: type === 'text/plain' ? 'no-cors' : 'cors', body: '{"action":"delete","ids":["0"]}',
        }).then(one => one.type, () => 'blocked');
        for (const host of ['127.0.0.1', 'localhost'])
            for (const type of ['application/json', 'text/plain']) found.push(await send(host, type));
        return found; }"""
    assert set(foreign.evaluate(attack, port)) <= {"blocked", "opaque"}
    assert stand.emulator.recorder.writes() == []
