"""What new books hold: three passengers, five flights, five reservations. All of it is made up."""

from __future__ import annotations

from typing import Any, Final


def _flight(number: str, start: str, end: str, leaves: str, price: int) -> dict[str, Any]:
    return {
        "flight_number": number,
        "origin": start,
        "destination": end,
        "leaves": leaves,
        "prices": {"basic_economy": price, "economy": price + 60, "business": price + 240},
        "seats": {"basic_economy": 9, "economy": 9, "business": 2},
    }


def _trip(
    number: str, user: str, cabin: str, flight: str, date: str, **more: Any
) -> dict[str, Any]:
    return {
        "reservation_id": number,
        "user_id": user,
        "origin": "OSL",
        "destination": "LIS",
        "flight_type": "one_way",
        "cabin": cabin,
        "flights": [{"flight_number": flight, "date": date, "price": 110}],
        "passengers": [{"first_name": "Ada", "last_name": "Brook", "dob": "1990-01-02"}],
        "payment_history": [{"payment_id": "card_1", "amount": 110}],
        "created_at": "2025-01-02T10:00:00Z",
        "total_baggages": 0,
        "nonfree_baggages": 0,
        "insurance": "no",
        "status": "booked",
        **more,
    }


def _user(
    number: str, first: str, last: str, level: str, **methods: dict[str, Any]
) -> dict[str, Any]:
    return {
        "user_id": number,
        "name": {"first_name": first, "last_name": last},
        "email": f"{first}.{last}@example.org".lower(),
        "membership": level,
        "payment_methods": methods,
        "reservations": [],
    }


STOCK: Final[dict[str, dict[str, Any]]] = {
    "users": {
        "ada": _user(
            "ada", "Ada", "Brook", "regular",
            card_1={"source": "credit_card", "brand": "visa"},
            card_2={"source": "credit_card", "brand": "visa"},
            paper_1={"source": "certificate", "amount": 100},
            gift_1={"source": "gift_card", "amount": 500},
        ),
        "ben": _user("ben", "Ben", "Carr", "gold", card_3={"source": "credit_card"}),
        "cleo": _user(
            "cleo", "Cleo", "Dale", "silver", gift_2={"source": "gift_card", "amount": 90}
        ),
    },
    "flights": {
        "NF1": _flight("NF1", "OSL", "LIS", "08:00", 110),
        "NF2": _flight("NF2", "OSL", "CPH", "07:00", 60),
        "NF3": _flight("NF3", "CPH", "LIS", "11:00", 80),
        "NF4": _flight("NF4", "LIS", "OSL", "18:00", 110),
        "NF5": _flight("NF5", "OSL", "LIS", "15:00", 150),
    },
    "reservations": {
        "ECO001": _trip("ECO001", "ada", "economy", "NF1", "2026-05-20"),
        "INS002": _trip("INS002", "ada", "economy", "NF1", "2026-05-21", insurance="yes"),
        "BUS003": _trip("BUS003", "ben", "business", "NF5", "2026-05-20"),
        "BAS004": _trip("BAS004", "cleo", "basic_economy", "NF1", "2026-05-22"),
        "NEW005": _trip("NEW005", "cleo", "economy", "NF1", "2026-05-22",
                        created_at="2999-01-01T00:00:00Z"),
    },
}  # fmt: skip
"""Kind -> id -> document. NEW005 was booked so lately that it always is within 24 hours."""
