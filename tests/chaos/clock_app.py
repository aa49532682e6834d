"""The product's Celery app with a clock of `CLOCK_ENTRIES` entries, each of which makes up for `CLOCK_SLOTS` minutes.

celery -A tests.chaos.clock_app beat
"""

import os

from celery.schedules import crontab

import beat_schedule

if "ROUNDS_EVERY_S" in os.environ:
    beat_schedule.ROUNDS = tuple(
        beat_schedule.Round(each.name, float(os.environ["ROUNDS_EVERY_S"])) for each in beat_schedule.ROUNDS
    )
FILL = beat_schedule.Fill(int(os.environ["CLOCK_SLOTS"]))
beat_schedule.ENTRIES = tuple(
    beat_schedule.Entry("partitions.ensure", crontab(), missed=FILL, name=f"entry-{number}")
    for number in range(int(os.environ["CLOCK_ENTRIES"]))
)

from worker.app import app  # noqa: E402 - after the clock is what the tests want

__all__ = ["app"]
