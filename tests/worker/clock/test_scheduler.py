"""Beats on a real database: every slot once, missed ones by policy, the nightly order, and what is told of it all.

Time passes by moving back how far entries are decided.
"""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import Any

import psycopg
import pytest
import structlog
from celery import Celery
from celery.schedules import crontab
from redis import Redis
from sqlalchemy import text

from beat_schedule import Entry, Fill
from tests.conftest import DatabaseUrls, environment_of
from tests.worker.kinds import TEST_KIND
from worker import system_mark
from worker.clock import schedule
from worker.clock.entries import Line, checked
from worker.clock.moments import slots
from worker.clock.scheduler import LedgerScheduler
from worker.clock.slots import PATIENCE, ask, remember
from worker.database import Database
from worker.errors import BadRequest
from worker.settings import Settings, load_settings

Beats = Callable[..., LedgerScheduler]
FAR = datetime.now(UTC) + timedelta(hours=12)
NIGHTLY = crontab(str(FAR.minute), str(FAR.hour))
"""Far from now, so that no slot passes while a test runs."""

TWO_NIGHTS = timedelta(hours=50)


def entry(name: str, schedule: crontab = NIGHTLY, missed: Any = "once", **more: Any) -> Entry:
    return Entry("test.run", schedule, missed=missed, name=name, **more)


def clock(*entries: Entry) -> list[Line]:
    return checked(entries, {"test.run": TEST_KIND})


@pytest.fixture
def beats(settings: Settings, monkeypatch: pytest.MonkeyPatch, tmp_path: object) -> Iterator[Beats]:
    for name, value in environment_of(settings, tmp_path).items():  # type: ignore[arg-type]  # pytest's path is one
        monkeypatch.setenv(name, value)
    load_settings.cache_clear()
    started: list[LedgerScheduler] = []

    def start(lines: Sequence[Line]) -> LedgerScheduler:
        started.append(LedgerScheduler(app=Celery(), clock=lines))
        return started[-1]

    yield start
    for beat in started:
        beat.close()
    load_settings.cache_clear()


def change(db: Database, statement: str, **values: Any) -> None:
    with db.transaction() as connection:
        connection.execute(text(statement), values)


def let_pass(db: Database, length: timedelta) -> None:
    """Time in which no beat has run."""
    change(
        db,
        "UPDATE schedule_entry SET decided_until = decided_until - :length, counts_since = counts_since - :length,"
        " succeeded_at = succeeded_at - :length",
        length=length,
    )
    change(
        db,
        "UPDATE job SET scheduled_for = scheduled_for - :length, created_at = created_at - :length,"
        " finished_at = finished_at - :length",
        length=length,
    )


def jobs(db: Database) -> dict[str | None, list[datetime]]:
    """The slots of each entry that have a job."""
    found: dict[str | None, list[datetime]] = {}
    with db.transaction() as connection:
        for row in connection.execute(text("SELECT entry, scheduled_for FROM job ORDER BY created_at, scheduled_for")):
            found.setdefault(row.entry, []).append(row.scheduled_for)
    return found


def missed(db: Database) -> dict[str, int]:
    with db.transaction() as connection:
        return schedule.missed_runs(connection)


def finish(db: Database, name: str, state: str = "done") -> None:
    change(
        db,
        "UPDATE job SET state = :state, started_at = now() - interval '5 s', finished_at = now(), lease_until = NULL"
        " WHERE entry = :name AND finished_at IS NULL",
        name=name,
        state=state,
    )


def nights(count: int) -> list[datetime]:
    """The latest slots of NIGHTLY."""
    now = datetime.now(UTC)
    return [slot for slot in islice(slots(NIGHTLY, now - timedelta(days=count)), count) if slot <= now]


def test_a_beat_that_starts_for_the_first_time_makes_up_no_past(beats: Beats, db: Database) -> None:
    wait = beats(clock(entry("a", missed=Fill(9)))).tick()
    assert jobs(db) == {}
    assert missed(db) == {"a": 0}
    assert 0 < wait <= 300


def test_after_two_nights_without_a_beat_each_policy_does_what_it_says(beats: Beats, db: Database) -> None:
    beat = beats(
        clock(entry("once"), entry("skip", missed="skip"), entry("two", missed=Fill(2)), entry("nine", missed=Fill(9)))
    )
    beat.tick()
    let_pass(db, TWO_NIGHTS)
    beat.tick()
    beat.tick()
    assert jobs(db) == {"once": nights(1), "two": nights(2), "nine": nights(2)}
    assert missed(db) == {"once": 1, "skip": 2, "two": 0, "nine": 0}


def test_three_beats_after_an_outage_of_ten_days_run_each_slot_once(beats: Beats, db: Database) -> None:
    lines = clock(*(entry(f"e{number}", missed=Fill(10)) for number in range(5)))
    started = [beats(lines) for _ in range(3)]
    started[0].tick()
    let_pass(db, timedelta(days=10))
    with ThreadPoolExecutor(3) as pool:
        for _ in range(3):
            list(pool.map(LedgerScheduler.tick, started))
    assert jobs(db) == {line.name: nights(10) for line in lines}
    assert set(missed(db).values()) == {0}


def test_a_ledger_from_before_entries_had_names_goes_on_where_it_was(beats: Beats, db: Database) -> None:
    before = nights(3)
    change(
        db,
        "INSERT INTO job (kind, queue, state, finished_at, scheduled_for)"
        " VALUES ('test.run', 'verification', 'done', now(), :slot)",
        slot=before[0],
    )
    beats(checked([Entry("test.run", NIGHTLY, missed=Fill(9))], {"test.run": TEST_KIND})).tick()
    assert jobs(db) == {None: before[:1], "test.run": before[1:]}


def test_a_clock_that_was_years_ahead_and_was_set_right_goes_on(beats: Beats, db: Database) -> None:
    beat = beats(clock(entry("a")))
    beat.tick()
    change(db, "UPDATE schedule_entry SET decided_until = '2099-01-01'")
    beat.tick()
    assert jobs(db) == {}
    let_pass(db, timedelta(days=1))
    beat.tick()
    assert jobs(db) == {"a": nights(1)}


def test_one_slot_of_an_entry_is_one_job(db: Database) -> None:
    slot = datetime(2026, 1, 1, 1, 10, tzinfo=UTC)
    with db.transaction() as connection:
        asked = [ask(connection, TEST_KIND, {}, entry=name, slot=slot) for name in ("a", "a", "b", "a")]
    assert [job is None for job in asked] == [False, True, False, True]


def test_a_clock_without_entries_only_waits(beats: Beats) -> None:
    assert beats([]).tick() > 0


def test_two_entries_of_one_kind_have_each_their_own_slots_and_arguments(beats: Beats, db: Database) -> None:
    beat = beats(clock(entry("a", args={"of": "a"}), entry("b", args={"of": "b"})))
    beat.tick()
    let_pass(db, timedelta(days=1))
    beat.tick()
    assert jobs(db) == {"a": nights(1), "b": nights(1)}
    with db.transaction() as connection:
        rows = connection.execute(text("SELECT entry, args ->> 'of' FROM job ORDER BY 1")).all()
        assert rows == [("a", "a"), ("b", "b")]


CHAIN = ("expire", "mask", "retain", "partition")


def chain() -> list[Line]:
    return clock(*(entry(name, after=CHAIN[:number]) for number, name in enumerate(CHAIN)))


@pytest.mark.parametrize("end", ["done", "failed", "cancelled", "expired"])
def test_the_nightly_order_holds_whatever_becomes_of_a_run(beats: Beats, db: Database, end: str) -> None:
    beat = beats(chain())
    beat.tick()
    let_pass(db, TWO_NIGHTS)
    for number, name in enumerate(CHAIN):
        for _ in range(2):
            beat.tick()
            assert tuple(jobs(db)) == CHAIN[: number + 1], "the next one waits"
        change(db, "UPDATE job SET state = 'running', lease_until = now() WHERE entry = :name", name=name)
        beat.tick()
        assert tuple(jobs(db)) == CHAIN[: number + 1]
        finish(db, name, end)
    assert set(missed(db).values()) == {1}


def test_a_run_that_hangs_does_not_cost_the_others_their_night(beats: Beats, db: Database) -> None:
    beat = beats(chain())
    beat.tick()
    let_pass(db, timedelta(days=1))
    beat.tick()
    change(db, "UPDATE job SET created_at = now() - :patience", patience=PATIENCE)
    with structlog.testing.capture_logs() as logs:
        beat.tick()
    assert tuple(jobs(db)) == CHAIN[:2]
    (going_on,) = (log for log in logs if log["event"] == "clock.goes_on_without")
    assert going_on["entry"] == "mask"


def test_a_paused_entry_holds_nobody_back(beats: Beats, db: Database) -> None:
    beat, lines = beats(chain()), chain()
    beat.tick()
    with db.transaction() as connection:
        schedule.pause(connection, lines[0], "olga", "the tables are moved")
    let_pass(db, timedelta(days=1))
    beat.tick()
    assert tuple(jobs(db)) == ("mask",)


def test_every_beat_honours_a_pause_and_none_makes_up_for_it(beats: Beats, db: Database) -> None:
    lines = clock(entry("a", missed=Fill(9)))
    one, other = beats(lines), beats(lines)
    one.tick()
    with db.transaction() as connection:
        schedule.pause(connection, lines[0], "olga", "the tables are moved")
    let_pass(db, TWO_NIGHTS)
    one.tick()
    other.tick()
    assert jobs(db) == {}
    with db.transaction() as connection:
        schedule.resume(connection, lines[0], "olga")
    other.tick()
    one.tick()
    assert jobs(db) == {}
    assert missed(db) == {"a": 0}
    let_pass(db, timedelta(days=1))
    one.tick()
    assert jobs(db) == {"a": nights(1)}


def test_a_run_by_hand_takes_no_slot_and_the_next_in_the_order_waits_for_it(beats: Beats, db: Database) -> None:
    lines = chain()[:2]
    beat = beats(lines)
    beat.tick()
    with db.transaction() as connection:
        by_hand = schedule.run(connection, lines[0], "olga")
    let_pass(db, timedelta(days=1))
    beat.tick()
    beat.tick()
    assert {name: len(runs) for name, runs in jobs(db).items()} == {"expire": 2}
    finish(db, "expire")
    beat.tick()
    assert {name: len(runs) for name, runs in jobs(db).items()} == {"expire": 2, "mask": 1}
    with db.transaction() as connection:
        assert connection.execute(text("SELECT state FROM job WHERE id = :id"), {"id": by_hand}).scalar_one() == "done"


def test_a_pause_needs_a_reason_and_a_resumption_a_pause(db: Database) -> None:
    (line,) = clock(entry("a"))
    with db.transaction() as connection:
        with pytest.raises(BadRequest, match="say why"):
            schedule.pause(connection, line, "olga", " ")
        with pytest.raises(BadRequest, match="a is not paused"):
            schedule.resume(connection, line, "olga")
        schedule.pause(connection, line, "olga", "first")
        schedule.pause(connection, line, "piotr", "second")
        (status,) = schedule.status(connection, [line])
    assert (status.paused_by, status.pause_reason) == ("piotr", "second")


def test_an_entry_that_fails_costs_the_others_nothing(beats: Beats, db: Database, database: DatabaseUrls) -> None:
    with psycopg.connect(database.owner_url) as owner:
        owner.execute("ALTER TABLE job ADD CONSTRAINT no_b CHECK (entry <> 'b')")
    beat = beats(clock(entry("b"), entry("a")))
    beat.tick()
    let_pass(db, timedelta(days=1))
    with structlog.testing.capture_logs() as logs:
        beat.tick()
    assert [log["entry"] for log in logs if log["event"] == "clock.entry_failed"] == ["b"]
    assert tuple(jobs(db)) == ("a",)
    with psycopg.connect(database.owner_url) as owner:
        owner.execute("ALTER TABLE job DROP CONSTRAINT no_b")
    beat.tick()
    assert set(jobs(db)) == {"a", "b"}, "its slot was not lost"


def events(logs: Sequence[Any], *names: str) -> list[tuple[str, str]]:
    return [(log["event"], log["entry"]) for log in logs if log["event"] in names]


def test_an_entry_without_success_for_twice_its_period_is_told_of_once(beats: Beats, db: Database) -> None:
    lines = clock(entry("a"), entry("paused"))
    one, other = beats(lines), beats(lines)
    told = ("clock.overdue", "clock.no_longer_overdue")
    one.tick()
    with db.transaction() as connection:
        schedule.pause(connection, lines[1], "olga", "the tables are moved")
    let_pass(db, timedelta(hours=30))
    with structlog.testing.capture_logs() as logs:
        one.tick()
        finish(db, "a", "failed")
        other.tick()
    assert events(logs, *told) == [], "one night is no alarm"
    let_pass(db, timedelta(hours=30))
    with structlog.testing.capture_logs() as logs:
        for beat in (one, other, one):
            beat.tick()
    assert events(logs, *told) == [("clock.overdue", "a")]
    finish(db, "a")
    with structlog.testing.capture_logs() as logs:
        for beat in (other, one, other):
            beat.tick()
    assert events(logs, *told) == [("clock.no_longer_overdue", "a")]


def test_an_entry_is_overdue_also_where_no_beat_runs_to_notice(db: Database) -> None:
    with db.transaction() as connection:
        remember(connection, ["tokens.expire", "masking.sweep", "keys.rotate", "gone from the clock"])
        connection.execute(text("UPDATE schedule_entry SET counts_since = now() - interval '3 days'"))
        connection.execute(text("UPDATE schedule_entry SET succeeded_at = now() WHERE name = 'masking.sweep'"))
        connection.execute(
            text(
                "UPDATE schedule_entry SET paused_at = now(), paused_by = 'olga', pause_reason = 'r'"
                " WHERE name = 'keys.rotate'"
            )
        )
        found = schedule.since_success(connection)
    assert {name: is_overdue for name, (_, is_overdue) in found.items()} == {
        "tokens.expire": True, "masking.sweep": False, "keys.rotate": False,
    }  # fmt: skip
    assert found["tokens.expire"][0] >= timedelta(days=3)


def test_the_end_of_each_run_is_told_of_once(beats: Beats, db: Database) -> None:
    lines = clock(entry("a"))
    one, other = beats(lines), beats(lines)
    one.tick()
    let_pass(db, timedelta(days=1))
    with structlog.testing.capture_logs() as logs:
        one.tick()
        other.tick()
        change(db, "UPDATE job SET progress = jsonb_build_object('done', 7)")
        finish(db, "a", "failed")
        for beat in (one, other, one):
            beat.tick()
    ended = [log for log in logs if log["event"] == "clock.ended"]
    assert [(log["outcome"], log["took_s"], log["counts"], log["slot"]) for log in ended] == [
        ("failed", 5.0, ["done=7"], nights(1)[0].isoformat())
    ]


def test_a_success_counts_after_its_job_was_removed(beats: Beats, db: Database) -> None:
    lines = clock(entry("a"))
    beat = beats(lines)
    beat.tick()
    let_pass(db, timedelta(days=1))
    beat.tick()
    finish(db, "a")
    beat.tick()
    change(db, "DELETE FROM job")
    change(db, "UPDATE schedule_entry SET counts_since = counts_since - interval '90 days'")
    with db.transaction() as connection:
        (status,) = schedule.status(connection, lines)
    assert status.overdue_since is None
    assert status.succeeded_at is not None


def test_a_wrong_clock_ends_the_process_with_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("beat_schedule.ENTRIES", (Entry("no.such", NIGHTLY, missed="once"),))
    with pytest.raises(SystemExit, match=r"no\.such: there is no kind of job called no\.such"):
        LedgerScheduler(app=Celery())


def test_a_beat_says_in_redis_whose_system_it_is_and_does_without_redis(
    beats: Beats, db: Database, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    with db.transaction() as connection:
        mine = system_mark.identity(connection)
    beats(clock(entry("e"))).tick()
    with Redis.from_url(settings.redis_url.get_secret_value()) as client:
        assert system_mark.read(client) == {mine}
    monkeypatch.setenv("REDIS_URL", "redis://127.0.0.1:1/0")
    load_settings.cache_clear()
    assert beats(clock(entry("e"))).tick() > 0
