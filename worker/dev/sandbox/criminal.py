"""Criminal 1.0: records matched by name and birth date only, sometimes answered later.

Race, height and weight are in the answer so that a caller can prove that it drops them.
"""

from typing import Any

from .bounded import Bounded
from .fields import check_person
from .message import Call, Refusal, Reply, envelope, json_reply
from .personas import BY_LAST_NAME

PATH = "/v1.0/criminal"
VERSION = "1.0"
MOST_PERSONS = 100
ALIAS = "ALIAS, SAM"
OFFENSE = "DRIVING WHILE INTOXICATED 3RD OR MORE"
Json = dict[str, Any]

SCENARIOS = frozenset(
    ("ok", "criminal_clear", "criminal_felony", "criminal_alias", "criminal_two_profiles", "pending_twice")
)


def check(payload: Json) -> Refusal | None:
    persons = payload.get("persons")
    if not isinstance(persons, list) or not persons:
        return Refusal(400, "INSUFFICIENT_DATA", "no person is given", "persons")
    if len(persons) > MOST_PERSONS:
        return Refusal(422, "INVALID_REQUEST", f"more than {MOST_PERSONS} persons", "persons")
    refusals = (check_person(person, f"persons[{nth}]") for nth, person in enumerate(persons))
    return next((refusal for refusal in refusals if refusal), None)


def scenario_of(payload: Json) -> str:
    """Pending if anyone in it is, else the first person's."""
    scenarios = [_scenario_of_person(person) for person in payload["persons"]]
    return "pending_twice" if "pending_twice" in scenarios else scenarios[0]


def content(payload: Json, scenario: str, call: Call) -> Json:
    """The whole 200 answer. A scenario that names a record holds for everybody in a request of one person."""
    profiles: list[Json] = []
    for person in payload["persons"]:
        of_person = scenario if len(payload["persons"]) == 1 else _scenario_of_person(person)
        profiles += _profiles(person, of_person, _search_aliases(payload))
    return envelope(call, VERSION) | {"criminal_profiles": profiles}


def _scenario_of_person(person: Json) -> str:
    persona = BY_LAST_NAME.get(person["last_name"].upper())
    return persona.scenario if persona else "ok"


def _search_aliases(payload: Json) -> bool:
    options = payload.get("options")
    return bool(options.get("search_aliases", True)) if isinstance(options, dict) else True


def _profiles(person: Json, scenario: str, search_aliases: bool) -> list[Json]:
    if scenario == "criminal_felony":
        return [_profile(person, [_history(person)])]
    if scenario == "criminal_alias" and search_aliases:
        return [_profile(person, [_history(person, source="A", alias_names=[ALIAS])])]
    if scenario == "criminal_two_profiles":
        return [_profile(person, [_history(person)]), _profile(person, [])]
    return [_profile(person, [])]


def _profile(person: Json, histories: list[Json]) -> Json:
    return {
        "client_ref": person.get("client_ref"),
        "first_name": person["first_name"],
        "last_name": person["last_name"],
        "date_of_birth": person["date_of_birth"],
        "criminal_status": "records_found" if histories else "clear",
        "histories": histories,
    }


def _history(person: Json, *, source: str = "P", alias_names: list[str] | None = None) -> Json:
    return {
        "state_id": "TX00990001",
        "name": f"{person['last_name']}, {person['first_name']}".upper(),
        "date_of_birth": person["date_of_birth"],
        "search_source": source,
        "gender": "F",
        "race": "U",
        "height": "506",
        "weight": "150",
        "alias_names": alias_names or [],
        "alias_dobs": [],
        "total_offenses": 1,
        "offenses": [
            {
                "offense_code": "54040009",
                "description": OFFENSE,
                "disposition": "CONVICTED",
                "degree": "FELONY",
                "conviction_date": "2015-06-30",
                "offense_date": None,
                "court_offense": "DWI 3RD",
                "sentence": {"confinement_months": 24, "fine": "1000.00"},
            }
        ],
    }


class PendingSearches:
    """Searches answered later: `202` when asked for, `202` at the first look, the answer from the second on."""

    def __init__(self) -> None:
        self._payloads: Bounded[str, Json] = Bounded(1_000)
        self._looks: Bounded[str, int] = Bounded(1_000)

    def open(self, payload: Json, transaction_id: str) -> Reply:
        self._payloads[transaction_id] = payload
        self._looks[transaction_id] = 0
        return _pending(transaction_id)

    def look(self, transaction_id: str, call: Call) -> Reply | Refusal:
        payload = self._payloads.get(transaction_id)
        if payload is None:
            return Refusal(404, "INVALID_REQUEST", "no such search", "transaction_id")
        self._looks[transaction_id] += 1
        if self._looks[transaction_id] == 1:
            return _pending(transaction_id)
        return json_reply(200, content(payload, "pending_twice", call._replace(transaction_id=transaction_id)))


def _pending(transaction_id: str) -> Reply:
    return json_reply(
        202,
        {"transaction_id": transaction_id, "status": "pending"},
        ("Location", f"{PATH}/{transaction_id}"),
        ("Retry-After", "1"),
    )
