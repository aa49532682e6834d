"""How a configuration signs its calls: `auth_config` read and decrypted, or a sentence about the field that is wrong.

Shapes, by `auth_type`; a secret is a leaf `{"$enc": "enc:v1:..."}`:

    oauth2   token_url, client_id, client_secret (secret), scope (optional)
    basic    account, user, password (secret)
    bearer   token (secret)
    api_key  key (secret), header (optional, X-API-Key)
"""

import base64
import re
from collections.abc import Mapping
from hashlib import sha256
from typing import Any

import orjson

from tasks.verification.question import Account, checked_url
from worker.crypto import Keyring, Place
from worker.errors import Misconfigured
from worker.values import value

_HEADER_NAME = re.compile(r"[A-Za-z0-9-]{1,64}")


@value(repr=False)
class ClientCredentials:
    """OAuth 2.0 client credentials (RFC 6749, section 4.4). `cache_key` changes with any of them."""

    configuration_id: int
    token_url: str
    client_id: str
    client_secret: str
    scope: str | None
    cache_key: str

    @property
    def holder(self) -> str:
        """Who calls, as the provider knows him: equal for all configurations that share a login."""
        return f"{self.token_url} {self.client_id}"

    def form(self) -> dict[str, str]:
        """The token request. Identifier and secret go into the body: how to escape them for a Basic header is read
        differently by different servers."""
        form = {
            "grant_type": "client_credentials",
            "client_id": self.client_id,
            "client_secret": self.client_secret,
        }
        return form | ({"scope": self.scope} if self.scope else {})


@value(repr=False)
class Signature:
    """A header that signs every call alike."""

    header: str
    value: str

    @property
    def holder(self) -> str:
        """As for `ClientCredentials`; a secret here."""
        return f"{self.header} {self.value}"


Credentials = ClientCredentials | Signature


def read_credentials(account: Account, keyring: Keyring) -> Credentials:
    """Raises `Misconfigured` or `Undecipherable`, both naming configuration and field, never a value."""
    fields = _Fields(account.configuration_id, account.auth_config, keyring)
    match account.auth_type:
        case "oauth2":
            fields.only("token_url", "client_id", "client_secret", "scope")
            return ClientCredentials(
                account.configuration_id,
                checked_url(fields.text("token_url"), fields.name("token_url")),
                fields.text("client_id"),
                fields.secret("client_secret"),
                fields.text("scope") if "scope" in account.auth_config else None,
                _cache_key(account),
            )
        case "basic":
            fields.only("account", "user", "password")
            login = f"{fields.text('account')}:{fields.text('user')}:{fields.secret('password')}"
            return Signature("Authorization", f"Basic {base64.b64encode(login.encode()).decode()}")
        case "bearer":
            fields.only("token")
            return Signature("Authorization", f"Bearer {fields.header_value('token')}")
        case "api_key":
            fields.only("key", "header")
            header = fields.text("header") if "header" in account.auth_config else "X-API-Key"
            if not _HEADER_NAME.fullmatch(header):
                raise Misconfigured(f"The {fields.name('header')} is not the name of a header.")
            return Signature(header, fields.header_value("key"))
    raise Misconfigured(f"The auth_type of configuration {account.configuration_id} is not one we know.")


@value
class _Fields:
    configuration_id: int
    config: Mapping[str, Any]
    keyring: Keyring

    def name(self, field: str) -> str:
        return f"auth_config.{field} of configuration {self.configuration_id}"

    def only(self, *known: str) -> None:
        if unknown := sorted(self.config.keys() - set(known)):
            raise Misconfigured(f"The {self.name(unknown[0][:50])} is unknown: it takes {', '.join(known)}.")

    def text(self, field: str) -> str:
        value = self.config.get(field)
        if not isinstance(value, str) or not value:
            raise Misconfigured(f"The {self.name(field)} is missing or not a text.")
        return value

    def secret(self, field: str) -> str:
        leaf = self.config.get(field)
        ciphertext = leaf.get("$enc") if isinstance(leaf, dict) else None
        if not isinstance(ciphertext, str):
            raise Misconfigured(f"The {self.name(field)} is missing or not encrypted.")
        place = Place("integration_configuration", "auth_config", str(self.configuration_id), field)
        return self.keyring.decrypt(ciphertext, place)

    def header_value(self, field: str) -> str:
        value = self.secret(field)
        if not value.isascii() or not value.isprintable() or not value:
            raise Misconfigured(f"The {self.name(field)} holds characters that no header can carry.")
        return value


def _cache_key(account: Account) -> str:
    """Configuration and a version of its credentials. The scope is one of the fields the version is made of."""
    version = sha256(orjson.dumps(dict(account.auth_config), option=orjson.OPT_SORT_KEYS)).hexdigest()[:20]
    return f"verification:token:{account.configuration_id}:{version}"
