"""An access token, and for how long it may be used."""

from decimal import Decimal
from hashlib import sha256

from tasks.verification import strict_json
from worker.values import value

UNSTATED_LIFE_S = 60.0
"""A token endpoint need not say how long a token lives (RFC 6749, section 5.1); then not for long."""

LONGEST_LIFE_S = 86_400.0


@value(repr=False)
class Token:
    """A bearer token. `ttl_s` is how long it may be kept from now on."""

    value: str
    ttl_s: float

    @property
    def digest(self) -> str:
        """Names the token where the token itself must not stand."""
        return sha256(self.value.encode()).hexdigest()


def read_token(body: bytes) -> Token:
    """Read the answer of a token endpoint. Raises `strict_json.Unreadable`."""
    said = strict_json.parse(body).value
    value, kind, life = said.get("access_token"), said.get("token_type"), said.get("expires_in", UNSTATED_LIFE_S)
    if not isinstance(value, str) or not value or not value.isascii() or not value.isprintable():
        raise strict_json.Unreadable("it holds no access_token")
    if not isinstance(kind, str) or kind.lower() != "bearer":
        raise strict_json.Unreadable("its token_type is not Bearer")
    if isinstance(life, bool) or not isinstance(life, int | float | Decimal) or life <= 0:
        raise strict_json.Unreadable("its expires_in is not a number of seconds")
    return Token(value, kept_for_s(float(life)))


def kept_for_s(life_s: float) -> float:
    """Stop using a token well before its end, so that it does not expire on the way; at least for a second, so that
    a token of a very short life is not asked for with every call."""
    life_s = min(life_s, LONGEST_LIFE_S)
    return max(1.0, life_s - max(30.0, 0.1 * life_s))
