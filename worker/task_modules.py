"""The jobs of the system, by the modules that declare them. Names only: whoever wants them imports them."""

TASK_MODULES = (
    "tasks.verification.task",
    "tasks.rating.task",
    "tasks.tokens.task",
    "tasks.masking.task",
    "tasks.retention.task",
    "tasks.partitions.task",
    "tasks.reconciliation.task",
    "tasks.keys.task",
)
"""One line a job."""
