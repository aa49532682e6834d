"""What the database says of the whole system, for Prometheus: money of tenants with a budget, and the clock's entries.

Read at each scrape. Where the database is away these series are missing for as long, which says so too.
"""

from collections.abc import Iterable, Iterator

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from worker.clock.schedule import missed_runs
from worker.database import DATABASE_ERRORS, Database, is_outage
from worker.operating.budgets import budgets


class SystemCollector(Collector):
    """One series for each budget and for each entry of the clock: as many as operators have made."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def describe(self) -> Iterable[Metric]:
        """Nothing is read when this is registered."""
        return ()

    def collect(self) -> Iterator[Metric]:
        spent = GaugeMetricFamily("worker_budget_spent_usd", "Of today, in UTC.", labels=("tenant",))
        limits = GaugeMetricFamily("worker_budget_limit_usd", "Of a day, in UTC.", labels=("tenant", "limit"))
        waiting = GaugeMetricFamily("worker_budget_waiting_jobs", "Held back by a used-up budget.", labels=("tenant",))
        missed = CounterMetricFamily("worker_clock_missed_runs", "Slots that passed without a run.", labels=("entry",))
        try:
            with self._database.transaction() as connection:
                found, runs = budgets(connection), missed_runs(connection)
        except DATABASE_ERRORS as error:
            if not is_outage(error):
                raise
            return
        for budget in found:
            spent.add_metric((budget.tenant,), float(budget.spent))
            waiting.add_metric((budget.tenant,), budget.waiting)
            for name, limit in (("soft", budget.soft_limit), ("hard", budget.hard_limit)):
                if limit is not None:
                    limits.add_metric((budget.tenant, name), float(limit))
        for entry, count in runs.items():
            missed.add_metric((entry,), count)
        yield from (spent, limits, waiting, missed)
