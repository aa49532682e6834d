"""Stands in for curl where a machine has none: the options that the examples use, over real HTTP.

curl.py [--silent --show-error --fail-with-body] [--config -] [--retry N] [--data FORM | --json JSON]
        [--header LINE]... URL
"""

import argparse
import base64
import re
import sys
import urllib.error
import urllib.request

FAILED = 22
"""What curl ends with where the answer is an error."""


def main() -> int:
    parser = argparse.ArgumentParser(allow_abbrev=False)
    for flag in ("--silent", "--show-error", "--fail-with-body"):
        parser.add_argument(flag, action="store_true")
    parser.add_argument("--config", choices=["-"])
    parser.add_argument("--retry", type=int, default=0)
    parser.add_argument("--data")
    parser.add_argument("--json")
    parser.add_argument("--header", action="append", default=[])
    parser.add_argument("url")
    given = parser.parse_args()
    headers = dict(line.split(": ", 1) for line in given.header)
    for name, value in re.findall(r'^(\w+) = "(.*)"$', sys.stdin.read() if given.config else "", re.MULTILINE):
        if name == "user":
            headers["Authorization"] = f"Basic {base64.b64encode(value.encode()).decode()}"
        else:
            headers.update([value.split(": ", 1)])
    if given.json is not None:
        headers["Content-Type"] = "application/json"
    body = given.json if given.json is not None else given.data
    request = urllib.request.Request(given.url, body and body.encode(), headers)  # noqa: S310 - the test's own API
    try:
        with urllib.request.urlopen(request) as answer:  # noqa: S310 - the same
            sys.stdout.buffer.write(answer.read())
    except urllib.error.HTTPError as error:
        sys.stdout.buffer.write(error.read())
        return FAILED
    return 0


if __name__ == "__main__":
    sys.exit(main())
