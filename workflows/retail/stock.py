"""What a new shop holds: three customers, four products, seven orders. All of it is made up."""

from __future__ import annotations

from typing import Any, Final


def _item(product: str, item: str, price: float, **options: str) -> dict[str, Any]:
    return {"product_id": product, "item_id": item, "price": price, "options": options}


def _order(
    number: str, user: str, status: str, method: str, *items: dict[str, Any]
) -> dict[str, Any]:
    amount = round(sum(item["price"] for item in items), 2)
    return {
        "order_id": number,
        "user_id": user,
        "status": status,
        "items": list(items),
        "payment_history": [
            {"transaction_type": "payment", "amount": amount, "payment_method_id": method}
        ],
    }


def _user(
    number: str, first: str, last: str, code: str, **methods: dict[str, Any]
) -> dict[str, Any]:
    return {
        "user_id": number,
        "name": {"first_name": first, "last_name": last},
        "email": f"{first}.{last}@example.org".lower(),
        "address": {"address1": "1 Mill Lane", "city": "Ashford", "state": "KT", "zip": code},
        "payment_methods": methods,
    }


_MUG = _item("mug", "mug_white", 9.5, colour="white")
_RED = _item("lamp", "lamp_red", 40.0, colour="red")
_BLUE = _item("lamp", "lamp_blue", 45.0, colour="blue")
_CHAIR = _item("chair", "chair_oak", 120.0, wood="oak")

STOCK: Final[dict[str, dict[str, Any]]] = {
    "users": {
        "ada": _user(
            "ada", "Ada", "Brook", "10001",
            card_1={"source": "credit_card", "brand": "visa"},
            gift_1={"source": "gift_card", "balance": 60.0},
        ),
        "ben": _user("ben", "Ben", "Carr", "10002", card_2={"source": "credit_card"}),
        "cleo": _user("cleo", "Cleo", "Dale", "10003", paypal_3={"source": "paypal"}),
    },
    "products": {
        "lamp": {"product_id": "lamp", "name": "Lamp", "variants": [_RED, _BLUE]},
        "mug": {"product_id": "mug", "name": "Mug", "variants": [_MUG]},
        "chair": {"product_id": "chair", "name": "Chair", "variants": [_CHAIR]},
    },
    "orders": {
        "#W1": _order("#W1", "ada", "pending", "card_1", _RED, _MUG),
        "#W2": _order("#W2", "ada", "delivered", "card_1", _RED),
        "#W3": _order("#W3", "ada", "processed", "card_1", _CHAIR),
        "#W4": _order("#W4", "ben", "pending", "card_2", _BLUE),
        "#W5": _order("#W5", "ben", "delivered", "card_2", _CHAIR, _MUG),
        "#W6": _order("#W6", "cleo", "delivered", "paypal_3", _MUG),
        "#W7": _order("#W7", "cleo", "cancelled", "paypal_3", _RED),
    },
}  # fmt: skip
"""Kind -> id -> document."""
