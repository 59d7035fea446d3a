"""The one decision about sending again, as a table."""

import pytest

from azurerm_lite._http.retry import Outcome, Retry, decide

LIMITS = Retry(attempts=4, budget_seconds=100)


@pytest.mark.parametrize(
    ("method", "outcome", "action"),
    [
        ("GET", Outcome(200), "accept"),
        ("POST", Outcome(202), "accept"),
        ("GET", Outcome(503), "again"),
        ("GET", Outcome(504), "again"),
        ("GET", Outcome(0), "again"),
        ("GET", Outcome(404), "give up"),
        ("GET", Outcome(501), "give up"),
        ("PUT", Outcome(0, sent=False), "again"),
        ("POST", Outcome(0, sent=False), "again"),
        ("POST", Outcome(0), "unknown"),
        ("PUT", Outcome(504), "unknown"),
        ("PATCH", Outcome(500), "unknown"),
        ("DELETE", Outcome(503, retry_after=1), "unknown"),
        ("POST", Outcome(429, retry_after=5), "again"),
        ("POST", Outcome(429, retry_after=101), "give up"),
        ("POST", Outcome(409, retry_after=1), "give up"),
        ("POST", Outcome(400, retry_after=1), "give up"),
        ("POST", Outcome(501, retry_after=1), "give up"),
        ("PUT", Outcome(412, retry_after=1), "give up"),
        ("PUT", Outcome(401), "refresh"),
        ("GET", Outcome(401), "refresh"),
    ],
)
def test_what_is_done_after_the_first_attempt(method: str, outcome: Outcome, action: str) -> None:
    assert decide(LIMITS, method, outcome, attempt=1, waited=0, refreshed=False, chance=0.5).action == action


def test_a_second_401_is_final() -> None:
    assert decide(LIMITS, "GET", Outcome(401), attempt=2, waited=0, refreshed=True, chance=0).action == "give up"


def test_attempts_and_budget_both_end_it() -> None:
    assert decide(LIMITS, "GET", Outcome(503), attempt=4, waited=0, refreshed=False, chance=0).action == "give up"
    assert decide(LIMITS, "GET", Outcome(503), attempt=2, waited=99.5, refreshed=False, chance=0).action == "give up"


@pytest.mark.parametrize("chance", [0.0, 0.5, 0.999])
def test_never_sooner_than_asked_and_a_little_later(chance: float) -> None:
    wait = decide(
        LIMITS, "POST", Outcome(429, retry_after=17), attempt=1, waited=0, refreshed=False, chance=chance
    ).wait_seconds
    assert 17 <= wait <= 19
