"""An application with a transaction of its own: its row and the job come into being together, or neither does.

    DATABASE_URL=postgresql://... python quote_service.py --driver 1

It needs SQLAlchemy, a driver and `pip install integration-worker`: no worker, no keys, no HTTP client.
"""

import argparse
import os
import sys

from sqlalchemy import create_engine, text
from sqlalchemy.orm import Session

from worker.bulk import Refused, Verification, enqueue_verifications
from worker.enqueue import enqueue_verification
from worker.errors import BadRequest

INTEGRATION = "DCS_HOUSEHOLD_DRIVERS"


def main() -> int:
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--driver", type=int, required=True, action="append")
    drivers: list[int] = arguments.parse_args().driver
    engine = create_engine(os.environ["DATABASE_URL"].replace("postgresql://", "postgresql+psycopg://"))

    with Session(engine) as session:
        quote = session.execute(
            text("INSERT INTO quotes (quote_number, state, product_type) VALUES (:number, 'TX', 'auto') RETURNING id"),
            {"number": f"EXAMPLE-{os.urandom(4).hex()}"},
        ).scalar_one()
        try:
            asked = enqueue_verification(
                session,
                integration=INTEGRATION,
                driver_id=drivers[0],
                quote_id=quote,
                # A request that is repeated because its answer was lost finds the job that is there.
                idempotency_key=f"quote-{quote}-driver-{drivers[0]}",
            )
        except BadRequest as error:
            print(f"{error.code}: {error}", file=sys.stderr)
            return 1  # without a commit, neither the quote nor a job is there
        # One after the other would do as well; thousands are faster at once, each with an answer of its own.
        many = enqueue_verifications(
            session, [Verification(INTEGRATION, driver, quote_id=quote) for driver in drivers[1:]]
        )
        session.commit()

    print(f"{asked.job_id} {asked.how}")
    for driver, one in zip(drivers[1:], many, strict=True):
        if isinstance(one, Refused):
            print(f"driver {driver}: {one.code}")
        else:
            print(f"{one.job_id} {one.how}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
