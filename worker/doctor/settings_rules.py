"""Settings that start, but should not be in force: addresses without encryption, weak keys, an open Flower."""

import base64
from collections.abc import Iterator, Mapping
from ipaddress import ip_address
from urllib.parse import parse_qs, urlsplit

from worker.doctor.finding import Finding, problem, warning
from worker.settings import Settings

_FEWEST_BYTES = 12
"""Different bytes in a key: 32 random ones have 20 or more, practically always; a typed word or zeros don't."""


def judge_settings(settings: Settings) -> Iterator[Finding]:
    yield from _redis("REDIS_URL", settings.redis_url.get_secret_value())
    if settings.broker_url is not None and _scheme(settings.broker_url.get_secret_value()).startswith("redis"):
        yield from _redis("BROKER_URL", settings.broker_url.get_secret_value())
    yield from _postgresql(settings.database_url.get_secret_value())
    yield from judge_keys(settings.encryption_keys.get_secret_value(), settings.blind_index_key.get_secret_value())


def judge_keys(encryption_keys: str, blind_index_key: str) -> Iterator[Finding]:
    """Keys that can be read, but should not be used."""
    keys = {name.strip(): value.strip() for name, _, value in (k.partition(":") for k in encryption_keys.split(","))}
    named = {**{f"ENCRYPTION_KEYS {name}": value for name, value in keys.items()}, "BLIND_INDEX_KEY": blind_index_key}
    for name, value in named.items():
        if len(set(base64.b64decode(value))) < _FEWEST_BYTES:
            yield problem("key_weak", f"{name} is not random.", "Make it with `openssl rand -base64 32`.")
    if len(set(named.values())) < len(named):
        yield problem("key_shared", "The same key stands in two places.", "Give each its own.")


def judge_flower(environment: Mapping[str, str]) -> Iterator[Finding]:
    """What Flower would do if it were started with this environment."""
    login = ("FLOWER_BASIC_AUTH", "FLOWER_AUTH", "FLOWER_AUTH_PROVIDER")
    if environment.get("FLOWER_UNAUTHENTICATED_API", "").lower() in ("1", "true", "yes"):
        yield problem(
            "flower_open_api",
            "FLOWER_UNAUTHENTICATED_API is set: whoever reaches Flower may start and stop tasks.",
            "Unset it.",
        )
    if any(name.startswith("FLOWER_") for name in environment) and not any(map(environment.get, login)):
        yield problem(
            "flower_open", "Flower is configured here without a login.", "Set FLOWER_BASIC_AUTH=user:password."
        )
    _, _, password = environment.get("FLOWER_BASIC_AUTH", "").partition(":")
    if environment.get("FLOWER_BASIC_AUTH") and len(password) < 12:
        yield warning("flower_weak_login", "Flower's password is shorter than 12 characters.", "Take a longer one.")


def _redis(name: str, url: str) -> Iterator[Finding]:
    parts = urlsplit(url)
    if parts.scheme == "unix":
        return
    if not parts.password:
        yield (warning if is_this_machine(parts.hostname) else problem)(
            "redis_without_password",
            f"{name} holds no password: whoever reaches Redis may stop workers and send hints.",
            "Set requirepass or a user of its own, and put it into the address.",
        )
    if parts.scheme == "rediss" and parse_qs(parts.query).get("ssl_cert_reqs", [""])[0] not in (
        "required",
        "CERT_REQUIRED",
    ):
        yield problem(
            "redis_certificate_unchecked",
            f"{name} is encrypted, but the server's certificate is not checked.",
            "Add ?ssl_cert_reqs=required&ssl_ca_certs=... to it.",
        )
    if parts.scheme == "redis" and not is_this_machine(parts.hostname):
        yield warning(
            "redis_unencrypted",
            f"{name} leads to another machine without encryption; tokens are encrypted, the password is not.",
            "Use rediss:// with ssl_cert_reqs=required, or a network that nobody else is on.",
        )


def _postgresql(url: str) -> Iterator[Finding]:
    parts = urlsplit(url)
    query = parse_qs(parts.query)
    mode = query.get("sslmode", ["prefer"])[0]
    if is_this_machine(query.get("host", [parts.hostname])[0]) or mode in ("verify-full", "verify-ca"):
        return
    yield warning(
        "database_unverified",
        f"DATABASE_URL leads to another machine with sslmode={mode}: somebody between may read personal data.",
        "Add ?sslmode=verify-full&sslrootcert=... to it.",
    )


def is_this_machine(host: str | None) -> bool:
    if not host or host.startswith("/") or host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def _scheme(url: str) -> str:
    return urlsplit(url).scheme
