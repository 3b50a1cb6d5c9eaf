"""What only the SQLite store promises: about its file, and about other processes on it."""

import os
import random
import runpy
import signal
import sqlite3
import stat
import subprocess
import sys
import time
import zlib
from pathlib import Path

import pytest

from statemachine_agents.errors import JournalDamaged, StoreError, UsageError
from statemachine_agents.journal.records import verify_chain
from statemachine_agents.stores import sqlite_schema
from statemachine_agents.stores.sqlite import SQLiteStore
from statemachine_agents.stores.sqlite_reads import clock
from statemachine_agents.turn.ports import Delivery
from statemachine_agents.values import MAX_BLOB, sha256

SCRIPT = Path(__file__).with_name("journal_process.py")
ROOT = SCRIPT.parents[2]
MADE = runpy.run_path(str(SCRIPT))
records, write, after, begin = (MADE[name] for name in ("records", "write", "after", "begin"))
with_store, whole = MADE["with_store"], MADE["whole"]


@pytest.fixture
def path(tmp_path):
    """Where a store may make its file."""
    return tmp_path / "runs.db"


def start(mode, path, *more):
    """Start the script in a process of its own."""
    return subprocess.Popen(
        [sys.executable, str(SCRIPT), mode, str(path), *map(str, more)],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )


def acknowledged(lines):
    """Return the highest seq each run was told of."""
    highest = {}
    for line in lines:
        run, seq = line.split()
        highest[run] = max(int(seq), highest.get(run, 0))
    return highest


# --------------------------------------------------------------------------------- the file itself


@pytest.mark.parametrize("mask", [0, 0o022, 0o277, 0o777])
def test_the_files_are_readable_by_their_owner_only(path, mask):
    """Main file, -wal and -shm have mode 0600 whatever the umask, also where an empty file was."""
    before = os.umask(0o022)
    try:
        for name in ("new.db", "empty.db"):
            file = path.with_name(name)
            if name == "empty.db":
                file.touch(0o666)
            os.umask(mask)

            async def body(store, name=name, file=file):
                await begin(store, "run")
                files = sorted(file.parent.glob(file.name + "*"))
                assert [each.name for each in files] == [name, f"{name}-shm", f"{name}-wal"]
                assert [stat.S_IMODE(each.stat().st_mode) for each in files] == [0o600] * 3

            with_store(file, body)
            os.umask(0o022)
    finally:
        os.umask(before)


def test_a_file_with_runs_keeps_the_mode_its_operator_gave_it(path):
    """Opening again does not change the mode of a file that is in use."""
    with_store(path, lambda store: begin(store, "run"))
    path.chmod(0o640)
    with_store(path, lambda store: store.row("run"))
    assert stat.S_IMODE(path.stat().st_mode) == 0o640


def test_the_file_is_opened_at_first_use_and_let_go_of_by_aclose(path):
    """Making a store touches nothing; closing leaves one file, and the runs are in it."""
    SQLiteStore(path)
    assert list(path.parent.iterdir()) == []
    with_store(path, lambda store: begin(store, "run"))
    assert [each.name for each in path.parent.iterdir()] == ["runs.db"]
    assert whole(path) == {"run": 1}


def test_names_with_odd_characters_are_files_too(tmp_path):
    """A path is a path, never a URI with parameters in it."""
    for name in ("a?mode=memory", "b%41.db", "c#d", "e f.db", "ü.db"):
        with_store(tmp_path / name, lambda store: begin(store, "run"))
        assert (tmp_path / name).stat().st_size > 0
    assert len(list(tmp_path.iterdir())) == 5


@pytest.mark.parametrize(
    "content", [b"hello", b"x" * 99, b"not a database\n" * 1000, b"\0" * 5000, os.urandom(9000)]
)
def test_a_file_that_is_not_sqlite_is_refused_and_not_changed(path, content):
    """The error names the file and says what it is not."""
    path.write_bytes(content)
    with pytest.raises(StoreError, match=r"runs\.db: not an SQLite file"):
        with_store(path, lambda store: store.runs())
    with pytest.raises(StoreError, match=r"runs\.db: not an SQLite file"):
        with_store(path, lambda store: store.define("ab", b"x"))
    assert path.read_bytes() == content


def test_a_database_of_another_program_is_refused_and_not_changed(path):
    """Whether it says whose it is or not, and whether it has tables or not."""
    for statement in ("create table t (x)", "pragma application_id = 7", "pragma user_version = 3"):
        path.unlink(missing_ok=True)
        db = sqlite3.connect(path)
        db.execute(statement)
        db.execute("create table if not exists t2 (x)")
        db.commit()
        db.close()
        content = path.read_bytes()
        with pytest.raises(StoreError, match="another program"):
            with_store(path, lambda store: store.runs())
        assert path.read_bytes() == content


@pytest.mark.parametrize("version", [0, 2, 99])
def test_another_schema_is_refused_by_number(path, version):
    """A file of a newer (or unknown) schema stays as it is; the error names both versions."""
    with_store(path, lambda store: begin(store, "run"))
    db = sqlite3.connect(path)
    db.execute(f"pragma user_version = {version}")
    db.commit()
    db.close()
    with pytest.raises(StoreError, match=f"schema {version}, this package knows schema 1") as e:
        with_store(path, lambda store: store.runs())
    assert (e.value.facts["got"], e.value.facts["expected"]) == (version, 1)


def test_places_where_no_file_can_be(tmp_path):
    """A missing directory, a directory, a dangling link: each is named; nothing appears."""
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    for name, words in (
        ("no/such/runs.db", "directory .* does not exist"),
        (".", "is a directory"),
        ("link", "cannot be opened"),
    ):
        with pytest.raises(StoreError, match=words):
            with_store(tmp_path / name, lambda store: store.runs())
    assert [each.name for each in tmp_path.iterdir()] == ["link"]
    with_store(tmp_path / "runs.db", lambda store: begin(store, "run"))
    (tmp_path / "good").symlink_to(tmp_path / "runs.db")
    assert whole(tmp_path / "good") == {"run": 1}


def test_after_a_refusal_the_same_store_can_be_used(path):
    """The directory is made, and the next call finds it."""

    async def body(store):
        with pytest.raises(StoreError, match="does not exist"):
            await store.runs()
        with pytest.raises(StoreError, match="does not exist"):
            await store.define("ab", b"x")
        path.parent.joinpath("sub").mkdir()
        assert await store.runs() == []

    with_store(path.parent / "sub" / "runs.db", body)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"path": ":memory:"}, "MemoryStore"),
        ({"path": ""}, "MemoryStore"),
        ({"path": "x", "synchronous": "NORMAL"}, "FULL or EXTRA"),
        ({"path": "x", "group": 0}, "1 or more"),
    ],
)
def test_arguments_that_make_no_sense(arguments, words):
    """The caller hears at once, not at the first write."""
    with pytest.raises(UsageError, match=words):
        SQLiteStore(**arguments)


@pytest.mark.parametrize(("synchronous", "number"), [("FULL", 2), ("EXTRA", 3)])
def test_every_connection_is_durable_and_strict(path, synchronous, number):
    """WAL, the asked synchronous, foreign keys; the header says whose file it is."""
    db = sqlite_schema.connect(path, synchronous)
    try:
        asked = {
            name: db.execute(f"pragma {name}").fetchone()[0]
            for name in [
                "journal_mode",
                "synchronous",
                "foreign_keys",
                "trusted_schema",
                "application_id",
                "user_version",
            ]
        }
    finally:
        db.close()
    assert asked == {
        "journal_mode": "wal",
        "synchronous": number,
        "foreign_keys": 1,
        "trusted_schema": 0,
        "application_id": sqlite_schema.APPLICATION_ID,
        "user_version": sqlite_schema.SCHEMA,
    }


def test_the_database_clock_counts_utc_microseconds(path):
    """It names the present day, in whole milliseconds, whichever expression this SQLite has."""
    db = sqlite_schema.connect(path, "FULL")
    before = time.time_ns() // 1000
    now = clock(db)
    db.close()
    assert now % 1000 == 0
    assert abs(now - before) < 3_600_000_000


def test_an_sqlite_that_is_too_old_is_named(path, monkeypatch):
    """The version is looked at before the file is made."""
    monkeypatch.setattr(sqlite_schema, "MINIMUM", (99, 0, 0))
    with pytest.raises(StoreError, match=r"too old; expected 99\.0\.0"):
        with_store(path, lambda store: store.runs())
    assert not path.exists()


def test_the_file_grows_with_the_records_only(path):
    """The 4,000th record costs no more bytes than the first thousand did: within a tenth."""
    sizes = []

    async def body(store):
        head, lease = await begin(store, "run")
        for _ in range(4):
            for _ in range(250):
                sealed = records("run", head, 4, fence=1, text="x" * 300)
                await store.append(lease, write(sealed))
                head = after(sealed)
            db = sqlite3.connect(path)
            sizes.append(db.execute("pragma page_count").fetchone()[0])
            db.close()

    with_store(path, body)
    first, last = sizes[1] - sizes[0], sizes[3] - sizes[2]
    assert last <= first * 1.1
    assert sizes[3] * 4096 < 4000 * (300 + 500)


def test_bodies_leave_inbox_and_outbox_once_they_are_journaled(path):
    """A message lives in one place only, so that erasing its record erases it."""

    async def body(store):
        head, lease = await begin(store, "run")
        await store.signal("run", "s", "message", {"text": "secret-in"}, 1)
        reply = Delivery(run="run", seq=2, n=0, kind="reply", target="c", body="secret-out")
        sealed = records("run", head, 2)
        await store.append(lease, write(sealed, taken=("s",), outbox=(reply,), delivered=((2, 0),)))

    with_store(path, body)
    db = sqlite3.connect(path)
    assert db.execute("select body, taken_seq from inbox").fetchall() == [(None, 3)]
    assert db.execute("select body, done_at is null from outbox").fetchall() == [(None, 0)]
    db.close()


def test_blobs_are_compressed_where_that_makes_them_smaller(path):
    """Their hash stays that of their own bytes; what does not shrink is kept as it is."""
    blobs = [b'{"text":"' + b"again " * 50_000 + b'"}', random.Random(7).randbytes(300_000), b""]

    async def body(store):
        digests = [await store.keep_blob(data) for data in blobs]
        assert digests == [sha256(data) for data in blobs]
        assert [await store.blob(digest) for digest in digests] == blobs

    with_store(path, body)
    db = sqlite3.connect(path)
    sizes = [size for (size,) in db.execute("select length(data) from blob order by rowid")]
    db.close()
    assert sizes[0] < len(blobs[0]) / 50
    assert sizes[1:] == [300_000, 0]


def test_a_blob_of_an_earlier_version_is_read_as_it_is(path):
    """Files written before blobs were compressed hold the plain bytes, under the same hash."""
    data = b'{"text":"' + b"again " * 50_000 + b'"}'
    digest = with_store(path, lambda store: store.keep_blob(b"x"))
    with sqlite3.connect(path) as db:
        db.execute("insert into blob values (?, ?)", (bytes.fromhex(sha256(data)), data))
    db.close()
    assert with_store(path, lambda store: store.blob(sha256(data))) == data
    assert with_store(path, lambda store: store.keep_blob(data)) == sha256(data)
    assert with_store(path, lambda store: store.blob(digest)) == b"x"


def test_a_blob_that_inflates_beyond_the_cap_is_damage(path):
    """No store wrote it: a blob has 16 MiB at most, and no more is ever unpacked."""
    digest = with_store(path, lambda store: store.keep_blob(b"x"))
    with sqlite3.connect(path) as db:
        db.execute("update blob set data = ?", (zlib.compress(b"0" * (MAX_BLOB + 1)),))
    db.close()
    with pytest.raises(StoreError, match="no longer have that hash"):
        with_store(path, lambda store: store.blob(digest))


def test_damage_is_noticed_when_it_is_read(path):
    """A changed body, a changed blob and a body that is no JSON are errors, not data."""

    async def fill(store):
        await begin(store, "run")
        return await store.keep_blob(b"large")

    digest = with_store(path, fill)

    def change(statement):
        with sqlite3.connect(path) as db:
            db.execute(statement)
        db.close()

    change("update blob set data = x'00'")
    with pytest.raises(StoreError, match="no longer have that hash"):
        with_store(path, lambda store: store.blob(digest))
    change("""update record set body = cast('{"n":1}' as blob)""")
    with pytest.raises(JournalDamaged, match="does not match its hash"):
        verify_chain(with_store(path, lambda store: store.read("run")))
    change("update record set body = cast('{' as blob)")
    with pytest.raises(JournalDamaged, match="damaged"):
        with_store(path, lambda store: store.read("run"))
    change("drop table outbox")
    with pytest.raises(StoreError, match="no such table: outbox; nothing was read"):
        with_store(path, lambda store: store.outbox("run"))


def test_text_and_numbers_sqlite_cannot_hold_are_store_errors(path):
    """A lone surrogate and a number over 64 bits are refused alone; the store goes on."""

    async def body(store):
        _, lease = await begin(store, "run")
        with pytest.raises(StoreError, match="nothing was written"):
            await store.signal("run", "\ud800", "message", {}, 1)
        with pytest.raises(StoreError, match="nothing was written"):
            await store.park(lease, 2**64)
        assert await store.park(lease, 2**62) is True

    with_store(path, body)


# --------------------------------------------------------------------------------- other processes


def test_two_processes_share_one_file(path):
    """Both make it at once, write runs of their own and fight over one: all whole, none doubled."""
    rivals = [start("rival", path, name, 25) for name in ("a", "b")]
    lines = [rival.communicate(timeout=120)[0].splitlines() for rival in rivals]
    assert [rival.returncode for rival in rivals] == [0, 0]
    heads = whole(path)
    assert len(heads) == 9
    assert heads == acknowledged(lines[0] + lines[1]) | {"shared": 51}
    shared = [line for some in lines for line in some if line.startswith("shared")]
    assert sorted(int(line.split()[1]) for line in shared) == list(range(2, 52))

    def by(store):
        return store.read("shared", 1)

    names = [record.body["by"] for record in with_store(path, by)]
    assert (names.count("a"), names.count("b")) == (25, 25)


def test_killed_writers_lose_nothing_they_were_told_of(path):
    """SIGKILL at any moment: acknowledged records are there, chains verify, the file is sound."""
    pace, told = random.Random(7), {}
    for n in range(6):
        writer = start("killed", path, f"k{n}")
        lines = [writer.stdout.readline() for _ in range(pace.randrange(8, 400))]
        os.kill(writer.pid, signal.SIGKILL)
        lines += writer.stdout.read().splitlines(keepends=True)
        writer.stdout.close()
        assert writer.wait(60) == -signal.SIGKILL
        told |= acknowledged(line for line in lines if line.endswith("\n"))
        heads = whole(path)
        assert {run: seq for run, seq in told.items() if heads.get(run, 0) < seq} == {}
    assert len(told) >= 6


def test_a_file_that_cannot_grow_refuses_and_recovers(path):
    """A real write error inside COMMIT: refused writes are not there, later ones are, none half."""
    writer = start("limited", path, 300_000)
    lines = writer.communicate(timeout=120)[0].splitlines()
    assert writer.returncode == 0
    refused = int(lines.pop().split()[1])
    assert refused > 0
    told = acknowledged(lines)["run"]
    assert told >= 1 + 2 * 100
    assert whole(path) == {"run": told}


def test_a_store_does_not_cross_a_fork(path):
    """The child is refused by name and can open its own; the parent goes on undisturbed."""
    process = start("forked", path)
    lines = process.communicate(timeout=60)[0].splitlines()
    assert process.returncode == 0
    assert "do not survive a fork" in lines[0]
    assert lines[1:] == ["fresh 1", "child 0", "parent 2"]
    assert whole(path) == {"run": 2}


def test_a_lock_that_is_not_given_up_is_an_error_and_later_none(path, monkeypatch):
    """Somebody else keeps the file locked: StoreError after the busy time; then all is well."""
    monkeypatch.setattr(sqlite_schema, "BUSY_SECONDS", 0.05)

    async def body(store):
        head, lease = await begin(store, "run")
        other = sqlite3.connect(path, isolation_level=None)
        other.execute("begin immediate")
        sealed = records("run", head)
        with pytest.raises(StoreError, match="locked; nothing was written") as caught:
            await store.append(lease, write(sealed))
        assert isinstance(caught.value.__cause__, sqlite3.OperationalError)
        assert len(await store.read("run")) == 1
        other.execute("rollback")
        other.close()
        await store.append(lease, write(sealed))
        assert len(await store.read("run")) == 2

    with_store(path, body)
