"""Criminal records over the line: what is kept, and answers that are promised for later."""

import json
import re

from tests.tasks.verification.system import BY_SCENARIO, CRIMINAL, DRIVERS, System, kept_anywhere
from worker.outcomes import Done, GiveUp, Snooze


def test_a_criminal_answer_is_never_kept_for_reuse_whatever_is_configured(system: System) -> None:
    system.change("UPDATE integration_configuration SET cache_ttl_hours = 9999")
    household = system.driver(BY_SCENARIO["criminal_clear"])
    (result,) = system.results(system.verify(household.driver_id, CRIMINAL))
    assert result["cache_expires_at"] is None
    assert system.results(system.verify(household.driver_id, DRIVERS))[0]["cache_expires_at"]


def test_race_height_weight_and_whatever_else_is_not_needed_reach_no_row(system: System) -> None:
    """Every text and document of the database is searched; that they were sent is checked first."""
    household = system.driver(BY_SCENARIO["criminal_felony"])
    request = system.verify(household.driver_id, CRIMINAL)
    kept = json.dumps(request["response_body"])
    assert "FELONY" in kept
    everything = kept_anywhere(system.db)
    for word in ("race", "height", "weight", "gender", "state_id", "sentence", "confinement", "TX00990001"):
        assert re.search(rf"(?<![a-z]){word}(?![a-z])", everything) is None, word


def test_a_promised_answer_is_looked_for_by_runs_of_their_own(system: System) -> None:
    household = system.driver(BY_SCENARIO["pending_twice"])
    job = system.ask(household.driver_id, CRIMINAL)
    steps = []
    for _ in range(3):
        outcome = system.run(job)
        request = system.request(job)
        steps.append((type(outcome).__name__, request["request_status"], request["poll_url"] is not None))
        assert (request["pending_since"] is not None) is (request["poll_url"] is not None)
    assert steps == [("Snooze", "pending", True), ("Snooze", "pending", True), ("Done", "completed", False)]
    calls = system.calls()
    assert [(call["method"], call["idempotency_key"] is not None) for call in calls] == [
        ("POST", True),
        ("GET", False),
        ("GET", False),
    ]
    assert {call["correlation_id"] for call in calls} == {request["correlation_id"]}
    assert request["request_headers"]["Idempotency-Key"] == calls[0]["idempotency_key"]
    assert request["retry_count"] == 0


def test_a_search_that_the_provider_forgot_is_asked_anew_by_the_next_try(system: System) -> None:
    household = system.driver(BY_SCENARIO["pending_twice"])
    job = system.ask(household.driver_id, CRIMINAL)
    system.run(job)
    system.sandbox.reset()
    outcome = system.run(job)
    assert isinstance(outcome, GiveUp)
    assert system.request(job)["poll_url"] is None
    system.run_to_the_end(job)
    assert system.request(job)["request_status"] == "completed"


def test_a_driver_who_was_corrected_meanwhile_is_asked_about_anew(system: System) -> None:
    household = system.driver(BY_SCENARIO["pending_twice"])
    job = system.ask(household.driver_id, CRIMINAL)
    system.run(job)
    system.change("UPDATE driver SET last_name = 'Clear' WHERE id = :driver_id", driver_id=household.driver_id)
    outcome = system.run(job)
    assert isinstance(outcome, Done)
    posts = [call for call in system.calls() if call["path"] == "/v1.0/criminal"]
    assert len({call["idempotency_key"] for call in posts}) == 2


def test_an_answer_that_never_comes_is_given_up_after_a_day(system: System) -> None:
    household = system.driver(BY_SCENARIO["pending_twice"])
    job = system.ask(household.driver_id, CRIMINAL)
    system.run(job)
    system.change("UPDATE integration_request SET pending_since = now() - interval '25 hours'")
    outcome = system.run(job)
    assert isinstance(outcome, GiveUp)
    assert outcome.code == "answer_never_came"
    assert system.request(job)["poll_url"] is None
    (result,) = system.results(system.request(job))
    assert (result["verification_type"], result["verification_status"]) == ("criminal", "error")


def test_a_look_that_fails_is_repeated_and_the_search_is_not(system: System) -> None:
    household = system.driver(BY_SCENARIO["pending_twice"])
    job = system.ask(household.driver_id, CRIMINAL)
    system.run(job)
    system.sandbox.faults(rate_500=1)
    assert isinstance(system.run(job), GiveUp)
    assert system.request(job)["poll_url"] is not None
    system.sandbox.faults(rate_500=0)
    system.run_to_the_end(job)
    assert system.request(job)["request_status"] == "completed"
    assert len([call for call in system.calls() if call["method"] == "POST"]) == 1


def test_each_look_passes_the_gate(system: System) -> None:
    """An account that may make one call in a long while makes one, promised answer or not."""
    system.change("UPDATE integration_configuration SET max_requests_per_second = 0.001")
    household = system.driver(BY_SCENARIO["pending_twice"])
    job = system.ask(household.driver_id, CRIMINAL)
    promised, limited = system.run(job), system.run(job)
    assert isinstance(promised, Snooze)
    assert "promised" in promised.reason
    assert isinstance(limited, Snooze)
    assert limited.reason.startswith("limited until")
    assert [call["method"] for call in system.calls()] == ["POST"]
    assert system.request(job)["poll_url"] is not None
