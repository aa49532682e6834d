"""What the system says when it can't go on; the sentence is the message.

    WorkerError
    ├── Misconfigured   refuse to start, or refuse this one job: a person must change a setting or a row
    ├── BadRequest      the caller asked for what can't be done; nothing was written
    └── LeaseLost       another worker owns the job now; whatever this one found out is dropped

Everything a job may expect to go wrong is not an error but an outcome (`worker.outcomes`).
"""


class WorkerError(Exception):
    """Base of every error this package raises on purpose."""


class Misconfigured(WorkerError):
    """A setting or a configuration row is missing or wrong; the sentence names it, never its value."""


class BadRequest(WorkerError):
    """The caller asked for something that can't be done.

    `code` is a stable word for programs (`unknown_driver`), the message a sentence for people.
    """

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class LeaseLost(WorkerError):
    """The job's fence has moved on: a finish with this one would write nothing."""
