"""Maintenance: a job that changes many rows, in bounded batches with a commit after each.

    @job("retention.sweep", queue="maintenance", deadline_s=3600, load=kind.load, save=kind.save, opens=kind.opens)
    async def sweep(order: Order, resource: Maintenance) -> Outcome[Tally]:
        return await resource.run(order, store.plan, time_box=timedelta(minutes=50))

It takes two arguments: `dry_run`, and `confirm` for what it would else refuse.

- Each batch writes the job's progress in its own transaction, and only while the job is its own: a run that lost its
  lease or was cancelled changes nothing more.
- One run of a kind at a time, by an advisory lock; a second one waits as a snoozed job.
- A run that is killed, or told to stop with its worker, is taken up by the next attempt: what is done is done, and the
  stages find the rest by themselves. One whose time is up ends, and the next night goes on.
- A dry run is the real one in a single transaction that is rolled back, so its numbers are the real ones. It holds the
  locks of what it would change until its end.
"""
