"""The clocks of the memory store."""

import asyncio

from statemachine_agents.stores.memory import MemoryStore
from tests.contracts.authors import begun


class FakeClock:
    """A clock that moves when told to."""

    def __init__(self):
        self.utc, self.mono = 1_000_000, 50.0

    def now(self):
        return self.utc

    def monotonic(self):
        return self.mono

    async def sleep(self, seconds):
        self.mono += seconds


def test_memory_leases_go_by_the_monotonic_clock():
    """A jump of the wall clock frees no lease; monotonic time does, to the second."""

    async def body():
        clock = FakeClock()
        store = MemoryStore(clock)
        _, lease = await begun(store, ttl=30.0)
        clock.utc += 3600_000_000
        assert await store.claim("run-1", "w", 30.0) is None
        clock.mono += 29.9
        assert await store.claim("run-1", "w", 30.0) is None
        assert await store.renew([lease], 30.0) == (lease,)
        clock.mono += 29.9
        assert await store.claim("run-1", "w", 30.0) is None
        clock.mono += 0.1
        assert (await store.claim("run-1", "w", 30.0)).fence == 2

    asyncio.run(body())


def test_memory_wakes_by_the_utc_clock():
    """A parked run is due exactly when its `wake_at` has come."""

    async def body():
        clock = FakeClock()
        store = MemoryStore(clock)
        _, lease = await begun(store)
        await store.park(lease, 2_000_000)
        clock.mono += 1000
        clock.utc = 1_999_999
        assert await store.due() == []
        clock.utc = 2_000_000
        assert await store.due() == ["run-1"]
        assert (await store.row("run-1")).created_at == 1_000_000

    asyncio.run(body())
