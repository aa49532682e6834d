"""What every file keeps to, and a reviewer would otherwise have to look for."""

import ast
import re
import tokenize
from pathlib import Path

import pytest

from tests.sources import ROOT, files, python_files

VAGUE_NAMES = {"common", "helper", "helpers", "misc", "mixin", "mixins", "util", "utils"}
DIRECTIVE = re.compile(r"#\s*(noqa|type: ignore)(?P<codes>:\s*[A-Z]+\d+(,\s*[A-Z]+\d+)*|\[[\w, -]+\])?(?P<reason>.*)")
NOT_OURS_TO_WRITE = {"uv.lock"}
PRIVATE_PLACES = re.compile(
    r"/((home|Users)/[a-z][\w.-]*/|root/[\w.])"  # somebody's home
    r"|(?<![\w.$}~-])/work[/]"
    r"|pypi\.org|pythonhosted\.org|registry\.npmjs|deb\.debian\.org"
)


def test_no_module_is_named_after_nothing() -> None:
    names = {part for path in python_files() for part in path.relative_to(ROOT).with_suffix("").parts}
    assert names & VAGUE_NAMES == set()


@pytest.mark.parametrize("path", python_files(), ids=lambda path: str(path.relative_to(ROOT)))
def test_module_begins_with_its_idea(path: Path) -> None:
    text = path.read_text("utf-8")
    if path.name == "__init__.py" and not text.strip():
        return  # a folder that only gathers
    docstring = ast.get_docstring(ast.parse(text)) or ""
    assert len(docstring.split()) >= 4, "the first line of a module says what it is for"


def unexplained(comment: str) -> bool:
    """Whether a comment silences a checker without naming what and saying why."""
    directive = DIRECTIVE.search(comment)
    return directive is not None and (directive["codes"] is None or len(re.findall(r"\w+", directive["reason"])) < 2)


@pytest.mark.parametrize("path", python_files(), ids=lambda path: str(path.relative_to(ROOT)))
def test_a_silenced_checker_is_told_why(path: Path) -> None:
    with tokenize.open(path) as text:
        comments = [token for token in tokenize.generate_tokens(text.readline) if token.type == tokenize.COMMENT]
    assert [f"line {c.start[0]}: {c.string}" for c in comments if unexplained(c.string)] == []


@pytest.mark.parametrize(
    ("comment", "is_unexplained"),
    [
        ("# noqa", True),
        ("# noqa: S603", True),
        ("# type: ignore", True),
        ("# type: ignore[call-arg]", True),
        ("# noqa  because it is long", True),
        ("# noqa: S603 - our own binary", False),
        ("# noqa: S603, S607 our own binary", False),
        ("# type: ignore[call-arg]  # pydantic fills the fields", False),
        ("# nobody asks about quality here", False),
    ],
)
def test_reasons_are_recognised(comment: str, is_unexplained: bool) -> None:
    assert unexplained(comment) is is_unexplained


def test_no_file_names_a_place_of_one_machine() -> None:
    found = []
    for path in files():
        if path.name in NOT_OURS_TO_WRITE:
            continue
        for number, line in enumerate(path.read_text("utf-8").splitlines(), start=1):
            if place := PRIVATE_PLACES.search(line):
                found.append(f"{path.relative_to(ROOT)}:{number}: {place[0]}")
    assert found == []
