"""The clock: which kind of job runs when, in UTC. Data only; every entry is safe to run late or twice."""

from dataclasses import dataclass
from typing import Literal

from celery.schedules import crontab


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of the clock. `missed` says what becomes of slots that passed while no clock ran."""

    kind: str
    schedule: crontab
    missed: Literal["once", "skip", "each"]
    """once: the latest of them runs; skip: none; each: all of them, oldest first."""


ENTRIES = (
    # Right after the day begins by which quotes without a date of their own are rated.
    Entry("rating.follow_dates", crontab(minute="1", hour="0"), missed="once"),
    # The nightly order: expire, mask, retain, partition. One that is late delays no other, and none depends on another.
    Entry("tokens.expire", crontab(minute="10", hour="0"), missed="once"),
    # Before anything is removed; at most fifty minutes, then the next night goes on.
    Entry("masking.sweep", crontab(minute="40", hour="0"), missed="once"),
    # After masking; at most fifty minutes, then the next night goes on.
    Entry("retention.sweep", crontab(minute="40", hour="1"), missed="once"),
    # Months before the partition is needed, so that a failure can be seen by day.
    Entry("partitions.ensure", crontab(minute="10", hour="3"), missed="once"),
    # After everything that makes rows fewer: nothing to do, unless a new key was put in front of the old one.
    Entry("keys.rotate", crontab(minute="40", hour="3"), missed="once"),
    # Every hour, away from the full one when everybody else's jobs begin: what is lost is missed within the hour.
    Entry("reconciliation.account", crontab(minute="37"), missed="skip"),
)
