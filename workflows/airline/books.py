"""The books of the airline desk: profiles, reservations and flights, one file of documents.

Rules.  1. A change and its idempotency key are one commit; the same key gives the same answer again
and changes nothing.  2. One connection per call: any thread and any process may use the file.
3. A `ToolError` says that nothing happened.
Not here: what new books hold (`stock`), what the model sees as tools (`tools`).
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, Final, TypeAlias

import attrs

from statemachine_agents import ToolError

from .stock import STOCK

Document: TypeAlias = dict[str, Any]
"""A passenger's profile, a reservation or a flight, as JSON."""

BUSY_SECONDS: Final = 5.0

_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS documents (
    kind TEXT NOT NULL, id TEXT NOT NULL, body TEXT NOT NULL, PRIMARY KEY (kind, id)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS done (key TEXT PRIMARY KEY, answer TEXT NOT NULL) WITHOUT ROWID;
"""


@attrs.frozen
class Books:
    """The books of one desk.

    Args:
        path: its file; made and filled at first use.
    """

    path: Path

    def get(self, kind: str, name: str) -> Document:
        """Return a document.

        Raises:
            ToolError: there is none; kind `not_found`.
        """
        with self._open() as connection:
            return _read(connection, kind, name)

    def every(self, kind: str) -> list[Document]:
        """Return all documents of a kind, by id."""
        with self._open() as connection:
            rows = connection.execute(
                "SELECT body FROM documents WHERE kind = ? ORDER BY id", (kind,)
            )
            return [json.loads(body) for (body,) in rows]

    def change(self, kind: str, name: str, key: str, how: Callable[[Document], None]) -> Document:
        """Change a document once for each key; return it as it is then.

        Args:
            kind: `users`, `reservations` or `flights`.
            name: its id.
            key: the idempotency key of the call.
            how: changes the document in place, or raises `ToolError`.
        """

        def write(connection: sqlite3.Connection) -> Document:
            document = _read(connection, kind, name)
            how(document)
            sql = "UPDATE documents SET body = ? WHERE kind = ? AND id = ?"
            connection.execute(sql, (json.dumps(document), kind, name))
            return document

        return self._once(key, write)

    def add(self, kind: str, name: str, key: str, document: Document) -> Document:
        """Add a document once for each key; return it as it was added. Its id must be free."""

        def write(connection: sqlite3.Connection) -> Document:
            row = (kind, name, json.dumps(document))
            connection.execute("INSERT INTO documents VALUES (?, ?, ?)", row)
            return document

        return self._once(key, write)

    def _once(self, key: str, write: Callable[[sqlite3.Connection], Document]) -> Document:
        """Write in one commit with the key; a key that was used gives its answer again."""
        with self._open() as connection:
            connection.execute("BEGIN IMMEDIATE")
            found = connection.execute("SELECT answer FROM done WHERE key = ?", (key,)).fetchone()
            if found is not None:
                answer: Document = json.loads(found[0])
                return answer
            document = write(connection)
            connection.execute("INSERT INTO done VALUES (?, ?)", (key, json.dumps(document)))
            connection.commit()
            return document

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with closing(sqlite3.connect(self.path, timeout=BUSY_SECONDS)) as connection:
            connection.isolation_level = None
            connection.executescript(_SCHEMA)
            if connection.execute("SELECT 1 FROM documents LIMIT 1").fetchone() is None:
                _fill(connection)
            yield connection


def _fill(connection: sqlite3.Connection) -> None:
    """Put in what a new file holds; who comes second changes nothing."""
    rows = [
        (kind, name, json.dumps(body))
        for kind, documents in STOCK.items()
        for name, body in documents.items()
    ]
    connection.execute("BEGIN IMMEDIATE")
    connection.executemany("INSERT OR IGNORE INTO documents VALUES (?, ?, ?)", rows)
    connection.commit()


def _read(connection: sqlite3.Connection, kind: str, name: str) -> Document:
    found = connection.execute(
        "SELECT body FROM documents WHERE kind = ? AND id = ?", (kind, name)
    ).fetchone()
    if found is None:
        raise ToolError(f"{kind[:-1]} {name!r} is not known", kind="not_found")
    document: Document = json.loads(found[0])
    return document
