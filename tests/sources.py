"""The tree as tests about the tree see it: its files, its modules, and which module imports which."""

import ast
import os
from collections.abc import Collection, Iterator, Mapping
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
OURS = ("beat_schedule", "benchmarks", "migrations", "models", "tasks", "tests", "worker")
GENERATED = ("__pycache__", "build", "dist")

Graph = Mapping[str, frozenset[str]]
"""Each module with the modules it imports, ours and others', anywhere in its text."""


def files() -> Iterator[Path]:
    """Every file that belongs to the project; folders that begin with a dot hold tools' caches, but for .ci."""
    for folder, folders, names in os.walk(ROOT):
        folders[:] = [f for f in folders if f == ".ci" or not (f.startswith(".") or f in GENERATED)]
        # In a worktree of git's, .git is a file.
        yield from (Path(folder) / name for name in names if name != ".git" and not name.endswith(".pyc"))


def python_files() -> list[Path]:
    return sorted(path for path in files() if path.suffix == ".py")


def module_name(path: Path) -> str:
    parts = list(path.relative_to(ROOT).with_suffix("").parts)
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


@cache
def import_graph() -> Graph:
    """The graph of all modules of the tree."""
    paths = {module_name(path): path for path in python_files()}
    return {name: frozenset(_imports(path, paths.keys())) for name, path in paths.items()}


def _imports(path: Path, ours: Collection[str]) -> Iterator[str]:
    """Names of imported modules. `from package import name` means the module `package.name` where that is one."""
    folder = path.parent.relative_to(ROOT).parts
    for node in ast.walk(ast.parse(path.read_text("utf-8"), str(path))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = folder[: len(folder) - node.level + 1] if node.level else ()
            package = ".".join([*above, *([node.module] if node.module else [])])
            for alias in node.names:
                inner = f"{package}.{alias.name}"
                yield inner if inner in ours else package


def is_within(module: str, *packages: str) -> bool:
    return any(module == package or module.startswith(f"{package}.") for package in packages)
