"""Ask the provider about a driver, a criminal record or a vehicle, and bring the platform's own rows up to date.

Promises: an answer about another person is never taken for one about ours; an error leaves driver, licence and
address as they were; a call is not repeated once its answer is here; none lasts longer than its configuration allows.
Nor are calls made into our own network, nor more of them than an account allows, nor to a provider that is down.
`task.py` is the door, the files named `store`, `client` and with these words at their end touch the world, every other
file decides. `apis.py` names the provider's three APIs; what only one of them needs is in the folder called after it.
"""
