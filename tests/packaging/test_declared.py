"""What the code imports is what pyproject.toml asks for: a dependency of a dependency may leave any day."""

import re
import sys
import tomllib
from collections.abc import Collection
from importlib.metadata import packages_distributions

from tests.sources import OURS, ROOT, import_graph, is_within

LIGHT = (
    "worker.bulk",
    "worker.commit_hints",
    "worker.database",
    "worker.enqueue",
    "worker.errors",
    "worker.secret_files",
    "worker.settings",
)
"""What an application loads that only asks for jobs; the extra `hints` is for the rest of it."""

ELSEWHERE = ("benchmarks.peers", "benchmarks.plot")

PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))


EXTRAS = PYPROJECT["project"]["optional-dependencies"]
ALL = [*PYPROJECT["project"]["dependencies"], *(line for extra in EXTRAS.values() for line in extra)]


def canonical(requirement: str) -> str:
    """Name of the distribution that a requirement asks for (the packaging guide's normalised form)."""
    name = re.split(r"[\s\[<>=!~;]", requirement, maxsplit=1)[0]
    return re.sub(r"[-_.]+", "-", name).lower()


def undeclared(modules: Collection[str], requirements: Collection[str]) -> set[str]:
    """Top-level modules, neither ours nor Python's, that no requirement brings by itself."""
    asked = {canonical(requirement) for requirement in requirements}
    brought = packages_distributions()
    tops = {module.split(".")[0] for module in modules} - set(OURS) - set(sys.stdlib_module_names)
    return {top for top in tops if not asked & {canonical(name) for name in brought.get(top, [])}}


def imports_of(*packages: str) -> set[str]:
    graph = import_graph()
    return {target for module, targets in graph.items() if is_within(module, *packages) for target in targets}


def test_what_runs_is_declared() -> None:
    shipped = imports_of(*(name for name in OURS if name not in ("benchmarks", "tests")))
    assert undeclared(shipped, ALL) == set()


def test_what_asks_for_jobs_needs_no_extra() -> None:
    assert undeclared(imports_of(*LIGHT), PYPROJECT["project"]["dependencies"]) == set()


def test_what_sends_hints_is_in_their_extra() -> None:
    hinting = imports_of("worker.hints", "worker.broker")
    assert undeclared(hinting, [*PYPROJECT["project"]["dependencies"], *EXTRAS["hints"]]) == set()


def test_what_tests_use_is_declared() -> None:
    dev = [line for line in PYPROJECT["dependency-groups"]["dev"] if isinstance(line, str)]
    assert undeclared(imports_of("tests"), [*ALL, *dev]) == set()


def test_what_benchmarks_use_in_our_environment_is_declared() -> None:
    """Peers and the plot have environments of their own."""
    graph = import_graph()
    here = [name for name in graph if is_within(name, "benchmarks") and not is_within(name, *ELSEWHERE)]
    assert undeclared({target for module in here for target in graph[module]}, ALL) == set()


def test_an_undeclared_import_would_be_found() -> None:
    assert undeclared(["os.path", "worker.ledger", "kombu.utils", "celery"], ["celery[redis]>=5.7.0"]) == {"kombu"}
