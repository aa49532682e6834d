"""Which way imports point. Knots grow unseen, one import at a time, so the arrows are drawn and looked at here."""

from collections.abc import Callable, Iterator

import pytest

from tests.sources import OURS, Graph, import_graph, is_within

HTTP_LIBRARIES = ("aiohttp", "http.client", "httpx", "httpx2", "httpx_aiohttp", "requests", "urllib.request", "urllib3")
GRAPH = import_graph()

Arrows = Iterator[tuple[str, str]]
Rule = Callable[[Graph], Arrows]
"""Finds the arrows that should not be there."""


def arrows_from(graph: Graph, *packages: str) -> Arrows:
    return ((module, target) for module in graph if is_within(module, *packages) for target in sorted(graph[module]))


def is_ours(module: str) -> bool:
    return is_within(module, *OURS)


def is_machine(module: str) -> bool:
    """The worker without its ways in: what a process of a production worker loads."""
    return is_within(module, "worker") and not is_within(
        module, "worker.__main__", "worker.api", "worker.cli", "worker.dev"
    )


def a_job_keeps_to_itself(graph: Graph) -> Arrows:
    for module, target in arrows_from(graph, "tasks"):
        job = ".".join(module.split(".")[:2])
        if is_ours(target) and not (is_within(target, job, "models") or is_machine(target)):
            yield module, target


def worker_does_not_know_the_jobs(graph: Graph) -> Arrows:
    for module, target in arrows_from(graph, "worker"):
        if is_within(target, "tasks", "tests"):
            yield module, target


def machine_knows_only_the_ledger_of_the_tables(graph: Graph) -> Arrows:
    for module, target in arrows_from(graph, "worker"):
        is_table = is_within(target, "models", "migrations")
        if module == "worker.schema" and target == "migrations":
            continue  # it runs them, and asks the package only where it lies
        if is_machine(module) and is_table and not is_within(target, "models.ledger", "models.vocabularies"):
            yield module, target


def machine_does_not_load_its_ways_in(graph: Graph) -> Arrows:
    for module, target in arrows_from(graph, "worker"):
        if is_machine(module) and is_within(target, "worker") and not is_machine(target):
            yield module, target


def clock_is_read_in_one_place(graph: Graph) -> Arrows:
    for module, target in arrows_from(graph, *OURS):
        if is_within(target, "beat_schedule") and not is_within(module, "worker.clock.entries", "tests"):
            yield module, target


def development_stays_with_the_command_line(graph: Graph) -> Arrows:
    for module, target in arrows_from(graph, *OURS):
        if is_within(target, "worker.dev") and not is_within(module, "benchmarks", "worker.cli", "worker.dev", "tests"):
            yield module, target


def nothing_needs_the_benchmarks(graph: Graph) -> Arrows:
    for module, target in arrows_from(graph, *OURS):
        if is_within(target, "benchmarks") and not is_within(module, "benchmarks", "tests"):
            yield module, target


def peers_know_nothing_of_ours(graph: Graph) -> Arrows:
    """They run in environments without our dependencies; the floor gathers its writes as we do."""
    for module, target in arrows_from(graph, "benchmarks.peers"):
        if is_ours(target) and not is_within(target, "benchmarks.peers", "worker.gather"):
            yield module, target


def models_and_clock_import_nothing_of_ours(graph: Graph) -> Arrows:
    for module, target in arrows_from(graph, "models", "beat_schedule"):
        if is_ours(target) and not (is_within(module, "models") and is_within(target, "models")):
            yield module, target


def migrations_know_models_and_settings(graph: Graph) -> Arrows:
    for module, target in arrows_from(graph, "migrations"):
        if is_ours(target) and not is_within(target, "migrations", "models", "worker.settings"):
            yield module, target


def revisions_describe_the_past(graph: Graph) -> Arrows:
    """A revision that imported a model would change whenever the model does."""
    for module, target in arrows_from(graph, "migrations"):
        if module != "migrations.env" and is_ours(target) and not is_within(target, "migrations"):
            yield module, target


def one_file_speaks_http(graph: Graph) -> Arrows:
    for module, target in arrows_from(graph, *OURS):
        speaking = ("benchmarks", "tasks.verification.http_client", "worker.cli.health", "worker.dev", "tests")
        may_speak = is_within(module, *speaking)
        if is_within(target, *HTTP_LIBRARIES) and not may_speak:
            yield module, target


RULES: dict[Rule, tuple[str, str]] = {
    a_job_keeps_to_itself: ("tasks.verification.task", "tasks.rating.premium"),
    worker_does_not_know_the_jobs: ("worker.process.engine", "tasks.verification.task"),
    machine_knows_only_the_ledger_of_the_tables: ("worker.process.engine", "models.users"),
    machine_does_not_load_its_ways_in: ("worker.process.engine", "worker.cli"),
    clock_is_read_in_one_place: ("worker.clock.scheduler", "beat_schedule"),
    development_stays_with_the_command_line: ("worker.api.app", "worker.dev.embedded"),
    nothing_needs_the_benchmarks: ("worker.cli.system", "benchmarks.place"),
    peers_know_nothing_of_ours: ("benchmarks.peers.work", "worker.database"),
    models_and_clock_import_nothing_of_ours: ("models.users", "worker.crypto"),
    migrations_know_models_and_settings: ("migrations.env", "worker.database"),
    revisions_describe_the_past: ("migrations.versions.001_core_tables", "models.users"),
    one_file_speaks_http: ("tasks.verification.store", "httpx2"),
}
"""Each rule with an arrow it must refuse, so that none can pass by looking at nothing."""


def named(rule: Rule) -> str:
    return rule.__name__


@pytest.mark.parametrize("rule", RULES, ids=named)
def test_arrow_points_only_where_it_may(rule: Rule) -> None:
    assert [f"{module} imports {target}" for module, target in rule(GRAPH)] == []


@pytest.mark.parametrize("rule", RULES, ids=named)
def test_rule_refuses_its_own_example(rule: Rule) -> None:
    module, target = RULES[rule]
    assert list(rule({module: frozenset({target})})) == [(module, target)]


def test_every_package_of_ours_was_looked_at() -> None:
    assert {module.split(".")[0] for module in GRAPH} == {*OURS, "examples"}


def first_circle(graph: Graph) -> list[str]:
    """Modules that import each other in a circle, the first one again at the end; empty where there is none."""
    finished: set[str] = set()
    path: list[str] = []

    def visit(module: str) -> list[str]:
        if module in path:
            return [*path[path.index(module) :], module]
        if module in finished or module not in graph:
            return []
        path.append(module)
        for target in sorted(graph[module]):
            if circle := visit(target):
                return circle
        finished.add(path.pop())
        return []

    return next((circle for module in sorted(graph) if (circle := visit(module))), [])


def test_no_modules_import_each_other_in_a_circle() -> None:
    assert first_circle(GRAPH) == []


def test_a_circle_would_be_found() -> None:
    graph = {"a": frozenset({"b"}), "b": frozenset({"os", "c"}), "c": frozenset({"b"})}
    assert first_circle(graph) == ["b", "c", "b"]
