"""What a new shop holds: its tables, its policy, and thirty made-up orders of every sort.

Rules.  1. Customers and addresses are invented; the hosts end in `.example`, which nobody owns.
2. A shop is made whole beside its place and then given its name: nobody ever sees half of one, and
of two processes that come first at once, one wins.
Not here: what is done with it (`shop`).
"""

from __future__ import annotations

import os
import sqlite3
import tempfile
from contextlib import closing
from pathlib import Path
from typing import Final

from .disk import publish

TODAY: Final = "2026-11-20"
DAYS: Final = 30
LARGEST_CENTS: Final = 200_000
"""The shop pays no larger refund. A desk may have a lower limit: that one is in `table.toml`."""

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

EXCLUDED: Final = (
    ("digital", "downloads are not taken back"),
    ("gift_card", "gift cards are not paid out"),
)

# order, customer, host of the address, item, kind, cents, ordered on, status
ORDERS: Final = (
    # Eligible, and small enough to need nobody's approval; A6 by a hair.
    ("A1", "Ada Brook", "shopper", "kettle", "goods", 4_900, "2026-11-10", "delivered"),
    ("A2", "Ben Ode", "shopper", "lamp", "goods", 7_950, "2026-11-02", "delivered"),
    ("A3", "Chi Lund", "shopper", "scarf", "goods", 2_400, "2026-11-18", "delivered"),
    ("A4", "Dov Marsh", "shopper", "umbrella", "goods", 1, "2026-11-12", "delivered"),
    ("A5", "Eve Tarn", "shopper", "tea set", "goods", 11_000, "2026-10-28", "delivered"),
    ("A6", "Fay Holt", "shopper", "radio", "goods", 20_000, "2026-11-05", "delivered"),
    # Too old by one day, by a month, by years.
    ("A7", "Gus Penn", "shopper", "clock", "goods", 3_500, "2026-10-20", "delivered"),
    ("A8", "Hye Dale", "shopper", "pan", "goods", 5_200, "2026-09-19", "delivered"),
    ("A9", "Ian Reed", "shopper", "rug", "goods", 15_000, "2023-02-01", "delivered"),
    # Already refunded, see CREDITS.
    ("A10", "Joy Wick", "shopper", "vase", "goods", 3_900, "2026-11-01", "delivered"),
    ("A11", "Kai Moor", "shopper", "desk", "goods", 18_000, "2026-11-03", "delivered"),
    ("A12", "Lea Ford", "shopper", "mug", "goods", 1_200, "2026-10-30", "delivered"),
    # Eligible, but large: a person must approve. A16 is the most this desk may pay.
    ("A13", "Max Gill", "shopper", "chair", "goods", 20_001, "2026-11-09", "delivered"),
    ("A14", "Nia Bell", "shopper", "bicycle", "goods", 32_000, "2026-11-14", "delivered"),
    ("A15", "Oli Vane", "shopper", "oven", "goods", 45_900, "2026-10-25", "delivered"),
    ("A16", "Pam Rook", "shopper", "sofa bed", "goods", 50_000, "2026-11-11", "delivered"),
    # Eligible, but over the limit of this desk.
    ("A17", "Quin Lake", "shopper", "table", "goods", 50_001, "2026-11-13", "delivered"),
    ("A18", "Rue Hart", "shopper", "fridge", "goods", 89_900, "2026-11-04", "delivered"),
    ("A19", "Sol Byrd", "shopper", "camera", "goods", 120_000, "2026-11-16", "delivered"),
    # Over what the shop pays back at all.
    ("A20", "Tam Cole", "shopper", "piano", "goods", 200_001, "2026-11-07", "delivered"),
    ("A21", "Uma West", "shopper", "boat", "goods", 950_000, "2026-11-08", "delivered"),
    # Of a kind that is not taken back.
    ("A22", "Vic Nash", "shopper", "e-book", "digital", 900, "2026-11-15", "delivered"),
    ("A23", "Wes Pike", "shopper", "game", "digital", 5_900, "2026-11-17", "delivered"),
    ("A24", "Xia Lowe", "shopper", "voucher", "gift_card", 5_000, "2026-11-06", "delivered"),
    # Cancelled before anything was paid.
    ("A25", "Yan Frost", "shopper", "tent", "goods", 14_900, "2026-11-12", "cancelled"),
    ("A26", "Zoe Birch", "shopper", "boots", "goods", 8_900, "2026-11-19", "cancelled"),
    # Eligible, but the customer's mail bounces; A29 also needs an approval.
    ("A27", "Abe Stone", "bounce", "globe", "goods", 4_400, "2026-11-10", "delivered"),
    ("A28", "Bea Crane", "bounce", "easel", "goods", 9_700, "2026-11-03", "delivered"),
    ("A29", "Cy Thorn", "bounce", "loom", "goods", 27_500, "2026-11-09", "delivered"),
    # Eligible on its last day.
    ("A30", "Dee Swan", "shopper", "flute", "goods", 6_300, "2026-10-21", "delivered"),
)  # fmt: skip

# order, run, credited on
CREDITS: Final = (
    ("A10", "r-early-1", "2026-11-12"),
    ("A11", "r-early-2", "2026-11-15"),
    ("A12", "r-early-3", "2026-11-19"),
)


def address_of(customer: str, host: str) -> str:
    """Return a customer's e-mail address."""
    return f"{customer.split(maxsplit=1)[0].lower()}@{host}.example"


def create(path: Path) -> None:
    """Make a shop, unless somebody else is faster."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f".{path.name}-", dir=path.parent)
    os.close(handle)
    try:
        with closing(sqlite3.connect(name, isolation_level=None)) as db:
            db.execute("PRAGMA journal_mode = WAL")
            db.executescript(f"BEGIN; {_SCHEMA}")
            _fill(db)
            db.execute(f"PRAGMA user_version = {VERSION}")
            db.execute("COMMIT")
        publish(Path(name), path)
    finally:
        Path(name).unlink(missing_ok=True)


def _fill(db: sqlite3.Connection) -> None:
    db.execute("INSERT INTO policy VALUES (1, ?, ?, ?)", (TODAY, DAYS, LARGEST_CENTS))
    db.executemany("INSERT INTO excluded VALUES (?, ?)", EXCLUDED)
    for order, customer, host, *rest in ORDERS:
        values = (order, customer, address_of(customer, host), *rest)
        db.execute("INSERT INTO orders VALUES (?, ?, ?, ?, ?, ?, ?, ?)", values)
    for order, run, day in CREDITS:
        db.execute(
            "INSERT INTO credit SELECT 'cr-' || order_id, ?, order_id, amount_cents, ?, ? "
            "FROM orders WHERE order_id = ?",
            (f"{run}/seed", run, day, order),
        )
