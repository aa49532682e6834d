"""What `make` promises beside the environment and the tests, which only a fresh machine can prove."""

import shutil
import subprocess
from pathlib import Path

from worker.dev.embedded.placement import LINK

CHECKOUT = Path(__file__).parents[2]


def test_clean_takes_along_data_that_had_to_move_out_of_the_checkout(tmp_path: Path) -> None:
    checkout, moved, neighbour = (tmp_path / name for name in ("checkout", "outside/ours", "outside/others"))
    servers = checkout / ".worker" / "servers"
    for directory in (servers, moved / "pg", neighbour / "pg"):
        directory.mkdir(parents=True)
    (servers / LINK).symlink_to(moved)
    for file in ("Makefile", "uv.lock"):
        shutil.copy(CHECKOUT / file, checkout)
    for _ in ("with data", "with none"):
        subprocess.run(["make", "clean"], cwd=checkout, capture_output=True, check=True)
    assert {path.name for path in checkout.iterdir()} == {"Makefile", "uv.lock"}
    assert list((tmp_path / "outside").iterdir()) == [neighbour]
