"""What criminal records 1.0 says, as far as it is needed: whose record it is, and which offences.

Race, height, weight, gender, the number of the state's file and the sentence are not read, and what is not read is not
kept anywhere.
"""

from typing import Annotated, Literal

from tasks.verification.contract import Date, Many, Part
from tasks.verification.reading import Form


class Offense(Part):
    offense_code: str | None = None
    description: str | None = None
    disposition: str | None = None
    degree: str | None = None
    conviction_date: Date = None
    offense_date: Date = None


class History(Part):
    """One state's file. `search_source`: found under the name itself (P) or an alias (A)."""

    name: str | None = None
    date_of_birth: Date = None
    search_source: Literal["P", "A"] | None = None
    alias_names: Annotated[tuple[str, ...], Many] = ()
    alias_dobs: Annotated[tuple[Date, ...], Many] = ()
    total_offenses: int | None = None
    offenses: Annotated[tuple[Offense, ...], Many] = ()


class Profile(Part):
    client_ref: str | None = None
    first_name: str | None = None
    last_name: str | None = None
    date_of_birth: Date = None
    criminal_status: Literal["clear", "records_found"]
    histories: Annotated[tuple[History, ...], Many] = ()


class CriminalAnswer(Part):
    transaction_id: str | None = None
    criminal_profiles: Annotated[tuple[Profile, ...], Many]


NOTHING_FOUND = CriminalAnswer(criminal_profiles=())

FORM = Form(lambda said, _account: CriminalAnswer.model_validate(said), NOTHING_FOUND, is_stripped=True)
