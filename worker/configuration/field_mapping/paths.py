"""Where in a document a value stands: `driver_data.personal_info.first_name`, `vehicles[].vehicle_data.make`.

`[]` behind a name enters every item of a list. What is not there, or not of that shape, is simply missing: a provider
leaves out what it does not know.
"""

import re
from collections.abc import Callable
from typing import Any

_NAME = r"[A-Za-z_][A-Za-z0-9_-]*(\[\])?"
PATH = re.compile(rf"{_NAME}(\.{_NAME})*")
MAX_LENGTH = 255

Get = Callable[[Any], Any]
"""Takes a document, gives the value or None; a list of the values that are there if the path enters lists."""


def is_path(text: str) -> bool:
    """Whether it has the form of a path."""
    return len(text) <= MAX_LENGTH and PATH.fullmatch(text) is not None


def enters_list(path: str) -> bool:
    """Whether the path leads to many values."""
    return "[]" in path


def below(path: str, root: str) -> str | None:
    """The rest of the path as seen from `root`; None if it does not lead through there. The empty root is the top."""
    if not root:
        return path
    return path.removeprefix(f"{root}.") if path.startswith(f"{root}.") else None


def getter(path: str) -> Get:
    """The function that finds the value of a path."""
    if enters_list(path):
        steps = [(name.removesuffix("[]"), name.endswith("[]")) for name in path.split(".")]
        return lambda document: _found(document, steps)
    *folders, last = path.split(".")

    def get(document: Any) -> Any:
        for folder in folders:
            if type(document) is not dict:
                return None
            document = document.get(folder)
        return document.get(last) if type(document) is dict else None

    return get


def _found(document: Any, steps: list[tuple[str, bool]]) -> list[Any]:
    here = [document]
    for name, is_list in steps:
        here = [place[name] for place in here if type(place) is dict and place.get(name) is not None]
        if is_list:
            here = [item for items in here if type(items) is list for item in items if item is not None]
    return here
