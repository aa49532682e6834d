"""The invented people, one row each: who they are, what the sandbox does when asked about them, and how a
worker that follows the provider's contract ends up.

Scenarios that share a licence number in the contract have a number each here: the first keeps it, the second
adds 100, the third 200, the fourth 300 (TX00000060 malformed_json, TX00000160 html_200, ...), so that a caller
that never sends X-Sandbox-Scenario can still meet every one. A licence number, last name, street or VIN that is
not in the table behaves like `ok`, with the data asked about echoed.
"""

from dataclasses import dataclass
from typing import Literal

JobState = Literal["done", "failed", "ready"]


@dataclass(frozen=True, slots=True)
class Address:
    street_1: str
    city: str = "Austin"
    state: str = "TX"
    zip_code: str = "78701"


@dataclass(frozen=True, slots=True)
class Expected:
    """Where a request about the persona ends.

    `result_status` is that of the household and licence results of a completed request, else None. Of the driver's and
    the licence's status, None means: as it was before. `finishes` is false where the provider asks for
    a wait longer than anyone watches: there the job stays ready and the request pending.
    """

    job_state: JobState = "done"
    request_status: Literal["completed", "failed", "timeout", "pending"] = "completed"
    result_status: Literal["verified", "partial", "failed", "not_found"] | None = None
    driver_status: Literal["verified", "partial", "failed"] | None = None
    license_status: Literal["not_verified", "verified", "invalid", "expired", "suspended"] | None = None
    finishes: bool = True


@dataclass(frozen=True, slots=True)
class Persona:
    """`api` says what to ask; drivers are found by `license_number`, criminal records by `last_name`, vehicles by
    `vin` or by the street of `address`. `date_of_birth` is an ISO date.
    """

    api: Literal["drivers", "criminal", "vehicles"]
    scenario: str
    first_name: str
    last_name: str
    date_of_birth: str
    expected: Expected
    address: Address
    license_number: str | None = None
    state_code: str = "TX"
    vin: str | None = None


VERIFIED = Expected("done", "completed", "verified", "verified", "verified")
EXPIRED = Expected("done", "completed", "verified", "verified", "expired")
SUSPENDED = Expected("done", "completed", "verified", "verified", "suspended")
REVOKED = Expected("done", "completed", "verified", "verified", "invalid")
PARTIAL = Expected("done", "completed", "partial", "partial", "not_verified")
NOT_FOUND = Expected("done", "completed", "not_found", "failed", "not_verified")
MISMATCH = Expected("done", "completed", "failed", "failed", "invalid")
FAILED = Expected("failed", "failed")
TIMEOUT = Expected("failed", "timeout")
UNFINISHED = Expected("ready", "pending", finishes=False)
ANSWERED = Expected("done", "completed")  # what the answer means is for a person to decide


def _driver(number: int, scenario: str, name: str, born: str, expected: Expected) -> Persona:
    first, last = name.split()
    return Persona(
        "drivers", scenario, first, last, born, expected, Address(f"{100 + number} Test Ln"), f"TX{number:08d}"
    )


def _suspect(name: str, scenario: str, born: str) -> Persona:
    first, last = name.split()
    return Persona("criminal", scenario, first, last, born, ANSWERED, Address("900 Record Rd"))


def _owner(name: str, scenario: str, street: str, vin: str) -> Persona:
    first, last = name.split()
    return Persona("vehicles", scenario, first, last, "1977-07-07", ANSWERED, Address(street), vin=vin)


PERSONAS: tuple[Persona, ...] = (
    # The answer is found
    _driver(1, "ok", "Vera Valid", "1980-05-15", VERIFIED),
    _driver(2, "household", "Hank Household", "1975-02-03", VERIFIED),
    _driver(3, "truncated", "Max Hundred", "1969-11-30", VERIFIED),
    _driver(10, "expired", "Exa Expired", "1982-01-20", EXPIRED),
    _driver(11, "suspended", "Sus Pended", "1990-08-08", SUSPENDED),
    _driver(12, "revoked", "Rae Revoked", "1971-04-17", REVOKED),
    _driver(13, "id_card", "Ida Card", "2001-12-01", VERIFIED),
    _driver(20, "partial", "Pat Partial", "1988-03-21", PARTIAL),
    _driver(21, "not_found", "Nora Nohit", "1993-06-06", NOT_FOUND),
    _driver(22, "no_body", "Noel Nobody", "1964-10-12", NOT_FOUND),
    _driver(30, "address_annf", "Ann Addressless", "1985-09-01", VERIFIED),
    _driver(31, "address_anns", "Anselm Addressless", "1985-09-02", VERIFIED),
    _driver(32, "address_hnnf", "Hanna Addressless", "1985-09-03", VERIFIED),
    _driver(33, "address_snnf", "Snorri Addressless", "1985-09-04", VERIFIED),
    # The line misbehaves
    _driver(40, "timeout", "Tim Out", "1979-01-31", TIMEOUT),
    _driver(41, "drip_body", "Drew Drip", "1991-05-05", TIMEOUT),
    _driver(141, "drip_headers", "Dora Drip", "1991-05-06", TIMEOUT),
    _driver(42, "connect_reset", "Reese Reset", "1968-02-29", FAILED),
    _driver(142, "reset_mid_body", "Midge Reset", "1968-03-01", FAILED),
    _driver(43, "truncated_body", "Trudy Truncated", "1974-07-19", FAILED),
    _driver(44, "huge", "Hugo Huge", "1983-12-24", FAILED),
    _driver(144, "gzip_bomb", "Bo Bomb", "1983-12-25", FAILED),
    # The provider refuses or is in trouble
    _driver(50, "500", "Fiona Five", "1987-10-10", FAILED),
    _driver(150, "500_twice", "Frank Five", "1987-10-11", VERIFIED),
    _driver(51, "429", "Thora Throttled", "1995-03-14", FAILED),
    _driver(151, "429_then_ok", "Theo Throttled", "1995-03-15", VERIFIED),
    _driver(251, "429_date", "Thea Throttled", "1995-03-16", FAILED),
    _driver(52, "503_retry_after_3600", "Una Unavailable", "1966-06-01", UNFINISHED),
    _driver(53, "504", "Gail Gateway", "1978-08-18", TIMEOUT),
    _driver(153, "588", "Odd Code", "1978-08-19", FAILED),
    _driver(253, "418", "Tessa Teapot", "1978-08-20", FAILED),
    _driver(54, "token_expired", "Tobias Token", "1992-02-22", VERIFIED),
    _driver(154, "token_always_rejected", "Tabea Token", "1992-02-23", FAILED),
    # The answer is not what it should be
    _driver(60, "malformed_json", "Mal Formed", "1984-04-04", FAILED),
    _driver(160, "html_200", "Hypatia Text", "1984-04-05", FAILED),
    _driver(260, "wrong_charset", "Zoe Charset", "1984-04-06", FAILED),
    _driver(360, "nul_char", "Nell Null", "1984-04-07", VERIFIED),
    _driver(61, "body_status_500", "Bodil Status", "1973-09-09", FAILED),
    _driver(62, "quirks", "Quin Quirk", "1980-05-15", VERIFIED),
    _driver(63, "wrong_person", "Wren Wrong", "1998-11-11", MISMATCH),
    _driver(64, "redirect", "Reed Direct", "1976-05-25", FAILED),
    # Criminal records
    _suspect("Al Clear", "criminal_clear", "1981-01-01"),
    _suspect("Fay Felony", "criminal_felony", "1972-02-02"),
    _suspect("Ali As", "criminal_alias", "1983-03-03"),
    _suspect("Twin Twins", "criminal_two_profiles", "1994-04-04"),
    _suspect("Penny Pending", "pending_twice", "1985-05-05"),
    # Vehicles
    _owner("Stella Stolen", "vehicle_stolen", "1 Stolen St", "1SANDBX0000STOLEN"),
    _owner("Flo Flood", "vehicle_flood", "2 Flood St", "1SANDBX00000FLOOD"),
    _owner("Sally Ssn", "vehicle_ssn", "3 Number St", "1SANDBX0000000SSN"),
)

BY_LICENSE = {persona.license_number: persona for persona in PERSONAS if persona.license_number}
BY_LAST_NAME = {persona.last_name.upper(): persona for persona in PERSONAS if persona.api == "criminal"}
BY_VIN = {persona.vin: persona for persona in PERSONAS if persona.vin}
BY_STREET = {persona.address.street_1.upper(): persona for persona in PERSONAS if persona.api == "vehicles"}
