"""What the system itself keeps secret: keys and passwords from its settings, and what it logs in to providers with."""

from typing import Any
from urllib.parse import unquote, urlsplit

from sqlalchemy import Connection, text

from worker.crypto import Keyring, Place, Undecipherable
from worker.settings import Settings

_SHORTEST = 8
"""Characters of a password that is searched for: a shorter one is found everywhere, and is none."""

_DIGEST_LENGTH = 64  # before the ciphertext of a kept token, see tasks/verification/token_store.py


def of_settings(settings: Settings, flower_login: str | None) -> dict[str, str]:
    """Keys, and the passwords in addresses."""
    entries = settings.encryption_keys.get_secret_value().split(",")
    found = {f"encryption key of {number}": entry.split(":", 1)[1] for number, entry in enumerate(entries)}
    found["blind index key"] = settings.blind_index_key.get_secret_value()
    urls = {
        "database password of the application": settings.database_url,
        "database password of the owner": settings.migration_database_url,
        "Redis password": settings.redis_url,
        "broker password": settings.broker_url,
    }
    found |= {name: unquote(urlsplit(url.get_secret_value()).password or "") for name, url in urls.items() if url}
    found["Flower password"] = (flower_login or "").partition(":")[2]
    found["metrics token"] = settings.metrics_token.get_secret_value() if settings.metrics_token else ""
    return _long_enough(found)


def of_providers(connection: Connection, keyring: Keyring) -> dict[str, str]:
    """Client secrets and passwords for providers, and whatever else is encrypted in configurations."""
    found = {}
    for number, row in enumerate(connection.execute(_SEALED)):
        place = Place(row.table_name, row.column_name, row.row_key, row.path)
        found[f"{row.path or row.column_name} of {number}"] = _read(keyring, row.ciphertext, place)
    return _long_enough(found)


_SEALED = text(
    """
    SELECT table_name, column_name, row_key, path, ciphertext FROM encrypted_values
    WHERE table_name IN ('integration_configuration', 'sso_providers')
    """
)


def kept_tokens(redis: Any, keyring: Keyring) -> dict[str, str]:
    """Access tokens of providers, as workers keep them."""
    found = {}
    for number, key in enumerate(redis.scan_iter(match="verification:token:*", count=1000)):
        value = (redis.get(key) or b"") if redis.type(key) == b"string" else b""
        ciphertext = value[_DIGEST_LENGTH:].decode(errors="replace")
        found[f"provider's access token of {number}"] = _read(
            keyring, ciphertext, Place("redis", "token", key.decode())
        )
    return _long_enough(found)


def _read(keyring: Keyring, ciphertext: str, place: Place) -> str:
    try:
        return keyring.decrypt(ciphertext, place)
    except Undecipherable:
        return ""  # with this keyring nobody could have let it out


def _long_enough(found: dict[str, str]) -> dict[str, str]:
    return {name: value for name, value in found.items() if len(value) >= _SHORTEST}
