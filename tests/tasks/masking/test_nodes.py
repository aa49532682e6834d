"""A field of an answer that somebody declared personal is masked, whatever the rules say about its key."""

from typing import Any, get_args

import psycopg
import pytest
from psycopg import errors
from psycopg.types.json import Jsonb

from models.vocabularies import DataClass
from tasks.masking.documents import Masker
from tasks.masking.operators import REDACTED
from tasks.masking.rules import Rule, RuleSet, of_node, problem_of
from tests.migrations.rows import configuration, insert, integration, only
from tests.tasks.maintaining import Maintained
from tests.tasks.masking.defaults import DEFAULTS, KEYRING
from tests.tasks.masking.platform import counts, requests


def masker(path: str, data_class: DataClass, *rules: Rule) -> Masker:
    return Masker(RuleSet(rules or DEFAULTS.rules, [of_node(7, path, data_class)]), KEYRING.token)


@pytest.mark.parametrize(
    ("path", "document", "masked"),
    [
        ("vendor.remark", {"vendor": {"remark": "likes birds"}}, {"vendor": {"remark": REDACTED}}),
        ("vendor.remark", {"other": {"remark": "likes birds"}}, {"other": {"remark": "likes birds"}}),
        ("vendor.notes[].said", {"vendor": {"notes": [{"said": "a"}]}}, {"vendor": {"notes": [{"said": REDACTED}]}}),
        ("vendor.notes.said", {"vendor": {"notes": [{"said": "a"}]}}, {"vendor": {"notes": [{"said": REDACTED}]}}),
        ("vendor.codes[]", {"vendor": {"codes": ["a", "b"]}}, {"vendor": {"codes": [REDACTED, REDACTED]}}),
        ("vendor.status", {"vendor": {"status": "a"}}, {"vendor": {"status": REDACTED}}),
        ("Vendor.birdName", {"vendor": {"bird_name": "a"}}, {"vendor": {"bird_name": REDACTED}}),
        ("vendor", {"vendor": {"status": "a", "state": ["b"]}}, {"vendor": {"status": REDACTED, "state": [REDACTED]}}),
        ("driver_data.vendor.status", {"vendor": {"status": "a"}}, {"vendor": {"status": REDACTED}}),
    ],
    ids=[
        "no rule knows it", "elsewhere the key is another", "through a list", "through a list that the path omits",
        "a list of values", "more than a key that is kept", "spelt otherwise", "with all that is in it",
        "in a result, which is a part of the answer",
    ],
)  # fmt: skip
def test_a_personal_field_is_masked(path: str, document: Any, masked: Any) -> None:
    masks = masker(path, "free_text")
    assert masks.document(document) == masked
    assert masks.document(masked) == masked


def test_what_a_rule_masks_already_is_masked_its_way_and_an_exact_path_can_keep() -> None:
    assert masker("a.vin", "vehicle_id").document({"a": {"vin": "1SANDBX0000000SSN"}}) == {
        "a": {"vin": "1SANDBX0000******"}
    }
    keep = Rule(1, "path", "a.b", "keep", "document")
    assert masker("a.b", "name", keep).document({"a": {"b": "c"}}) == {"a": {"b": "c"}}


def test_the_object_around_a_field_about_a_person_is_closed() -> None:
    masked = masker("vendor.bird", "name").document({"vendor": {"bird": "a", "unknown_tomorrow": "b", "state": "TX"}})
    assert masked == {"vendor": {"bird": REDACTED, "unknown_tomorrow": REDACTED, "state": "TX"}}


@pytest.mark.parametrize("data_class", get_args(DataClass))
def test_every_class_has_a_way_to_be_masked(data_class: DataClass) -> None:
    assert problem_of(of_node(7, "a[].b", data_class)) is None
    for value in ("Canary", "1980-05-15", "10.1.2.3"):
        assert masker("a.b", data_class).document({"a": {"b": value}}) != {"a": {"b": value}}


def node(connection: psycopg.Connection, integration_id: int, path: str, **values: Any) -> Any:
    said = {"integration_id": integration_id, "node_path": path, "node_name": "n", "data_type": "string"}
    return insert(connection, "integration_node", **said | {"api_version": "1", "pii_class": "name"} | values)


def test_the_sweep_masks_the_answers_of_that_integration(platform: Maintained) -> None:
    said = {"vendor": {"bird": "a Canary"}}
    ids = requests(platform.owner, 1, response_body=said)
    others = integration(platform.owner, code="DCS_CRIMINAL")
    ids += requests(
        platform.owner, 1, response_body=said, integration_id=others,
        configuration_id=configuration(platform.owner, integration_id=others),
    )  # fmt: skip
    marked = node(
        platform.owner, only(platform.owner, "SELECT integration_id FROM integration_request LIMIT 1"), "vendor.bird"
    )
    platform.owner.execute(
        "UPDATE integration_verification_result SET verified_data = %s", [Jsonb({"bird": "a Canary"})]
    )
    told = counts(platform.run())
    assert told[f"node {marked}: vendor.bird"] == 2
    bodies = platform.owner.execute("SELECT response_body -> 'vendor' ->> 'bird' FROM integration_request ORDER BY id")
    assert bodies.fetchall() == [(REDACTED,), ("a Canary",)]
    results = platform.owner.execute("SELECT verified_data ->> 'bird' FROM integration_verification_result ORDER BY id")
    assert results.fetchall() == [(REDACTED,), ("a Canary",)]
    assert len(ids) == 2


def test_a_personal_field_without_a_path_that_can_be_found_is_refused(platform: Maintained) -> None:
    own = integration(platform.owner)
    with pytest.raises(errors.CheckViolation, match="personal_path"):
        node(platform.owner, own, "a..b")
    node(platform.owner, own, "a..b", pii_class=None)


def test_a_field_that_cannot_be_used_all_the_same_is_shown_and_nothing_is_masked(platform: Maintained) -> None:
    requests(platform.owner, 1)
    platform.owner.execute("ALTER TABLE integration_node DROP CONSTRAINT ck_integration_node_personal_path")
    bad = node(platform.owner, integration(platform.owner), "a b.c")
    done = platform.run()
    assert (done["state"], done["error_code"]) == ("failed", "invalid_rule")
    assert f"node {bad}: a b.c: a path is keys with dots" in done["error_message"]
