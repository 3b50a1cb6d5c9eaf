"""The tools of the retail desk: what the model may ask for, and what each does to the shop.

Rules.  1. A `ToolError` says that nothing happened.  2. Every change hands its idempotency key to
the shop.  3. Who may change what, and when, is not decided here but in the table.
Not here: the shop (`shop`), when a tool is legal (`table.toml`).
"""

from __future__ import annotations

from typing import Any, Literal

import attrs

from statemachine_agents import Call, Retry, ToolError, tool

from .shop import Document, Shop
from .sums import total


@attrs.frozen
class RetailDesk:
    """The tools, as methods of a desk that has a shop."""

    shop: Shop

    # ------------------------------------------------------------------------------- who and what

    @tool(effect="read", timeout=15, retry=Retry())
    def find_user_id_by_email(self, email: str) -> str:
        """Find a customer by e-mail address.

        Args:
            email: such as ada.brook@example.org.
        """
        return self._found(lambda user: user["email"] == email.lower(), "that e-mail address")

    @tool(effect="read", timeout=15, retry=Retry())
    def find_user_id_by_name_zip(self, first_name: str, last_name: str, zip: str) -> str:  # noqa: A002
        """Find a customer by name and zip code.

        Args:
            first_name: such as Ada.
            last_name: such as Brook.
            zip: such as 10001.
        """
        wanted = (first_name.lower(), last_name.lower(), zip)

        def fits(user: Document) -> bool:
            name = user["name"]
            known = (name["first_name"].lower(), name["last_name"].lower(), user["address"]["zip"])
            return known == wanted

        return self._found(fits, "that name and zip code")

    def _found(self, fits: Any, what: str) -> str:
        for user in self.shop.every("users"):
            if fits(user):
                return str(user["user_id"])
        raise ToolError(f"no customer has {what}", kind="not_found")

    @tool(effect="read", timeout=15, retry=Retry())
    def get_user_details(self, user_id: str) -> dict[str, Any]:
        """Read a customer's profile: name, address, payment methods.

        Args:
            user_id: such as ada.
        """
        return self.shop.get("users", user_id)

    @tool(effect="read", timeout=15, retry=Retry())
    def get_order_details(self, order_id: str) -> dict[str, Any]:
        """Read an order: its status, items and payments.

        Args:
            order_id: such as #W1.
        """
        return self.shop.get("orders", order_id)

    @tool(effect="read", timeout=15, retry=Retry())
    def get_product_details(self, product_id: str) -> dict[str, Any]:
        """Read a product and its variants.

        Args:
            product_id: such as lamp.
        """
        return self.shop.get("products", product_id)

    @tool(effect="read", timeout=15, retry=Retry())
    def list_all_product_types(self) -> dict[str, str]:
        """List every product: name and id."""
        return {each["name"]: each["product_id"] for each in self.shop.every("products")}

    @tool(effect="read")
    def calculate(self, expression: str) -> float:
        """Work out a sum.

        Args:
            expression: numbers with + - * / and brackets, such as 2 * (3 + 4).
        """
        return total(expression)

    @tool(effect="read")
    def think(self, thought: str = "") -> str:
        """Think before you act; nothing happens.

        Args:
            thought: what you think.
        """
        return "" if thought else "nothing to think about"

    # ------------------------------------------------------------------------------------ changes

    @tool(effect="idempotent", timeout=15)
    def cancel_pending_order(
        self, order_id: str, reason: Literal["no longer needed", "ordered by mistake"], call: Call
    ) -> dict[str, Any]:
        """Cancel a pending order; the money goes back the way it came.

        Args:
            order_id: the order.
            reason: why.
            call: filled in.
        """

        def how(order: Document) -> None:
            paid = order["payment_history"][0]
            refund = {**paid, "transaction_type": "refund"}
            order.update(status="cancelled", cancel_reason=reason)
            order["payment_history"].append(refund)

        return self._change(order_id, "pending", call, how)

    @tool(effect="idempotent", timeout=15)
    def modify_pending_order_address(
        self,
        order_id: str,
        address1: str,
        address2: str,
        city: str,
        state: str,
        country: str,
        zip: str,  # noqa: A002
        call: Call,
    ) -> dict[str, Any]:
        """Send a pending order somewhere else.

        Args:
            order_id: the order.
            address1: first line.
            address2: second line, may be empty.
            city: city.
            state: state.
            country: country.
            zip: zip code.
            call: filled in.
        """
        address = {
            "address1": address1, "address2": address2, "city": city, "state": state,
            "country": country, "zip": zip,
        }  # fmt: skip
        return self._change(order_id, "pending", call, lambda order: order.update(address=address))

    @tool(effect="idempotent", timeout=15)
    def modify_pending_order_items(
        self,
        order_id: str,
        item_ids: list[str],
        new_item_ids: list[str],
        payment_method_id: str,
        call: Call,
    ) -> dict[str, Any]:
        """Change items of a pending order to other variants of the same products, once.

        Args:
            order_id: the order.
            item_ids: items to change.
            new_item_ids: what they become, in the same order.
            payment_method_id: pays or gets the difference.
            call: filled in.
        """

        def how(order: Document) -> None:
            self._swap(order, item_ids, new_item_ids, payment_method_id)
            order["status"] = "pending (items modified)"

        return self._change(order_id, "pending", call, how)

    @tool(effect="idempotent", timeout=15)
    def modify_pending_order_payment(
        self, order_id: str, payment_method_id: str, call: Call
    ) -> dict[str, Any]:
        """Let another method of the customer pay for a pending order.

        Args:
            order_id: the order.
            payment_method_id: the new method.
            call: filled in.
        """

        def how(order: Document) -> None:
            first = order["payment_history"][0]
            self._covers(order["user_id"], payment_method_id, first["amount"])
            order["payment_history"] = [
                {**first, "payment_method_id": payment_method_id},
                {**first, "transaction_type": "refund"},
            ]

        return self._change(order_id, "pending", call, how)

    @tool(effect="idempotent", timeout=15)
    def modify_user_address(
        self,
        user_id: str,
        address1: str,
        address2: str,
        city: str,
        state: str,
        country: str,
        zip: str,  # noqa: A002
        call: Call,
    ) -> dict[str, Any]:
        """Change a customer's own address.

        Args:
            user_id: the customer.
            address1: first line.
            address2: second line, may be empty.
            city: city.
            state: state.
            country: country.
            zip: zip code.
            call: filled in.
        """
        address = {
            "address1": address1, "address2": address2, "city": city, "state": state,
            "country": country, "zip": zip,
        }  # fmt: skip
        return self.shop.change(
            "users", user_id, call.key, lambda user: user.update(address=address)
        )

    @tool(effect="idempotent", timeout=15)
    def return_delivered_order_items(
        self, order_id: str, item_ids: list[str], payment_method_id: str, call: Call
    ) -> dict[str, Any]:
        """Take items of a delivered order back.

        Args:
            order_id: the order.
            item_ids: items to take back.
            payment_method_id: gets the refund.
            call: filled in.
        """

        def how(order: Document) -> None:
            _picked(order, item_ids)
            order.update(
                status="return requested",
                return_items=sorted(item_ids),
                return_payment_method_id=payment_method_id,
            )

        return self._change(order_id, "delivered", call, how)

    @tool(effect="idempotent", timeout=15)
    def exchange_delivered_order_items(
        self,
        order_id: str,
        item_ids: list[str],
        new_item_ids: list[str],
        payment_method_id: str,
        call: Call,
    ) -> dict[str, Any]:
        """Exchange items of a delivered order for other variants of the same products, once.

        Args:
            order_id: the order.
            item_ids: items to send back.
            new_item_ids: what comes instead, in the same order.
            payment_method_id: pays or gets the difference.
            call: filled in.
        """

        def how(order: Document) -> None:
            self._swap(order, item_ids, new_item_ids, payment_method_id)
            order["status"] = "exchange requested"

        return self._change(order_id, "delivered", call, how)

    @tool(effect="idempotent", timeout=15)
    def transfer_to_human_agents(self, summary: str) -> str:
        """Hand the customer over to a person; only for what no tool can do.

        Args:
            summary: what the customer wants.
        """
        return f"handed over: {summary[:200]}"

    # ------------------------------------------------------------------------------------ inside

    def _change(self, order_id: str, status: str, call: Call, how: Any) -> Document:
        def checked(order: Document) -> None:
            # The table judged what was read; somebody else may have changed the order since.
            if order["status"] != status:
                msg = f"order {order_id!r} is {order['status']}, not {status}"
                raise ToolError(msg, kind="status")
            how(order)

        return self.shop.change("orders", order_id, call.key, checked)

    def _swap(self, order: Document, old: list[str], new: list[str], method: str) -> None:
        """Replace items by other variants and note who pays the difference."""
        if len(old) != len(new):
            raise ToolError("as many new items as old ones are needed", kind="arguments")
        picked = _picked(order, old)
        variants = [
            self._variant(item["product_id"], name) for item, name in zip(picked, new, strict=True)
        ]
        difference = round(
            sum(each["price"] for each in variants) - sum(each["price"] for each in picked), 2
        )
        self._covers(order["user_id"], method, difference)
        for item, variant in zip(picked, variants, strict=True):
            order["items"][order["items"].index(item)] = variant
        if difference:
            order["payment_history"].append(
                {
                    "transaction_type": "payment" if difference > 0 else "refund",
                    "amount": abs(difference),
                    "payment_method_id": method,
                }
            )

    def _variant(self, product: str, name: str) -> Document:
        for variant in self.shop.get("products", product)["variants"]:
            if variant["item_id"] == name:
                return dict(variant)
        raise ToolError(f"{product!r} has no variant {name!r}", kind="not_found")

    def _covers(self, user: str, method: str, amount: float) -> None:
        known = self.shop.get("users", user)["payment_methods"].get(method)
        if known is None:
            raise ToolError(f"the customer has no payment method {method!r}", kind="not_found")
        if known.get("balance", amount) < amount:
            raise ToolError(f"{method!r} does not hold {amount:.2f}", kind="balance")


def _picked(order: Document, names: list[str]) -> list[Document]:
    """Return the items of an order by their ids, each once.

    Raises:
        ToolError: the order does not hold one of them.
    """
    left = list(order["items"])
    out = []
    for name in names:
        item = next((each for each in left if each["item_id"] == name), None)
        if item is None:
            raise ToolError(f"order {order['order_id']!r} has no item {name!r}", kind="not_found")
        left.remove(item)
        out.append(item)
    return out
