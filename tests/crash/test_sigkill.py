"""A real SIGKILL around every write of a refund: whatever is resumed ends as if nothing was.

Each case is a process that kills itself with SIGKILL right before or right after its n-th write
on the store: creating the run, claiming it, and every append; so also between an effect and its
record. The next process takes the dead one's lease over and goes on.
"""

import itertools
import json
import os
import random
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.crash.desk import EFFECTS, quick_folder

ROOT = Path(__file__).parents[2]
KILLED = -signal.SIGKILL


class Nursery:
    """The process that forks the ones to be killed."""

    def __init__(self, folder):
        self.folder = folder
        self.made = 0
        self.process = subprocess.Popen(
            [sys.executable, str(Path(__file__).with_name("child.py"))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )
        if self.process.stdout.readline() != "ready\n":
            pytest.fail(f"the nursery ended with {self.close()}")

    def world(self):
        """Return a new, empty folder."""
        self.made += 1
        path = self.folder / str(self.made)
        path.mkdir()
        return path

    def run(self, folder, effect, when="after", at=0):
        """Run a process in a folder until it ends; it kills itself at its write `at`."""
        job = {"folder": str(folder), "effect": effect, "when": when, "at": at}
        self.process.stdin.write(json.dumps(job) + "\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())

    def close(self):
        """Let it end, and say how."""
        self.process.stdin.close()
        self.process.stdout.close()
        return self.process.wait(30)


@pytest.fixture(scope="module")
def nursery():
    with quick_folder() as folder:
        made = Nursery(folder)
        yield made
        assert made.close() == 0


def ended(answer):
    """Insist that a process ended well; it has judged the world itself (`desk.judged`)."""
    assert answer["code"] == 0, answer.get("trace", answer)
    assert answer["status"] == "succeeded"
    return answer


@pytest.mark.parametrize("effect", EFFECTS)
def test_a_kill_around_every_write_changes_nothing(nursery, effect):
    """Killed before or after any write, resumed: same end, one credit, one mail, same replay."""
    whole = ended(nursery.run(nursery.world(), effect))
    assert whole["writes"] > 5
    answers, doubts = set(), 0
    for when, at in itertools.product(("before", "after"), range(1, whole["writes"] + 1)):
        folder = nursery.world()
        first = nursery.run(folder, effect, when, at)
        assert first["code"] == KILLED, (when, at, first)
        last = ended(nursery.run(folder, effect))
        answers |= set(last["answers"])
        doubts += "call_doubted" in last["kinds"]
        shutil.rmtree(folder)
    # Only a manual call needs a person, who then finds it done at one place, not done at another.
    assert answers == ({"done", "not_done"} if effect == "manual" else set())
    assert doubts >= 2


@pytest.mark.parametrize("effect", EFFECTS)
def test_two_kills_in_a_row_change_nothing(nursery, effect):
    """Killed, resumed, killed again at another place, resumed: as if nothing had happened."""
    writes = ended(nursery.run(nursery.world(), effect))["writes"]
    places = list(itertools.product(("before", "after"), range(1, writes + 1)))
    pairs = random.Random(effect).sample(list(itertools.product(places, places)), 40)
    twice = 0
    for first, second in pairs:
        folder = nursery.world()
        assert nursery.run(folder, effect, *first)["code"] == KILLED
        again = nursery.run(folder, effect, *second)
        if again["code"] != KILLED:  # the rest of the run had fewer writes than that
            ended(again)
            continue
        twice += 1
        ended(nursery.run(folder, effect))
        shutil.rmtree(folder)
    assert twice > 5
