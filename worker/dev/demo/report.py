"""Whether each job ended as its person demands, and the table that shows it."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from statistics import median

from rich.table import Table

from worker.dev.sandbox.personas import PERSONAS, Persona


@dataclass(frozen=True, slots=True)
class Ending:
    """What the database says about one job and the rows it was for. Without an end there is no duration.

    A vehicle has neither a driver nor a licence.
    """

    request_id: int
    job_state: str
    error_code: str | None
    request_status: str
    driver_status: str | None
    license_status: str | None
    retries: int
    duration_ms: float | None


@dataclass(frozen=True, slots=True)
class Line:
    """All jobs about one person. A status is the one word they share, or the words with their counts."""

    scenario: str
    jobs: int
    differences: tuple[str, ...]
    request_status: str
    driver_status: str
    retries: int
    median_ms: float | None


def differences(persona: Persona, ending: Ending) -> list[str]:
    """What is not as the person demands, as `driver partial instead of verified`. Empty if all is."""
    expected = persona.expected
    code = f" ({ending.error_code})" if ending.error_code else ""
    pairs = (
        ("job", f"{ending.job_state}{code}", ending.job_state, expected.job_state),
        ("request", ending.request_status, ending.request_status, expected.request_status),
        ("driver", ending.driver_status, ending.driver_status, expected.driver_status or "not_verified"),
        ("licence", ending.license_status, ending.license_status, expected.license_status or "not_verified"),
    )
    return [
        f"{what} {shown} instead of {wanted}"
        for what, shown, actual, wanted in pairs
        if actual is not None and actual != wanted
    ]


def lines(people: Mapping[int, Persona], endings: Iterable[Ending]) -> list[Line]:
    """One line for each person there is a job for; `people` gives each request's."""
    by_person = defaultdict[Persona, list[Ending]](list)
    for ending in endings:
        by_person[people[ending.request_id]].append(ending)
    return [_line(persona, by_person[persona]) for persona in PERSONAS if persona in by_person]


def table(report: Iterable[Line]) -> Table:
    result = Table(box=None, pad_edge=False)
    result.add_column("persona", no_wrap=True)
    result.add_column("jobs", justify="right")
    result.add_column("expected?", min_width=9)
    result.add_column("request", no_wrap=True)
    result.add_column("driver", no_wrap=True)
    result.add_column("retries", justify="right", no_wrap=True)
    result.add_column("ms", justify="right", no_wrap=True)
    for line in report:
        result.add_row(
            line.scenario,
            str(line.jobs),
            "[red]no: " + "; ".join(line.differences) + "[/]" if line.differences else "[green]yes[/]",
            line.request_status,
            line.driver_status,
            str(line.retries),
            "" if line.median_ms is None else f"{line.median_ms:.0f}",
        )
    return result


def _line(persona: Persona, endings: list[Ending]) -> Line:
    durations = [ending.duration_ms for ending in endings if ending.duration_ms is not None]
    found = Counter(difference for ending in endings for difference in differences(persona, ending))
    return Line(
        scenario=persona.scenario,
        jobs=len(endings),
        differences=tuple(_counted(difference, count, len(endings)) for difference, count in found.items()),
        request_status=_words(ending.request_status for ending in endings),
        driver_status=_words(ending.driver_status or "" for ending in endings),
        retries=sum(ending.retries for ending in endings),
        median_ms=median(durations) if durations else None,
    )


def _words(statuses: Iterable[str]) -> str:
    counts = Counter(statuses)
    return ", ".join(_counted(status, count, counts.total()) for status, count in counts.most_common())


def _counted(word: str, count: int, of: int) -> str:
    return word if count == of else f"{word} ({count})"
