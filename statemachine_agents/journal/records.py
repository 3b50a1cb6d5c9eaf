"""Records: the append-only facts of one run, and the seal that makes them tamper-evident.

Rules.  1. A record's body is canonical JSON; `body_hash = SHA-256(salt || body)`, so deleting body
and salt (erasure) keeps the chain verifiable.  2. `hash = SHA-256(previous hash || header)` and the
header names everything but the body.  3. `seq` runs from 1 without gaps.  4. `rid` is made once per
record: after a broken commit it tells "already written" from "lost the race".
Not here: what the records add up to (`journal.fold`), where they are kept (`stores`).
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, Protocol

import attrs

from statemachine_agents.errors import JournalDamaged, ValueRefused
from statemachine_agents.values import JSON, MAX_BLOB, MAX_BODY, dumps, loads

FORMAT: Final = 1
"""Version of the journal format; one golden journal per version stays for ever."""

BLOB: Final = "$blob"
"""Key of a body that was too large for a record: the hash of the real one."""

RUN_ID: Final = re.compile(r"[A-Za-z0-9._:-]{1,200}")
"""What a run may be called: such ids need no escaping in a header, a file or a URL."""

GENESIS: Final = "0" * 64
"""The hash before the first record of a run that is not a fork."""

KINDS: Final = frozenset(
    {
        "run_started",
        "run_forked",
        "message_received",
        "model_asked",
        "model_replied",
        "call_refused",
        "call_intended",
        "call_returned",
        "call_doubted",
        "call_resolved",
        "stepped",
        "approval_asked",
        "approval_decided",
        "timer_set",
        "timer_fired",
        "child_started",
        "child_ended",
        "reply_queued",
        "reply_sent",
        "cancel_asked",
        "run_parked",
        "run_resumed",
        "run_migrated",
        "run_quarantined",
        "run_ended",
    }
)


class Entropy(Protocol):
    """The port for randomness: ids, salts, key parts. Seeded in tests."""

    def take(self, count: int) -> bytes:
        """Return `count` random bytes."""


@attrs.frozen
class Draft:
    """A record before it is sealed: its kind and body.

    `after` is the snapshot the decision already computed, so that a live run need not fold its own
    decision again; it is never written, and the fold tests prove it equal to the folded one.
    """

    kind: str
    body: dict[str, JSON]
    after: Any = attrs.field(default=None, eq=False, repr=False)


@attrs.frozen
class Record:
    """One sealed record.

    Args:
        run: id of the run.
        seq: place in the journal, from 1.
        rid: 32 hexadecimal digits (UUIDv7), made once.
        kind: one of `KINDS`.
        v: journal format.
        at: UTC microseconds when it was made.
        fence: lease number of the writer.
        definition: hash of the definition it was decided under.
        body_hash: SHA-256 over salt and body.
        hash: SHA-256 over the previous hash and the header.
        salt: 16 bytes; empty once the body is erased.
        data: canonical body; None once erased.
        body: the parsed body; empty once erased.
    """

    run: str
    seq: int
    rid: str
    kind: str
    v: int
    at: int
    fence: int
    definition: str
    body_hash: str
    hash: str
    salt: bytes = attrs.field(repr=False)
    data: bytes | None = attrs.field(repr=False)
    body: dict[str, JSON] = attrs.field(eq=False)

    @property
    def erased(self) -> bool:
        """Whether the body was deleted; the chain still verifies."""
        return self.data is None


@attrs.frozen
class Head:
    """Where a journal stands: its last seq and hash."""

    seq: int = 0
    hash: str = GENESIS


def seal(
    drafts: Iterable[Draft],
    *,
    run: str,
    definition: str,
    fence: int,
    head: Head,
    at: int,
    entropy: Entropy,
    blobs: list[tuple[str, bytes]] | None = None,
) -> list[Record]:
    """Seal drafts into records that continue the chain at `head`.

    Args:
        drafts: in order.
        run: run id.
        definition: definition hash.
        fence: lease number.
        head: seq and hash of the last record.
        at: UTC microseconds; one value for the whole batch, which is one commit.
        entropy: 26 bytes are taken per record.
        blobs: takes (hash, bytes) of bodies over `MAX_BODY`; such a record only names the hash.

    Returns:
        The sealed records.

    Raises:
        ValueRefused: a body is not canonical or larger than the hard cap.
    """
    seq, chain = head.seq, head.hash
    out = []
    for draft in drafts:
        data = dumps(draft.body)
        if len(data) > MAX_BLOB:
            msg = f"run {run}: a {draft.kind} body of {len(data)} bytes; the cap is {MAX_BLOB}"
            raise ValueRefused(msg, run=run, kind=draft.kind, size=len(data))
        if len(data) > MAX_BODY:
            digest = hashlib.sha256(data).hexdigest()
            if blobs is not None:
                blobs.append((digest, data))
            data = dumps({BLOB: digest, "size": len(data)})
        seq += 1
        noise = entropy.take(26)
        salt = noise[:16]
        rid = uuid7(at, noise[16:])
        body_hash = hashlib.sha256(salt + data).hexdigest()
        header = header_of(run, seq, rid, draft.kind, FORMAT, at, fence, definition, body_hash)
        chain = hashlib.sha256(chain.encode() + header).hexdigest()
        out.append(
            Record(
                run,
                seq,
                rid,
                draft.kind,
                FORMAT,
                at,
                fence,
                definition,
                body_hash,
                chain,
                salt,
                data,
                draft.body,
            )
        )
    return out


def header_of(
    run: str,
    seq: int,
    rid: str,
    kind: str,
    v: int,
    at: int,
    fence: int,
    definition: str,
    body_hash: str,
) -> bytes:
    """Return the canonical header bytes.

    Every field has a closed alphabet (`RUN_ID`, hexadecimal, `KINDS`), so plain formatting *is* the
    canonical JSON; a test compares it with `values.dumps`. It is three times as fast.
    """
    return (
        f'{{"at":{at},"body_hash":"{body_hash}","definition":"{definition}","fence":{fence},'
        f'"kind":"{kind}","rid":"{rid}","run":"{run}","seq":{seq},"v":{v}}}'
    ).encode()


def uuid7(at: int, noise: bytes) -> str:
    """Return a UUIDv7 (RFC 9562) as 32 hexadecimal digits.

    Args:
        at: UTC microseconds.
        noise: 10 random bytes.
    """
    made = bytearray((at // 1000).to_bytes(6, "big") + noise)
    made[6] = 0x70 | made[6] & 0x0F  # version 7
    made[8] = 0x80 | made[8] & 0x3F  # the variant of RFC 9562
    return made.hex()


def verify(record: Record, previous: str) -> None:
    """Check one record: its kind and format, its body, and the hash before it.

    Raises:
        JournalDamaged: says which record and which part does not verify.
    """
    if record.v > FORMAT or record.kind not in KINDS:
        raise damaged(
            record.run,
            record.seq,
            f"kind {record.kind!r} of format {record.v} is unknown here (format {FORMAT})",
        )
    if record.data is not None:
        got = hashlib.sha256(record.salt + record.data).hexdigest()
        if got != record.body_hash:
            raise damaged(record.run, record.seq, "its body does not match its hash")
    header = header_of(
        record.run,
        record.seq,
        record.rid,
        record.kind,
        record.v,
        record.at,
        record.fence,
        record.definition,
        record.body_hash,
    )
    if hashlib.sha256(previous.encode() + header).hexdigest() != record.hash:
        raise damaged(
            record.run,
            record.seq,
            "its hash does not continue the chain; it or the one before changed",
        )


def damaged(run: str, seq: int, why: str) -> JournalDamaged:
    """Return the error for a record that does not verify."""
    return JournalDamaged(
        f"run {run}, seq {seq}: {why}; nothing is appended to it any more, restore a backup",
        run=run,
        seq=seq,
        why=why,
    )


def verify_chain(records: Sequence[Record], head: Head = Head()) -> Head:
    """Check consecutive records and their seqs; return the new head.

    Raises:
        JournalDamaged: at the first record that is wrong.
    """
    seq, chain = head.seq, head.hash
    for record in records:
        seq += 1
        if record.seq != seq:
            raise damaged(record.run, seq, f"expected seq {seq}, got {record.seq}")
        verify(record, chain)
        chain = record.hash
    return Head(seq, chain)


def blob_of(record: Record) -> str | None:
    """Return the hash of the blob that holds a record's body, or None when it is in place."""
    return record.body.get(BLOB) if len(record.body) == 2 else None


def with_blob(record: Record, data: bytes) -> Record:
    """Return the record with its real body.

    Raises:
        JournalDamaged: the blob is not the one the record names.
    """
    if hashlib.sha256(data).hexdigest() != blob_of(record):
        raise damaged(record.run, record.seq, "its blob does not match its hash")
    return attrs.evolve(record, body=loads(data))


def record_of(row: Mapping[str, Any]) -> Record:
    """Build a record from its stored columns, parsing the body; `row` has the fields of `Record`.

    Raises:
        JournalDamaged: the body is not canonical JSON.
    """
    data = row["data"]
    try:
        body = {} if data is None else loads(data)
    except ValueRefused as error:
        raise damaged(row["run"], row["seq"], f"its body is damaged ({error})") from error
    if not isinstance(body, dict):
        raise damaged(row["run"], row["seq"], "its body is not an object")
    return Record(
        row["run"],
        row["seq"],
        row["rid"],
        row["kind"],
        row["v"],
        row["at"],
        row["fence"],
        row["definition"],
        row["body_hash"],
        row["hash"],
        row["salt"],
        data,
        body,
    )
