"""The directory a system lives in: servers/ for the embedded servers, log/, keys, and env while the system runs."""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from worker.crypto import Keyring, new_key
from worker.errors import Misconfigured
from worker.secret_files import secret


@dataclass(frozen=True, slots=True)
class Home:
    """`path` is absolute."""

    path: Path

    @property
    def servers(self) -> Path:
        return self.path / "servers"

    @property
    def logs(self) -> Path:
        return self.path / "log"

    def create(self) -> None:
        """Make the directory where there is none. Others may pass through it, not look into it.

        The servers, which never run as root, have to reach their own directory in it.
        """
        try:
            if not self.path.exists():
                self.path.mkdir(parents=True)
                self.path.chmod(0o711)
            self.logs.mkdir(mode=0o700, exist_ok=True)
        except OSError as error:
            raise Misconfigured(f"{self.path} cannot be the home directory: {error.strerror}") from None

    def keys(self) -> dict[str, str]:
        """ENCRYPTION_KEYS and BLIND_INDEX_KEY: the environment's, else those kept here, made the first time.

        Kept, because whatever was encrypted must stay readable after a restart.
        """
        names = ("ENCRYPTION_KEYS", "BLIND_INDEX_KEY")
        given = {name: value for name in names if (value := secret(name))}
        if len(given) == 1:
            missing = next(name for name in names if name not in given)
            raise Misconfigured(f"{next(iter(given))} is set and {missing} is not: set both, or neither")
        if not given:
            file = self.path / "keys"
            if not file.exists():
                _write_private(file, {"ENCRYPTION_KEYS": f"k1:{new_key()}", "BLIND_INDEX_KEY": new_key()})
            given = dict(line.split("=", 1) for line in file.read_text().splitlines())
        Keyring.parse(given["ENCRYPTION_KEYS"], given["BLIND_INDEX_KEY"])
        return given

    @contextmanager
    def announced(self, variables: Mapping[str, str]) -> Iterator[None]:
        """While inside, commands that use this home find the servers through its file `env`."""
        file = self.path / "env"
        _write_private(file, variables)
        try:
            yield
        finally:
            file.unlink(missing_ok=True)


def _write_private(path: Path, variables: Mapping[str, str]) -> None:
    """Replace the file in one step; only its owner can read it."""
    new = path.with_name(f"{path.name}.new")
    new.unlink(missing_ok=True)
    with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.writelines(f"{name}={value}\n" for name, value in variables.items())
    new.rename(path)
