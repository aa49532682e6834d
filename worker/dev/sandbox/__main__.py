"""`python -m worker.dev.sandbox`: prints its URL as one line and serves until stopped."""

import argparse
import sys

from worker.errors import Misconfigured

from .server import serve


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m worker.dev.sandbox", description=__doc__)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0, help="0 takes a free one")
    parser.add_argument("--control", action="store_true", help="serve /_sandbox/journal, reset and faults")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--latency", default="0", help="50ms, 50ms-200ms or drivers=5s,criminal=10s")
    parser.add_argument("--allow-non-loopback", action="store_true")
    options = parser.parse_args()
    try:
        serve(**vars(options))
    except Misconfigured as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
