"""Field encryption: AES-256-GCM with a key ring, each ciphertext bound to the place it belongs to.

A value is `enc:v1:<key id>:<base64url(nonce ‖ ciphertext ‖ tag)>`. The associated data names table, column, row and
path, so a ciphertext copied to another row does not decrypt. Nonces are random 96-bit values; NIST SP 800-38D
bounds that to 2³² messages a key.
"""

import base64
import hashlib
import os
from collections.abc import Mapping
from json.encoder import encode_basestring_ascii

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.hmac import HMAC

from worker.errors import Misconfigured, WorkerError
from worker.settings import Settings
from worker.values import value

_PREFIX = "enc:v1:"
_NONCE_BYTES = 12
_KEY_ID_LENGTH = 16
_TOKEN_BYTES = 20


class Undecipherable(WorkerError):
    """A ciphertext is damaged, belongs to another place, or names a key that isn't in the ring."""


@value
class Place:
    """Where a ciphertext lives. `row` is a key that never changes; `path` a JSON path within the column."""

    table: str
    column: str
    row: str
    path: str = ""

    def associated_data(self) -> bytes:
        # As JSON rather than joined by a separator, which a row key could hold: no two places give the same bytes.
        # Put together here: making an encoder takes three times as long, a sixth of what encrypting a name does.
        parts = map(encode_basestring_ascii, ("public", self.table, self.column, self.row, self.path))
        return f"[{', '.join(parts)}]".encode()

    def __str__(self) -> str:
        return f"{self.table}.{self.column}{'.' + self.path if self.path else ''} of row {self.row}"


class Keyring:
    """The keys of this installation. The first encrypts, all decrypt. Prints as its key ids."""

    def __init__(self, keys: Mapping[str, bytes], blind_index_key: bytes) -> None:
        self._ciphers = {key_id: AESGCM(key) for key_id, key in keys.items()}
        self._primary = next(iter(keys))
        self._blind_indexes = _Hmac(blind_index_key)
        token_key = self._blind_indexes.digest(b"tokens of masked values")
        self._tokens = _Hmac(token_key)
        self._token_key_id = hashlib.sha256(token_key).hexdigest()[:8]

    @classmethod
    def parse(cls, encryption_keys: str, blind_index_key: str) -> "Keyring":
        """Read `id:base64,id:base64` and a base64 key. Raises `Misconfigured`; key material is never repeated."""
        keys: dict[str, bytes] = {}
        for entry in filter(None, (part.strip() for part in encryption_keys.split(","))):
            key_id, _, encoded = entry.partition(":")
            # A longer one is a key in the wrong place, and must not be repeated in what follows.
            if not key_id.isalnum() or len(key_id) > _KEY_ID_LENGTH:
                raise Misconfigured(
                    "ENCRYPTION_KEYS: each entry must be <id>:<base64>,"
                    f" the id at most {_KEY_ID_LENGTH} letters and digits"
                )
            if key_id in keys:
                raise Misconfigured(f"ENCRYPTION_KEYS: the key id {key_id} stands there twice")
            keys[key_id] = _key_bytes(encoded, f"ENCRYPTION_KEYS: key {key_id}")
        if not keys:
            raise Misconfigured("ENCRYPTION_KEYS holds no key")
        return cls(keys, _key_bytes(blind_index_key, "BLIND_INDEX_KEY"))

    @classmethod
    def of(cls, settings: Settings) -> "Keyring":
        """The keys that the settings hold."""
        return cls.parse(settings.encryption_keys.get_secret_value(), settings.blind_index_key.get_secret_value())

    def __repr__(self) -> str:
        return f"Keyring({', '.join(self._ciphers)})"

    @property
    def primary(self) -> str:
        """Id of the key that encrypts."""
        return self._primary

    @property
    def older(self) -> list[str]:
        """Ids of the keys that only decrypt."""
        return [key_id for key_id in self._ciphers if key_id != self._primary]

    def holds(self, key_id: str) -> bool:
        return key_id in self._ciphers

    def encrypt(self, plaintext: str, place: Place) -> str:
        nonce = os.urandom(_NONCE_BYTES)
        sealed = self._ciphers[self._primary].encrypt(nonce, plaintext.encode(), place.associated_data())
        return f"{_PREFIX}{self._primary}:{base64.urlsafe_b64encode(nonce + sealed).decode()}"

    def decrypt(self, ciphertext: str, place: Place) -> str:
        """Raises `Undecipherable`, naming the place and the key id only."""
        if not ciphertext.startswith(_PREFIX):
            raise Undecipherable(f"{place} is not encrypted")
        key_id, _, encoded = ciphertext.removeprefix(_PREFIX).partition(":")
        if (cipher := self._ciphers.get(key_id)) is None:
            named = key_id[:_KEY_ID_LENGTH]
            raise Undecipherable(f"{place} is encrypted with key {named}, which is not in ENCRYPTION_KEYS")
        try:
            sealed = base64.b64decode(encoded, altchars=b"-_", validate=True)
            return cipher.decrypt(sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:], place.associated_data()).decode()
        except (InvalidTag, ValueError):
            raise Undecipherable(f"{place} is damaged, or was written for another place or key") from None

    def blind_index(self, domain: str, value: str) -> str:
        """64 hex digits that are equal for equal values of one domain, for look-ups; not reversible without the key.

        Case, spaces and dashes don't count. `domain` keeps classes apart: `license|TX`.
        """
        return self._blind_indexes.digest(_in_domain(domain, value)).hex()

    def token(self, domain: str, value: str) -> str:
        """`tok:v1:<key id>:<32 letters and digits>`, equal for equal values of one domain, as blind indexes are.

        It takes the place of a value that is masked. Its key is derived from that of the blind index, so that a token
        and an index tell nobody that they belong together; the key id changes with it.
        """
        code = self._tokens.digest(_in_domain(domain, value))[:_TOKEN_BYTES]
        return f"tok:v1:{self._token_key_id}:{base64.b32encode(code).decode().lower()}"


class _Hmac:
    """HMAC-SHA256 under one key. The key is set up once: for short values that costs more than the rest."""

    def __init__(self, key: bytes) -> None:
        self._keyed = HMAC(key, SHA256())

    def digest(self, message: bytes) -> bytes:
        hmac = self._keyed.copy()
        hmac.update(message)
        return hmac.finalize()


def _in_domain(domain: str, value: str) -> bytes:
    normal = value.upper().replace(" ", "").replace("-", "")
    return f"{domain}|{normal}".encode(errors="surrogatepass")


def new_key() -> str:
    """A fresh 256-bit key in base64, as the settings want it."""
    return base64.b64encode(os.urandom(32)).decode()


def _key_bytes(encoded: str, name: str) -> bytes:
    try:
        key = base64.b64decode(encoded, validate=True)
    except ValueError:
        raise Misconfigured(f"{name} is not base64") from None
    if len(key) != 32:
        raise Misconfigured(f"{name} must be 32 bytes long, it has {len(key)}")
    return key
