"""Crashes in this process: cheap enough for every pair of places.

A crash is an exception no code of ours catches, raised around the n-th write on the store; from
then on that store is dead, so nothing is tidied up. The next owner believes the last one's process
to be dead, as it would be.
"""

import asyncio
import itertools
import random
import shutil
import subprocess
import sys

import pytest

from statemachine_agents.system import name_owner
from tests.crash.desk import (
    EFFECTS,
    Desk,
    Hurried,
    Wire,
    driver_of,
    judged,
    live,
    model,
    opened,
    quick_folder,
    settled,
)


class Crash(BaseException):
    """The end of a process."""


def strike():
    raise Crash


@pytest.fixture(scope="module")
def dead():
    """The name of an owner on this machine whose process has ended."""
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    host, _, ticks, noise = name_owner().rsplit(":", 3)
    return f"{host}:{ended.pid}:{ticks}:{noise}"


async def crash(desk, dead, place):
    """Live until the crash; return whether it came, and how many writes there were."""
    store = opened(desk.folder)
    wire = Wire(store, strike, *place)
    driver = driver_of(desk, wire, clock=Hurried(), model=model())
    driver._archive.owner = dead
    try:
        outcome = await live(driver, store)
        await settled(driver, store, desk, outcome)
    except Crash:
        return True, wire.writes
    finally:
        await store.aclose()
        driver._runs._pulse.cancel() if driver._runs._pulse else None
    return False, wire.writes


async def recover(desk):
    """Take the run up again, answer what a person must, and judge the world."""
    store = opened(desk.folder)
    async with driver_of(desk, store) as driver:
        outcome = await live(driver, store)
        outcome, answers = await settled(driver, store, desk, outcome)
        await judged(driver, desk, outcome)
    await store.aclose()
    return answers


class Worlds:
    """Gives a desk a new, empty folder for each case."""

    def __init__(self, folder):
        self.folder = folder
        self.made = 0
        self.desks = {effect: Desk(folder, effect) for effect in EFFECTS}

    def new(self, effect):
        if self.made:
            shutil.rmtree(self.folder / str(self.made))
        self.made += 1
        desk = self.desks[effect]
        desk.folder = self.folder / str(self.made)
        desk.folder.mkdir()
        return desk.open()


@pytest.fixture
def worlds():
    with quick_folder() as folder:
        yield Worlds(folder)


@pytest.mark.parametrize("effect", EFFECTS)
def test_every_pair_of_crashes_changes_nothing(worlds, dead, effect):
    """Crash at any place, resume, crash at any later place, resume: as if nothing had happened."""

    async def main():
        crashed, writes = await crash(worlds.new(effect), dead, ("after", 0))
        assert not crashed
        places = list(itertools.product(("before", "after"), range(1, writes + 1)))
        twice = 0
        for first, when in itertools.product(places, ("before", "after")):
            for at in itertools.count(1):
                desk = worlds.new(effect)
                assert (await crash(desk, dead, first))[0]
                again = (await crash(desk, dead, (when, at)))[0]
                await recover(desk)
                if not again:
                    break
                twice += 1
        return twice

    assert asyncio.run(main()) > 50


@pytest.mark.parametrize("seed", range(3))
def test_many_crashes_in_a_row_change_nothing(worlds, dead, seed):
    """Up to four crashes, one after the other, at places drawn by chance."""
    chance = random.Random(seed)

    async def main():
        crashes = 0
        for _ in range(40):
            desk = worlds.new(chance.choice(EFFECTS))
            for _ in range(chance.randint(1, 4)):
                place = (chance.choice(("before", "after")), chance.randint(1, 9))
                crashes += (await crash(desk, dead, place))[0]
            await recover(desk)
        return crashes

    assert asyncio.run(main()) > 35
