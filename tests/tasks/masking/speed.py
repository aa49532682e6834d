"""What masking costs beside reading and writing, by hand: python -m tests.tasks.masking.speed

Batches of the same table are taken turn by turn: one is masked by the rules that are loaded, the next is read and
written back the same way with nothing changed. So both meet the same machine. The suite runs it with few rows and looks
at what it did, not at how long it took.
"""

import argparse
import tempfile
from datetime import datetime
from pathlib import Path
from typing import Any

import psycopg
from psycopg.types.json import Jsonb

from tasks.masking.documents import Masker
from tasks.masking.maskers import Maskers
from tasks.masking.requests_store import Requests
from tasks.masking.rules import RuleSet
from tests.conftest import DatabaseUrls, database_from, migrate, settings_for
from tests.migrations.rows import configuration
from tests.tasks.masking.defaults import KEYRING, default_rules
from tests.tasks.turns import Pass, in_turn
from tests.tasks.verification.factories import answer_about, make_question
from worker.database import Database
from worker.dev.embedded import EmbeddedServers


class Verbatim(Masker):
    """Changes nothing."""

    def document(self, value: Any) -> Any:
        return value

    def field(self, name: str, value: Any) -> Any:
        return value


def add_requests(sql: psycopg.Connection, count: int) -> None:
    """Old answered requests, of a household of two, with the two results that hold most of it."""
    person = answer_about(make_question())
    answer = person | {"household_members": [{"relationship": "child", **person["driver_data"]}]}
    asked = {"search": {"driver": {"first_name": "A", "last_name": "B", "license_number": "TX1"}, "address": None}}
    configured = configuration(sql)
    sql.execute(
        """
        INSERT INTO integration_request (integration_id, configuration_id, user_id, endpoint, correlation_id,
            request_headers, request_body, response_headers, response_body, request_status, created_at, status_id,
            created_by)
        SELECT integration_id, id, created_by, '/', n::text, '{"x-correlation-id": "c"}', %s,
            '{"content-type": "application/json"}', %s, 'completed', now() - interval '1 year' + n * interval '1 s',
            status_id, created_by
        FROM integration_configuration, generate_series(1, %s) AS n WHERE id = %s
        """,
        [Jsonb(asked), Jsonb(answer), count, configured],
    )
    sql.execute(
        """
        INSERT INTO integration_verification_result (request_id, verification_type, target_entity_type,
            target_entity_id, verification_status, verified_data, discrepancies, status_id, created_by)
        SELECT id, type, 'driver', 9, 'verified', %s, %s, status_id, created_by
        FROM integration_request, unnest(ARRAY['household', 'license']) AS type
        """,
        [
            Jsonb(person["driver_data"]),
            Jsonb([{"node_path": "driver_data.personal_info.last_name", "match": "partial"}]),
        ],
    )
    sql.execute("ANALYZE integration_request, integration_verification_result")


def compare(urls: DatabaseUrls, batch_size: int) -> list[Pass]:
    """Mask every second batch of what is due, and copy the others. Gives the masked and the copied ones."""
    settings = settings_for(urls, "redis://127.0.0.1:1/0")
    rules = default_rules()
    masking, copying = (Maskers(rules, {}, KEYRING.token) for _ in range(2))
    copying.general = Verbatim(RuleSet(rules), KEYRING.token)
    cutoff = datetime.fromisoformat("2100-01-01T00:00:00+00:00")
    stages = [Requests(1, maskers, cutoff, batch_size) for maskers in (masking, copying)]
    database = Database(settings)
    passes = in_turn(database, stages, batch_size)
    database.close()
    return passes


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=200_000)
    parser.add_argument("--batch", type=int, default=2000)
    given = parser.parse_args()
    with (
        tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as place,
        EmbeddedServers(Path(place) / "home") as servers,
    ):
        for urls in database_from(servers, "template0"):
            migrate(urls)
            with psycopg.connect(urls.owner_url, autocommit=True) as sql:
                add_requests(sql, given.rows)
            masked, copied = compare(urls, given.batch)
            for name, one in (("masked", masked), ("copied", copied)):
                said = f"{name}: {one.rows} requests in {one.batches} batches, {one.rate:.0f}/s"
                print(f"{said}, {1e6 * one.cpu_s / one.rows:.0f} us of CPU each")
            print(f"Masking runs at {masked.rate / copied.rate:.2f} of the speed of reading and writing alone.")


if __name__ == "__main__":
    main()
