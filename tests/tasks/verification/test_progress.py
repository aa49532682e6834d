"""How many calls there are, and under which keys."""

import pytest

from tasks.verification.classify import Event, Status, Trouble, classify
from tasks.verification.progress import Progress, is_forgiven
from tasks.verification.question import next_key


def calls(event: Event, allowed: int) -> int:
    """How often a provider is called that always answers alike."""
    verdict, progress, made = classify(event), Progress("key", 0), 1
    while progress.allows_retry(verdict, allowed):
        progress, made = progress.after(verdict), made + 1
    return made


@pytest.mark.parametrize("allowed", [0, 1, 3, 10])
@pytest.mark.parametrize("event", [Status(500), Status(429), Status(504), Trouble.TIMED_OUT, Trouble.CONNECTION_LOST])
def test_what_may_pass_is_tried_once_and_as_often_again_as_allowed(event: Event, allowed: int) -> None:
    assert calls(event, allowed) == allowed + 1


@pytest.mark.parametrize(("allowed", "made"), [(0, 1), (1, 2), (3, 2)])
@pytest.mark.parametrize("event", [Trouble.UNREADABLE, Trouble.OVERSIZED])
def test_an_answer_against_the_protocol_is_asked_for_once_more(event: Event, allowed: int, made: int) -> None:
    assert calls(event, allowed) == made


@pytest.mark.parametrize(
    "event", [Status(200), Status(302), Status(400), Status(401), Status(501), Trouble.BAD_CERTIFICATE]
)
def test_what_will_not_pass_is_not_tried_again(event: Event) -> None:
    assert calls(event, 5) == 1


@pytest.mark.parametrize(
    "event", [Trouble.TIMED_OUT, Trouble.CONNECTION_LOST, Trouble.CUT_SHORT, Trouble.NOT_CONNECTED]
)
def test_an_unknown_outcome_keeps_its_key(event: Event) -> None:
    assert Progress("key", 1).after(classify(event)) == Progress("key", 2)


@pytest.mark.parametrize("event", [Status(500), Status(429), Trouble.UNREADABLE])
def test_an_answer_uses_its_key_up(event: Event) -> None:
    assert Progress("key", 1).after(classify(event)) == Progress(next_key("key"), 2)


def test_a_provider_that_fails_and_recovers_in_turn_is_not_asked_without_an_end() -> None:
    """Each time the breaker opens after one call of it, and is closed again when it comes back."""
    calls = retries = 0
    while retries <= 3:
        calls += 1
        retries = 0 if is_forgiven(calls, 3) else retries + 1
    assert 8 <= calls <= 12


@pytest.mark.parametrize("allowed", [0, 1, 3, 10])
def test_whoever_made_no_more_calls_than_he_may_is_forgiven(allowed: int) -> None:
    assert all(is_forgiven(calls, allowed) for calls in range(allowed + 2))
