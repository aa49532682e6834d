"""Why a quote can't be rated, as programs and people read it."""


class Refused(Exception):
    """`code` is for programs. `message` names fields, factors and rows, never a value of the quote: it is logged.

    `detail` adds the value that was at fault; it stays on the quote.
    """

    def __init__(self, code: str, message: str, detail: str = "") -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.detail = detail
