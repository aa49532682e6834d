"""What a process counts, and that nothing it is told can make it count without end."""

from prometheus_client.parser import text_string_to_metric_families

from worker.metrics import LABEL_VALUES_MAX, Metrics
from worker.phases import BOUNDS


def samples(metrics: Metrics) -> dict[tuple[str, ...], float]:
    """Each sample by its name and the values of its labels, in the order of their names."""
    return {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(metrics.text().decode())
        for sample in family.samples
    }


def test_runs_are_counted_by_outcome_and_failures_by_code() -> None:
    metrics = Metrics()
    metrics.ended("a.b", [("done", None), ("done", None), ("retry", "timeout"), ("snooze", "limited")], 0.2)
    metrics.ended("a.b", [("failed", "timeout")], 0.2)
    found = samples(metrics)
    assert {key[2]: value for key, value in found.items() if key[0] == "worker_jobs_ended_total"} == {
        "done": 2, "retry": 1, "snooze": 1, "failed": 1,
    }  # fmt: skip
    assert {key[1:]: value for key, value in found.items() if key[0] == "worker_job_failures_total"} == {
        ("timeout", "a.b"): 2
    }
    assert found["worker_job_phase_seconds_count", "a.b", "save"] == 5


def test_an_empty_transaction_is_no_progress() -> None:
    metrics = Metrics()
    metrics.claimed("a.b", [], 0.1)
    metrics.ended("a.b", [], 0.1)
    assert samples(metrics)["worker_last_progress_timestamp_seconds",] == 0


def test_a_phase_is_counted_in_the_buckets_that_hold_it() -> None:
    metrics = Metrics()
    metrics.claimed("a.b", [0, 0.3, 0.5, 9999], 0.01)
    found = samples(metrics)

    def up_to(bound: str) -> float:
        return found["worker_job_phase_seconds_bucket", "a.b", bound, "queue"]

    assert [up_to(str(float(bound))) for bound in (BOUNDS[0], 0.25, 0.5, BOUNDS[-1])] == [1, 1, 3, 3]
    assert up_to("+Inf") == found["worker_job_phase_seconds_count", "a.b", "queue"] == 4
    assert found["worker_job_phase_seconds_sum", "a.b", "queue"] == 9999.8
    assert found["worker_job_phase_seconds_count", "a.b", "load"] == 4


def test_observations_are_counted_once_however_often_they_are_looked_at() -> None:
    metrics = Metrics()
    for _ in range(2500):  # more than are kept before they are sorted
        metrics.took("a.b", "act", 0.1)
    metrics.text()
    metrics.took("a.b", "act", 0.1)
    assert samples(metrics)["worker_job_phase_seconds_count", "a.b", "act"] == 2501


def test_whatever_is_counted_there_are_no_more_series_than_that() -> None:
    metrics = Metrics()
    for number in range(10 * LABEL_VALUES_MAX):
        metrics.ended("a.b", [("failed", f"code {number}")], 0.1)
        metrics.called(f"integration {number}", f"outcome {number}")
    found = samples(metrics)
    codes = {key[1] for key in found if key[0] == "worker_job_failures_total"}
    integrations = {key[1] for key in found if key[0] == "worker_provider_calls_total"}
    assert len(codes) == len(integrations) == LABEL_VALUES_MAX + 1
    assert found["worker_job_failures_total", "other", "a.b"] == 9 * LABEL_VALUES_MAX
