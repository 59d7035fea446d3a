"""The token in hand: one acquisition however many ask, renewed early, never lost to a login service that stumbles."""

import contextlib
import copy
import json
import os
import pickle
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from azurerm_lite.auth.credential import Credential
from azurerm_lite.auth.tokens import Token
from azurerm_lite.errors import CredentialError, InvalidInput

SCOPE = "https://management.azure.com/.default"


class Source:
    """A login service that counts, and fails when it is told to."""

    def __init__(self, lifetime: int = 3600) -> None:
        self.time, self.lifetime, self.asked, self.fails = 1000.0, lifetime, 0, False
        self.claims: list[str | None] = []
        self.takes = 0.0  # seconds, in which others may ask too

    def now(self) -> float:
        return self.time

    def acquire(self, _scope: str, claims: str | None) -> Token:
        self.asked += 1
        threading.Event().wait(self.takes)
        self.claims.append(claims)
        if self.fails:
            raise CredentialError("the login service stumbles")
        return Token(f"token{self.asked}", int(self.time) + self.lifetime)

    def credential(self) -> Credential:
        return Credential("test", self.acquire, now=self.now)


def test_64_threads_on_a_cold_cache_make_one_request() -> None:
    source, together = Source(), threading.Barrier(64)
    source.takes = 0.02
    credential = source.credential()

    def ask() -> str:
        together.wait(timeout=30)
        return credential.get_token(SCOPE).token

    with ThreadPoolExecutor(64) as pool:
        tokens = {future.result() for future in [pool.submit(ask) for _ in range(64)]}
    assert (tokens, source.asked) == ({"token1"}, 1)


def test_64_threads_whose_token_was_refused_fetch_one_other() -> None:
    source, together = Source(), threading.Barrier(64)
    credential = source.credential()
    refused = credential.get_token(SCOPE)

    def ask() -> str:
        together.wait(timeout=30)
        return credential.renew(SCOPE, refused).token

    with ThreadPoolExecutor(64) as pool:
        tokens = {future.result() for future in [pool.submit(ask) for _ in range(64)]}
    assert (tokens, source.asked) == ({"token2"}, 2)


@pytest.mark.parametrize(("passed", "asked"), [(3299, 1), (3300, 2), (3700, 2)])
def test_a_token_is_renewed_five_minutes_before_its_end(passed: int, asked: int) -> None:
    source = Source()
    credential = source.credential()
    credential.get_token(SCOPE)
    source.time += passed
    credential.get_token(SCOPE)
    assert source.asked == asked


def test_a_token_that_still_works_outlives_a_login_service_that_stumbles() -> None:
    source = Source()
    credential = source.credential()
    credential.get_token(SCOPE)
    source.time, source.fails = source.time + 3400, True
    assert credential.get_token(SCOPE).token == "token1"
    assert credential.get_token(SCOPE).token == "token1"
    assert source.asked == 2  # and is not asked again at once
    source.time += 300
    with pytest.raises(CredentialError, match="stumbles"):
        credential.get_token(SCOPE)


@pytest.mark.parametrize(("lifetime", "asked"), [(299, 1), (30, 1), (5, 4)])
def test_short_lived_tokens_make_no_storm_of_requests(lifetime: int, asked: int) -> None:
    source = Source(lifetime)
    credential = source.credential()
    for _ in range(20):
        assert credential.get_token(SCOPE).expires_on > source.time
        source.time += 1
    assert source.asked == asked


@pytest.mark.parametrize("lifetime", [0, -1, -900])
def test_a_token_that_has_ended_already_is_an_error_that_says_what_to_check(lifetime: int) -> None:
    source = Source(lifetime)
    with pytest.raises(CredentialError, match="set the clock") as caught:
        source.credential().get_token(SCOPE)
    assert (caught.value.code, source.asked) == ("expired_token", 1)


def test_a_new_token_that_has_ended_does_not_replace_one_that_has_not() -> None:
    source = Source()
    credential = source.credential()
    credential.get_token(SCOPE)
    source.time, source.lifetime = source.time + 3400, -5
    assert credential.get_token(SCOPE).token == "token1"
    source.time += 200
    with pytest.raises(CredentialError, match="set the clock"):
        credential.get_token(SCOPE)


@pytest.mark.parametrize("end", [10**400, 1e999, float("nan"), -1, -(10**400), "soon", None, True, 2**63, [], "1e999"])
def test_an_end_that_cannot_be_is_one_clear_line(end: Any) -> None:
    credential = Credential("test", lambda *_: Token("marker", end), now=lambda: 1000.0)
    with pytest.raises(CredentialError, match="the end of the token") as caught:
        credential.get_token(SCOPE)
    assert "marker" not in str(caught.value)


@pytest.mark.parametrize("end", [5000.7, "5000", 2**62])
def test_an_end_in_another_form_is_a_number_of_seconds(end: Any) -> None:
    token = Credential("test", lambda *_: Token("x", end), now=lambda: 1000.0).get_token(SCOPE)
    assert (type(token.expires_on), token.expires_on) == (int, int(float(end)))


def test_a_clock_that_is_set_back_makes_no_token_last_longer() -> None:
    """By the wall clock the token has an hour more; by the monotonic one it is over."""
    source, passed = Source(), [0.0]
    credential = Credential("test", source.acquire, now=source.now, monotonic=lambda: passed[0])
    credential.get_token(SCOPE)
    passed[0], source.time = 4000.0, source.time + 100
    assert credential.get_token(SCOPE).token == "token2"
    source.fails, source.time, passed[0] = True, source.time + 50, passed[0] + 3601
    with pytest.raises(CredentialError):
        credential.get_token(SCOPE)


@settings(max_examples=int(os.environ.get("AZURERM_LITE_EXAMPLES", "200")), deadline=None)
@given(
    st.lists(
        st.tuples(st.integers(-5000, 5000), st.integers(-100, 4000), st.booleans(), st.booleans()),
        min_size=1,
        max_size=20,
    )
)
def test_no_token_that_has_ended_is_ever_returned(steps: list[tuple[int, int, bool, bool]]) -> None:
    """Whatever the clock does, however long tokens last, whether the login service works, and after refusals."""
    source = Source()
    credential = source.credential()
    for jump, lifetime, fails, is_refused in steps:
        source.time, source.lifetime, source.fails = max(1.0, source.time + jump), lifetime, fails
        with contextlib.suppress(CredentialError):
            token = credential.get_token(SCOPE)
            assert token.expires_on > source.time
            if is_refused:
                assert credential.renew(SCOPE, token).expires_on > source.time


# --- trying again ----------------------------------------------------------------------------------------------------


class Stumbling:
    """A login that fails so often in a row, with one error, and then works; it counts what was waited for."""

    def __init__(self, times: int, **error: Any) -> None:
        self.times, self.error, self.asked, self.slept = times, error, 0, [0.0]

    def acquire(self, _scope: str, _claims: str | None) -> Token:
        self.asked += 1
        if self.asked <= self.times:
            raise CredentialError("it stumbles", **self.error)
        return Token(f"token{self.asked}", 10_000)

    def credential(self) -> Credential:
        return Credential("test", self.acquire, now=lambda: 1000.0 + sum(self.slept), sleep=self.slept.append)


TRANSIENT = ["temporarily_unavailable", "server_error", "429", "503", "500", "AADSTS90033", "90033", "unreachable"]


@pytest.mark.parametrize("code", TRANSIENT)
@pytest.mark.parametrize("times", [1, 2, 3])
def test_what_fails_for_a_while_is_asked_again(code: str, times: int) -> None:
    login = Stumbling(times, code=code)
    assert login.credential().get_token(SCOPE).token == f"token{times + 1}"
    assert len(login.slept) == times + 1


@pytest.mark.parametrize("code", ["invalid_client", "no_identity", "400", "AADSTS7000215", "", "404", "50"])
def test_what_is_wrong_for_good_is_asked_once(code: str) -> None:
    login = Stumbling(1, code=code)
    with pytest.raises(CredentialError):
        login.credential().get_token(SCOPE)
    assert login.asked == 1


def test_an_update_of_seventy_seconds_is_waited_for_and_no_more_than_a_minute_and_a_half() -> None:
    login = Stumbling(10**6, code="410")
    with pytest.raises(CredentialError):
        login.credential().get_token(SCOPE)
    assert 70 <= sum(login.slept) <= 90
    login = Stumbling(10**6, code="unreachable")
    with pytest.raises(CredentialError):
        login.credential().get_token(SCOPE)
    assert sum(login.slept) <= 10


def test_the_service_says_how_long_to_wait() -> None:
    login = Stumbling(1, code="429", retry_after=45.0)
    login.credential().get_token(SCOPE)
    assert login.slept[1:] == [45.0]
    login = Stumbling(1, code="429", retry_after=1200.0)
    with pytest.raises(CredentialError):
        login.credential().get_token(SCOPE)
    assert login.slept[1:] == []


def test_a_valid_token_is_not_held_up_by_trying_again() -> None:
    login = Stumbling(0)
    clock = [1000.0]
    credential = Credential("test", login.acquire, now=lambda: clock[0], sleep=login.slept.append)
    credential.get_token(SCOPE)
    login.times, login.error, clock[0] = 10**6, {"code": "503"}, 9800.0
    assert credential.get_token(SCOPE).token == "token1"
    assert (login.asked, login.slept[1:]) == (2, [])


def test_claims_go_past_the_cache() -> None:
    source = Source()
    credential = source.credential()
    first = credential.get_token(SCOPE)
    assert credential.renew(SCOPE, first, "{}").token == "token2"
    assert source.claims == [None, "{}"]


def test_it_cannot_be_pickled_or_copied_and_shows_no_token() -> None:
    credential = Source().credential()
    token = credential.get_token(SCOPE)
    for spread in (pickle.dumps, copy.copy, copy.deepcopy):
        with pytest.raises(TypeError, match="holds secrets"):
            spread(credential)
    for spread in (pickle.dumps, copy.copy, copy.deepcopy, json.dumps):
        with pytest.raises(TypeError):
            spread(token)
    shown = [repr(credential), repr(token), "%s" % token, f"{token}", str([token]), ascii({1: token})]  # noqa: UP031
    assert "token1" not in "".join(shown)
    with pytest.raises(TypeError):
        "%s until %s" % token  # noqa: UP031
    with pytest.raises(InvalidInput, match="exactly one scope"):
        credential.get_token()
