"""Where an exception came from, without the values that were there: those may be a person's data."""


def where(error: BaseException) -> str:
    """Module and line that raised it: `tasks.verification.client:42`."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    if trace is None:
        return "an unknown place"
    return f"{trace.tb_frame.f_globals.get('__name__', '?')}:{trace.tb_lineno}"
