"""Two owners of one run: one wins, the other says so, and nothing happens twice."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from statemachine_agents.errors import Fenced, UsageError
from statemachine_agents.journal.records import verify_chain
from statemachine_agents.stores.memory import MemoryStore
from statemachine_agents.system import has_died, name_owner
from statemachine_agents.turn.ports import HeadRow, Write
from tests.crash.desk import Desk, Hurried, Wire, driver_of, judged, live, opened, settled

ROOT = Path(__file__).parents[2]


class Rival:
    """A process of its own that waits inside the credit tool; see `rival.py`."""

    def __init__(self, folder, effect="idempotent", ttl=30.0):
        self.process = subprocess.Popen(
            [sys.executable, str(Path(__file__).with_name("rival.py")), folder, effect, str(ttl)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )

    def hear(self):
        """Return the next thing it says; None when it has ended without a word."""
        line = self.process.stdout.readline()
        return json.loads(line) if line else None

    def let_go(self):
        self.process.stdin.write("\n")
        self.process.stdin.flush()

    def close(self):
        self.process.kill()
        self.process.stdin.close()
        self.process.stdout.close()
        self.process.wait(30)


@pytest.fixture
def rivals(tmp_path):
    made = []

    def start(**options):
        made.append(Rival(tmp_path, **options))
        return made[-1]

    yield start
    for rival in made:
        rival.close()


async def whole(folder, effect="idempotent", **options):
    """Take the run up in this process, to its end, and judge the world."""
    desk = Desk(folder, effect).open()
    store = opened(folder)
    try:
        async with driver_of(desk, store, **options) as driver:
            outcome, _ = await settled(driver, store, desk, await live(driver, store))
            return await judged(driver, desk, outcome)
    finally:
        await store.aclose()


def test_of_two_processes_one_wins_and_the_other_says_so(rivals, tmp_path):
    """While one process is inside the credit, another is told who has the run and until when."""
    first = rivals()
    assert first.hear()["attempt"] == 1
    second = rivals()
    refused = second.hear()
    assert refused["busy"] is True
    assert f":{first.process.pid}:" in refused["owner"]
    assert f"is being advanced by {refused['owner']} until 20" in refused["refused"]
    first.let_go()
    assert first.hear() == {"status": "succeeded", "state": "complete"}
    assert "call_doubted" not in asyncio.run(whole(tmp_path))


def test_a_killed_process_is_followed_at_once(rivals, tmp_path):
    """Its lease stands for half a minute more, but its process is gone: nobody has to wait."""
    first = rivals(ttl=3600.0)
    assert "inside" in first.hear()
    first.process.kill()  # not waited for: a zombie is as dead
    kinds = asyncio.run(whole(tmp_path))
    assert kinds.count("call_doubted") == 1


def test_a_stopped_process_that_wakes_up_is_fenced(rivals, tmp_path):
    """A process that slept through its lease finds the run taken over, and changes nothing."""
    first = rivals(ttl=0.5)
    assert "inside" in first.hear()
    os.kill(first.process.pid, signal.SIGSTOP)
    kinds = None
    while kinds is None:
        try:
            kinds = asyncio.run(whole(tmp_path))
        except UsageError as busy:
            if not busy.facts.get("busy"):
                raise
            time.sleep(0.05)  # it sleeps, it is not dead: its lease has to lapse
    assert kinds.count("call_doubted") == 1
    os.kill(first.process.pid, signal.SIGCONT)
    first.let_go()
    assert "taken over" in first.hear()["refused"]
    assert asyncio.run(whole(tmp_path)) == kinds


@pytest.mark.parametrize("effect", ["idempotent", "verifiable", "manual"])
def test_a_zombie_inside_a_tool_cannot_write(tmp_path, effect):
    """Its run is taken over while its credit is under way; what it learns is void, once made."""
    gate = {}

    async def inside(call):
        if not gate["reached"].is_set():
            gate["reached"].set()
            await gate["go"].wait()

    async def main():
        gate.update(reached=asyncio.Event(), go=asyncio.Event())
        desk = Desk(tmp_path, effect).open()
        store, other = opened(tmp_path), opened(tmp_path)
        zombie = driver_of(desk, store, inside=inside)
        run_id = await zombie.start({"order_id": "A1"}, request_id="req-1", wait=False)
        await gate["reached"].wait()
        zombie._runs._pulse.cancel()  # it does not know yet
        row = await other.row(run_id)
        lease = await other.claim(run_id, "thief", 30.0, over=row.fence)
        await other.release(lease)
        async with driver_of(desk, other, inside=inside) as driver:
            outcome, _ = await settled(driver, other, desk, await driver.resume(run_id))
            kinds = await judged(driver, desk, outcome)
            gate["go"].set()
            with pytest.raises(UsageError, match="taken over"):
                await zombie.result(run_id)
            await judged(driver, desk, outcome)
            assert len(await driver.records(run_id)) == len(kinds)
        await zombie.aclose()
        await store.aclose()
        await other.aclose()

    asyncio.run(main())


@pytest.mark.parametrize("effect", ["verifiable", "manual"])
def test_a_zombie_between_intent_and_call_does_not_call(tmp_path, effect):
    """Asleep right after an intent: the new owner finds it not done, so it must not be done now."""

    async def main():
        desk = Desk(tmp_path, effect).open()
        store, other = opened(tmp_path), opened(tmp_path)
        slept, wake = asyncio.Event(), asyncio.Event()

        class Sleepy(Wire):
            """Sleeps between the append of the credit's intent and its acknowledgement."""

            def __getattr__(self, name):
                method = super().__getattr__(name)
                if name != "append":
                    return method

                async def append(lease, write):
                    answer = await method(lease, write)
                    intents = [each for each in write.records if each.kind == "call_intended"]
                    if any(each.body["tool"] == "process_credit" for each in intents):
                        slept.set()
                        await wake.wait()
                    return answer

                return append

        clock = Hurried()
        zombie = driver_of(desk, Sleepy(store), clock=clock)
        run_id = await zombie.start({"order_id": "A1"}, request_id="req-1", wait=False)
        await slept.wait()
        zombie._runs._pulse.cancel()
        fence = (await other.row(run_id)).fence
        await other.release(await other.claim(run_id, "thief", 30.0, over=fence))
        async with driver_of(desk, other) as driver:
            outcome, _ = await settled(driver, other, desk, await driver.resume(run_id))
            await judged(driver, desk, outcome)
            clock.ahead = 5.0
            wake.set()
            with pytest.raises(UsageError, match="taken over"):
                await zombie.result(run_id)
            await judged(driver, desk, outcome)
        await zombie.aclose()
        await store.aclose()
        await other.aclose()

    asyncio.run(main())


def test_a_lost_lease_stops_the_run_at_the_next_heartbeat(tmp_path):
    """The heartbeat finds the lease taken: the run is left, also while the model thinks."""

    async def main():
        desk = Desk(tmp_path, "idempotent").open()
        store = MemoryStore()
        thinking = asyncio.Event()

        class Thinker:
            def layout(self, model):
                return driver_model.layout(model)

            async def complete(self, request, *, on_text=None):
                thinking.set()
                await asyncio.Event().wait()

            async def aclose(self):
                pass

        driver_model = driver_of(desk, store).model
        async with driver_of(desk, store, model=Thinker(), ttl=0.3) as driver:
            run_id = await driver.start({"order_id": "A1"}, wait=False)
            await thinking.wait()
            fence = (await store.row(run_id)).fence
            assert await store.claim(run_id, "thief", 30.0, over=fence) is not None
            with pytest.raises(UsageError, match="taken over"):
                await driver.result(run_id)
            assert (await store.row(run_id)).owner == "thief"

    asyncio.run(main())


def test_heartbeats_keep_the_lease_of_a_long_tool(tmp_path):
    """A tool that outlasts the ttl several times over keeps its run: nobody else can claim it."""

    async def main():
        desk = Desk(tmp_path, "idempotent").open()
        store, other = opened(tmp_path), opened(tmp_path)
        reached, go = asyncio.Event(), asyncio.Event()

        async def inside(call):
            reached.set()
            await go.wait()

        ttl = 1.5
        async with driver_of(desk, store, inside=inside, ttl=ttl) as driver:
            run_id = await driver.start({"order_id": "A1"}, wait=False)
            await reached.wait()
            began = (await other.row(run_id)).lease_until
            row = await other.row(run_id)
            while row.lease_until < began + 2 * ttl * 1e6:
                assert await other.claim(run_id, "rival", ttl) is None
                await asyncio.sleep(0.05)
                row = await other.row(run_id)
            assert row.fence == 1
            go.set()
            outcome = await driver.result(run_id)
            kinds = await judged(driver, desk, outcome)
            assert "call_doubted" not in kinds
        await store.aclose()
        await other.aclose()

    asyncio.run(main())


def test_a_fenced_append_leaves_no_trace(tmp_path):
    """Whatever an old owner tries to write is refused, and the journal stays as it was."""

    async def main():
        desk = Desk(tmp_path, "idempotent").open()
        store = opened(tmp_path)
        async with driver_of(desk, store) as driver:
            run_id = await driver.start({"order_id": "A1"}, wait=False)
            await driver.result(run_id)
            records = await driver.records(run_id)
            old = await store.claim(run_id, "old", 0.0)
            new = await store.claim(run_id, "new", 30.0)
            head = HeadRow(state="x", status="failed", phase="ended")
            with pytest.raises(Fenced):
                await store.append(old, Write(records=(), head=head))
            await store.release(new)
            assert await driver.records(run_id) == records
            verify_chain(records)
            assert (await store.row(run_id)).state == "complete"
        await store.aclose()

    asyncio.run(main())


def test_only_a_process_that_is_certainly_gone_is_called_dead():
    """Ours is alive; a killed one is dead, before and after its parent looked; others are alive."""
    ours = name_owner()
    assert not has_died(ours)
    host, pid, ticks, noise = ours.rsplit(":", 3)
    sleeper = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    its = f"{host}:{sleeper.pid}:0:{noise}"
    assert not has_died(its)
    sleeper.kill()
    while not has_died(its):  # it takes the kernel a moment
        time.sleep(0.01)
    sleeper.stdin.close()
    sleeper.wait()
    assert has_died(its)
    assert not has_died(f"elsewhere:{sleeper.pid}:0:{noise}")
    for strange in ("", "worker-1", f"{host}:x:0:{noise}", f"{host}:{sleeper.pid}"):
        assert not has_died(strange)
    if ticks != "0":  # the pid is in use again, by a process that began at another time
        assert has_died(f"{host}:{pid}:{int(ticks) - 1}:{noise}")
