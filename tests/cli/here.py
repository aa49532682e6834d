"""The command in the tests' own process: all it does but start, which costs more than most commands."""

import io
import os
import subprocess
import sys
from collections.abc import Mapping
from contextlib import chdir, redirect_stderr, redirect_stdout
from pathlib import Path
from unittest.mock import patch

from worker.__main__ import main
from worker.settings import load_settings


def run_here(*arguments: str, cwd: Path, environment: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
    """As `run_worker` of `processes`, for commands that change nothing of their process but what is put back here."""
    said, complained = io.StringIO(), io.StringIO()
    status: int | str | None = 0
    with (
        patch.dict(os.environ, environment, clear=True),
        patch.object(sys, "argv", ["worker", *arguments]),
        patch.object(sys, "stdin", io.StringIO()),
        chdir(cwd),
        redirect_stdout(said),
        redirect_stderr(complained),
    ):
        load_settings.cache_clear()
        try:
            main()
        except SystemExit as end:
            status = end.code
        finally:
            load_settings.cache_clear()
    return subprocess.CompletedProcess(arguments, int(status or 0), said.getvalue(), complained.getvalue())
