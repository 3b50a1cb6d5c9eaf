"""The tools of the refund desk: what the model may ask for, and what each does to the world.

Rules.  1. A `ToolError` says that nothing happened.  2. Effects hand their idempotency key on: to
the ledger, and into the Message-ID.  3. Who gets how much is bound by the table; the model writes
nothing but the letter.
Not here: the shop (`shop`), the mail (`mail`), when a tool is legal (`table.toml`).
"""

from __future__ import annotations

from typing import Annotated, TypeAlias

import attrs
import msgspec

from statemachine_agents import Call, Retry, tool
from statemachine_agents.tools.verifying import Verified, done, not_done, unknown

from .mail import Outbox, compose, message_id
from .shop import Credit, Order, Shop, Verdict

Cents: TypeAlias = Annotated[int, msgspec.Meta(gt=0)]
Subject: TypeAlias = Annotated[
    str,
    msgspec.Meta(
        min_length=1,
        max_length=150,
        pattern=r"^[^\x00-\x1f\x7f-\x9f\u2028\u2029]*$",
        examples=["Your refund"],
    ),
]
"""One line. `mail.compose` refuses more too, but the gate tells the model before anything runs."""

Body: TypeAlias = Annotated[
    str,
    msgspec.Meta(
        min_length=1,
        max_length=5000,
        examples=["Hello,\n\nwe have paid your order back.\n\nThe refund desk"],
    ),
]


@attrs.frozen
class Letter:
    """A letter that went out.

    Args:
        message_id: its Message-ID.
        to: whom it went to.
    """

    message_id: str
    to: str


@attrs.frozen
class RefundDesk:
    """The tools, as methods of a desk that has a shop and an outbox.

    Args:
        shop: orders, policy and ledger.
        outbox: where letters go.
    """

    shop: Shop
    outbox: Outbox

    @tool(effect="read", timeout=15, retry=Retry())
    def fetch_order(self, order_id: str) -> Order:
        """Look up an order.

        Args:
            order_id: the number of the order.
        """
        return self.shop.order(order_id)

    @tool(effect="read", timeout=15, retry=Retry())
    def check_refund_policy(self, order_id: str) -> Verdict:
        """Find out whether the shop's policy allows to refund an order, and how much.

        Args:
            order_id: the number of the order.
        """
        return self.shop.verdict(order_id)

    @tool(effect="idempotent", timeout=15)
    def process_credit(self, order_id: str, amount_cents: Cents, call: Call) -> Credit:
        """Pay an order back to the customer.

        Args:
            order_id: the number of the order.
            amount_cents: the whole amount, in cents.
            call: filled in; its key makes a repetition harmless.
        """
        return self.shop.credit(order_id, amount_cents, key=call.key, run_id=call.run_id)

    def _find_letter(self, to: str, call: Call) -> Verified:
        """Say whether the letter of a call in doubt went out."""
        identity = message_id(call.key)
        match self.outbox.find(identity):
            case True:
                return done(Letter(identity, to))
            case False:
                return not_done()
        return unknown("a mail server cannot be asked what it has sent")

    @tool(effect="verifiable", verify=_find_letter, timeout=60, retry=Retry(on=("unreachable",)))
    def send_email(self, to: str, subject: Subject, body: Body, call: Call) -> Letter:
        """Send the customer a letter by e-mail.

        Args:
            to: the customer's address.
            subject: one line.
            body: plain text, with a greeting and a closing line.
            call: filled in; its key becomes the Message-ID.
        """
        identity = message_id(call.key)
        self.outbox.send(compose(to, subject, body, identity=identity))
        return Letter(identity, to)
