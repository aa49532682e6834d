"""Where a list goes on: after the last row of the page before, so that new rows shift nothing."""

from base64 import urlsafe_b64decode, urlsafe_b64encode
from datetime import UTC, datetime
from uuid import UUID

from worker.errors import BadRequest


def cursor_after(created_at: datetime, job_id: UUID) -> str:
    """Where the page after this job begins."""
    return urlsafe_b64encode(f"{created_at.isoformat()} {job_id}".encode()).decode().rstrip("=")


def position(cursor: str) -> tuple[datetime, UUID]:
    """What a cursor stands for. Raises `BadRequest` with code bad_cursor."""
    try:
        moment, job_id = urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)).decode().split(" ")
        return datetime.fromisoformat(moment).astimezone(UTC), UUID(job_id)
    except (ValueError, OverflowError):
        raise BadRequest("bad_cursor", "this cursor was not given out by the list") from None
