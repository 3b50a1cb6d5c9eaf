"""Transactional work: its effect and its records are there together, or neither."""

import asyncio

import pytest

from statemachine_agents.errors import Fenced, StoreError
from tests.contracts.authors import Author, begun, delivery, go


def put(connection, key, value):
    """Write with whatever the store gives a transactional tool."""
    if isinstance(connection, dict):
        connection.setdefault("rows", {})[key] = value
    else:
        connection.execute("create table if not exists mine (k text, v text)")
        connection.execute("insert into mine values (?, ?)", (key, value))


def stored(connection):
    """Read it back."""
    if isinstance(connection, dict):
        return list(connection.get("rows", {}).items())
    connection.execute("create table if not exists mine (k text, v text)")
    return connection.execute("select k, v from mine order by k").fetchall()


async def seen(store, author, lease):
    """Return what tools have committed so far."""
    found = []

    def look(connection):
        found.extend(tuple(row) for row in stored(connection))
        return author.write(0)

    await store.transact(lease, look)
    return found


def test_a_transaction_commits_effect_and_records_together(make):
    """The write comes back, its records are in the journal, the tool's data is there."""

    async def body(store):
        author, lease = await begun(store)
        await store.signal("run-1", "s", "message", {}, 1)
        made = []

        def work(connection):
            put(connection, "credit", "12")
            made.append(author.write(2, state="done", taken=("s",), outbox=(delivery(2),)))
            return made[0]

        assert await store.transact(lease, work) is made[0]
        assert await store.read("run-1") == author.written
        assert (await store.row("run-1")).state == "done"
        assert await store.inbox("run-1") == []
        assert await store.outbox("run-1") == [delivery(2)]
        assert await seen(store, author, lease) == [("credit", "12")]

    go(make, body)


class Boom(Exception):
    """What a tool raises."""


def test_a_transaction_that_raises_leaves_nothing(make):
    """The tool's error, a refused record, a lost race or a wrong answer: both sides are undone."""

    async def body(store):
        author, lease = await begun(store)
        await store.transact(lease, lambda c: put(c, "a", "kept") or author.write())
        before = await store.row("run-1")

        def raising(connection):
            put(connection, "b", "lost")
            raise Boom("no")

        def gapped(connection):
            put(connection, "c", "lost")
            other = Author(seed="gap", head=author.head)
            other.records()
            return other.write()

        def racing(connection):
            put(connection, "d", "lost")
            return Author(seed="race").write()

        def stopping(connection):
            put(connection, "e", "lost")
            raise StopIteration

        def silent(connection):
            put(connection, "f", "lost")

        def interrupted(connection):
            put(connection, "g", "lost")
            raise asyncio.CancelledError

        for work, error in (
            (raising, Boom),
            (gapped, StoreError),
            (racing, Fenced),
            (stopping, RuntimeError),  # what Python makes of a StopIteration in a coroutine
            (silent, StoreError),
            (interrupted, asyncio.CancelledError),
        ):
            with pytest.raises(error):
                await store.transact(lease, work)
        assert await store.row("run-1") == before
        assert await seen(store, author, lease) == [("a", "kept")]

    go(make, body)


def test_a_repeated_transaction_has_one_effect(make):
    """Work that returns records already in the journal succeeds; its second effect is undone."""

    async def body(store):
        author, lease = await begun(store)
        write = author.write()
        for value in ("first", "second"):
            returned = await store.transact(
                lease, lambda c, value=value: put(c, value, "x") or write
            )
            assert returned is write
        assert await seen(store, author, lease) == [("first", "x")]
        assert await store.read("run-1") == author.written

    go(make, body)
