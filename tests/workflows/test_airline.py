"""The airline desk on its own books: whole conversations, refusals, mistakes, golden journals."""

import pytest

from statemachine_agents.journal.replay import replay
from statemachine_agents.models.scripted import say, stop, use
from statemachine_agents.testing.mutation import score
from tests.workflows.desks import YES, Talk, desk, golden, readme_is_current, recorded, refusals

ADA = use("get_user_details", user_id="ada")
OK = say("Shall I do that?")
DONE = say("Done. Anything else?")
PERSON = {"first_name": "Ada", "last_name": "Brook", "dob": "1990-01-02"}
LEG = {"flight_number": "NF1", "date": "2026-05-20"}


def read(number):
    return use("get_reservation_details", reservation_id=number)


def cancel(number):
    return use("cancel_reservation", reservation_id=number)


def book(*methods, people=1, amount=None):
    """Book NF1 in economy: 170 for each passenger, paid in equal parts."""
    price = 170 * people if amount is None else amount
    return use(
        "book_reservation",
        user_id="ada", origin="OSL", destination="LIS", flight_type="one_way", cabin="economy",
        flights=[LEG], passengers=[PERSON] * people,
        payment_methods=[{"payment_id": each, "amount": price / len(methods)} for each in methods],
        total_baggages=0, nonfree_baggages=0, insurance="no",
    )  # fmt: skip


def fly(number, cabin, flight="NF1", method="card_1"):
    leg = {"flight_number": flight, "date": "2026-05-20"}
    return use("update_reservation_flights", reservation_id=number, cabin=cabin, flights=[leg],
               payment_id=method)  # fmt: skip


def bags(number, count, method="card_1"):
    return use("update_reservation_baggages", reservation_id=number, total_baggages=count,
               nonfree_baggages=count, payment_id=method)  # fmt: skip


def people(number, count):
    return use("update_reservation_passengers", reservation_id=number, passengers=[PERSON] * count)


def voucher(amount=100):
    return use("send_certificate", user_id="ada", amount=amount)


TALKS = {
    "booked": Talk(
        [
            ADA, use("search_direct_flight", origin="OSL", destination="LIS", date="2026-05-20"),
            OK, book("card_1"), DONE,
        ],
        ["To Lisbon, please. I am ada.", YES],
    ),
    "payment_mix": Talk(
        [
            ADA, OK, book("card_1", "card_2"), book("paper_1", "paper_1"), OK,
            book("gift_1", "gift_1", "gift_1", "gift_1"), book("card_1", people=6), OK,
            book("gift_1", "gift_1", "gift_1"), book("card_1", people=5), book("paper_1", amount=1),
            DONE,
        ],
        ["Split it.", YES, YES, YES],
    ),
    "cancelled": Talk(
        [
            read("ECO001"), read("INS002"), read("BUS003"), read("NEW005"), OK,
            cancel("ECO001"), cancel("INS002"), cancel("BUS003"), cancel("NEW005"),
            cancel("INS002"), DONE,
        ],
        ["Cancel what can be cancelled.", YES],
    ),
    "changed": Talk(
        [
            ADA, read("ECO001"), OK, fly("ECO001", "business", "NF5"), bags("ECO001", 2),
            people("ECO001", 1), people("ECO001", 2), bags("ECO001", 1), DONE,
        ],
        ["Business class, two bags.", YES],
    ),
    "no_yes": Talk(
        [
            ADA, read("INS002"), book("card_1"), cancel("INS002"), OK, fly("INS002", "business"),
            bags("INS002", 1), OK, people("INS002", 1), voucher(), OK,
        ],
        ["Everything.", {"text": "Hm.", "confirms": False}, {"text": "Well.", "confirms": False}],
    ),
    "not_read": Talk(
        [OK, cancel("INS002"), fly("INS002", "business"), OK, bags("INS002", 1),
         people("INS002", 1), OK, people("INS002", 0), DONE],
        ["All of INS002.", YES, YES, YES],
    ),
    "gesture": Talk([ADA, OK, voucher(), DONE], ["My flight was cancelled.", YES]),
    "handed_over": Talk(
        [use("transfer_to_human_agents", summary="wants a helicopter")], ["A helicopter."]
    ),
    "model_refuses": Talk([ADA, stop("refusal")], ["Something odd."]),
}  # fmt: skip


@pytest.fixture
def airline(tmp_path):
    """Return the desk with fresh books."""
    return desk("airline", tmp_path)


@pytest.mark.parametrize(
    ("talk", "refused"),
    [
        ("booked", []),
        ("payment_mix", [("book_reservation", "when")] * 4),
        ("cancelled", [("cancel_reservation", "when"), ("cancel_reservation", "rule")]),
        ("changed", [("update_reservation_passengers", "when")]),
        ("gesture", []),
        ("handed_over", []),
    ],
)
def test_what_the_table_refuses_in_a_conversation(airline, talk, refused):
    """Too many cards, an economy trip that is neither insured nor new, one passenger more."""
    played = TALKS[talk].held(airline)
    assert refusals(played) == refused
    assert played.replay().same


@pytest.mark.parametrize("talk", ["no_yes", "not_read"])
def test_no_change_without_a_yes_or_to_what_was_not_read(airline, talk):
    """Each of the six changes is refused by its condition."""
    played = TALKS[talk].held(airline)
    assert {code for _, code in refusals(played)} == {"when"}
    assert len(refusals(played)) >= 4


def test_the_books_hold_what_was_booked(airline, tmp_path):
    """Read again by another run: the price, the passenger, the state."""
    played = TALKS["booked"].held(airline)
    returned = [each.body for each in played.journal.records if each.kind == "call_returned"]
    booked = returned[-1]["value"]
    again = Talk([read(booked["reservation_id"]), DONE], ["Is it booked?"])
    seen = again.held(desk("airline", tmp_path))
    values = [each.body.get("value") for each in seen.journal.records]
    assert booked in values
    assert booked["payment_history"] == [{"payment_id": "card_1", "amount": 170.0}]


def test_mistakes_of_the_model_are_told_to_it_and_change_nothing(airline):
    """Unknown names, a price that does not add up, fewer bags, too little on a card."""
    played = Talk(
        [
            use("get_user_details", user_id="nobody"), read("NONE"),
            use("calculate", expression="__import__('os')"), ADA, read("ECO001"), OK,
            book("card_1", amount=3), book("card_9"), bags("ECO001", -1), bags("ECO001", 1, "no"),
            DONE,
        ],
        ["Hello.", YES],
    ).held(airline)  # fmt: skip
    returned = [each.body for each in played.journal.records if each.kind == "call_returned"]
    kinds = [body["error"]["kind"] for body in returned if "error" in body]
    assert kinds == ["not_found", "not_found", "arguments", "price", "not_found", "fewer_bags",
                     "not_found"]  # fmt: skip


@pytest.mark.parametrize("talk", TALKS)
def test_golden_journals_are_decided_alike(airline, talk):
    """Recorded once, decided again by every later release."""
    journal = recorded("airline", talk, lambda: TALKS[talk].held(airline))
    assert replay(airline, journal.run_id, journal.records).same


def test_every_mistake_in_the_table_is_noticed(airline):
    """Mutants of guards, rows, conditions: by checks, rules or golden journals."""
    journals = [golden("airline", talk) for talk in TALKS]
    found = score(airline, journals)
    # One is left: a trip booked 24 hours ago to the microsecond, while books keep seconds.
    (left,) = found.survivors
    assert left.mutant.where == "tools.cancel_reservation.when"
    assert "`>` for `>=`" in left.mutant.what
    assert len(found.verdicts) > 15


def test_the_readme_shows_this_table(airline):
    """The picture and the rows in README.md are those of `table.toml`."""
    readme_is_current("airline", airline)
