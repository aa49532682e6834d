"""The clock's memory: how far each of its entries has been decided, and which ones are paused."""

import uuid
from datetime import datetime

from sqlalchemy import BigInteger, CheckConstraint, func, text
from sqlalchemy.orm import Mapped, mapped_column

from models.base import Base
from models.facts import NOT_PERSONAL, kept_while_used, personal


class ScheduleEntry(Base):
    """One entry of `beat_schedule.py`, from the first moment that a beat saw it. Whoever decides slots holds it."""

    __tablename__ = "schedule_entry"
    __table_args__ = (
        CheckConstraint("missed >= 0", name="missed"),
        CheckConstraint(
            "num_nonnulls(paused_at, paused_by, pause_reason) IN (0, 3) AND pause_reason <> ''", name="pause"
        ),
        {"info": kept_while_used("as many rows as the clock has ever had entries")},
    )

    name: Mapped[str] = mapped_column(primary_key=True, info=NOT_PERSONAL)
    decided_until: Mapped[datetime]
    """Every slot up to this one has its job or is missed."""

    missed: Mapped[int] = mapped_column(BigInteger, server_default=text("0"))
    """Slots that passed without a job, as the entry's policy says, since the row exists."""

    counts_since: Mapped[datetime] = mapped_column(server_default=func.now())
    """When the entry was first seen or last resumed: it can't be overdue for the time before."""

    last_job_id: Mapped[uuid.UUID | None]
    """The run whose end was noted last."""

    succeeded_at: Mapped[datetime | None]
    """End of the last run that ended as done; the job itself is removed some day."""

    overdue_since: Mapped[datetime | None]
    """When it was noticed that nothing had succeeded for too long; NULL again with the next success."""

    paused_at: Mapped[datetime | None]
    paused_by: Mapped[str | None] = mapped_column(info=personal("name"))
    """Account name of the operator or program."""

    pause_reason: Mapped[str | None] = mapped_column(info=personal("free_text"))
