"""Where a call may go: configured URLs are rows that people write, and must not reach into our own network.

A URL is checked as text, and each address its host has is checked again when the connection is made
(`http_client.GuardedResolver`): a name that pointed outside yesterday may point inside today. Ranges after the IANA
special-purpose address registries (RFC 6890).
"""

import re
from collections.abc import Collection
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address
from urllib.parse import SplitResult, urlsplit

from worker.values import value

HTTPS_PORT = 443

_LABEL = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?")
_NUMBER = re.compile(r"[0-9]+|0[xX][0-9A-Fa-f]*")
_UNSAFE = re.compile(r"[\x00-\x20\x7f\\]|[^\x00-\x7f]")

_PLAIN_URL = re.compile(
    r"https?://([A-Za-z0-9_][A-Za-z0-9_.-]*|\[[0-9A-Fa-f:.]+\])(:[0-9]{1,5})?([/?#][!-\[\]-~]*)?", re.ASCII
)
"""As `host_of_url` in the database has it."""

_PORT = re.compile(r":[0-9]{1,5}$")
_HOST_LENGTH = 253

_GLOBAL_UNICAST = IPv6Network("2000::/3")
_NOT_FOR_PROVIDERS = [
    IPv6Network(network)
    for network in (
        "2001::/23",  # protocol assignments, Teredo among them, which carries an IPv4 address inside
        "2001:db8::/32",  # documentation
        "2002::/16",  # 6to4, which carries an IPv4 address inside
        "3fff::/20",  # documentation
    )
]


class AddressRefused(OSError):
    """A host that may not be called. An `OSError`, so that a connection fails with it as with any other."""


@value
class AddressRules:
    """`ports` are those allowed beside 443. `is_private_allowed` opens everything: for a sandbox on this machine."""

    ports: Collection[int] = ()
    is_private_allowed: bool = False


@lru_cache(maxsize=256)  # configured addresses are few; those of promised answers come and go
def check_url(url: str, rules: AddressRules) -> None:
    """Raise `AddressRefused` unless calls to this URL are allowed, as far as its text can tell."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise AddressRefused("not a URL") from None
    if _UNSAFE.search(url) or "@" in parts.netloc or not parts.hostname:
        raise AddressRefused("a URL with a login, or with characters that programs read differently")
    literal = _literal(parts)
    if rules.is_private_allowed:
        return
    if parts.scheme != "https":
        raise AddressRefused("not https")
    if port not in (None, HTTPS_PORT, *rules.ports):
        raise AddressRefused("a port that is not allowed")
    if literal is not None and not is_public(literal):
        raise AddressRefused("not a public address")


@lru_cache(maxsize=256)
def host_of(url: str) -> str:
    """Host and port of a URL, in lower case and without a login, for sentences and keys."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port
    except ValueError:
        return "?"
    host = _UNSAFE.sub("?", host[:_HOST_LENGTH])
    host = f"[{host}]" if ":" in host else host
    return host if port in (None, HTTPS_PORT) else f"{host}:{port}"


def is_allowed_host(url: str, allowed: Collection[str] | None) -> bool:
    """Whether an integration's list allows the host of a URL. None is no list; `*.name` is whatever lies below name."""
    if allowed is None:
        return True
    if not _PLAIN_URL.fullmatch(url):
        return False
    host = host_of(url)
    names = {host, host.rpartition(":")[0] if _PORT.search(host) else host}
    return any(name == entry or (entry[:2] == "*." and name.endswith(entry[1:])) for name in names for entry in allowed)


def check_addresses(addresses: Collection[str], rules: AddressRules) -> None:
    """Raise `AddressRefused` unless every address of a host may be called: one bad one among good ones is an attack."""
    if rules.is_private_allowed:
        return
    for address in addresses:
        try:
            is_fit = is_public(ip_address(address))
        except ValueError:
            is_fit = False
        if not is_fit:
            raise AddressRefused("not a public address")


def is_public(address: IPv4Address | IPv6Address) -> bool:
    """Whether it is one machine's address in the open internet, and means the same everywhere."""
    if isinstance(address, IPv4Address):
        is_relay = address.packed[:3] == b"\xc0\x58\x63"  # 192.88.99.0/24, the retired 6to4 anycast
        return address.is_global and not (address.is_multicast or address.is_reserved or is_relay)
    if address.scope_id is not None or address not in _GLOBAL_UNICAST:
        return False  # mapped IPv4, NAT64, unique local, link-local and multicast lie outside 2000::/3
    return not any(address in network for network in _NOT_FOR_PROVIDERS)


def _literal(parts: SplitResult) -> IPv4Address | IPv6Address | None:
    """The address a host is written as; None for a name. Raises `AddressRefused` for what is neither, strictly.

    127.1, 0x7f000001 and 2130706433 are addresses to some resolvers and names to others: they are neither here.
    """
    host = parts.hostname or ""
    if "[" in parts.netloc:
        try:
            return IPv6Address(host)
        except ValueError:
            raise AddressRefused("not an IPv6 address") from None
    labels = host.split(".")
    if _NUMBER.fullmatch(labels[-1]):
        try:
            return IPv4Address(host)
        except ValueError:
            raise AddressRefused("an address in an unusual form") from None
    if len(host) > _HOST_LENGTH or not all(_LABEL.fullmatch(label) for label in labels):
        raise AddressRefused("not the name of a host")
    return None
