"""The shop behind the refund desk: orders, a refund policy and a ledger of credits, in SQLite.

Rules.  1. Amounts are whole cents.  2. The ledger has one credit per order and per idempotency key,
and SQLite itself insists on both.  3. Today is a date in the shop's own policy, so that orders do
not grow too old while you try things and journals repeat exactly.  4. One connection per call: any
thread and any process may use the same file.
Everything in it is made up. Not here: what the model sees as tools (`tools`), letters (`mail`).
"""

from __future__ import annotations

import os
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import date
from pathlib import Path
from typing import Final

import attrs

from statemachine_agents.errors import ToolError, UsageError

from .disk import publish

TODAY: Final = "2026-11-20"
DAYS: Final = 30
LARGEST_CENTS: Final = 200_000
"""The shop pays no larger refund. A desk may have a lower limit: that one is in `table.toml`."""

BUSY_SECONDS: Final = 5.0
"""How long a call waits for another writer; well under the tools' timeout."""

VERSION: Final = 1
"""`user_version` of the file."""

_SCHEMA: Final = """
CREATE TABLE policy (
    one INTEGER PRIMARY KEY CHECK (one = 1),
    today TEXT NOT NULL,
    days INTEGER NOT NULL,
    largest_cents INTEGER NOT NULL
);
CREATE TABLE excluded (kind TEXT PRIMARY KEY, why TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE orders (
    order_id TEXT PRIMARY KEY,
    customer TEXT NOT NULL,
    email TEXT NOT NULL,
    item TEXT NOT NULL,
    kind TEXT NOT NULL,
    amount_cents INTEGER NOT NULL CHECK (typeof(amount_cents) = 'integer' AND amount_cents > 0),
    ordered_on TEXT NOT NULL,
    status TEXT NOT NULL CHECK (status IN ('delivered', 'cancelled'))
) WITHOUT ROWID;
CREATE TABLE credit (
    credit_id TEXT PRIMARY KEY,
    key TEXT NOT NULL UNIQUE,
    order_id TEXT NOT NULL UNIQUE REFERENCES orders (order_id),
    amount_cents INTEGER NOT NULL CHECK (typeof(amount_cents) = 'integer' AND amount_cents > 0),
    run_id TEXT NOT NULL,
    credited_on TEXT NOT NULL
) WITHOUT ROWID;
"""

_EXCLUDED: Final = (
    ("digital", "downloads are not taken back"),
    ("gift_card", "gift cards are not paid out"),
)

# order, customer, e-mail, item, kind, cents, ordered on, status
_ORDERS: Final = (
    # Eligible, and small enough to need nobody's approval; A6 by a hair.
    ("A1", "Ada Brook", "ada@shopper.example", "kettle", "goods", 4_900, "2026-11-10", "delivered"),
    ("A2", "Ben Ode", "ben@shopper.example", "lamp", "goods", 7_950, "2026-11-02", "delivered"),
    ("A3", "Chi Lund", "chi@shopper.example", "scarf", "goods", 2_400, "2026-11-18", "delivered"),
    ("A4", "Dov Marsh", "dov@shopper.example", "umbrella", "goods", 1, "2026-11-12", "delivered"),
    ("A5", "Eve Tarn", "eve@shopper.example", "tea set", "goods", 11_000, "2026-10-28", "delivered"),
    ("A6", "Fay Holt", "fay@shopper.example", "radio", "goods", 20_000, "2026-11-05", "delivered"),
    # Too old by one day, by a month, by years.
    ("A7", "Gus Penn", "gus@shopper.example", "clock", "goods", 3_500, "2026-10-20", "delivered"),
    ("A8", "Hye Dale", "hye@shopper.example", "pan", "goods", 5_200, "2026-09-19", "delivered"),
    ("A9", "Ian Reed", "ian@shopper.example", "rug", "goods", 15_000, "2023-02-01", "delivered"),
    # Already refunded, see _CREDITS.
    ("A10", "Joy Wick", "joy@shopper.example", "vase", "goods", 3_900, "2026-11-01", "delivered"),
    ("A11", "Kai Moor", "kai@shopper.example", "desk", "goods", 18_000, "2026-11-03", "delivered"),
    ("A12", "Lea Ford", "lea@shopper.example", "mug", "goods", 1_200, "2026-10-30", "delivered"),
    # Eligible, but large: a person must approve. A16 is the most this desk may pay.
    ("A13", "Max Gill", "max@shopper.example", "chair", "goods", 20_001, "2026-11-09", "delivered"),
    ("A14", "Nia Bell", "nia@shopper.example", "bicycle", "goods", 32_000, "2026-11-14", "delivered"),
    ("A15", "Oli Vane", "oli@shopper.example", "oven", "goods", 45_900, "2026-10-25", "delivered"),
    ("A16", "Pam Rook", "pam@shopper.example", "sofa bed", "goods", 50_000, "2026-11-11", "delivered"),
    # Eligible, but over the limit of this desk.
    ("A17", "Quin Lake", "quin@shopper.example", "table", "goods", 50_001, "2026-11-13", "delivered"),
    ("A18", "Rue Hart", "rue@shopper.example", "fridge", "goods", 89_900, "2026-11-04", "delivered"),
    ("A19", "Sol Byrd", "sol@shopper.example", "camera", "goods", 120_000, "2026-11-16", "delivered"),
    # Over what the shop pays back at all.
    ("A20", "Tam Cole", "tam@shopper.example", "piano", "goods", 200_001, "2026-11-07", "delivered"),
    ("A21", "Uma West", "uma@shopper.example", "boat", "goods", 950_000, "2026-11-08", "delivered"),
    # Of a kind that is not taken back.
    ("A22", "Vic Nash", "vic@shopper.example", "e-book", "digital", 900, "2026-11-15", "delivered"),
    ("A23", "Wes Pike", "wes@shopper.example", "game", "digital", 5_900, "2026-11-17", "delivered"),
    ("A24", "Xia Lowe", "xia@shopper.example", "voucher", "gift_card", 5_000, "2026-11-06", "delivered"),
    # Cancelled before anything was paid.
    ("A25", "Yan Frost", "yan@shopper.example", "tent", "goods", 14_900, "2026-11-12", "cancelled"),
    ("A26", "Zoe Birch", "zoe@shopper.example", "boots", "goods", 8_900, "2026-11-19", "cancelled"),
    # Eligible, but the customer's mail bounces; A29 also needs an approval.
    ("A27", "Abe Stone", "abe@bounce.example", "globe", "goods", 4_400, "2026-11-10", "delivered"),
    ("A28", "Bea Crane", "bea@bounce.example", "easel", "goods", 9_700, "2026-11-03", "delivered"),
    ("A29", "Cy Thorn", "cy@bounce.example", "loom", "goods", 27_500, "2026-11-09", "delivered"),
    # Eligible on its last day.
    ("A30", "Dee Swan", "dee@shopper.example", "flute", "goods", 6_300, "2026-10-21", "delivered"),
)  # fmt: skip

# order, run, credited on
_CREDITS: Final = (
    ("A10", "r-early-1", "2026-11-12"),
    ("A11", "r-early-2", "2026-11-15"),
    ("A12", "r-early-3", "2026-11-19"),
)


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
            done = _credit(db, "key", key)
            if done is not None and done.order_id != order_id:
                msg = f"the key of this credit was used for order {done.order_id}"
                raise ToolError(msg, kind="key_reused", order_id=order_id)
            done = done or _credit(db, "order_id", order_id)
            if done is not None and done.run_id != run_id:
                raise ToolError(_refunded(done), kind="already_refunded", order_id=order_id)
            order = _order(db, order_id)
            verdict = _verdict(db, order)
            if done is None and not verdict.eligible:
                raise ToolError(str(verdict.reason), kind="not_eligible", order_id=order_id)
            if amount_cents != order.amount_cents:
                msg = f"order {order_id}: expected {order.amount_cents} cents, got {amount_cents}"
                raise ToolError(msg, kind="amount", order_id=order_id)
            if done is not None:
                return done
            (today,) = db.execute("SELECT today FROM policy").fetchone()
            new = Credit(f"cr-{order_id}", order_id, amount_cents, run_id, today)
            _insert(db, new, key)
            return new

    def credits(self) -> tuple[Credit, ...]:
        """Return the whole ledger, by order."""
        with self._reading() as db:
            rows = db.execute(f"SELECT {_CREDIT} FROM credit ORDER BY order_id").fetchall()  # noqa: S608 - constant
        return tuple(Credit(*row) for row in rows)

    @contextmanager
    def _reading(self) -> Iterator[sqlite3.Connection]:
        """One snapshot of the shop; a lock that does not go away is a `busy` error."""
        with closing(self._connect()) as db:
            try:
                db.execute("BEGIN")
                yield db
            except sqlite3.OperationalError as error:
                if error.sqlite_errorcode == sqlite3.SQLITE_BUSY:
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
            _create(self.path)
        # Never `create`: an empty file under this name would be taken for a shop.
        address = f"{self.path.absolute().as_uri()}?mode=rw"
        db = sqlite3.connect(address, uri=True, timeout=BUSY_SECONDS, isolation_level=None)
        try:
            (version,) = db.execute("PRAGMA user_version").fetchone()
            if version != VERSION:
                msg = (
                    f"{self.path}: not a shop of this demo (version {version}, expected {VERSION}); "
                    f"move the file away and a new one is made"
                )
                raise UsageError(msg, path=str(self.path))
            db.execute("PRAGMA synchronous = FULL")
            db.execute("PRAGMA foreign_keys = ON")
        except BaseException:
            db.close()
            raise
        return db


_ORDER: Final = "order_id, customer, email, item, kind, amount_cents, ordered_on, status"
_CREDIT: Final = "credit_id, order_id, amount_cents, run_id, credited_on"


def _order(db: sqlite3.Connection, order_id: str) -> Order:
    row = db.execute(f"SELECT {_ORDER} FROM orders WHERE order_id = ?", (order_id,)).fetchone()  # noqa: S608 - constant
    if row is None:
        raise ToolError(f"there is no order {order_id!r}", kind="not_found", order_id=order_id)
    return Order(*row)


def _credit(db: sqlite3.Connection, column: str, value: str) -> Credit | None:
    row = db.execute(f"SELECT {_CREDIT} FROM credit WHERE {column} = ?", (value,)).fetchone()  # noqa: S608 - constant
    return None if row is None else Credit(*row)


def _refunded(credit: Credit) -> str:
    done = f"by run {credit.run_id} on {credit.credited_on}"
    return f"order {credit.order_id} was already refunded {done}"


def _verdict(db: sqlite3.Connection, order: Order) -> Verdict:
    return Verdict(order.order_id, (why := _against(db, order)) is None, why, order.amount_cents)


def _against(db: sqlite3.Connection, order: Order) -> str | None:
    """Return why an order is not paid back, or None."""
    today, days, largest = db.execute(
        "SELECT today, days, largest_cents FROM policy"
    ).fetchone()  # fmt: skip
    excluded = db.execute("SELECT why FROM excluded WHERE kind = ?", (order.kind,)).fetchone()
    age = (date.fromisoformat(today) - date.fromisoformat(order.ordered_on)).days
    name = f"order {order.order_id}"
    if order.status == "cancelled":
        return f"{name} was cancelled, nothing was paid"
    done = _credit(db, "order_id", order.order_id)
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
    db.execute(
        f"INSERT INTO credit ({_CREDIT}, key) VALUES (?, ?, ?, ?, ?, ?)",  # noqa: S608 - constant
        (*attrs.astuple(credit), key),
    )


def _create(path: Path) -> None:
    """Make the whole shop beside its place, then give it its name: nobody sees half a shop."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f".{path.name}-", dir=path.parent)
    os.close(handle)
    try:
        with closing(sqlite3.connect(name, isolation_level=None)) as db:
            db.execute("PRAGMA journal_mode = WAL")
            db.executescript(f"BEGIN; {_SCHEMA}")
            db.execute("INSERT INTO policy VALUES (1, ?, ?, ?)", (TODAY, DAYS, LARGEST_CENTS))
            db.executemany("INSERT INTO excluded VALUES (?, ?)", _EXCLUDED)
            db.executemany("INSERT INTO orders VALUES (?, ?, ?, ?, ?, ?, ?, ?)", _ORDERS)
            for order_id, run_id, day in _CREDITS:
                cents = _order(db, order_id).amount_cents
                _insert(db, Credit(f"cr-{order_id}", order_id, cents, run_id, day), f"{run_id}/seed")
            db.execute(f"PRAGMA user_version = {VERSION}")
            db.execute("COMMIT")
        publish(Path(name), path)
    finally:
        Path(name).unlink(missing_ok=True)
