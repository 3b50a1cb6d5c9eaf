"""What a transactional tool may do with the connection it gets, and what it may not."""

import asyncio
import runpy
import sqlite3
from pathlib import Path

import pytest

from statemachine_agents.errors import StoreError
from statemachine_agents.journal.records import verify_chain

MADE = runpy.run_path(str(Path(__file__).with_name("journal_process.py")))
records, write, begin = (MADE[name] for name in ("records", "write", "begin"))
with_store, whole = MADE["with_store"], MADE["whole"]


@pytest.fixture
def path(tmp_path):
    """Where a store may make its file."""
    return tmp_path / "runs.db"


async def transacted(store, work):
    """Run the work and append one record with it; return what the work returned."""
    head = verify_chain(await store.read("run"))
    lease = await store.claim("run", "w", 0.0)
    returned = []

    def with_record(connection):
        returned.append(work(connection))
        return write(records("run", head, seed=f"{lease.fence}"))

    await store.transact(lease, with_record)
    return returned[0]


def go(path, body):
    """Run the body with a store that has one run and a tool's table."""

    async def main(store):
        _, lease = await begin(store, "run")
        await store.release(lease)
        await transacted(store, lambda db: db.execute("create table mine (x unique)"))
        await transacted(store, lambda db: db.execute("insert into mine values (1)"))
        await body(store)

    with_store(path, main)


async def rows(store):
    """Return what stands in the tool's table."""
    return await transacted(
        store, lambda db: db.execute("select x from mine order by x").fetchall()
    )


@pytest.mark.parametrize(
    ("statement", "why"),
    [
        ("commit", "transaction"),
        ("/* hidden */ COMMIT -- really", "transaction"),
        ("end", "transaction"),
        ("begin", "transaction"),
        ("rollback", "transaction"),
        ("savepoint x", "savepoint"),
        ("release piece", "savepoint"),
        ("rollback to piece", "savepoint"),
        ("attach ':memory:' as other", "attaches"),
        ("detach main", "detaches"),
        ("pragma synchronous = off", "pragma"),
        ("pragma writable_schema = on", "pragma"),
        ("create temp table run (x)", "temporary table"),
        ("create temp view record as select 1", "temporary view"),
        ("create temp trigger t after insert on mine begin select 1; end", "temporary trigger"),
        ("create trigger t after insert on record begin select 1; end", "'record'"),
        ("insert into record select * from record", "'record'"),
        ("UPDATE Run SET fence = 99", "'run'"),
        ("delete from inbox", "'inbox'"),
        ("replace into outbox values (1, 2, 3, 4, 5, 6, 7)", "'outbox'"),
        ("with x as (select 1) delete from witness", "'witness'"),
        ("drop table definition", "'definition'"),
        ("alter table blob rename to glob", "'blob'"),
        ("create index i on run (state)", "'run'"),
        ("drop index run_status", "'run'"),
    ],
)
def test_a_tool_cannot_touch_our_transaction_or_tables(path, statement, why):
    """The statement is refused with its reason; everything the tool did is undone."""

    def work(connection):
        connection.execute("insert into mine values (2)")
        connection.execute(statement)

    async def body(store):
        before = await store.row("run")
        with pytest.raises(StoreError, match="a transactional tool ran") as caught:
            await transacted(store, work)
        assert why in str(caught.value)
        assert caught.value.facts["sql"] == statement[:80]
        assert (await store.row("run")).seq == before.seq
        assert await rows(store) == [(1,)]

    go(path, body)
    assert whole(path) == {"run": 4}


def test_a_refusal_the_tool_swallows_does_no_harm(path):
    """The refused statement did nothing; the rest of the tool's work commits as usual."""

    def work(connection):
        with pytest.raises(StoreError, match="transaction"):
            connection.execute("commit")
        connection.execute("insert into mine values (2)")

    async def body(store):
        await transacted(store, work)
        assert await rows(store) == [(1,), (2,)]

    go(path, body)


def test_the_connection_behind_a_cursor_is_guarded_too(path):
    """Whoever digs out sqlite3's own connection still cannot end our transaction."""

    def work(connection):
        cursor = connection.execute("insert into mine values (2)")
        with pytest.raises(sqlite3.DatabaseError):
            cursor.connection.commit()
        with pytest.raises(sqlite3.DatabaseError):
            cursor.executescript("insert into mine values (3)")
        raise KeyError

    async def body(store):
        with pytest.raises(KeyError):
            await transacted(store, work)
        assert await rows(store) == [(1,)]

    go(path, body)


def test_a_tool_reads_the_journal_and_writes_its_own_tables(path):
    """Any statement on its own tables works, and `executemany`; the journal's can be read."""

    def work(connection):
        connection.executemany("insert into mine values (?)", [(2,), (3,)])
        connection.execute("update mine set x = ? where x = ?", (4, 2))
        connection.execute("delete from mine where x = 3")
        connection.execute("create index by_x on mine (x)")
        connection.execute("create table other as select * from mine")
        connection.execute("alter table other add column y")
        connection.execute("drop table other")
        connection.execute(
            "with recursive n (i) as (select 1 union all select i + 1 from n where i < 3) "
            "select max(i) from n"
        )
        return connection.execute("select run, seq from run").fetchall()

    async def body(store):
        assert await transacted(store, work) == [("run", 3)]
        assert await rows(store) == [(1,), (4,)]

    go(path, body)


def test_what_sqlite_has_against_a_statement_reaches_the_tool(path):
    """A broken constraint or a misspelt word raises sqlite3's own exception, out of `transact`."""

    async def body(store):
        for statement, error in (
            ("insert into mine values (1)", sqlite3.IntegrityError),
            ("selct 1", sqlite3.OperationalError),
            ("select 1; select 2", (sqlite3.ProgrammingError, sqlite3.Warning)),
        ):
            with pytest.raises(error):
                await transacted(store, lambda db, statement=statement: db.execute(statement))
        assert await rows(store) == [(1,)]

    go(path, body)


def test_the_connection_is_dead_when_the_work_has_returned(path):
    """Keeping it does not help: a later use is refused."""

    async def body(store):
        kept = await transacted(store, lambda connection: connection)
        with pytest.raises(StoreError, match="after its work had returned"):
            kept.execute("select 1")
        with pytest.raises(StoreError, match="after its work had returned"):
            kept.executemany("insert into mine values (?)", [(9,)])

    go(path, body)


def test_other_writes_go_on_beside_a_transaction(path):
    """Transactions and ordinary writes that wait together are all done, each whole."""

    async def body(store):
        pairs = [await begin(store, f"run-{n}") for n in range(20)]

        def work(n, head):
            def insert(connection):
                connection.execute("insert into mine values (?)", (n + 10,))
                return write(records(f"run-{n}", head))

            return insert

        await asyncio.gather(
            *(
                store.transact(lease, work(n, head))
                if n % 3 == 0
                else store.append(lease, write(records(f"run-{n}", head)))
                for n, (head, lease) in enumerate(pairs)
            )
        )
        assert await rows(store) == [(1,), *((n + 10,) for n in range(0, 20, 3))]
        assert {(await store.row(f"run-{n}")).seq for n in range(20)} == {2}

    go(path, body)
