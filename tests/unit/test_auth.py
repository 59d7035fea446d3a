"""The token in hand: one acquisition however many ask, renewed early, never lost to a login service that stumbles."""

import copy
import pickle
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from azurerm_lite.auth import Credential, Token
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


@pytest.mark.parametrize("lifetime", [299, 30, 5, 0, -1])
def test_short_lived_tokens_make_no_storm_of_requests(lifetime: int) -> None:
    source = Source(lifetime)
    credential = source.credential()
    for _ in range(20):
        credential.get_token(SCOPE)
        source.time += 1
    assert source.asked == 1


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
    assert "token1" not in repr(credential) + repr(token)
    with pytest.raises(InvalidInput, match="exactly one scope"):
        credential.get_token()
