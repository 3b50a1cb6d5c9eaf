"""The connection a transactional tool gets: its own tables yes, our transaction no.

Rules.  1. SQLite itself is asked what a statement does (its authorizer sees it compiled), so a
comment, a pragma or a trigger cannot hide a COMMIT.  2. Refused: everything that begins or ends a
transaction, other databases, pragmas, temporary objects (they would shadow our tables), and writing
the journal's own tables. Reading them is allowed.  3. It is dead when the work returns.
Not here: the transaction around it (`stores.sqlite_lane`).
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable
from typing import Any, Final, TypeVar

from statemachine_agents.errors import StoreError
from statemachine_agents.stores.sqlite_schema import OURS

T = TypeVar("T")

_REFUSED: Final = {
    sqlite3.SQLITE_TRANSACTION: "begins or ends a transaction",
    sqlite3.SQLITE_SAVEPOINT: "sets or ends a savepoint",
    sqlite3.SQLITE_ATTACH: "attaches another database",
    sqlite3.SQLITE_DETACH: "detaches a database",
    sqlite3.SQLITE_PRAGMA: "is a pragma",
    sqlite3.SQLITE_CREATE_TEMP_INDEX: "makes a temporary index",
    sqlite3.SQLITE_CREATE_TEMP_TABLE: "makes a temporary table",
    sqlite3.SQLITE_CREATE_TEMP_TRIGGER: "makes a temporary trigger",
    sqlite3.SQLITE_CREATE_TEMP_VIEW: "makes a temporary view",
}

_READING: Final = frozenset(
    {
        sqlite3.SQLITE_READ,
        sqlite3.SQLITE_SELECT,
        sqlite3.SQLITE_FUNCTION,
        sqlite3.SQLITE_RECURSIVE,
    }
)


class WorkFailed(Exception):
    """Carries what a tool's work raised past the code that names errors of our own statements."""

    def __init__(self, error: BaseException) -> None:
        super().__init__(str(error))
        self.error = error


class Connection:
    """What `transact` passes to its work: `execute` and `executemany` of a `sqlite3` connection.

    The store commits when the work has returned and the records are written, and rolls back when
    it raises. Use it in the thread it is given in, and only until the work returns.
    """

    __slots__ = ("_db", "_why")

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db: sqlite3.Connection | None = db
        self._why: str | None = None

    def execute(self, sql: str, parameters: Any = ()) -> sqlite3.Cursor:
        """Run one statement; return its cursor.

        Raises:
            StoreError: the statement is not the tool's to run.
            sqlite3.Error: whatever SQLite has against it.
        """
        return self._checked(sql, lambda db: db.execute(sql, parameters))

    def executemany(self, sql: str, parameters: Iterable[Any]) -> sqlite3.Cursor:
        """Run one statement for every set of parameters; raises as `execute` does."""
        return self._checked(sql, lambda db: db.executemany(sql, parameters))

    def _checked(self, sql: str, run: Callable[[sqlite3.Connection], T]) -> T:
        if self._db is None:
            raise StoreError(
                "the connection of a transactional tool was used after its work had returned; "
                "read what is needed before returning"
            )
        self._why = None
        try:
            return run(self._db)
        except sqlite3.DatabaseError as error:
            if self._why is None:
                raise
            raise StoreError(
                f"a transactional tool ran {sql[:80]!r}, which {self._why}; the store owns the "
                "transaction and its tables, a tool reads and writes its own tables in it",
                sql=sql[:80],
                why=self._why,
            ) from error

    def _judge(
        self, action: int, one: str | None, two: str | None, _db: str | None, _by: str | None
    ) -> int:
        """Answer SQLite's authorizer; names are compared as SQLite does, without case."""
        if action in _READING:
            return sqlite3.SQLITE_OK
        why = _REFUSED.get(action)
        if why is None:
            ours = {name.lower() for name in (one, two) if name is not None} & OURS
            if not ours:
                return sqlite3.SQLITE_OK
            why = f"changes the journal's table {min(ours)!r}"
        self._why = why
        return sqlite3.SQLITE_DENY


def guarded(db: sqlite3.Connection, work: Callable[[Any], T]) -> T:
    """Run `work` with a guarded connection and return what it returns.

    Raises:
        WorkFailed: around whatever `work` raised.
    """
    connection = Connection(db)
    db.set_authorizer(connection._judge)  # noqa: SLF001 - the public surface is the tool's
    try:
        return work(connection)
    except BaseException as error:
        raise WorkFailed(error) from error
    finally:
        connection._db = None  # noqa: SLF001 - see above
        db.set_authorizer(None)
