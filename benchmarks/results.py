"""What was measured, one JSON file a section: a run can be repeated in parts, and looked at again."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks.machine import this_machine

Record = dict[str, Any]


def write(folder: Path, section: str, records: Sequence[Any]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    document = {
        "section": section,
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": asdict(this_machine()),
        "records": [{"of": type(record).__name__, **asdict(record)} for record in records],
    }
    _file(folder, section).write_text(json.dumps(document, indent=1) + "\n", "utf-8")


def read(folder: Path, section: str) -> dict[str, Any] | None:
    """The section's document, or None where it was not measured."""
    try:
        found: dict[str, Any] = json.loads(_file(folder, section).read_text("utf-8"))
    except FileNotFoundError:
        return None
    return found


def _file(folder: Path, section: str) -> Path:
    return folder / f"{section}.json"
