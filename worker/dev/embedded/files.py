"""Files of the home: closed to other users, whole or absent, and owned by whoever the servers run as."""

import os
import secrets
from pathlib import Path


def write_private(path: Path, text: str, owner: int) -> None:
    """Replace `path` by `text` in one step, with mode 0600."""
    new = path.with_name(f"{path.name}.new")
    new.unlink(missing_ok=True)
    descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with open(descriptor, "w") as file:
        file.write(text)
        file.flush()
        if os.geteuid() == 0:
            os.fchown(descriptor, owner, owner)
        os.fsync(descriptor)
    new.rename(path)


def own_directory(path: Path, owner: int) -> None:
    """Make `path` a directory that only `owner` may enter, and give everything below it to `owner` if root can.

    Root changes its way (see placement.py) when permissions around the home change, and then the owner changes too.
    The directory itself comes last, so a change that was cut short is seen and done again.
    """
    path.mkdir(mode=0o700, exist_ok=True)
    path.chmod(0o700)
    if path.stat().st_uid == owner or os.geteuid() != 0:
        return
    for directory, subdirectories, files in os.walk(path, topdown=False):
        for name in (*subdirectories, *files):
            os.chown(Path(directory, name), owner, owner, follow_symlinks=False)
    os.chown(path, owner, owner)


def password(directory: Path, name: str, owner: int) -> str:
    """The password kept in `directory` under `name`; made at random the first time."""
    path = directory / name
    if not path.exists():
        write_private(path, secrets.token_urlsafe(24), owner)
    return path.read_text()
