"""The tools of the airline desk: what the model may ask for, and what each does to the books.

Rules.  1. A `ToolError` says that nothing happened.  2. Every change hands its idempotency key to
the books.  3. Who may change what, and when, is not decided here but in the table.
Not here: the books (`books`), when a tool is legal (`table.toml`).
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, Final, Literal, TypeAlias

import attrs

from statemachine_agents import Call, Retry, ToolError, tool

from .books import Books, Document
from .sums import total

Cabin: TypeAlias = Literal["basic_economy", "economy", "business"]
BAG: Final = 50
INSURANCE: Final = 30


@attrs.frozen
class Leg:
    """One flight of a reservation: its number, and its date as YYYY-MM-DD."""

    flight_number: str
    date: str


@attrs.frozen
class Passenger:
    """One passenger; the day of birth as YYYY-MM-DD."""

    first_name: str
    last_name: str
    dob: str


@attrs.frozen
class Payment:
    """What a method of the customer's profile pays."""

    payment_id: str
    amount: float


@attrs.frozen
class AirlineDesk:
    """The tools, as methods of a desk that keeps books."""

    books: Books

    # -------------------------------------------------------------------------------------- reads

    @tool(effect="read", timeout=15, retry=Retry())
    def get_user_details(self, user_id: str) -> dict[str, Any]:
        """Read a customer's profile: name, membership, payment methods.

        Args:
            user_id: such as ada.
        """
        return self.books.get("users", user_id)

    @tool(effect="read", timeout=15, retry=Retry())
    def get_reservation_details(self, reservation_id: str) -> dict[str, Any]:
        """Read a reservation.

        Args:
            reservation_id: such as ECO001.
        """
        return self.books.get("reservations", reservation_id)

    @tool(effect="read", timeout=15, retry=Retry())
    def list_all_airports(self) -> list[str]:
        """List every airport by its three letters."""
        flights = self.books.every("flights")
        return sorted({flight[end] for flight in flights for end in ("origin", "destination")})

    @tool(effect="read", timeout=15, retry=Retry())
    def search_direct_flight(
        self, origin: str, destination: str, date: str
    ) -> list[dict[str, Any]]:
        """Find direct flights.

        Args:
            origin: such as OSL.
            destination: such as LIS.
            date: YYYY-MM-DD.
        """
        wanted = (origin, destination)
        found = [
            flight
            for flight in self.books.every("flights")
            if (flight["origin"], flight["destination"]) == wanted
        ]
        return [{**flight, "date": date} for flight in found]

    @tool(effect="read", timeout=15, retry=Retry())
    def search_onestop_flight(
        self, origin: str, destination: str, date: str
    ) -> list[list[dict[str, Any]]]:
        """Find pairs of flights with one stop on the way.

        Args:
            origin: such as OSL.
            destination: such as LIS.
            date: YYYY-MM-DD.
        """
        flights = [{**flight, "date": date} for flight in self.books.every("flights")]
        return [
            [first, second]
            for first in flights
            for second in flights
            if first["origin"] == origin
            and second["destination"] == destination
            and first["destination"] == second["origin"]
            and first["leaves"] < second["leaves"]
        ]

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
    def book_reservation(
        self,
        user_id: str,
        origin: str,
        destination: str,
        flight_type: Literal["one_way", "round_trip"],
        cabin: Cabin,
        flights: list[Leg],
        passengers: list[Passenger],
        payment_methods: list[Payment],
        total_baggages: int,
        nonfree_baggages: int,
        insurance: Literal["yes", "no"],
        call: Call,
    ) -> dict[str, Any]:
        """Book a trip.

        Args:
            user_id: the customer.
            origin: where it begins.
            destination: where it leads.
            flight_type: there, or there and back.
            cabin: the same for all flights.
            flights: every flight, in order.
            passengers: everybody who flies.
            payment_methods: what each method pays; together the whole price.
            total_baggages: checked bags of all passengers.
            nonfree_baggages: those that cost 50.
            insurance: whether each passenger is insured, for 30.
            call: filled in.
        """
        legs = self._priced(flights, cabin)
        price = sum(leg["price"] for leg in legs) * len(passengers) + BAG * nonfree_baggages
        price += INSURANCE * len(passengers) if insurance == "yes" else 0
        paid = sum(payment.amount for payment in payment_methods)
        if round(paid - price, 2):
            raise ToolError(f"the trip costs {price}, and {paid} was paid", kind="price")
        for payment in payment_methods:
            self._covers(user_id, payment.payment_id, payment.amount)
        trip: Document = {
            "reservation_id": f"R{call.key[-8:]}".upper(),
            "user_id": user_id,
            "origin": origin,
            "destination": destination,
            "flight_type": flight_type,
            "cabin": cabin,
            "flights": legs,
            "passengers": [attrs.asdict(passenger) for passenger in passengers],
            "payment_history": [attrs.asdict(payment) for payment in payment_methods],
            "created_at": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
            "total_baggages": total_baggages,
            "nonfree_baggages": nonfree_baggages,
            "insurance": insurance,
            "status": "booked",
        }
        return self.books.add("reservations", trip["reservation_id"], call.key, trip)

    @tool(effect="idempotent", timeout=15)
    def cancel_reservation(self, reservation_id: str, call: Call) -> dict[str, Any]:
        """Cancel a whole trip; the money goes back the way it came.

        Args:
            reservation_id: the reservation.
            call: filled in.
        """

        def how(trip: Document) -> None:
            back = [{**each, "amount": -each["amount"]} for each in trip["payment_history"]]
            trip["payment_history"] += back
            trip["status"] = "cancelled"

        return self._change(reservation_id, call, how)

    @tool(effect="idempotent", timeout=15)
    def update_reservation_flights(
        self, reservation_id: str, cabin: Cabin, flights: list[Leg], payment_id: str, call: Call
    ) -> dict[str, Any]:
        """Change flights or cabin of a trip; say every flight, also those that stay.

        Args:
            reservation_id: the reservation.
            cabin: the same for all flights.
            flights: every flight of the changed trip.
            payment_id: pays or gets the difference.
            call: filled in.
        """
        legs = self._priced(flights, cabin)

        def how(trip: Document) -> None:
            before = sum(leg["price"] for leg in trip["flights"])
            difference = (sum(leg["price"] for leg in legs) - before) * len(trip["passengers"])
            self._covers(trip["user_id"], payment_id, difference)
            trip.update(cabin=cabin, flights=legs)
            trip["payment_history"].append({"payment_id": payment_id, "amount": difference})

        return self._change(reservation_id, call, how)

    @tool(effect="idempotent", timeout=15)
    def update_reservation_baggages(
        self,
        reservation_id: str,
        total_baggages: int,
        nonfree_baggages: int,
        payment_id: str,
        call: Call,
    ) -> dict[str, Any]:
        """Add checked bags to a trip.

        Args:
            reservation_id: the reservation.
            total_baggages: all checked bags from now on.
            nonfree_baggages: those that cost 50.
            payment_id: pays for them.
            call: filled in.
        """

        def how(trip: Document) -> None:
            if total_baggages < trip["total_baggages"]:
                raise ToolError("bags can be added, not taken away", kind="fewer_bags")
            price = BAG * max(0, nonfree_baggages - trip["nonfree_baggages"])
            self._covers(trip["user_id"], payment_id, price)
            trip.update(total_baggages=total_baggages, nonfree_baggages=nonfree_baggages)
            if price:
                trip["payment_history"].append({"payment_id": payment_id, "amount": price})

        return self._change(reservation_id, call, how)

    @tool(effect="idempotent", timeout=15)
    def update_reservation_passengers(
        self, reservation_id: str, passengers: list[Passenger], call: Call
    ) -> dict[str, Any]:
        """Change who flies, not how many.

        Args:
            reservation_id: the reservation.
            passengers: everybody who flies from now on.
            call: filled in.
        """

        def how(trip: Document) -> None:
            if len(passengers) != len(trip["passengers"]):
                raise ToolError("the number of passengers cannot change", kind="passengers")
            trip["passengers"] = [attrs.asdict(passenger) for passenger in passengers]

        return self._change(reservation_id, call, how)

    @tool(effect="idempotent", timeout=15)
    def send_certificate(self, user_id: str, amount: float, call: Call) -> dict[str, Any]:
        """Give a customer a travel certificate as a gesture.

        Args:
            user_id: the customer.
            amount: 100 for each passenger of a cancelled flight, 50 of a delayed one.
            call: filled in.
        """
        name = f"paper_{call.key[-8:]}".lower()
        given = {"source": "certificate", "amount": amount}

        def how(user: Document) -> None:
            user["payment_methods"][name] = given

        self.books.change("users", user_id, call.key, how)
        return {"payment_id": name, **given}

    @tool(effect="idempotent", timeout=15)
    def transfer_to_human_agents(self, summary: str) -> str:
        """Hand the customer over to a person; only for what no tool can do.

        Args:
            summary: what the customer wants.
        """
        return f"handed over: {summary[:200]}"

    # ------------------------------------------------------------------------------------- inside

    def _change(self, reservation_id: str, call: Call, how: Any) -> Document:
        def checked(trip: Document) -> None:
            # The table judged what was read; somebody else may have cancelled the trip since.
            if trip["status"] != "booked":
                msg = f"reservation {reservation_id!r} is {trip['status']}"
                raise ToolError(msg, kind="status")
            how(trip)

        return self.books.change("reservations", reservation_id, call.key, checked)

    def _priced(self, flights: list[Leg], cabin: Cabin) -> list[Document]:
        out = []
        for leg in flights:
            price = self.books.get("flights", leg.flight_number)["prices"][cabin]
            out.append({"flight_number": leg.flight_number, "date": leg.date, "price": price})
        return out

    def _covers(self, user: str, method: str, amount: float) -> None:
        known = self.books.get("users", user)["payment_methods"].get(method)
        if known is None:
            raise ToolError(f"the customer has no payment method {method!r}", kind="not_found")
        if known.get("amount", amount) < amount:
            raise ToolError(f"{method!r} does not hold {amount:.2f}", kind="balance")
