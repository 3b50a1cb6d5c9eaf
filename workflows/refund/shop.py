"""The shop behind the refund desk: orders, a refund policy and a ledger of credits, in SQLite.

Rules.  1. Amounts are whole cents.  2. The ledger has one credit per order and per idempotency key,
and SQLite itself insists on both.  3. Today is a date in the shop's own policy, so that orders do
not grow too old while you try things and journals repeat exactly.  4. One connection per call: any
thread and any process may use the same file.
Not here: what a new shop holds (`stock`), what the model sees as tools (`tools`), letters (`mail`).
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import date
from pathlib import Path
from typing import Final

import attrs

from statemachine_agents import ToolError
from statemachine_agents.errors import UsageError

from .stock import VERSION, create

BUSY_SECONDS: Final = 5.0
"""How long a call waits for another writer; well under the tools' timeout."""


@attrs.frozen
class Order:
    """One order.

    Args:
        order_id: such as `A1`.
        customer: name.
        email: where confirmations go.
        item: what was bought.
        kind: `goods`, `digital` or `gift_card`.
        amount_cents: what was paid.
        ordered_on: ISO date.
        status: `delivered` or `cancelled`.
    """

    order_id: str
    customer: str
    email: str
    item: str
    kind: str
    amount_cents: int
    ordered_on: str
    status: str


@attrs.frozen
class Verdict:
    """What the refund policy says of one order.

    Args:
        order_id: the order.
        eligible: whether the shop pays it back.
        reason: why not; null when it is eligible.
        amount_cents: what would be paid back.
    """

    order_id: str
    eligible: bool
    reason: str | None
    amount_cents: int


@attrs.frozen
class Credit:
    """One line of the ledger.

    Args:
        credit_id: its name.
        order_id: the order that was paid back.
        amount_cents: how much.
        run_id: the run that did it.
        credited_on: ISO date, by the shop's calendar.
    """

    credit_id: str
    order_id: str
    amount_cents: int
    run_id: str
    credited_on: str


class Shop:
    """The shop in one file, created and filled with made-up orders at first use.

    Args:
        path: the file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def order(self, order_id: str) -> Order:
        """Return an order.

        Raises:
            ToolError: kind `not_found`, or `busy`.
        """
        with self._reading() as db:
            return _order(db, order_id)

    def verdict(self, order_id: str) -> Verdict:
        """Return what the policy says of an order.

        Raises:
            ToolError: kind `not_found`, or `busy`.
        """
        with self._reading() as db:
            return _verdict(db, _order(db, order_id))

    def credit(self, order_id: str, amount_cents: int, *, key: str, run_id: str) -> Credit:
        """Pay an order back, once.

        The same key gives the same credit again. So does the same run under another key: that
        happens when somebody took an earlier call of the run for not done, and it was.

        Args:
            order_id: the order.
            amount_cents: its whole amount.
            key: idempotency key of the call.
            run_id: the run that credits.

        Raises:
            ToolError: there is no credit under this key: kind `already_refunded` (by another run),
                `not_found`, `not_eligible`, `amount`, or `key_reused` (for another order).
        """
        with self._writing() as db:
            done = _credit(db, _BY_KEY, key)
            if done is not None:
                if (done.order_id, done.amount_cents) != (order_id, amount_cents):
                    msg = f"the key of this credit was used for {done.order_id}"
                    raise ToolError(msg, kind="key_reused", order_id=order_id)
                return done
            done = _credit(db, _BY_ORDER, order_id)
            if done is not None:
                if done.run_id != run_id:
                    raise ToolError(_refunded(done), kind="already_refunded", order_id=order_id)
                return done
            verdict = _verdict(db, _order(db, order_id))
            if not verdict.eligible:
                raise ToolError(str(verdict.reason), kind="not_eligible", order_id=order_id)
            if amount_cents != verdict.amount_cents:
                msg = f"order {order_id}: expected {verdict.amount_cents} cents, got {amount_cents}"
                raise ToolError(msg, kind="amount", order_id=order_id)
            (today,) = db.execute("SELECT today FROM policy").fetchone()
            new = Credit(f"cr-{order_id}", order_id, amount_cents, run_id, today)
            _insert(db, new, key)
            return new

    def credits(self) -> tuple[Credit, ...]:
        """Return the whole ledger, by order."""
        with self._reading() as db:
            return tuple(Credit(*row) for row in db.execute(_LEDGER))

    @contextmanager
    def _reading(self) -> Iterator[sqlite3.Connection]:
        """One snapshot of the shop; a lock that does not go away is a `busy` error."""
        try:
            with closing(self._connect()) as db:
                db.execute("BEGIN")
                yield db
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF == sqlite3.SQLITE_BUSY:  # the rest says why it is
                raise ToolError("the shop is busy", kind="busy") from error
            raise

    @contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        """One transaction. A lock leaves as SQLite's own exception, never as a `ToolError`.

        An earlier attempt under the same key may have gone through, so "it did not happen" would
        be a guess; as a doubt it is tried again with the same key.
        """
        with closing(self._connect()) as db:
            db.execute("BEGIN IMMEDIATE")
            try:
                yield db
            except BaseException:
                db.rollback()
                raise
            db.commit()

    def _connect(self) -> sqlite3.Connection:
        if not self.path.exists():
            create(self.path)
        # Never made by SQLite: an empty file of this name would be taken for a shop.
        address = f"{self.path.absolute().as_uri()}?mode=rw"
        db = sqlite3.connect(address, uri=True, timeout=BUSY_SECONDS, isolation_level=None)
        try:
            self._look_at(db)
        except BaseException:
            db.close()
            raise
        return db

    def _look_at(self, db: sqlite3.Connection) -> None:
        (version,) = db.execute("PRAGMA user_version").fetchone()
        if version != VERSION:
            msg = (
                f"{self.path}: no shop of this demo: expected version {VERSION}, got {version}; "
                f"move the file away, a new one is made"
            )
            raise UsageError(msg, path=str(self.path))
        db.execute("PRAGMA synchronous = FULL")
        db.execute("PRAGMA foreign_keys = ON")


_BY_ID: Final = """
SELECT order_id, customer, email, item, kind, amount_cents, ordered_on, status
FROM orders WHERE order_id = ?"""
_LEDGER: Final = """
SELECT credit_id, order_id, amount_cents, run_id, credited_on FROM credit ORDER BY order_id"""
_BY_ORDER: Final = """
SELECT credit_id, order_id, amount_cents, run_id, credited_on FROM credit WHERE order_id = ?"""
_BY_KEY: Final = """
SELECT credit_id, order_id, amount_cents, run_id, credited_on FROM credit WHERE key = ?"""
_INSERT: Final = """
INSERT INTO credit (credit_id, order_id, amount_cents, run_id, credited_on, key)
VALUES (?, ?, ?, ?, ?, ?)"""


def _order(db: sqlite3.Connection, order_id: str) -> Order:
    row = db.execute(_BY_ID, (order_id,)).fetchone()
    if row is None:
        raise ToolError(f"there is no order {order_id!r}", kind="not_found", order_id=order_id)
    return Order(*row)


def _credit(db: sqlite3.Connection, query: str, value: str) -> Credit | None:
    row = db.execute(query, (value,)).fetchone()
    return None if row is None else Credit(*row)


def _refunded(credit: Credit) -> str:
    done = f"by run {credit.run_id} on {credit.credited_on}"
    return f"order {credit.order_id} was already refunded {done}"


def _verdict(db: sqlite3.Connection, order: Order) -> Verdict:
    why = _against(db, order)
    return Verdict(order.order_id, why is None, why, order.amount_cents)


def _against(db: sqlite3.Connection, order: Order) -> str | None:
    """Return why an order is not paid back, or None."""
    policy = db.execute("SELECT today, days, largest_cents FROM policy").fetchone()
    today, days, largest = policy
    excluded = db.execute("SELECT why FROM excluded WHERE kind = ?", (order.kind,)).fetchone()
    age = (date.fromisoformat(today) - date.fromisoformat(order.ordered_on)).days
    name = f"order {order.order_id}"
    if order.status == "cancelled":
        return f"{name} was cancelled, nothing was paid"
    done = _credit(db, _BY_ORDER, order.order_id)
    if done is not None:
        return _refunded(done)
    if excluded is not None:
        return f"{name} is of the kind {order.kind}: {excluded[0]}"
    if age > days:
        return f"{name} is {age} days old, the policy allows {days}"
    if order.amount_cents > largest:
        return f"{name} is over the largest refund of the shop, {largest} cents"
    return None


def _insert(db: sqlite3.Connection, credit: Credit, key: str) -> None:
    db.execute(_INSERT, (*attrs.astuple(credit), key))
