"""The lock file: complete, public, and in step with pyproject.toml."""

import os
import re
import subprocess
import tomllib
from pathlib import Path

from uv import find_uv_bin

from tests.sources import ROOT

PUBLIC = re.compile(r"https://(pypi\.org|files\.pythonhosted\.org)/")
URL = re.compile(r"[a-z+]+://[^\s\"]*")
INDEX_VARIABLES = ("UV_DEFAULT_INDEX", "UV_INDEX", "UV_INDEX_URL", "UV_EXTRA_INDEX_URL", "UV_FROZEN", "UV_LOCKED")


def test_lock_names_no_host_but_the_public_ones() -> None:
    """A mirror that somebody's shell names would send everybody else there."""
    urls = URL.findall((ROOT / "uv.lock").read_text("utf-8"))
    assert len(urls) > 100
    assert [url for url in urls if not PUBLIC.match(url)] == []


def test_lock_agrees_with_pyproject(tmp_path: Path) -> None:
    """Needs neither network nor cache: what is locked is compared with what is asked for."""
    environment = {name: value for name, value in os.environ.items() if name not in INDEX_VARIABLES}
    answer = subprocess.run(
        [find_uv_bin(), "lock", "--check", "--offline", "--no-config", "--cache-dir", str(tmp_path)],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert answer.returncode == 0, answer.stderr


def test_every_download_is_checked_against_a_hash() -> None:
    packages = tomllib.loads((ROOT / "uv.lock").read_text("utf-8"))["package"]
    outside = [package for package in packages if package["source"] != {"editable": "."}]
    assert len(outside) == len(packages) - 1
    for package in outside:
        downloads = [*package.get("wheels", []), *([package["sdist"]] if "sdist" in package else [])]
        assert downloads, package["name"]
        assert all(download["hash"].startswith("sha256:") for download in downloads), package["name"]
