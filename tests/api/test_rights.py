"""Who may do what: every kind of caller at every route, and that nobody sees another tenant's rows."""

import re
from uuid import UUID

import psycopg
import pytest
from sqlalchemy import text

from tests.api.clients import Upstream, add_client, token_of
from tests.api.served import Api
from tests.conftest import DatabaseUrls
from tests.migrations.rows import insert
from worker.api.clients import Scope
from worker.database import Database

ROUTES: dict[str, Scope] = {
    "POST /v1/verifications": "verifications:write",
    "POST /v1/verifications:batch": "verifications:write",
    "GET /v1/verifications/{request}": "verifications:read",
    "GET /v1/verifications/{request}/raw": "verifications:read",
    "POST /v1/quotes/{quote}:recalculate": "quotes:write",
    "GET /v1/jobs": "jobs:read",
    "GET /v1/jobs/{job}": "jobs:read",
    "GET /v1/jobs/{job}?wait=1": "jobs:read",
    "GET /v1/jobs/{job}/why": "jobs:read",
    "POST /v1/jobs/{job}:retry": "jobs:write",
    "POST /v1/jobs/{job}:cancel": "jobs:write",
}
WELL = {"POST": 202, "GET": 200}
STATE = """
    UPDATE job SET state = :state, finished_at = CASE WHEN CAST(:state AS varchar) = 'failed' THEN now() END
    WHERE id = :id
"""
OF_ONE = [route for route in ROUTES if "{job}" in route or "{request}" in route]
"""Of one tenant's; quotes are everybody's, as drivers are."""


def change(db: Database, statement: str, **values: object) -> None:
    with db.transaction() as connection:
        connection.execute(text(statement), values)


@pytest.fixture
def asked(upstream: Upstream, driver: int, database: DatabaseUrls) -> dict[str, str]:
    """A verification of tenant T1, and a quote."""
    with psycopg.connect(database.owner_url) as owner:
        quote = insert(owner, "quotes", state="TX", product_type="auto")
    body = upstream.call("POST", "/v1/verifications", question(driver)).body
    return {"job": body["job_id"], "request": str(body["request_id"]), "quote": str(quote)}


def question(driver: int, **changes: object) -> dict[str, object]:
    return {"integration": "DCS_HOUSEHOLD_DRIVERS", "driver_id": driver, **changes}


def test_every_route_is_in_the_table(api: Api) -> None:
    """But for what is open to everybody, and the two that a client's secret opens."""
    _, _, document = api.get("/openapi.json")
    named = {re.sub(r"{(\w+)_id}", r"{\1}", path): methods for path, methods in document["paths"].items()}
    behind_a_token = {f"{method.upper()} {path}" for path, methods in named.items() for method in methods
        if path.startswith("/v1/")}  # fmt: skip
    assert behind_a_token == {route.partition("?")[0] for route in ROUTES}
    assert {path for path in named if not path.startswith("/v1/")} == {
        "/healthz", "/readyz", "/metrics", "/oauth2/token", "/oauth2/revoke",
    }  # fmt: skip


def test_every_cell_of_the_table(api: Api, db: Database, driver: int, asked: dict[str, str]) -> None:
    holders = {scope: token_of(api, add_client(db, "T1", scopes=[scope])) for scope in set(ROUTES.values())}
    everything = token_of(api, add_client(db, "T1"))
    # The raw answer needs a right beside the scope; tests/api/test_raw.py has its table.
    change(
        db,
        """INSERT INTO integration_permission (integration_id, permission_type, permission_target_id,
               can_view_raw_responses, scope_level, status_id, created_by)
           SELECT integration.id, 'group', client.client_id, true, 'system', integration.status_id,
               '00000000-0000-0000-0000-000000000001'
           FROM third_party_integration AS integration, oauth2_clients AS client""",
    )
    stranger = token_of(api, add_client(db, "T2"))
    worthless = {"no token": None, "an unknown token": "x" * 43}
    for name, statement in {
        "an expired token": "UPDATE oauth2_access_tokens SET expires_at = now() WHERE client_id = :id",
        "a revoked token": "UPDATE oauth2_access_tokens SET revoked_at = now() WHERE client_id = :id",
        "a disabled client": "UPDATE oauth2_clients SET is_active = false WHERE id = :id",
        "an expired client": "UPDATE oauth2_clients SET expires_at = now() WHERE id = :id",
    }.items():
        client = add_client(db, "T1")
        worthless[name] = token_of(api, client)
        with db.transaction() as connection:
            key = connection.execute(
                text("SELECT id FROM oauth2_clients WHERE client_id = :name"), {"name": client.client_id}
            ).scalar_one()
        change(db, statement, id=key)

    def status(route: str, token: str | None) -> int:
        method, path = route.format(**asked).split(" ")
        body: object = None
        if route.startswith("POST /v1/verifications"):
            body = [question(driver)] if route.endswith(":batch") else question(driver)
        if "{job}" in route:
            state = "failed" if route.endswith(":retry") else "ready"
            change(db, STATE, state=state, id=asked["job"])
        return api.call(method, path, token, body).status

    for route, needed in ROUTES.items():
        for name, token in worthless.items():
            assert status(route, token) == 401, (route, name)
        for scope, token in holders.items():
            well = 200 if route.endswith(":batch") else WELL[route.split(" ")[0]]
            assert status(route, token) == (well if scope == needed else 403), (route, scope)
        assert status(route, everything) < 300, route
        if route in OF_ONE:
            assert status(route, stranger) == 404, route
    assert api.call("POST", "/v1/verifications", stranger, question(driver)).status == 202
    assert {job["tenant"] for job in api.call("GET", "/v1/jobs", stranger).body["jobs"]} == {"T2"}


def test_what_is_anothers_looks_like_what_does_not_exist(api: Api, db: Database, asked: dict[str, str]) -> None:
    stranger = token_of(api, add_client(db, "T2"))
    nothing = {"job": str(UUID(int=0)), "request": "999"}
    for route in OF_ONE:
        method, path = route.split(" ")
        there, gone = (api.call(method, path.format(**ids), stranger) for ids in (asked, nothing))
        assert (there.status, there.body) == (gone.status, gone.body) == (404, gone.body)


def test_a_client_asks_in_the_name_of_its_own_tenants_only(api: Api, db: Database, driver: int) -> None:
    change(
        db,
        """INSERT INTO producer (producer_code, name, status_id, created_by)
           SELECT code, code, (SELECT id FROM status WHERE code = 'ACTIVE'), '00000000-0000-0000-0000-000000000001'
           FROM unnest(ARRAY['T1', 'T2', 'T3']) AS code""",
    )
    two = Upstream(api, token_of(api, add_client(db, "T1", "T2")))

    def tenant(**changes: object) -> object:
        reply = two.call("POST", "/v1/verifications", question(driver, **changes))
        if reply.status == 202:
            return two.call("GET", reply.headers["Location"]).body["tenant"]
        return reply.status, reply.fields

    assert tenant(tenant="T1") == tenant(producer="T1") == tenant(tenant="T1", producer="T2") == "T1"
    assert tenant(tenant="T2") == "T2"
    assert tenant() == (422, ["tenant"])
    assert tenant(tenant="T3") == (404, ["tenant"])
    assert tenant(producer="T3") == tenant(producer="T3", tenant="T1") == (404, ["producer"])
    assert tenant(producer="nobody", tenant="T1") == (404, ["producer"])


def test_a_right_taken_from_a_client_is_gone_at_once(api: Api, db: Database, upstream: Upstream) -> None:
    assert upstream.call("GET", "/v1/jobs").status == 200
    change(db, """UPDATE oauth2_clients SET allowed_scopes = '["jobs:write"]'""")
    refused = upstream.call("GET", "/v1/jobs")
    assert refused.status == 403
    assert refused.headers["WWW-Authenticate"] == 'Bearer error="insufficient_scope", scope="jobs:read"'


def test_a_client_without_tenants_sees_nothing(api: Api, db: Database, driver: int, asked: dict[str, str]) -> None:
    nobody = Upstream(api, token_of(api, add_client(db, "T1")))
    change(db, "UPDATE oauth2_clients SET tenants = '[]'")
    assert nobody.call("GET", "/v1/jobs").body == {"jobs": [], "next_cursor": None}
    assert nobody.call("GET", f"/v1/jobs/{asked['job']}").status == 404
    assert nobody.call("POST", "/v1/verifications", question(driver)).status == 422
