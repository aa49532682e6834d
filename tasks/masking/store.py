"""What the masking jobs do: by which rules, and what is due by `mask_after_days` of the retention policies."""

from collections import defaultdict
from collections.abc import Callable
from datetime import datetime

from sqlalchemy import Connection, text

from tasks.masking.maskers import Maskers
from tasks.masking.requests_store import REQUESTS, RESULTS, Requests
from tasks.masking.rows_store import AUDIT, OFFERS, AuditAddresses, Rows, maskable
from tasks.masking.rules import Rule, of_node, problem_of
from worker.crypto import Keyring
from worker.maintenance.stages import Plan, Problem, Stage

Stages = Callable[[Connection, int, Maskers], list[Stage]]


def plan(connection: Connection, stages: Stages, keyring: Keyring) -> Plan:
    """The stages, with the rules in force. One rule that can't be used, and nothing is masked: half is no use."""
    version, rules = _rules(connection)
    nodes = _nodes(connection)
    every = [*rules, *(node for own in nodes.values() for node in own)]
    problems = [
        Problem("invalid_rule", f"{rule.label[:200]}: {problem}.") for rule in every if (problem := problem_of(rule))
    ]
    if not rules:
        problems.append(Problem("no_rules", "pii_masking_rules is empty."))
    if problems:
        unused = Maskers([], {}, keyring.token)
        sizes = [stage.size(connection) for stage in stages(connection, version, unused)]
        waiting = sum(size for size in sizes if isinstance(size, int))
        message = f"Nothing was masked: {waiting} rows are due and stay as they are until the rules are mended."
        return Plan([], [*problems, Problem("unmasked", message)])
    connection.execute(_USED, {"version": version})
    return Plan(stages(connection, version, Maskers(rules, nodes, keyring.token)))


def by_policy(connection: Connection, version: int, maskers: Maskers) -> list[Stage]:
    """A stage for each table whose policy masks; offers come after the requests and quotes that they go with."""
    found: list[Stage] = []
    for row in connection.execute(_CLOCKS):
        if row.table_name == RESULTS:
            continue  # with the request it answers
        if row.table_name == AUDIT:
            found.append(AuditAddresses(row.cutoff))
        elif row.table_name == REQUESTS:
            found.append(Requests(version, maskers, row.cutoff, row.batch_size))
        elif row.table_name in maskable():
            found.append(Rows(row.table_name, version, maskers, row.date_column, row.cutoff, row.batch_size))
    return [*found, _offers(connection, version, maskers)]


def what_is_over(connection: Connection, version: int, maskers: Maskers) -> list[Stage]:
    """Requests that ended under a policy of 0 days, once their answers are of no more use to others."""
    now = _now(connection)
    return [Requests(version, maskers, now, _BATCH, clock="mask_at"), _offers(connection, version, maskers)]


def _offers(connection: Connection, version: int, maskers: Maskers) -> Stage:
    return Rows(OFFERS, version, maskers, "created_at", _now(connection), _BATCH)


def _now(connection: Connection) -> datetime:
    found: datetime = connection.execute(text("SELECT now()")).scalar_one()
    return found


_BATCH = 5000


def _rules(connection: Connection) -> tuple[int, list[Rule]]:
    rows = connection.execute(_RULES).all()
    rules = [
        Rule(row.id, row.match_type, row.pattern, row.operator, row.data_class, row.priority, row.validator, row.params)
        for row in rows
    ]
    return (rows[0].version if rows else 0), rules


_RULES = text(
    "SELECT * FROM pii_masking_rules WHERE version = (SELECT max(version) FROM pii_masking_rules) ORDER BY id"
)
_USED = text("UPDATE pii_masking_rules SET used_at = now() WHERE version = :version AND used_at IS NULL")


def _nodes(connection: Connection) -> dict[int, list[Rule]]:
    """Personal fields of answers, of every version of an API: old answers are masked too."""
    found: defaultdict[int, list[Rule]] = defaultdict(list)
    for row in connection.execute(_NODES):
        found[row.integration_id].append(of_node(row.id, row.node_path, row.pii_class))
    return dict(found)


_NODES = text(
    "SELECT id, integration_id, node_path, pii_class FROM integration_node WHERE pii_class IS NOT NULL ORDER BY id"
)
_CLOCKS = text(
    """
    SELECT table_name, date_column, batch_size, now() - make_interval(days => mask_after_days) AS cutoff
    FROM data_retention_policies WHERE mask_after_days IS NOT NULL
    ORDER BY table_name
    """
)
"""Also of policies that remove nothing: quotes are masked long before anybody dares to delete them."""
