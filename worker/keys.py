"""Which keys the stored ciphertext needs: counted for people, and looked at before a worker starts."""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, text
from sqlalchemy.exc import ProgrammingError

from worker.crypto import Keyring, Place, Undecipherable
from worker.database import DATABASE_ERRORS, Database, is_outage
from worker.errors import Misconfigured


@dataclass(frozen=True, slots=True)
class Use:
    """How many values of a column a key encrypts. An empty `key_id` stands for values in clear."""

    key_id: str
    table: str
    column: str
    values: int


def uses(connection: Connection) -> Sequence[Use]:
    """Every key that stored values need, by column."""
    return [Use(*row) for row in connection.execute(_USES)]


def has_values_in_clear(connection: Connection) -> bool:
    """Whether somebody wrote a value in clear where ciphertext belongs."""
    return bool(connection.execute(_IN_CLEAR).scalar_one())


def check_keys(database: Database, keyring: Keyring) -> None:
    """Raises `Misconfigured` if the keys can't read what is stored. A database that is away is no reason: it comes
    back, and then each value that can't be read says so."""
    try:
        with database.transaction() as connection:
            samples = connection.execute(_SAMPLES).all()
    except DATABASE_ERRORS as error:
        if is_outage(error) or isinstance(error, ProgrammingError):  # or there are no tables yet
            return
        raise
    for row in samples:
        if not row.key_id:
            continue  # in clear: `worker keys status` tells, and whoever reads it refuses it
        try:
            keyring.decrypt(row.ciphertext, Place(row.table_name, row.column_name, row.row_key, row.path))
        except Undecipherable as error:
            raise Misconfigured(
                f"The stored data needs other keys than ENCRYPTION_KEYS holds: {error}."
                " Add the missing key, behind the first one."
            ) from None


_USES = text(
    """
    SELECT key_id, table_name, column_name, count(*) FROM encrypted_values
    GROUP BY key_id, table_name, column_name ORDER BY key_id, table_name, column_name
    """
)
_SAMPLES = text("SELECT * FROM encryption_keys_in_use")
_IN_CLEAR = text("SELECT EXISTS (SELECT FROM encryption_keys_in_use WHERE key_id = '')")
