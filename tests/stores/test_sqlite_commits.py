"""What the SQLite store answers when disks fill and commits break, and how it groups commits."""

import asyncio
import gc
import random
import runpy
import sqlite3
import threading
from pathlib import Path
from typing import ClassVar

import pytest

from statemachine_agents.errors import StoreError
from statemachine_agents.journal.records import Head, verify_chain
from statemachine_agents.stores.sqlite import SQLiteStore

MADE = runpy.run_path(str(Path(__file__).with_name("journal_process.py")))
records, write, after, begin = (MADE[name] for name in ("records", "write", "after", "begin"))
with_store, whole = MADE["with_store"], MADE["whole"]


@pytest.fixture
def path(tmp_path):
    """Where a store may make its file."""
    return tmp_path / "runs.db"


# ------------------------------------------------------------------------------ disks and commits


class Broken(sqlite3.Connection):
    """Its next COMMIT raises, `late`: when it is in the file, or `lost`; or it is `shut`."""

    breaks: ClassVar = []

    def __init__(self, *arguments, **options):
        if self.breaks[-1:] == ["shut"]:
            self.breaks.pop()
            raise sqlite3.OperationalError("unable to open database file")
        super().__init__(*arguments, **options)

    def execute(self, sql, *parameters):
        how = self.breaks.pop() if sql == "commit" and self.breaks else "no"
        answer = super().execute("rollback" if how == "lost" else sql, *parameters)
        if how != "no":
            raise sqlite3.OperationalError("disk I/O error")
        return answer


class BrokenStore(SQLiteStore):
    """A store on such connections."""

    _connection = Broken


@pytest.fixture
def breaks():
    """How the next commits break; not at all at the end."""
    yield Broken.breaks
    Broken.breaks.clear()


def everything(store, head, lease):
    """Return one write of every kind, all for one batch."""
    return (
        store.append(lease, write(records("run", head))),
        store.claim("other", "w", 600.0),
        store.signal("other", "s", "message", {}, 1),
        store.define("ab" * 32, b"x"),
        store.keep_blob(b"large"),
        store.create(write(records("new", Head())), workflow="refund"),
        store.renew([lease], 600.0),
    )


async def prepared(store):
    """Have two runs, one of them ours."""
    await store.create(write(records("other", Head()), "ready"), workflow="refund")
    return await begin(store, "run")


def test_a_commit_that_raised_but_is_in_the_file_is_a_success(path, breaks):
    """Every caller of the batch gets its answer, as if nothing had happened."""

    async def body(store):
        head, lease = await prepared(store)
        breaks.append("late")
        answers = await asyncio.gather(*everything(store, head, lease))
        assert breaks == []
        assert answers[0] is False
        assert answers[1].fence == 1
        assert answers[2:4] == [True, None]
        assert answers[5:] == [("new", True), (lease,)]
        assert await store.blob(answers[4]) == b"large"
        assert len(await store.read("run")) == 2
        transacted = write(records("run", verify_chain(await store.read("run"))))
        breaks.append("late")
        assert await store.transact(lease, lambda _: transacted) is transacted
        assert breaks == []

    with_store(path, body, BrokenStore)
    assert whole(path) == {"run": 3, "other": 1, "new": 1}


def test_a_commit_that_raised_and_is_not_in_the_file_is_an_error(path, breaks):
    """Every caller of the batch hears that nothing was written, and nothing was; then it works."""

    async def body(store):
        head, lease = await prepared(store)
        breaks.append("lost")
        answers = await asyncio.gather(*everything(store, head, lease), return_exceptions=True)
        assert {type(answer) for answer in answers} == {StoreError}
        assert {str(answer) for answer in answers} == {
            f"{path}: disk I/O error; nothing was written"
        }
        assert len(await store.read("run")) == 1
        assert (await store.row("other")).fence == 0
        assert len(await store.runs()) == 2
        answers = await asyncio.gather(*everything(store, head, lease))
        assert answers[1].fence == 1

    with_store(path, body, BrokenStore)
    assert whole(path) == {"run": 2, "other": 1, "new": 1}


def test_a_refused_write_stays_refused_when_the_commit_raises(path, breaks):
    """Looking into the file answers for the batch, not for a write that had failed before."""

    async def body(store):
        head, lease = await prepared(store)
        breaks.append("late")
        answers = await asyncio.gather(
            store.append(lease, write(records("run", head))),
            store.park(lease.__class__("nobody", 1, "w", 1), None),
            return_exceptions=True,
        )
        assert answers[0] is False
        assert "not in this store" in str(answers[1])

    with_store(path, body, BrokenStore)


def test_a_commit_nobody_can_look_into_says_so(path, breaks):
    """When the file cannot be opened either, the answer is not known; repeating the write tells."""

    async def body(store):
        head, lease = await prepared(store)
        again = write(records("run", head))

        breaks.extend(["shut", "late"])
        with pytest.raises(StoreError, match="appending the same records again will tell") as e:
            await store.append(lease, again)
        assert e.value.facts["unknown"] is True
        assert breaks == []
        assert await store.append(lease, again) is False
        assert [record.seq for record in await store.read("run")] == [1, 2]

    with_store(path, body, BrokenStore)


class Small(sqlite3.Connection):
    """A connection to a disk of a hundred pages."""

    def execute(self, sql, *parameters):
        if sql == "begin immediate":
            super().execute("pragma max_page_count = 100")
        return super().execute(sql, *parameters)


class SmallStore(SQLiteStore):
    """A store on such a disk."""

    _connection = Small


def test_a_full_disk_refuses_what_does_not_fit_and_keeps_the_rest(path):
    """A large write fails alone, small ones of the same batch succeed, nothing is half there."""

    async def body(store):
        head, lease = await begin(store, "run")
        small, large = records("run", head), records("big", Head(), 10, text="x" * 200_000)
        answers = await asyncio.gather(
            store.create(write(large), workflow="refund", request_id="req"),
            store.append(lease, write(small)),
            store.keep_blob(random.Random(1).randbytes(2_000_000)),
            return_exceptions=True,
        )
        assert answers[1] is False
        for answer in (answers[0], answers[2]):
            assert type(answer) is StoreError
            assert "full" in str(answer)
        assert [row.run for row in await store.runs()] == ["run"]
        head, written = after(small), 2
        refused = None
        while refused is None:
            sealed = records("run", head, 3, text="x" * 1000)
            try:
                await store.append(lease, write(sealed))
            except StoreError as error:
                refused = str(error)
            else:
                head, written = after(sealed), written + 3
        assert "full; nothing was written" in refused
        assert written > 10
        assert len(await store.read("run")) == written
        return written

    written = with_store(path, body, SmallStore)
    assert whole(path) == {"run": written}


class Forgetful(sqlite3.Connection):
    """A connection on which one kind of write makes SQLite roll the whole transaction back."""

    def execute(self, sql, *parameters):
        if sql.startswith("insert into blob"):
            super().execute("rollback")
            raise sqlite3.OperationalError("disk I/O error")
        return super().execute(sql, *parameters)


class ForgetfulStore(SQLiteStore):
    """A store on such connections."""

    _connection = Forgetful


def test_a_write_that_breaks_the_shared_transaction_fails_alone(path):
    """SQLite may undo everything on some errors; the others of the batch are done again."""

    async def body(store):
        heads = [await begin(store, f"run-{n}") for n in range(3)]
        answers = await asyncio.gather(
            *(store.append(lease, write(records(lease.run, head))) for head, lease in heads[:2]),
            store.keep_blob(b"large"),
            store.append(heads[2][1], write(records("run-2", heads[2][0]))),
            return_exceptions=True,
        )
        assert answers[:2] == [False, False]
        assert type(answers[2]) is StoreError
        assert answers[3] is False

    with_store(path, body, ForgetfulStore)
    assert whole(path) == {f"run-{n}": 2 for n in range(3)}


# ---------------------------------------------------------------------------------- group commits


class Heard(sqlite3.Connection):
    """A connection that tells which statements SQLite ran."""

    statements: ClassVar = []

    def __init__(self, *arguments, **options):
        super().__init__(*arguments, **options)
        self.set_trace_callback(self.statements.append)


class HeardStore(SQLiteStore):
    """A store on such connections."""

    _connection = Heard


@pytest.fixture
def heard():
    """The statements so far."""
    Heard.statements.clear()
    return Heard.statements


def test_writes_that_wait_together_are_committed_together(path, heard):
    """Five hundred appends at once need a few commits; with `group=1` each has its own."""

    async def body(store):
        runs = await asyncio.gather(*(begin(store, f"run-{n}") for n in range(500)))
        heard.clear()
        await asyncio.gather(
            *(store.append(lease, write(records(lease.run, head))) for head, lease in runs)
        )
        return heard.count("commit")

    assert with_store(path, body, HeardStore) <= 10
    assert with_store(path.with_name("one.db"), body, HeardStore, group=1) == 500
    assert set(whole(path).values()) == {2}


def test_nobody_hears_of_a_write_before_its_commit(path, heard):
    """Every answer comes after the COMMIT that made it durable."""

    async def body(store):
        runs = await asyncio.gather(*(begin(store, f"run-{n}") for n in range(50)))
        heard.clear()

        async def tell(head, lease):
            await store.append(lease, write(records(lease.run, head)))
            heard.append("told")

        await asyncio.gather(*(tell(*each) for each in runs))

    with_store(path, body, HeardStore)
    done = told = 0
    for n, statement in enumerate(heard):
        if statement == "commit":
            done = sum(each.startswith("insert into record") for each in heard[:n])
        told += statement == "told"
        assert told <= done
    assert told == 50


def test_a_refused_write_undoes_itself_alone(path):
    """In one batch, refused writes raise in their callers and the others are there."""

    async def body(store):
        runs = await asyncio.gather(*(begin(store, f"run-{n}") for n in range(60)))
        answers = await asyncio.gather(
            *(
                store.append(
                    lease,
                    write(records(lease.run, head, 2), taken=("nothing",) if n % 3 == 0 else ()),
                )
                for n, (head, lease) in enumerate(runs)
            ),
            return_exceptions=True,
        )
        for n, answer in enumerate(answers):
            assert (type(answer) is StoreError) == (n % 3 == 0)

    with_store(path, body)
    assert whole(path) == {f"run-{n}": 1 if n % 3 == 0 else 3 for n in range(60)}


def test_a_thousand_tasks_at_once(path):
    """Every one of a thousand concurrent runs gets all its records."""

    async def body(store):
        async def drive(n):
            head, lease = await begin(store, f"run-{n}")
            for _ in range(3):
                sealed = records(lease.run, head, 2, fence=lease.fence)
                await store.append(lease, write(sealed))
                head = after(sealed)
            await store.park(lease, None)

        await asyncio.gather(*(drive(n) for n in range(1000)))
        assert await store.due() == []

    with_store(path, body)
    assert whole(path) == {f"run-{n}": 7 for n in range(1000)}


def test_several_threads_with_loops_of_their_own_share_a_store(path):
    """One store, four threads, four event loops; closing while others write loses nothing."""
    store, failures = SQLiteStore(path), []

    async def drive(name):
        head, lease = await begin(store, name)
        for n in range(30):
            sealed = records(name, head)
            await store.append(lease, write(sealed))
            head = after(sealed)
            if n % 10 == 0:
                await store.aclose()

    def in_thread(name):
        try:
            asyncio.run(drive(name))
        except BaseException as error:  # noqa: BLE001 - a thread has nobody to raise to
            failures.append(error)

    threads = [threading.Thread(target=in_thread, args=(f"t{n}",)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    asyncio.run(store.aclose())
    assert failures == []
    assert whole(path) == {f"t{n}": 31 for n in range(4)}


def test_a_loop_that_is_gone_does_not_stop_the_writer(path):
    """A caller whose event loop ended before the answer is nobody's problem but its own."""
    store = SQLiteStore(path)

    async def leave():
        await begin(store, "run")
        task = asyncio.ensure_future(store.define("ab", b"x"))
        await asyncio.sleep(0)
        task.cancel()

    asyncio.run(leave())
    asyncio.run(store.define("cd", b"y"))
    assert asyncio.run(store.definition("ab")) == b"x"
    asyncio.run(store.aclose())


def test_a_store_that_is_dropped_ends_its_threads(path):
    """Nobody called `aclose`: the threads end with the store and the file is let go of."""

    def named():
        return [each for each in threading.enumerate() if each.name.startswith("sqlite dropped")]

    store = SQLiteStore(path.with_name("dropped.db"))
    asyncio.run(begin(store, "run"))
    asyncio.run(store.read("run"))
    threads = named()
    assert len(threads) == 2
    del store
    gc.collect()
    for thread in threads:
        thread.join(60)
    assert named() == []
    assert [each.name for each in path.parent.iterdir()] == ["dropped.db"]


def test_old_witnesses_go(path):
    """A store that wrote within the hour keeps its witness row; older ones are swept."""
    with_store(path, lambda store: begin(store, "a"))
    with_store(path, lambda store: begin(store, "b"))
    db = sqlite3.connect(path)
    assert db.execute("select count(*) from witness").fetchone() == (2,)
    db.execute("update witness set at = 0")
    db.commit()
    with_store(path, lambda store: begin(store, "c"))
    assert db.execute("select count(*), min(at) > 0 from witness").fetchone() == (1, 1)
    db.close()
