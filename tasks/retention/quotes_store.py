"""Quotes whose time is over become `expired`, before anything looks at how old they are."""

from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, text

from worker.maintenance.stages import Batch


@dataclass(frozen=True, slots=True)
class ExpiredQuotes:
    """A quote that is being calculated is left to whoever calculates it, and to the next night."""

    name: str = "expired quotes"
    most: int = 1000

    def size(self, connection: Connection) -> int:
        return int(connection.execute(_OVER).scalar_one())

    def batch(self, connection: Connection, after: Any, limit: int) -> Batch:
        expired = connection.execute(_EXPIRE, {"limit": limit}).rowcount
        return Batch(expired, {"expired": expired}, after="what is left" if expired == limit else None)


_OVER = text("SELECT count(*) FROM quotes WHERE expires_at <= now() AND status IN ('draft', 'quoted')")

_EXPIRE = text(
    """
    UPDATE quotes SET status = 'expired' WHERE id IN (
        SELECT id FROM quotes WHERE expires_at <= now() AND status IN ('draft', 'quoted')
        ORDER BY expires_at, id LIMIT :limit FOR UPDATE SKIP LOCKED
    )
    """
)
