"""What the documents name exists: alarms have their section, commands parse, files are there."""

import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import typer

from tests.deploy.files import alarms
from worker.cli.program import program
from worker.operating import status

ROOT = Path(__file__).parents[2]
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
RUNBOOK = (ROOT / "docs" / "runbook.md").read_text()
SECTIONS = set(re.findall(r"^## (Worker\w+)$", RUNBOOK, re.MULTILINE))


def commands(text: str) -> set[str]:
    """Command lines of `worker` in a document: spans of code, also broken over two lines, and indented blocks."""
    spans = {" ".join(span.split()) for span in re.findall(r"`([^`]+)`", text)}
    blocks = {line.split("#")[0].strip() for line in re.findall(r"^    (.*)$", text, re.MULTILINE)}
    found = {line.removeprefix(".venv/bin/") for line in spans | blocks}
    return {line for line in found if re.match(r"worker [a-z]", line)}


COMMAND: Any = typer.main.get_command(program)
NAMED = sorted({command for document in DOCUMENTS for command in commands(document.read_text())})


def test_documents_name_commands_in_every_way_they_are_written() -> None:
    said = (
        "`worker run\nmasking`, `.venv/bin/worker up`:\n\n    worker status  # look\n\nand `worker/cli`, worker keys."
    )
    assert commands(said) == {"worker run masking", "worker up", "worker status"}
    assert len(NAMED) > 40


@pytest.mark.parametrize("line", NAMED)
def test_a_command_that_is_named_parses(line: str) -> None:
    """Down to the last subcommand, with every option that is named; alternatives are written `a | b`."""
    words = shlex.split(line.split(" | ")[0].rstrip("|"))[1:]
    command: Any = COMMAND
    path = []
    while words and words[0] in getattr(command, "commands", {}):
        path.append(words[0])
        command = command.commands[words.pop(0)]
    known = {name for parameter in command.params for name in parameter.opts} | {"--help"}
    is_group = hasattr(command, "commands")
    assert path, line
    assert not is_group or not words or words[0].startswith("--"), f"there is no {line}"
    assert {word.split("=")[0] for word in words if word.startswith("--")} <= known


def test_every_alarm_has_its_section_in_the_runbook_and_every_section_its_alarm() -> None:
    told_by_status = set(re.findall(r'"(Worker[A-Z]\w+)"', Path(status.__file__).read_text()))
    assert told_by_status <= alarms().keys()
    assert alarms().keys() == SECTIONS


def test_every_section_says_what_it_means_where_to_look_and_what_to_do() -> None:
    for section in re.split(r"^## (?=Worker)", RUNBOOK, flags=re.MULTILINE)[1:]:
        name = section.splitlines()[0]
        assert list(re.findall(r"^\*\*(\w+)\.\*\*", section, re.MULTILINE))[:3] == [
            "Means",
            "Look",
            "Do",
        ], name


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_what_a_document_points_at_is_there(document: Path) -> None:
    text = document.read_text()
    named = set(re.findall(r"`((?:docs|docker|tests|worker|tasks|deploy|migrations|examples)/[\w/.-]+)`", text))
    named |= set(re.findall(r"\]\(([\w/.-]+)", text))
    missing = {name for name in named if not (ROOT / name).exists() and not (document.parent / name).exists()}
    anchors = set(re.findall(r"\]\(#([\w-]+)\)", text))
    headings = {
        re.sub(r"[^\w -]", "", h).lower().replace(" ", "-") for h in re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    }
    assert not missing
    assert anchors <= headings
