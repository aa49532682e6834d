"""What a run of `verify` leaves for the record of its request."""

from tasks.verification.classify import Status, Trouble, Verdict
from tasks.verification.question import Account
from tasks.verification.reading import Reading
from tasks.verification.results import Found
from worker.values import value

_KEPT = frozenset(("date", "content-type", "retry-after", "x-transaction-id", "x-correlation-id", "idempotent-replay"))
_VALUE_LENGTH = 200

_TROUBLES = {
    Trouble.NOT_CONNECTED: "The provider can't be reached",
    Trouble.BAD_CERTIFICATE: "The provider's certificate is not valid",
    Trouble.BAD_ADDRESS: "No connection is possible to the configured URL",
    Trouble.ADDRESS_REFUSED: "The configured host may not be called",
    Trouble.TIMED_OUT: "The provider did not answer in time",
    Trouble.CONNECTION_LOST: "The connection to the provider broke",
    Trouble.CUT_SHORT: "The provider's answer broke off",
    Trouble.OVERSIZED: "The provider's answer is too large",
    Trouble.UNREADABLE: "The provider's answer can't be read",
}


@value(repr=False)
class Report:
    """The last call of a run, and what it brought. `retry_count` is over all runs; bodies are JSON text.

    `status_code` is None unless the provider has answered: the next run then repeats the call under its key. `findings`
    is there exactly if the answer could be used; `is_timeout` tells how the last call failed; at `poll_url` the answer
    will be.
    """

    request_headers: dict[str, str]
    request_body: str
    retry_count: int
    status_code: int | None
    response_headers: dict[str, str] | None
    response_body: str | None
    response_time_ms: int | None
    transaction_id: str | None
    is_timeout: bool
    findings: Found | None = None
    poll_url: str | None = None


def kept_headers(headers: dict[str, str] | None) -> dict[str, str] | None:
    """The headers of an answer that may be stored: cookies and credentials are not among them."""
    if headers is None:
        return None
    return {
        name: value[:_VALUE_LENGTH] for name, value in headers.items() if name in _KEPT or name.startswith("ratelimit-")
    }


def sentence(reading: Reading, verdict: Verdict, account: Account) -> str:
    """What went wrong, for operators: codes and ids only."""
    event = reading.event
    text = str(event) if isinstance(event, Status) else reading.problem.rstrip(".") or _TROUBLES[event]
    if verdict.code in ("configuration_error", "address_refused"):
        text += f"; look at configuration {account.configuration_id}"
    return f"{text}."
