"""A refund desk that keeps count: what the crash tests run, and how they judge what came of it.

Rules.  1. Whatever the desk does to the world lies in files of one folder, so it outlives the
process: a ledger, mails, and a log of every attempt.  2. The states are those of the refund table
of the design; only the effect class of the credit differs.  3. `Wire` counts the writes on a store
and strikes before or after the one it is set to.
"""

import asyncio
import os
import sqlite3
import tempfile
import time
from contextlib import closing, contextmanager
from functools import lru_cache
from pathlib import Path

import attrs

from statemachine_agents.driver import Driver
from statemachine_agents.journal.journal import Journal
from statemachine_agents.kernel.workflow import Workflow
from statemachine_agents.models.scripted import ScriptedModel, use
from statemachine_agents.stores.sqlite import SQLiteStore
from statemachine_agents.tools.decorator import Call, done, not_done, tool
from statemachine_agents.turn.recovery import SKEW
from tests.tables import refund

EFFECTS = ("read", "idempotent", "verifiable", "transactional", "manual")
"""Effect classes of the credit tool."""

TIMEOUT = 0.2
"""Seconds of the credit tool: what a recovery has to wait for before it verifies."""

WRITES = ("define", "create", "claim", "append", "transact", "signal", "park", "release")

PATHS = {
    True: ("fetching", "validating", "crediting", "emailing", "complete"),
    False: ("fetching", "validating", "crediting", "reconciling", "emailing", "complete"),
}


@attrs.define(eq=False)
class Desk:
    """The world: everything the tools read and write.

    Args:
        folder: where it lies; a test may move the desk to another one.
        effect: class of the credit tool.
    """

    folder: Path
    effect: str

    def open(self) -> "Desk":
        """Make the world; a `read` tool only looks up a credit that is there already."""
        with closing(sqlite3.connect(self.folder / "ledger.db")) as db, db:
            db.execute("pragma synchronous = off")  # processes are killed here, not machines
            db.execute("create table if not exists credit (id integer primary key, at, key unique)")
            if self.effect == "read":
                db.execute("insert or ignore into credit (at, key) values ('A1', 'before')")
        (self.folder / "mails").mkdir(exist_ok=True)
        return self

    def credit(self, order_id: str, key: str) -> dict:
        """Credit; a key that was used before gives the credit it made then."""
        self.note("credit", key)
        with closing(sqlite3.connect(self.folder / "ledger.db", timeout=30)) as db, db:
            db.execute("pragma synchronous = off")
            db.execute("insert or ignore into credit (at, key) values (?, ?)", (order_id, key))
        return self.found(order_id)

    def found(self, order_id: str) -> dict | None:
        """Return the credit of an order."""
        with closing(sqlite3.connect(self.folder / "ledger.db", timeout=30)) as db:
            row = db.execute("select id from credit where at = ?", (order_id,)).fetchone()
        return None if row is None else {"id": f"cr-{row[0]}"}

    def mail(self, to: str, key: str) -> dict:
        """Send; a second mail under the same key takes the place of the first."""
        self.note("mail", key)
        name = key.replace("/", "-")
        draft = self.folder / f"{name}.{os.getpid()}"
        draft.write_text(to)
        draft.rename(self.folder / "mails" / name)
        return {"sent": to}

    def note(self, what: str, key: str) -> None:
        """Log an attempt, as the provider would."""
        with (self.folder / "attempts").open("a") as log:
            log.write(f"{what} {key}\n")

    def attempts(self, what: str) -> list[str]:
        """Return the keys of all attempts."""
        path = self.folder / "attempts"
        lines = path.read_text().split("\n") if path.exists() else []
        return [line.partition(" ")[2] for line in lines if line.startswith(what)]

    def ledger(self) -> list[tuple[str, str]]:
        """Return (order, key) of every credit."""
        at = "runs.db" if self.effect == "transactional" else "ledger.db"
        with closing(sqlite3.connect(self.folder / at)) as db:
            try:
                return db.execute("select at, key from credit").fetchall()
            except sqlite3.OperationalError:
                return []  # no credit was ever tried

    def mails(self) -> list[str]:
        """Return the texts of all mails."""
        return [path.read_text() for path in (self.folder / "mails").iterdir()]


@lru_cache(maxsize=16)
def workflow(desk: Desk, inside=None) -> Workflow:
    """Bind the refund table to a desk; `inside` is called within the credit tool, after it."""

    @tool(effect="read")
    async def fetch_order(order_id: str) -> dict:
        return {"id": order_id, "email": "customer@example.com"}

    @tool(effect="read")
    async def check_refund_policy(order_id: str) -> dict:
        return {"eligible": True, "amount_cents": 4200}

    @tool(effect="idempotent")
    async def send_email(to: str, call: Call) -> dict:
        return desk.mail(to, call.key)

    tools = [fetch_order, check_refund_policy, credit_tool(desk, inside), send_email]
    return Workflow(table_for(desk.effect), tools)


def table_for(effect):
    """Return the refund table; some classes have no outcome that nobody knows."""
    table = refund()
    if effect not in ("read", "transactional"):
        return table
    return attrs.evolve(
        table,
        states=[state for state in table.states.values() if state.name != "reconciling"],
        transitions=[
            row for row in table.transitions if "reconciling" not in (row.source, row.target)
        ],
    )


def credit_tool(desk: Desk, inside):
    """Return the credit tool in one of its classes."""
    if desk.effect == "transactional":

        @tool(effect="transactional", timeout=TIMEOUT)
        def process_credit(order_id: str, amount_cents: int, call: Call) -> dict:
            db = call.connection
            db.execute("create table if not exists credit (id integer primary key, at, key)")
            made = db.execute(
                "insert into credit (at, key) values (?, ?)", (order_id, call.key)
            ).lastrowid
            return {"id": f"cr-{made}"}

        return process_credit

    def verify(order_id: str):
        credit = desk.found(order_id)
        return not_done() if credit is None else done(credit)

    @tool(
        effect=desk.effect,
        timeout=TIMEOUT if inside is None else 60.0,
        verify=verify if desk.effect == "verifiable" else None,
    )
    async def process_credit(order_id: str, amount_cents: int, call: Call) -> dict:
        if desk.effect == "read":
            return desk.found(order_id)
        # Only an idempotent receiver honours our key.
        own = call.key if desk.effect == "idempotent" else f"{call.key} {os.urandom(4).hex()}"
        credit = desk.credit(order_id, own)
        if inside is not None:
            await inside(call)
        return credit

    return process_credit


@contextmanager
def quick_folder():
    """Give a folder in memory where there is one: these tests kill processes, not machines."""
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None) as folder:
        yield Path(folder)


class Hurried:
    """Real time in which every wait is over at once."""

    def __init__(self):
        self.ahead = 0.0

    def now(self):
        return time.time_ns() // 1000 + int(self.ahead * 1e6)

    def monotonic(self):
        return time.monotonic() + self.ahead

    async def sleep(self, seconds):
        self.ahead += max(seconds, 0)
        await asyncio.sleep(0)


class Wire:
    """A store that calls `strike` before or after its n-th write.

    Args:
        store: the real one.
        strike: called once, without arguments; does not return.
        when: `before` or `after`.
        at: which write, from 1; 0 for none.
    """

    def __init__(self, store, strike=None, when="after", at=0):
        self.store = store
        self.strike = strike
        self.when = when
        self.at = at
        self.writes = 0
        self.dead = False

    def __getattr__(self, name):
        method = getattr(self.store, name)
        if name not in WRITES:
            return method

        async def counted(*args, **kwargs):
            if self.dead:
                self.strike()
            self.writes += 1
            mine = self.writes == self.at
            if mine and self.when == "before":
                self.dead = True
                self.strike()
            answer = await method(*args, **kwargs)
            if mine:
                self.dead = True
                self.strike()
            return answer

        return counted


def model():
    """Return a model that proposes the first legal tool, whoever asked before the crash."""

    def first(request):
        arguments = {"to": "x"} if request.offered[0] == "unbound" else {}
        return use(request.offered[0], **arguments)

    return ScriptedModel([first] * 40)


async def live(driver, store):
    """Start the one run of this store, or take it up again; return its outcome."""
    rows = await store.runs()
    if not rows:
        return await driver.start({"order_id": "A1"}, request_id="req-1")
    return await driver.resume(rows[0].run)


async def settled(driver, store, desk, outcome):
    """Answer, as a person would who looks into the ledger, whether the credit was made.

    Returns the outcome, and the answers given.
    """
    answers = []
    while outcome.status == "waiting" and outcome.waiting == ("resolution",):
        found = desk.found("A1")
        answer = {"not_done": True} if found is None else {"done": found}
        outcome = await driver.resolve(outcome.run_id, **answer, by="auditor")
        answers += answer
    return outcome, answers


async def judged(driver, desk, outcome):
    """Insist on everything that must hold of a refund, however often it was interrupted."""
    assert outcome.status == "succeeded", outcome
    ledger = desk.ledger()
    assert [order for order, _ in ledger] == ["A1"]
    assert desk.mails() == ["customer@example.com"]
    mailed, credited = desk.attempts("mail"), desk.attempts("credit")
    assert len(set(mailed)) == 1
    if desk.effect == "idempotent":
        assert set(credited) == {ledger[0][1]}
    if desk.effect in ("verifiable", "manual"):
        assert len(credited) == 1
    records = await driver.records(outcome.run_id)
    definition = (await driver.load(outcome.run_id)).standing.workflow.definition
    journal = Journal(definition.data, records)
    assert journal.replay().require_same().records == len(records)
    deadlines = {}
    for record in records:
        if record.kind == "call_intended" and record.body["effect"] == "verifiable":
            deadlines[record.body["no"]] = record.body["deadline"]
        elif record.kind == "call_doubted" and record.body["no"] in deadlines:
            # Earlier, the dead process's request might still be on its way.
            assert record.at >= deadlines[record.body["no"]] + SKEW
    kinds = [record.kind for record in records]
    assert kinds[-1] == "run_ended"
    assert outcome.path in PATHS.values() or desk.effect == "manual"
    if "reconciling" not in outcome.path:
        assert outcome.path == PATHS[True]
    row = await driver.store.row(outcome.run_id)
    assert (row.phase, row.status) == ("ended", "succeeded")
    assert await driver.store.due() == []
    assert await driver.store.inbox(outcome.run_id) == []
    return kinds


def opened(folder):
    """Return a store on the folder's file."""
    return SQLiteStore(folder / "runs.db")


def driver_of(desk, store, **options):
    """Return a driver for the desk."""
    options = {"clock": Hurried(), "model": model(), **options}
    return Driver(workflow(desk, options.pop("inside", None)), store=store, **options)
