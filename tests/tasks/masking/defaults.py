"""The rules that the migrations load, without a database."""

from importlib import import_module
from typing import Any

from tasks.masking.documents import Masker
from tasks.masking.rules import Rule, RuleSet
from worker.crypto import Keyring

KEYRING = Keyring({"k1": bytes(range(32))}, bytes(32))
REVISION = import_module("migrations.versions.033_mask_personal_data")


def default_rules() -> list[Rule]:
    rows: list[dict[str, Any]] = REVISION.rules()
    return [
        Rule(
            number,
            row["match_type"],
            row["pattern"],
            row["operator"],
            row["data_class"],
            validator=row.get("validator"),
            params=row.get("params", {}),
        )
        for number, row in enumerate(rows, 1)
    ]


DEFAULTS = RuleSet(default_rules())


def masker(*rules: Rule) -> Masker:
    """With the given rules, else with the ones that are loaded."""
    return Masker(RuleSet(rules) if rules else DEFAULTS, KEYRING.token)
