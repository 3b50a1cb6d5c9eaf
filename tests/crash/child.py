"""A process to be killed: runs the refund of a folder until it ends, or until it strikes itself.

`python child.py` reads one JSON object a line from standard input (`folder effect when at`), forks
a child for each, waits for it, and answers with one line: how it ended and what it wrote. Forking
from a process that has loaded everything and has no threads makes a kill cost milliseconds.
"""

import asyncio
import json
import os
import signal
import sys
import traceback
from pathlib import Path

from tests.crash.desk import Desk, Wire, driver_of, judged, live, opened, settled, workflow


def strike():
    os.kill(os.getpid(), signal.SIGKILL)


async def run(job):
    desk = Desk(Path(job["folder"]), job["effect"]).open()
    store = opened(desk.folder)
    wire = Wire(store, strike, job.get("when", "after"), job.get("at", 0))
    async with driver_of(desk, wire) as driver:
        outcome = await live(driver, store)
        outcome, answers = await settled(driver, store, desk, outcome)
        kinds = await judged(driver, desk, outcome)
    await store.aclose()
    return {"writes": wire.writes, "status": outcome.status, "answers": answers, "kinds": kinds}


def child(job):
    """Run in the forked process; what it says goes into a file, and it never returns."""
    code, said = 1, {}
    try:
        said = asyncio.run(run(job))
        code = 0
    except BaseException as error:  # noqa: BLE001 - the parent is told whatever it was
        said = {"error": repr(error), "trace": traceback.format_exc()}
    finally:
        (Path(job["folder"]) / "said").write_text(json.dumps(said))
        os._exit(code)


def main():
    for effect in ("read", "transactional"):
        workflow(Desk(Path(), effect))
    print("ready", flush=True)
    for line in sys.stdin:
        job = json.loads(line)
        said = Path(job["folder"]) / "said"
        said.unlink(missing_ok=True)
        pid = os.fork()
        if pid == 0:
            child(job)
        _, status = os.waitpid(pid, 0)
        answer = json.loads(said.read_text()) if said.exists() else {}
        print(json.dumps({**answer, "code": os.waitstatus_to_exitcode(status)}), flush=True)


if __name__ == "__main__":
    main()
