"""A process that visits the gate again and again, for tests of what many processes do together.

    python -m tests.tasks.verification.gate_visitor '<JSON>'

The JSON says which Redis, which account, how long, and what to do when let in. It prints one line for each pass.
"""

import asyncio
import json
import sys
from typing import Any

from redis.asyncio import Redis

from tasks.verification.gate import RULES, Closed, Ending, Pass, Visit
from tasks.verification.gate_store import Gate


def say(leave: Pass, word: str) -> None:
    sys.stdout.write(f"{word} {leave.begun_ms:.3f} {int(leave.is_probe)}\n")
    sys.stdout.flush()


async def call(url: str) -> None:
    """Enough of a call for a server to see it begin and end."""
    host, port = url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(b"GET / HTTP/1.1\r\n\r\n")
    await reader.read()
    writer.close()


async def visit_once(gate: Gate, visit: Visit, told: dict[str, Any]) -> None:
    leave = await gate.enter(visit, told["patience_s"])
    if isinstance(leave, Closed):
        await asyncio.sleep(min(leave.wait_s, told["longest_pause_s"]))
        return
    say(leave, "in")
    if "url" in told:
        await call(told["url"])
    await asyncio.sleep(told["stay_s"])
    await gate.leave(visit, leave, Ending.ANSWERED)
    say(leave, "out")


async def main(told: dict[str, Any]) -> None:
    visit = Visit(**told["visit"])
    async with Redis.from_url(told["redis_url"]) as redis:
        gate = Gate(redis, RULES, local_share=0.1)
        end = asyncio.get_running_loop().time() + told["for_s"]

        async def keep_visiting() -> None:
            while asyncio.get_running_loop().time() < end:
                await visit_once(gate, visit, told)

        await asyncio.gather(*(keep_visiting() for _ in range(told["at_once"])))


if __name__ == "__main__":
    asyncio.run(main(json.loads(sys.argv[1])))
