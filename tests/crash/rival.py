"""A process that runs the refund of a folder and, inside the credit tool, waits to be let go.

`python rival.py FOLDER EFFECT TTL` prints one JSON object a line: `{"inside": key}` when the credit
was made and the tool has not returned yet; it returns when a line is read from standard input.
The last line says how it ended.
"""

import asyncio
import json
import sys
from pathlib import Path

from statemachine_agents.errors import UsageError
from tests.crash.desk import Desk, driver_of, live, opened


def say(**what):
    print(json.dumps(what), flush=True)


async def inside(call):
    say(inside=call.key, attempt=call.attempt)
    await asyncio.to_thread(sys.stdin.readline)


async def main(folder, effect, ttl):
    desk = Desk(Path(folder), effect).open()
    store = opened(desk.folder)
    async with driver_of(desk, store, inside=inside, ttl=float(ttl)) as driver:
        try:
            outcome = await live(driver, store)
            say(status=outcome.status, state=outcome.state)
        except UsageError as error:
            say(refused=str(error), busy=error.facts.get("busy"), owner=error.facts.get("owner"))
    await store.aclose()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
