"""The product's Celery app, with a breaker that rests for `BREAKER_REST_S` seconds instead of half a minute.

celery -A tests.chaos.hasty_app worker ...
"""

import os
from dataclasses import replace
from functools import partial

from tasks.verification.client import open_provider
from tasks.verification.gate import Rules
from tasks.verification.task import verify
from worker import job

REST_S = float(os.environ["BREAKER_REST_S"])
RULES = Rules(rest_s=REST_S, longest_rest_s=2 * REST_S, probing_s=REST_S / 5)

job._kinds[verify.name] = replace(verify, opens=partial(open_provider, rules=RULES))

from worker.app import app  # noqa: E402 - it makes tasks of the kinds that are declared by then

__all__ = ["app"]
