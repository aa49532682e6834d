"""Which people a demo asks about: everyone once, then mostly those whose licence is in order."""

from itertools import cycle, islice

from worker.dev.sandbox.personas import PERSONAS, Persona

_EVERYDAY = (
    *("ok",) * 7, "household", "expired", *("ok",) * 5, "household", "partial", *("ok",) * 2, "not_found", "500_twice",
)  # fmt: skip


def finishing() -> list[Persona]:
    """Everyone whose verification ends while somebody watches, ordinary drivers first."""
    return [persona for persona in PERSONAS if persona.expected.finishes]


def mixture(jobs: int) -> list[Persona]:
    """One person for each job. The unusual ones come first, because waiting for their retries takes longest."""
    everyone = finishing()
    if jobs <= len(everyone):
        return everyone[:jobs]
    by_scenario = {persona.scenario: persona for persona in everyone}
    everyday = islice(cycle(_EVERYDAY), jobs - len(everyone))
    return everyone[::-1] + [by_scenario[scenario] for scenario in everyday]
