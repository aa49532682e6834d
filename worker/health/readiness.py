"""Whether this system can do its work: database there and at the right revision, Redis there."""

from collections.abc import Mapping

from redis import Redis
from redis.exceptions import RedisError
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from worker.database import Database, sqlstate
from worker.settings import Settings

PATIENCE_S = 2.0
INSUFFICIENT_PRIVILEGE = "42501"


class Readiness:
    """Asks each part anew at every call; threads may share it."""

    def __init__(self, settings: Settings) -> None:
        self._database = Database(settings)
        self._redis = Redis.from_url(
            settings.redis_url.get_secret_value(), socket_timeout=PATIENCE_S, socket_connect_timeout=PATIENCE_S
        )
        self._newest: frozenset[str] = frozenset()

    def failing(self) -> Mapping[str, str]:
        """What is wrong, by part; empty if all is well. Sentences without addresses or secrets."""
        checks = {"database": self._database_complaint(), "redis": self._redis_complaint()}
        return {part: complaint for part, complaint in checks.items() if complaint}

    def failing_database(self) -> Mapping[str, str]:
        """The same for a process that can do without Redis."""
        complaint = self._database_complaint()
        return {"database": complaint} if complaint else {}

    def close(self) -> None:
        self._database.close()
        self._redis.close()

    def _database_complaint(self) -> str | None:
        # Reading the migrations takes a tenth of a process's start: only those do it whom somebody asks.
        from worker.schema import revisions_of, scripts

        self._newest = self._newest or frozenset(scripts().get_heads())
        try:
            with self._database.transaction() as connection:
                revisions = revisions_of(connection)
        except DBAPIError as error:
            # The pool may hold connections to a server that has been away; all go, so the next call finds out.
            if error.connection_invalidated:
                self._database.engine.dispose()
            if sqlstate(error) == INSUFFICIENT_PRIVILEGE:
                return "its revision may not be read: run `worker migrate`, which grants it"
            return "it does not answer"
        except SQLAlchemyError:
            return "no connection was free in time"
        if revisions == self._newest:
            return None
        here = ", ".join(sorted(revisions)) or "nothing"
        return f"it is at revision {here}, this version wants {', '.join(sorted(self._newest))}: run `worker migrate`"

    def _redis_complaint(self) -> str | None:
        try:
            self._redis.ping()
        except RedisError:
            return "it does not answer"
        return None
