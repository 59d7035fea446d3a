"""The one decision about sending again, as a table."""

import pytest

from azurerm_lite._http.retry import AttemptResult, Retry, decide

LIMITS = Retry(attempts=4, budget_seconds=100)


@pytest.mark.parametrize(
    ("method", "outcome", "action"),
    [
        ("GET", AttemptResult(503), "again"),
        ("GET", AttemptResult(504), "again"),
        ("GET", AttemptResult(0), "again"),
        ("GET", AttemptResult(404), "give up"),
        ("GET", AttemptResult(501), "give up"),
        ("PUT", AttemptResult(0, sent=False), "again"),
        ("POST", AttemptResult(0, sent=False), "again"),
        ("POST", AttemptResult(0), "unknown"),
        ("PUT", AttemptResult(504), "unknown"),
        ("PATCH", AttemptResult(500), "unknown"),
        ("DELETE", AttemptResult(503, retry_after=1), "unknown"),
        ("POST", AttemptResult(429, retry_after=5), "again"),
        ("POST", AttemptResult(429, retry_after=101), "give up"),
        ("POST", AttemptResult(409, retry_after=1), "give up"),
        ("POST", AttemptResult(400, retry_after=1), "give up"),
        ("POST", AttemptResult(501, retry_after=1), "give up"),
        ("PUT", AttemptResult(412, retry_after=1), "give up"),
        ("PUT", AttemptResult(401), "refresh"),
        ("GET", AttemptResult(401), "refresh"),
    ],
)
def test_what_is_done_after_the_first_attempt(method: str, outcome: AttemptResult, action: str) -> None:
    assert decide(LIMITS, method, outcome, attempt=1, waited=0, refreshed=False, jitter=0.5).action == action


def test_a_second_401_is_final() -> None:
    assert decide(LIMITS, "GET", AttemptResult(401), attempt=2, waited=0, refreshed=True, jitter=0).action == "give up"


def test_attempts_and_budget_both_end_it() -> None:
    assert decide(LIMITS, "GET", AttemptResult(503), attempt=4, waited=0, refreshed=False, jitter=0).action == "give up"
    assert (
        decide(LIMITS, "GET", AttemptResult(503), attempt=2, waited=99.5, refreshed=False, jitter=0).action == "give up"
    )


@pytest.mark.parametrize("chance", [0.0, 0.5, 0.999])
def test_never_sooner_than_asked_and_a_little_later(chance: float) -> None:
    wait = decide(
        LIMITS, "POST", AttemptResult(429, retry_after=17), attempt=1, waited=0, refreshed=False, jitter=chance
    ).wait_seconds
    assert 17 <= wait <= 19
