"""An integration is called only at the hosts it names: checked when written, when asked for and when called."""

from itertools import product

import psycopg
import pytest
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError

from tasks.verification.address import is_allowed_host
from tests.conftest import DatabaseUrls
from tests.tasks.verification.test_sharing import Platform, platform
from worker.errors import BadRequest
from worker.outcomes import GiveUp

__all__ = ["platform"]  # a fixture

ALLOW = "UPDATE third_party_integration SET allowed_hosts = ARRAY['dcs.example'] WHERE code = 'DCS_HOUSEHOLD_DRIVERS'"
URLS = (
    "https://dcs.example/v2",
    "https://DCS.example:443/v2?a=b",
    "https://dcs.example:8443",
    "https://api.dcs.example/",
    "https://evil-dcs.example/",
    "https://dcs.example.evil.test/",
    "https://dcs.example@evil.test/",
    "https://evil.test\\@dcs.example/",
    "https://dcs.example\t/",
    "https://dcs.example/\nHost: evil.test",
    "https://evil.test/dcs.example",
    "https://evil.test#dcs.example",
    "https://[2606:4700::1111]/",
    "https://[2606:4700::1111]:8443/",
    "https://8.8.8.8/",
    "https://dcs.example./",
    "ftp://dcs.example/",
    "dcs.example/",
    "https://",
    "https://dcs.exämple/",
    "",
)
LISTS: tuple[list[str], ...] = (
    [],
    ["dcs.example"],
    ["dcs.example:8443"],
    ["*.dcs.example"],
    ["*.example"],
    ["[2606:4700::1111]"],
    ["[2606:4700::1111]:8443", "8.8.8.8"],
    ["other.test", "dcs.example"],
)


def allowed(url: str) -> list[list[str]]:
    return [hosts for hosts in LISTS if is_allowed_host(url, hosts)]


def test_a_host_is_allowed_by_name_by_port_or_by_what_it_lies_below() -> None:
    named = [["dcs.example"], ["other.test", "dcs.example"]]
    assert allowed("https://dcs.example/v2") == [*named[:1], ["*.example"], *named[1:]]
    assert allowed("https://dcs.example:8443") == [*named[:1], ["dcs.example:8443"], ["*.example"], *named[1:]]
    assert allowed("https://api.dcs.example/") == [["*.dcs.example"], ["*.example"]]
    assert allowed("https://[2606:4700::1111]:8443/") == [["[2606:4700::1111]"], ["[2606:4700::1111]:8443", "8.8.8.8"]]
    assert allowed("https://evil-dcs.example/") == [["*.example"]]
    for url in URLS:
        assert is_allowed_host(url, None)
        if "evil.test" in url or "\t" in url or not url.startswith("https://"):
            assert allowed(url) == [], url


def test_the_database_and_the_worker_read_urls_alike(platform: Platform) -> None:
    statement = text(
        "SELECT host_problem(:hosts, NULL, 'https://x.test', jsonb_build_object('token_url', CAST(:url AS text)))"
        " IS NULL"
    )
    differ = []
    with platform.db.transaction() as connection:
        for url, hosts in product(URLS, LISTS):
            # The endpoint is a host of the list's own; the URL in question stands where a token is fetched.
            says = connection.execute(statement, {"hosts": [*hosts, "x.test"], "url": url}).scalar_one()
            if says != is_allowed_host(url, [*hosts, "x.test"]):
                differ.append((url, hosts))
    assert differ == []


def test_a_configuration_for_another_host_is_refused_where_it_is_written(platform: Platform) -> None:
    platform.change("UPDATE integration_configuration SET auth_config = auth_config - 'token_url'")
    platform.change(ALLOW)
    with pytest.raises(IntegrityError, match=r"evil\.test.*not among the allowed_hosts"):
        platform.change("UPDATE integration_configuration SET endpoint_url = 'https://evil.test/v2'")
    with pytest.raises(IntegrityError, match=r"token_url"):
        platform.change(
            """UPDATE integration_configuration
               SET auth_config = auth_config || '{"token_url": "https://evil.test/token"}'"""
        )
    platform.change("UPDATE integration_configuration SET endpoint_url = 'https://dcs.example/v3'")


def test_a_list_that_a_configuration_does_not_keep_to_is_refused(platform: Platform) -> None:
    with pytest.raises(IntegrityError, match=rf"configuration {platform.configuration_id}: the host"):
        platform.change("UPDATE third_party_integration SET allowed_hosts = '{other.test}'")


@pytest.mark.parametrize("entry", ["HTTPS://dcs.example", "DCS.example", "dcs.example/", "*", "a b/", "", "*.*"])
def test_an_entry_that_can_never_match_is_refused(platform: Platform, entry: str) -> None:
    with pytest.raises(IntegrityError, match="ck_third_party_integration_allowed_hosts"):
        platform.change(
            "UPDATE third_party_integration SET allowed_hosts = ARRAY[:entry] WHERE code = 'DCS_CRIMINAL'", entry=entry
        )


def test_a_relative_endpoint_counts_by_its_base(platform: Platform) -> None:
    platform.change("UPDATE integration_configuration SET auth_config = auth_config - 'token_url'")
    platform.change("UPDATE third_party_integration SET base_url = 'https://dcs.example'")
    platform.change("UPDATE integration_configuration SET endpoint_url = '/v2/drivers'")
    platform.change(ALLOW)
    with pytest.raises(IntegrityError, match="not among"):
        platform.change("UPDATE third_party_integration SET base_url = 'https://evil.test'")


def test_rows_that_slipped_past_are_refused_where_they_are_asked_for_and_before_a_call(
    platform: Platform, database: DatabaseUrls
) -> None:
    asked = platform.ask(platform.driver())
    with psycopg.connect(database.owner_url) as owner:  # as a dump would be restored
        owner.execute("ALTER TABLE third_party_integration DISABLE TRIGGER trg_third_party_integration_hosts")
        owner.execute("UPDATE third_party_integration SET allowed_hosts = '{other.test}'")
    with pytest.raises(BadRequest, match="not among the allowed_hosts") as refusal:
        platform.ask(platform.driver())
    assert refusal.value.code == "configuration_error"
    ((_, outcome),) = platform.begin(asked)
    assert isinstance(outcome, GiveUp)
    assert outcome.code == "configuration_error"
