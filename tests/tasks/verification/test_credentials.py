"""`auth_config` is read or refused; the sentence names configuration and field and keeps the values."""

import base64
from dataclasses import replace
from typing import Any

import pytest

from tasks.verification.credentials import ClientCredentials, Signature, read_credentials
from tasks.verification.question import Account
from tests.tasks.verification.factories import KEYRING, auth_config, make_account, seal
from worker.crypto import Keyring, Undecipherable
from worker.dev.sandbox.settings import API_KEY, BASIC_LOGIN, CLIENT_SECRET
from worker.errors import Misconfigured, WorkerError

URL = "https://dcs.example"


def account(auth_type: str, config: dict[str, Any] | None = None, configuration_id: int = 1) -> Account:
    given = auth_config(auth_type, URL, configuration_id) if config is None else config
    return make_account(URL, auth_type, auth_config=given, configuration_id=configuration_id)


def read(auth_type: str, **changes: Any) -> ClientCredentials | Signature:
    return read_credentials(account(auth_type, auth_config(auth_type, URL) | changes), KEYRING)


def test_client_credentials_become_the_form_of_a_token_request() -> None:
    credentials = read("oauth2")
    assert isinstance(credentials, ClientCredentials)
    assert credentials.token_url == f"{URL}/oauth2/token"
    assert credentials.form() == {
        "grant_type": "client_credentials",
        "client_id": "sandbox-client",
        "client_secret": CLIENT_SECRET,
        "scope": "drivers criminal vehicles",
    }


def test_basic_is_account_user_and_password() -> None:
    signature = read("basic")
    assert isinstance(signature, Signature)
    scheme, _, encoded = signature.value.partition(" ")
    assert (signature.header, scheme) == ("Authorization", "Basic")
    assert base64.b64decode(encoded).decode() == BASIC_LOGIN


def test_bearer_and_api_key_are_headers() -> None:
    bearer, key, named = read("bearer"), read("api_key"), read("api_key", header="X-Key")
    assert isinstance(bearer, Signature)
    assert isinstance(key, Signature)
    assert isinstance(named, Signature)
    assert (bearer.header, bearer.value) == ("Authorization", "Bearer a-token")
    assert (key.header, key.value) == ("X-API-Key", API_KEY)
    assert named.header == "X-Key"


@pytest.mark.parametrize(
    ("auth_type", "changes", "named"),
    [
        ("oauth2", {"token_url": None}, "auth_config.token_url of configuration 1"),
        ("oauth2", {"token_url": "sekrit"}, "auth_config.token_url of configuration 1"),
        ("oauth2", {"client_id": ""}, "auth_config.client_id of configuration 1"),
        ("oauth2", {"client_secret": "sekrit"}, "auth_config.client_secret of configuration 1"),
        ("oauth2", {"client_secret": {"$enc": 7}}, "auth_config.client_secret of configuration 1"),
        ("oauth2", {"scope": ["sekrit"]}, "auth_config.scope of configuration 1"),
        ("oauth2", {"extra": "sekrit"}, "auth_config.extra of configuration 1"),
        ("basic", {"user": None}, "auth_config.user of configuration 1"),
        ("bearer", {"token": seal("two\nlines", 1, "token")}, "auth_config.token of configuration 1"),
        ("bearer", {"token": seal("", 1, "token")}, "auth_config.token of configuration 1"),
        ("api_key", {"header": "sekrit: x"}, "auth_config.header of configuration 1"),
        ("api_key", {"key": None}, "auth_config.key of configuration 1"),
    ],
)
def test_a_wrong_field_is_named_and_its_value_is_not(auth_type: str, changes: dict[str, Any], named: str) -> None:
    with pytest.raises(Misconfigured) as caught:
        read(auth_type, **changes)
    assert named in str(caught.value)
    assert "sekrit" not in str(caught.value)


def test_an_unknown_auth_type_is_refused() -> None:
    with pytest.raises(Misconfigured, match="auth_type of configuration 1"):
        read_credentials(replace(account("oauth2"), auth_type="magic"), KEYRING)


@pytest.mark.parametrize(
    ("config", "keyring"),
    [
        (auth_config("bearer", URL, configuration_id=2), KEYRING),
        (auth_config("bearer", URL), Keyring({"k2": bytes(32)}, bytes(32))),
        ({"token": {"$enc": "a-token"}}, KEYRING),
    ],
    ids=["copied from another configuration", "sealed with another key", "not sealed"],
)
def test_a_secret_that_does_not_open_names_its_place(config: dict[str, Any], keyring: Keyring) -> None:
    with pytest.raises(Undecipherable, match=r"integration_configuration.auth_config.token of row 1") as caught:
        read_credentials(account("bearer", config), keyring)
    assert isinstance(caught.value, WorkerError)
    assert "a-token" not in str(caught.value)


def test_the_cache_key_changes_with_everything_a_token_depends_on() -> None:
    def key(configuration_id: int = 1, **changes: Any) -> str:
        config = {**CONFIGS[configuration_id], **changes}
        credentials = read_credentials(account("oauth2", config, configuration_id), KEYRING)
        assert isinstance(credentials, ClientCredentials)
        return credentials.cache_key

    keys = [
        key(),
        key(2),
        key(scope="drivers criminal"),
        key(client_id="other"),
        key(token_url="https://other.example/token"),
        key(client_secret=seal("other", 1, "client_secret")),
    ]
    assert len(set(keys)) == len(keys)
    assert key() == keys[0]
    assert not any(CLIENT_SECRET in key for key in keys)


CONFIGS = {id_: auth_config("oauth2", URL, id_) for id_ in (1, 2)}


def test_credentials_print_no_secret() -> None:
    assert CLIENT_SECRET not in repr(read("oauth2"))
    assert API_KEY not in repr(read("api_key"))
