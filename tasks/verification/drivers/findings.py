"""From an answer to the words our columns know: what each result says, and what becomes of driver, licence, address.

The provider's own verdict is an upper bound: it can only get worse here, where person and licence are compared with
what was asked.
"""

from dataclasses import field, replace
from datetime import date
from decimal import Decimal
from typing import Any

from models.vocabularies import (
    DeliveryPointValidation,
    DriverVerificationStatus,
    LicenseVerificationStatus,
    VerificationStatus,
    VerificationType,
)
from tasks.verification.drivers.answer import Answer, CurrentAddress, LicenseInfo, ProviderStatus
from tasks.verification.drivers.discrepancies import discrepancies
from tasks.verification.drivers.household import Offer, household
from tasks.verification.drivers.question import DriverQuestion, license_number
from tasks.verification.identity import Identity, identify, same_address, same_license
from tasks.verification.question import PostalAddress, client_ref
from tasks.verification.results import Found, Result, note
from worker.configuration.field_mapping.compiled import Mapped, Values
from worker.crypto import Keyring
from worker.values import value

LICENSE_STATUS: dict[str, LicenseVerificationStatus] = {
    "valid": "verified",
    "expired": "expired",
    "suspended": "suspended",
    "revoked": "invalid",
}
"""Our word for the provider's; what is not here is `not_verified`, and the provider's word is kept beside it."""


@value
class DriverChange:
    """`external_id` None leaves the one that is there."""

    status: DriverVerificationStatus
    confidence: Decimal | None
    external_id: str | None


@value
class LicenseChange:
    status: LicenseVerificationStatus
    external_status: str | None
    notes: str | None


@value
class AddressChange:
    confidence: Decimal | None
    delivery_point_validation: DeliveryPointValidation


@value
class Findings(Found):
    """Everything that an answer changes. `address` None leaves the address as it is.

    `mapped` are the columns, by table, that the field mappings bring up to date.
    """

    driver: DriverChange
    license: LicenseChange
    address: AddressChange | None
    offers: tuple[Offer, ...] = ()
    mapped: Values = field(default_factory=dict)


def conclude(
    question: DriverQuestion,
    answer: Answer,
    keyring: Keyring,
    *,
    is_cleaned: bool,
    document: dict[str, Any] | None = None,
    today: date = date.max,
) -> Findings:
    """What the answer says about the driver, and about who else lives there. Raises `Undecipherable`."""
    number = license_number(question, keyring)
    own = findings(question, number, answer, is_cleaned=is_cleaned, document=document, today=today)
    if own.driver.status not in ("verified", "partial"):
        return own
    members, offers = household(question.mates, question.household, answer.household_members, keyring)
    overall, *others = own.results
    if offers:
        undisclosed = note("household_members", "unknown_members")
        overall = replace(overall, discrepancies=(*overall.discrepancies, undisclosed))
    return replace(own, results=(overall, *others, *members), offers=offers)


def findings(
    question: DriverQuestion,
    license_number: str,
    answer: Answer,
    *,
    is_cleaned: bool,
    document: dict[str, Any] | None = None,
    today: date = date.max,
) -> Findings:
    """What the answer to a question means. `is_cleaned`: characters that can't be stored were taken out of it.

    `document` is the answer as it was said, for the field mappings; `today` is the day on which they check dates.
    """
    scrutiny = question.scrutiny
    found = answer.driver_data
    identity, has_license = None, False
    if found is not None:
        identity = identify(question.subject, client_ref(question.driver_id), found, nicknames=scrutiny.match_nicknames)
        has_license = same_license(license_number, question.state_code, found)
    score = answer.confidence_score
    uncapped = _overall(answer, identity, has_license=has_license)
    status: ProviderStatus = scrutiny.capped(uncapped, score)
    is_ours = found is not None and identity is not Identity.OTHER
    info = found.license_info if found is not None and is_ours else None
    mapped = scrutiny.fields.apply(document, today) if document is not None and is_ours else Mapped({})
    noted = discrepancies(
        question,
        license_number,
        answer,
        identity,
        is_capped=status != uncapped,
        is_cleaned=is_cleaned,
        notes=mapped.notes,
    )

    def result(kind: VerificationType, outcome: VerificationStatus, data: dict[str, Any] | None, about: str) -> Result:
        own = tuple(d for d in noted if d["node_path"].startswith(about))
        # Another person's data is in the record of the call; among our driver's results it has no place.
        if kind == "address" and question.address_id is not None:
            return Result(kind, "address", question.address_id, outcome, score, data if is_ours else None, own)
        return Result(kind, "driver", question.driver_id, outcome, score, data if is_ours else None, own)

    results = [
        result("household", status, _household(answer), ""),
        result("license", status, _dump(info), "driver_data.license_info"),
        result(
            "identity",
            scrutiny.capped(_identity(status, identity), score),
            _person(answer),
            "driver_data.personal_info",
        ),
    ]
    address_change = None
    if question.address is not None and question.address_id is not None:
        current = found.address_info.current_address if found and found.address_info else None
        is_same = current is not None and _is_same(current, question.address)
        outcome = _address(status, answer, current, is_same=is_same)
        results.append(result("address", scrutiny.capped(outcome, score), _dump(current), "driver_data.address_info"))
        if is_ours and current is not None and is_same:
            address_change = AddressChange(score, current.delivery_point_validation or "unknown")

    return Findings(
        results=tuple(results),
        driver=DriverChange(
            status="failed" if status == "not_found" else status,
            confidence=score,
            external_id=(found.driver_id or "")[:100] or None if found is not None and is_ours else None,
        ),
        license=_license(status, identity, info, has_license=has_license),
        address=address_change,
        mapped=_writable(
            mapped.values,
            driver=identity is Identity.SAME and status in ("verified", "partial"),
            license=identity is Identity.SAME and has_license and status in ("verified", "partial"),
            address=address_change is not None and status in ("verified", "partial"),
        ),
    )


def _writable(values: Values, **tables: bool) -> Values:
    """What mappings may change: rows that the answer is certainly about."""
    return {table: values[table] for table, is_certain in tables.items() if is_certain and table in values}


def error_results(question: DriverQuestion) -> tuple[Result, ...]:
    """The rows of a verification that ended without an answer: that it was tried, and nothing else."""
    kinds: tuple[VerificationType, ...] = ("household", "license", "identity")
    rows = tuple(Result(kind, "driver", question.driver_id, "error") for kind in kinds)
    if question.address_id is None:
        return rows
    return (*rows, Result("address", "address", question.address_id, "error"))


def _overall(answer: Answer, identity: Identity | None, *, has_license: bool) -> ProviderStatus:
    if identity is Identity.OTHER:
        return "failed"
    if answer.verification_status == "verified" and not (identity is Identity.SAME and has_license):
        return "partial"
    return answer.verification_status


def _license(
    status: VerificationStatus, identity: Identity | None, info: LicenseInfo | None, *, has_license: bool
) -> LicenseChange:
    if identity is Identity.OTHER:
        return LicenseChange("invalid", None, "The provider knows this number as another person's.")
    if info is None or not has_license or status not in ("verified", "partial"):
        external = info.status if info is not None else None
        return LicenseChange("not_verified", _clip(external), None)
    notes = "The provider knows this number as an identification card." if info.id_card else None
    return LicenseChange(LICENSE_STATUS.get((info.status or "").lower(), "not_verified"), _clip(info.status), notes)


def _identity(status: ProviderStatus, identity: Identity | None) -> ProviderStatus:
    match identity:
        case Identity.SAME:
            return "verified" if status in ("verified", "partial") else status
        case Identity.UNSURE:
            return "partial" if status in ("verified", "partial") else status
        case Identity.OTHER:
            return "failed"
    return status


def _address(
    status: ProviderStatus, answer: Answer, current: CurrentAddress | None, *, is_same: bool
) -> ProviderStatus:
    if status in ("failed", "not_found"):
        return status
    if current is None or (answer.address_search_status or "FOUND") != "FOUND":
        return "not_found"
    if current.delivery_point_validation == "invalid":
        return "failed"
    return "verified" if is_same and current.delivery_point_validation == "valid" else "partial"


def _is_same(current: CurrentAddress, asked: PostalAddress) -> bool:
    found = PostalAddress(current.street_1, current.street_2, current.city, current.state, current.zip_code)
    return same_address(asked, found)


def _household(answer: Answer) -> dict[str, Any]:
    return answer.model_dump(
        mode="json",
        include={"address_search_status", "drivers_found", "records_returned", "truncated"},
    )


def _person(answer: Answer) -> dict[str, Any] | None:
    return _dump(answer.driver_data.personal_info) if answer.driver_data else None


def _dump(part: Any) -> dict[str, Any] | None:
    return part.model_dump(mode="json") if part is not None else None


def _clip(text: str | None) -> str | None:
    return text[:50] if text else None
