"""What every store refuses about a write, and the sentences it refuses with.

Rules.  1. The implementations of the `Store` port say the same thing in the same words: an error is
built here, raised there.  2. A write is looked at before anything is changed.
Not here: whether the fence is current or a record is already there; only the store knows.
"""

from __future__ import annotations

from collections.abc import Sequence

from statemachine_agents.errors import Fenced, StoreError, UnknownRun
from statemachine_agents.journal.records import Record
from statemachine_agents.turn.ports import Delivery, Lease, Write
from statemachine_agents.values import dumps


def unknown_run(run: str) -> UnknownRun:
    """Return the error for a run id that this store does not have."""
    return UnknownRun(
        f"run {run!r}: not in this store; compare the id and the store's path", run=run
    )


def fenced(lease: Lease, fence: int, seq: int) -> Fenced:
    """Return the error for a writer that lost the run or the race.

    Args:
        lease: what the writer holds.
        fence: the run's current fence.
        seq: the run's current head.
    """
    if fence != lease.fence:
        why = f"the lease has fence {lease.fence}, the run is at fence {fence}"
    else:
        why = f"another record stands where this write begins; the journal is at seq {seq}"
    return Fenced(
        f"run {lease.run}: {why}; drop what was decided here, claim the run again and read it",
        run=lease.run,
        fence=fence,
        expected=lease.fence,
        seq=seq,
    )


def gap(run: str, first: int, seq: int) -> StoreError:
    """Return the error for records that would leave a hole behind the head."""
    return StoreError(
        f"run {run}: a write begins at seq {first}, but the journal is at seq {seq}; expected "
        f"{seq + 1}; nothing was written",
        run=run,
        expected=seq + 1,
        got=first,
    )


def used_rid(run: str) -> StoreError:
    """Return the error for a record id that stands somewhere else already."""
    return StoreError(
        f"run {run}: a record id of this write is already used by another record; ids are made "
        "once per record, seal the drafts again; nothing was written",
        run=run,
    )


def not_waiting(run: str, signal_id: str) -> StoreError:
    """Return the error for taking a signal that is not there to be taken."""
    return StoreError(
        f"run {run}: the signal {signal_id!r} does not wait in the inbox (unknown, or taken by an "
        "earlier record); take each signal of `inbox` once; nothing was written",
        run=run,
        signal=signal_id,
    )


def not_queued(run: str, key: tuple[int, int]) -> StoreError:
    """Return the error for reporting a delivery that was never queued."""
    return StoreError(
        f"run {run}: no delivery (seq, n) = {key} was queued; report the keys `outbox` gave; "
        "nothing was written",
        run=run,
        delivery=key,
    )


def queued_twice(run: str, key: tuple[int, int]) -> StoreError:
    """Return the error for queueing under a key that is taken."""
    return StoreError(
        f"run {run}: a delivery (seq, n) = {key} is queued already; the key is its stable id, give "
        "each delivery of a record its own n; nothing was written",
        run=run,
        delivery=key,
    )


def unknown_definition(digest: str) -> StoreError:
    """Return the error for a definition that was never kept."""
    return StoreError(
        f"definition {digest!r}: not in this store; `define` keeps one before the first run of it",
        digest=digest,
    )


def unknown_blob(digest: str) -> StoreError:
    """Return the error for a blob that was never kept."""
    return StoreError(f"blob {digest!r}: not in this store", digest=digest)


def not_a_write(run: str, got: object) -> StoreError:
    """Return the error for transactional work that gives back something else."""
    return StoreError(
        f"run {run}: the work of `transact` must return a Write, got {type(got).__name__} (it is a "
        "plain function, not a coroutine); nothing was written",
        run=run,
        got=type(got).__name__,
    )


def check_records(run: str, records: Sequence[Record], after: int) -> None:
    """Refuse records of another run, or with a hole between them.

    Args:
        run: the run they must belong to.
        records: what is to be written.
        after: the seq before the first one.

    Raises:
        StoreError: says which record.
    """
    for record in records:
        if record.seq != after + 1:
            raise gap(run, record.seq, after)
        if record.run != run:
            raise StoreError(
                f"run {run}: the record at seq {record.seq} belongs to run {record.run}; one write "
                "continues one run; nothing was written",
                run=run,
                got=record.run,
            )
        after += 1


def check_first(write: Write, after: int) -> str:
    """Check the first records of a new run and return its id.

    Args:
        write: the records a run begins with.
        after: 0, or the seq a fork leaves its parent at.
    """
    if not write.records:
        raise StoreError("a run begins with at least one record; the write has none")
    run = write.records[0].run
    check_records(run, write.records, after)
    return run


def body_of(run: str, delivery: Delivery) -> bytes:
    """Return the canonical body of a delivery of this run.

    Raises:
        StoreError: it belongs to another run.
        ValueRefused: the body is not canonical JSON.
    """
    if delivery.run != run:
        raise StoreError(
            f"run {run}: a delivery of run {delivery.run} in its write; a run queues its own "
            "deliveries; nothing was written",
            run=run,
            got=delivery.run,
        )
    return dumps(delivery.body)


def run_taken(run: str) -> StoreError:
    """Return the error for creating a run under an id that another run has."""
    return StoreError(
        f"run {run}: a run of that id exists with other records; make a new id; nothing was "
        "written",
        run=run,
    )


def bad_fork(parent: str, seq: int, head: int) -> StoreError:
    """Return the error for a fork at a seq the parent does not have."""
    return StoreError(
        f"run {parent}: cannot be forked at seq {seq}; expected 1 to {head}, its head; nothing "
        "was written",
        run=parent,
        seq=seq,
        head=head,
    )
