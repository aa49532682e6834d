"""`worker batches`: what it prints and does, and what `worker jobs` says of a batch's jobs."""

from functools import partial
from pathlib import Path
from uuid import uuid4

from tests.cli.here import run_here
from tests.cli.operator import read, refused, said
from tests.conftest import environment_of
from tests.worker.asking import ask_many
from worker.batch import enqueue_batch
from worker.database import Database
from worker.settings import Settings


def test_a_batch_is_listed_shown_explained_and_cancelled(settings: Settings, db: Database, tmp_path: Path) -> None:
    worker = partial(run_here, cwd=tmp_path, environment=environment_of(settings, tmp_path))
    with db.transaction() as connection:
        first, second = (ask_many(connection, size) for size in (3, 2))
        batch_id = str(enqueue_batch(connection, [first, second], name="household", tenant="t1").batch_id)

    assert [batch["id"] for batch in read(worker("batches", "list", "--open", "--tenant", "t1", "--json"))] == [
        batch_id
    ]
    assert read(worker("batches", "list", "--tenant", "t2", "--json")) == []
    assert "household" in said(worker("batches", "list"))
    shown = read(worker("batches", "show", batch_id, "--json"))
    assert (shown["batch"]["jobs"], shown["batch"]["open"]) == (5, 5)
    assert [step["ready"] for step in shown["steps"]] == [3, 2]
    assert batch_id in said(worker("batches", "show", batch_id))

    listed = {job["id"]: job["waiting_for"] for job in read(worker("jobs", "list", "--batch", batch_id, "--json"))}
    assert listed == {str(job_id): None for job_id in first} | {
        str(job_id): "an earlier step of its batch" for job_id in second
    }
    assert f"step 1 of batch {batch_id} (household): 3 of 3 jobs" in said(worker("jobs", "why", str(second[0])))

    assert "Asked 5 jobs" in said(worker("batches", "cancel", batch_id, "--by", "olga"))
    assert "Asked 0 jobs" in said(worker("batches", "cancel", batch_id, "--by", "olga"))
    (event,) = read(worker("jobs", "show", str(second[0]), "--json"))["events"][1:]
    assert (event["event"], event["by"]) == ("cancel_requested", "olga")
    unknown = str(uuid4())
    for command in ("show", "cancel"):
        assert f"there is no batch {unknown}" in refused(worker("batches", command, unknown))
    assert "between 1 and 1000" in refused(worker("batches", "list", "--limit", "0"))
