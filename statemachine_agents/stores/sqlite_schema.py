"""The SQLite file: its tables, how it is created, opened and recognised.

Rules.  1. SQLite never creates the file; we do, readable by its owner only, whatever the umask
says (`-wal` and `-shm` inherit its mode).  2. A file that is not ours is not touched: application
id and schema version are looked at before the first write.  3. A commit is durable before anybody
hears of it: WAL with `synchronous=FULL`. NORMAL lost acknowledged commits in 1,020 of 2,290
power-loss states, OFF broke the file in 1,034 of 2,100.  4. Times are UTC microseconds of the
database's clock.
Hashes and ids are raw bytes. The hash before a record is not stored: it is the previous record's.
The file must lie on a local file system; WAL needs shared memory, so NFS and SMB do not work.
Not here: what is read and written (`stores.sqlite_rows`), threads (`stores.sqlite_lane`).
"""

from __future__ import annotations

import os
import sqlite3
import stat
import threading
import time
from pathlib import Path
from typing import Final, Literal, TypeAlias

from statemachine_agents.errors import StoreError

APPLICATION_ID: Final = 0x534D4131
"""`SMA1`, in the header of every file this package made; `file(1)` shows it."""

SCHEMA: Final = 1
"""Version of the tables below, kept in `user_version`."""

MINIMUM: Final = (3, 24, 0)
"""The first SQLite with `insert ... on conflict do update`."""

BUSY_SECONDS: Final = 15.0
"""How long a write waits for another process that is writing."""

SUBSEC: Final = (3, 42, 0)
"""The first SQLite whose `unixepoch` knows fractions."""

NOW: Final = (
    "select cast(round(unixepoch('subsec') * 1000) as integer) * 1000"
    if sqlite3.sqlite_version_info >= SUBSEC
    else "select cast(round((julianday('now') - 2440587.5) * 86400000) as integer) * 1000"
)
"""The database's clock in UTC microseconds; SQLite keeps milliseconds."""

Synchronous: TypeAlias = Literal["FULL", "EXTRA"]

TABLES: Final = (
    """create table run (
        n integer primary key,
        run text not null unique,
        workflow text not null,
        definition blob not null,
        state text not null,
        status text not null,
        phase text not null
            check (phase in ('ready', 'running', 'waiting', 'blocked', 'ended')),
        reason text not null,
        seq integer not null,
        fence integer not null,
        owner text,
        lease_until integer not null,  -- 0: nobody has the lease, so a range finds both
        attempts integer not null,
        wake_at integer,
        request_id text unique,
        parent text,
        forked_at integer,
        unread integer not null,
        undelivered integer not null,
        created_at integer not null,
        touched_at integer not null,
        updated_at integer not null
    )""",
    """create table record (
        run text not null references run (run),
        seq integer not null,
        rid blob not null unique,
        kind text not null,
        v integer not null,
        at integer not null,
        fence integer not null,
        definition blob not null,
        body_hash blob not null,
        hash blob not null,
        salt blob not null,
        body blob,
        primary key (run, seq)
    ) without rowid""",
    """create table inbox (
        n integer primary key,
        run text not null references run (run),
        id text not null,
        name text not null,
        body blob,
        at integer not null,
        taken_seq integer,
        unique (run, id)
    )""",
    """create table outbox (
        run text not null references run (run),
        seq integer not null,
        n integer not null,
        kind text not null,
        target text not null,
        body blob,
        done_at integer,
        primary key (run, seq, n)
    ) without rowid""",
    "create table definition (digest text primary key, data blob not null) without rowid",
    "create table blob (digest blob primary key, data blob not null)",
    # The last batch each writer committed: after a COMMIT that raised, the one sure answer to
    # "was it written?", also for writes that carry no record id. One row per store that wrote
    # within the hour.
    """create table witness (
        writer blob primary key,
        batch integer not null,
        at integer not null
    ) without rowid""",
    "create index run_workflow on run (workflow)",
    "create index run_status on run (status)",
    # `due` reads these four and nothing else, so parked and ended runs cost it nothing. `unread`
    # and `undelivered` repeat what inbox and outbox say, in the same transaction, for this.
    "create index run_ready on run (touched_at) where phase = 'ready'",
    "create index run_lapsed on run (lease_until) where phase = 'running'",
    "create index run_wake on run (wake_at) where phase = 'waiting' and wake_at is not null",
    "create index run_unread on run (touched_at) where phase = 'waiting' and unread > 0",
    "create index run_undelivered on run (touched_at) where undelivered > 0",
    "create index inbox_waiting on inbox (run) where taken_seq is null",
    "create index outbox_waiting on outbox (run, seq, n) where done_at is null",
)

OURS: Final = frozenset({"run", "record", "inbox", "outbox", "definition", "blob", "witness"})
"""Tables that only this package writes; the work of `transact` is refused there."""

# Closing any descriptor of a file drops all POSIX locks this process holds on it, SQLite's too.
# So a file is opened by us only while we create it, and nobody else in this process opens it then.
_OPENING = threading.Lock()


def connect(
    path: Path, synchronous: Synchronous, kind: type[sqlite3.Connection] = sqlite3.Connection
) -> sqlite3.Connection:
    """Open the file, creating and preparing it where it is new.

    Args:
        path: the file; its directory must exist.
        synchronous: `FULL`, or `EXTRA`.
        kind: the connection class, for tests that break one on purpose.

    Returns:
        A connection in autocommit mode, usable in the calling thread only.

    Raises:
        StoreError: says what is in the way.
    """
    if sqlite3.sqlite_version_info < MINIMUM:
        raise StoreError(
            f"SQLite {sqlite3.sqlite_version} is too old; expected "
            f"{'.'.join(map(str, MINIMUM))} or newer; use a newer Python or library",
            got=sqlite3.sqlite_version,
        )
    with _OPENING:
        _create(path)
        try:
            db = sqlite3.connect(
                f"{path.absolute().as_uri()}?mode=rw",  # rw: SQLite itself creates nothing
                uri=True,
                timeout=BUSY_SECONDS,
                isolation_level=None,
                factory=kind,
            )
        except sqlite3.Error as error:
            raise StoreError(
                f"{path}: cannot be opened ({error}); expected a file this user may read and write",
                path=str(path),
            ) from error
        try:
            _prepare(db, path, synchronous)
        except sqlite3.Error as error:
            db.close()
            raise StoreError(_why(path, error), path=str(path)) from error
        except BaseException:
            db.close()
            raise
    return db


def _create(path: Path) -> None:
    """Make an empty file of mode 0600 where there is none."""
    if not path.parent.is_dir():
        raise StoreError(
            f"{path}: the directory {path.parent} does not exist; create it first, or give a path "
            "inside one that exists",
            path=str(path),
        )
    if path.is_dir():
        raise StoreError(f"{path}: is a directory; expected the path of a file", path=str(path))
    try:
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    except FileExistsError:
        found = os.lstat(path)
        if stat.S_ISREG(found.st_mode) and found.st_size == 0:
            path.chmod(0o600)  # an empty file becomes ours; one with runs in it keeps its mode
        return
    except OSError as error:
        raise StoreError(
            f"{path}: cannot be created ({error.strerror}); expected a directory this user may "
            "write",
            path=str(path),
        ) from error
    try:
        os.fchmod(handle, 0o600)  # a umask can only have taken bits away
        _sync_directory(path.parent)
    finally:
        os.close(handle)


def _sync_directory(directory: Path) -> None:
    """Make the new name durable: a commit in a file that vanishes is no commit."""
    handle = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _prepare(db: sqlite3.Connection, path: Path, synchronous: Synchronous) -> None:
    """Recognise the file, or make it ours when it is empty; then set the connection up."""
    if not _recognise(db, path):
        _switch_to_wal(db, path)
        _make(db, path)
    _switch_to_wal(db, path)
    db.execute("pragma synchronous = full" if synchronous == "FULL" else "pragma synchronous=extra")
    db.execute("pragma foreign_keys = on")
    db.execute("pragma trusted_schema = off")
    db.execute("pragma fullfsync = on")  # macOS: fsync alone does not reach the disk there
    db.execute("pragma checkpoint_fullfsync = on")
    db.execute("pragma journal_size_limit = 67108864")


def _recognise(db: sqlite3.Connection, path: Path) -> bool:
    """Return whether the file is ours already; False when it is empty."""
    alone = not db.in_transaction
    if alone:  # one look: between two, another process may make the tables
        db.execute("begin")
    (application,) = db.execute("pragma application_id").fetchone()
    (version,) = db.execute("pragma user_version").fetchone()
    (things,) = db.execute("select count(*) from sqlite_master").fetchone()
    if alone:
        db.execute("rollback")
    if application == version == things == 0:
        return False
    if application != APPLICATION_ID:
        raise StoreError(
            f"{path}: an SQLite file of another program (application id {application:#x}, expected "
            f"{APPLICATION_ID:#x}); nothing was changed, choose another path",
            path=str(path),
            got=application,
            expected=APPLICATION_ID,
        )
    if version != SCHEMA:
        raise StoreError(
            f"{path}: written with schema {version}, this package knows schema {SCHEMA}; nothing "
            "was changed, use the version of statemachine-agents that wrote it, or a newer one",
            path=str(path),
            got=version,
            expected=SCHEMA,
        )
    return True


def _switch_to_wal(db: sqlite3.Connection, path: Path) -> None:
    """Turn WAL on; SQLite does not wait for other openers here, so we do."""
    deadline = time.monotonic() + BUSY_SECONDS
    while True:
        try:
            (mode,) = db.execute("pragma journal_mode = wal").fetchone()
        except sqlite3.OperationalError as error:
            if "locked" not in str(error) or time.monotonic() > deadline:
                raise
            time.sleep(0.01)
            continue
        if mode != "wal":
            raise StoreError(
                f"{path}: SQLite refused WAL and stays in {mode!r}; the file must lie on a local "
                "file system",
                path=str(path),
                got=mode,
            )
        return


def _make(db: sqlite3.Connection, path: Path) -> None:
    """Create the tables, unless another process has done so by now."""
    db.execute("begin immediate")
    try:
        if not _recognise(db, path):
            for statement in TABLES:
                db.execute(statement)
            db.execute(f"pragma application_id = {APPLICATION_ID}")
            db.execute(f"pragma user_version = {SCHEMA}")
        db.execute("commit")
    finally:
        if db.in_transaction:
            db.execute("rollback")


def _why(path: Path, error: sqlite3.Error) -> str:
    if "not a database" in str(error):
        return f"{path}: not an SQLite file; nothing was changed, choose another path"
    return f"{path}: cannot be used as a store: {error}"
