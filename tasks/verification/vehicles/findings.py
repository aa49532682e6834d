"""What a vehicles answer means: one result a vehicle, and what becomes of the vehicles that are ours.

A vehicle that isn't on the quote is a result about the address it was found at; no vehicle is created. What a title
says against a vehicle is noted and kept beside it, for people and for rating; it is no failure of the verification.
The provider gives no score: ours is how much of the vehicle fits, for the thresholds of the configuration.
"""

from dataclasses import field, replace
from datetime import date
from decimal import Decimal
from typing import Any

from models.vocabularies import VehicleVerificationStatus, VerificationStatus
from tasks.verification import grades, spelling
from tasks.verification.comparison import Grades, confidence, remarks
from tasks.verification.results import Discrepancy, Found, Result, note
from tasks.verification.scrutiny import LENIENT, Scrutiny, Verdict
from tasks.verification.vehicles.answer import RESTRICTED, FoundVehicle, VehicleAnswer
from tasks.verification.vehicles.question import OurVehicle, VehicleQuestion
from worker.configuration.field_mapping.compiled import Mapped
from worker.crypto import Keyring
from worker.values import value

_VIN_LENGTH = 17
_NAME_LENGTH = 50


@value(repr=False)
class VehicleChange:
    """`title_flags` None leaves those that are there. What follows fills empty columns, and overwrites nothing but for
    `mapped`, the columns that field mappings bring up to date.
    """

    vehicle_id: int
    status: VehicleVerificationStatus
    title_flags: tuple[str, ...] | None = None
    vin: str | None = None
    model_year: int | None = None
    make: str | None = None
    model: str | None = None
    mapped: dict[str, str | int] = field(default_factory=dict)


@value
class VehicleFindings(Found):
    """Everything that an answer changes."""

    changes: tuple[VehicleChange, ...]


def conclude(
    question: VehicleQuestion,
    answer: VehicleAnswer,
    _keyring: Keyring,
    *,
    is_cleaned: bool,
    document: dict[str, Any] | None = None,
    today: date = date.max,
) -> VehicleFindings:
    """What the answer to a search means. `is_cleaned`: characters that can't be stored were taken out of it.

    `document` is the answer as it is kept, for the field mappings; `today` is the day on which they check dates.
    """
    always = (note("", "unstorable_characters_removed"),) if is_cleaned else ()
    items = document["vehicles"] if document is not None else answer.vehicles
    mapped = [question.scrutiny.fields.apply(item, today) for item in items]
    if question.address_id is not None:
        return _at_address(question, question.address_id, answer, mapped, always)
    return _of_one(question, answer, mapped, always)


def error_results(question: VehicleQuestion) -> tuple[Result, ...]:
    """The row of a search that ended without an answer."""
    if question.address_id is not None:
        return (Result("vehicle", "address", question.address_id, "error"),)
    return (Result("vehicle", "vehicle", question.vehicles[0].id, "error"),)


def _of_one(
    question: VehicleQuestion, answer: VehicleAnswer, mapped: list[Mapped], always: tuple[Discrepancy, ...]
) -> VehicleFindings:
    """A search by VIN or plate means one vehicle. Of several that are found nobody can say which it is but a person."""
    ours = question.vehicles[0]
    if not answer.vehicles:
        result = Result("vehicle", "vehicle", ours.id, "not_found", discrepancies=always)
        return VehicleFindings((result,), (VehicleChange(ours.id, "failed"),))
    several = (note("vehicles", "several_vehicles"),) if len(answer.vehicles) > 1 else ()
    scrutiny = LENIENT if several else question.scrutiny
    results = []
    for nth, found in enumerate(answer.vehicles):
        compared = _compare(nth, ours, found, scrutiny, is_by_plate=question.search_by == "plate")
        if several and compared.status == "verified":
            compared = replace(compared, status="partial")
        results.append(_result(ours.id, compared, found, (*always, *several), _said(nth, compared, mapped[nth])))
    if several:
        return VehicleFindings(tuple(results), (VehicleChange(ours.id, "partial"),))
    return VehicleFindings(tuple(results), (_change(ours, results[0].status, answer.vehicles[0], mapped[0]),))


def _at_address(
    question: VehicleQuestion,
    address_id: int,
    answer: VehicleAnswer,
    mapped: list[Mapped],
    always: tuple[Discrepancy, ...],
) -> VehicleFindings:
    """A search by address finds vehicles of ours by their VINs. One that isn't there may be well known elsewhere."""
    by_vin = {spelling.code(ours.vin): ours for ours in question.vehicles if ours.vin}
    results, changes = [], []
    for nth, found in enumerate(answer.vehicles):
        ours = by_vin.pop(spelling.code(found.vehicle_data.vin), None)
        if ours is None:
            notes = (*always, *_notes(nth, found), note(f"vehicles[{nth}]", "unknown_vehicle"))
            status: VerificationStatus = "partial" if found.is_found else "not_found"
            results.append(Result("vehicle", "address", address_id, status, None, _facts(found), notes))
            continue
        compared = _compare(nth, ours, found, question.scrutiny, is_by_plate=False)
        results.append(_result(ours.id, compared, found, always, _said(nth, compared, mapped[nth])))
        changes.append(_change(ours, compared.status, found, mapped[nth]))
    missing = [ours.id for ours in question.vehicles if spelling.code(ours.vin) in by_vin]
    results += [Result("vehicle", "vehicle", id_, "not_found", discrepancies=always) for id_ in missing]
    if not results:
        results = [Result("vehicle", "address", address_id, "not_found", discrepancies=always)]
    return VehicleFindings(tuple(results), tuple(changes))


@value
class _Compared:
    status: Verdict
    notes: tuple[Discrepancy, ...]
    score: Decimal | None = None


def _compare(nth: int, ours: OurVehicle, found: FoundVehicle, scrutiny: Scrutiny, *, is_by_plate: bool) -> _Compared:
    """How well a vehicle that was found fits ours; first whether it is ours at all."""
    data, path = found.vehicle_data, f"vehicles[{nth}]"
    if not found.is_found:
        said = (found.vehicle_search_status or "")[:50]
        return _Compared("not_found", (note(f"{path}.vehicle_search_status", said),))
    if ours.vin and spelling.code(data.vin) != spelling.code(ours.vin):
        return _Compared("failed", (note(f"{path}.vehicle_data.vin", "other_vehicle"),))
    tag = found.registration_info.tag if found.registration_info is not None else None
    if is_by_plate and spelling.code(tag) != spelling.code(ours.plate):
        return _Compared("failed", (note(f"{path}.registration_info.tag", "other_vehicle"),))
    vehicle: Grades = {
        "vin": grades.of_code(ours.vin, data.vin),
        "model_year": grades.of_year(ours.model_year, data.model_year),
        "make": grades.of_model(ours.make, data.make),
        "model": grades.of_model(ours.model, data.model),
    }
    # Cars change their plates: another one is worth a remark, and counts only where it is what was asked.
    plate: Grades = {"tag": grades.of_code(ours.plate, tag)} if tag else {}
    notes = [*remarks(f"{path}.vehicle_data", vehicle), *remarks(f"{path}.registration_info", plate)]
    if data.vin_error:
        notes.append(note(f"{path}.vehicle_data.vin_error", "vin_error"))
    # Makers and years are codes, models are names, which everybody writes in another way.
    is_certain = not data.vin_error and not {"partial", "mismatch"} & {vehicle["model_year"], vehicle["make"]}
    status: Verdict = "verified" if is_certain else "partial"
    score = confidence({**vehicle, **plate} if is_by_plate else vehicle)
    capped = scrutiny.capped(status, score)
    if capped != status:
        notes.append(note("confidence_score", "below_threshold"))
    return _Compared(capped, (*notes, *_notes(nth, found)), score)


def _notes(nth: int, found: FoundVehicle) -> list[Discrepancy]:
    """What speaks against the vehicle itself, whoever's it is."""
    path, title, registration = f"vehicles[{nth}]", found.title_info, found.registration_info
    notes = []
    if title is not None:
        notes += [note(f"{path}.title_info.flags.{flag}", "raised") for flag in title.flags.raised()]
        if title.privacy_opt_out_code == RESTRICTED:
            notes.append(note(f"{path}.title_info.privacy_opt_out_code", "restricted_release"))
    if registration is not None and registration.invalid:
        notes.append(note(f"{path}.registration_info.invalid", "invalid"))
    return notes


def _result(
    vehicle_id: int,
    compared: _Compared,
    found: FoundVehicle,
    first: tuple[Discrepancy, ...],
    last: tuple[Discrepancy, ...],
) -> Result:
    # Another vehicle's data has no place among the results of ours.
    data = None if compared.status in ("failed", "not_found") else _facts(found)
    notes = (*first, *compared.notes, *last)
    return Result("vehicle", "vehicle", vehicle_id, compared.status, compared.score, data, notes)


def _facts(found: FoundVehicle) -> dict[str, object]:
    return found.model_dump(mode="json")


def _said(nth: int, compared: _Compared, mapped: Mapped) -> tuple[Discrepancy, ...]:
    """What the field mappings noted, of a vehicle that is ours, at nodes that have no remark of our own."""
    if compared.status not in ("verified", "partial"):
        return ()
    known = {remark["node_path"] for remark in compared.notes}
    said = ((one.path.replace("vehicles[]", f"vehicles[{nth}]", 1), one.word) for one in mapped.notes)
    return tuple(note(path, word, "mapping") for path, word in said if path not in known)


def _change(ours: OurVehicle, status: VerificationStatus, found: FoundVehicle, mapped: Mapped) -> VehicleChange:
    if status not in ("verified", "partial"):
        return VehicleChange(ours.id, "failed")
    data = found.vehicle_data
    vin = spelling.code(data.vin).upper() if not data.vin_error else ""
    return VehicleChange(
        ours.id,
        "verified" if status == "verified" else "partial",
        found.title_info.flags.raised() if found.title_info is not None else None,
        vin=vin if len(vin) == _VIN_LENGTH and vin.isascii() else None,
        model_year=data.model_year,
        make=data.make and data.make[:_NAME_LENGTH],
        model=data.model and data.model[:_NAME_LENGTH],
        mapped=mapped.values.get("vehicle", {}) if status == "verified" else {},
    )
