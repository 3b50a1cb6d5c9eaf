"""The retail desk on its own shop: whole conversations, refusals, mistakes, golden journals."""

import pytest

from statemachine_agents.journal.replay import replay
from statemachine_agents.models.scripted import say, stop, use
from statemachine_agents.testing.mutation import score
from tests.workflows.desks import YES, Talk, desk, golden, readme_is_current, recorded, refusals

ADA = use("find_user_id_by_email", email="ada.brook@example.org")
BEN = use("find_user_id_by_name_zip", first_name="Ben", last_name="Carr", zip="10002")
HOME = {
    "address1": "2 Oak Road", "address2": "", "city": "Ashford", "state": "KT",
    "country": "UK", "zip": "10009",
}  # fmt: skip


def read(number):
    return use("get_order_details", order_id=number)


def cancel(number):
    return use("cancel_pending_order", order_id=number, reason="ordered by mistake")


def swap(tool, number, old, new, method):
    return use(tool, order_id=number, item_ids=[old], new_item_ids=[new], payment_method_id=method)


def back(number, item, method):
    return use("return_delivered_order_items", order_id=number, item_ids=[item],
               payment_method_id=method)  # fmt: skip


def pay(number, method):
    return use("modify_pending_order_payment", order_id=number, payment_method_id=method)


MODIFY, EXCHANGE = "modify_pending_order_items", "exchange_delivered_order_items"
OK = say("Shall I do that?")
DONE = say("Done. Anything else?")

TALKS = {
    "cancelled": Talk(
        [ADA, read("#W1"), OK, cancel("#W1"), DONE],
        ["Cancel #W1, I am ada.brook@example.org.", YES],
    ),
    "changed": Talk(
        [
            BEN, read("#W4"), OK,
            use("modify_pending_order_address", order_id="#W4", **HOME),
            swap(MODIFY, "#W4", "lamp_blue", "lamp_red", "card_2"),
            swap(MODIFY, "#W4", "lamp_red", "lamp_blue", "card_2"),
            use("modify_user_address", user_id="ben", **HOME),
            DONE,
        ],
        ["Ben Carr, 10002. Another lamp, please, to my new address.", YES],
    ),
    "sent_back": Talk(
        [
            ADA, use("get_user_details", user_id="ada"), read("#W2"), OK,
            back("#W2", "lamp_red", "card_9"), back("#W2", "lamp_red", "gift_1"), DONE,
        ],
        ["The lamp is broken.", YES],
    ),
    "exchanged": Talk(
        [
            ADA, read("#W2"), OK, swap(EXCHANGE, "#W2", "lamp_red", "lamp_blue", "gift_1"),
            swap(EXCHANGE, "#W2", "lamp_blue", "lamp_red", "gift_1"), DONE,
        ],
        ["A blue lamp instead.", YES],
    ),
    "paid_otherwise": Talk(
        [ADA, read("#W1"), OK, pay("#W1", "card_1"), pay("#W1", "gift_1"), DONE],
        ["Take my gift card.", YES],
    ),
    "no_yes": Talk(
        [
            ADA, read("#W1"), read("#W2"),
            cancel("#W1"), pay("#W1", "gift_1"), back("#W2", "lamp_red", "card_1"),
            swap(MODIFY, "#W1", "lamp_red", "lamp_blue", "card_1"),
            use("modify_user_address", user_id="ada", **HOME),
            OK,
            use("modify_pending_order_address", order_id="#W1", **HOME),
            swap(EXCHANGE, "#W2", "lamp_red", "lamp_blue", "card_1"),
            OK,
        ],
        ["Change everything.", {"text": "Hm.", "confirms": False}],
    ),
    "yes_taken_back": Talk(
        [ADA, read("#W1"), OK, OK, cancel("#W1"), OK],
        ["Cancel it.", YES, {"text": "No, wait.", "confirms": False}],
    ),
    "others_orders": Talk(
        [
            ADA, read("#W4"), read("#W5"), OK,
            cancel("#W4"), pay("#W4", "gift_1"), back("#W5", "mug_white", "card_2"),
            swap(EXCHANGE, "#W5", "mug_white", "mug_white", "card_2"),
            use("modify_user_address", user_id="ben", **HOME),
            DONE,
        ],
        ["Ben's orders, please.", YES],
    ),
    "wrong_status": Talk(
        [
            ADA, read("#W3"), read("#W2"), read("#W1"), OK,
            cancel("#W3"), back("#W1", "mug_white", "card_1"),
            swap(EXCHANGE, "#W1", "lamp_red", "lamp_blue", "card_1"),
            pay("#W2", "gift_1"),
            OK,
            swap(MODIFY, "#W2", "lamp_red", "lamp_blue", "card_1"),
            use("modify_pending_order_address", order_id="#W3", **HOME),
            cancel("#W5"),
            DONE,
        ],
        ["Do it all.", YES, YES],
    ),
    "others_changes": Talk(
        [
            ADA, read("#W4"), OK,
            use("modify_pending_order_address", order_id="#W4", **HOME),
            swap(MODIFY, "#W4", "lamp_blue", "lamp_red", "card_2"),
            DONE,
        ],
        ["Change Ben's order.", YES],
    ),
    "original_method": Talk(
        [BEN, read("#W5"), OK, back("#W5", "mug_white", "card_2"), DONE],
        ["I do not need the mug. Ben Carr, 10002.", YES],
    ),
    "model_refuses": Talk([ADA, stop("refusal")], ["Something odd."]),
    "nobody_known": Talk(
        [read("#W1"), OK, cancel("#W1"), use("modify_user_address", user_id="ada", **HOME), DONE],
        ["Cancel #W1.", YES],
    ),
    "handed_over": Talk(
        [use("think", thought="no tool for that"),
         use("transfer_to_human_agents", summary="wants to talk about the weather")],
        ["What about the weather?"],
    ),
}  # fmt: skip


@pytest.fixture
def retail(tmp_path):
    """Return the desk with a fresh shop."""
    return desk("retail", tmp_path)


def statuses(played):
    """Return the status of every order that a call returned."""
    values = [record.body.get("value") for record in played.journal.records]
    return [each["status"] for each in values if isinstance(each, dict) and "status" in each]


def test_a_pending_order_is_cancelled_after_a_yes(retail, tmp_path):
    """Found, read, agreed, cancelled: in the shop, too."""
    played = TALKS["cancelled"].held(retail)
    assert refusals(played) == []
    assert statuses(played) == ["pending", "cancelled"]
    again = desk("retail", tmp_path)
    said = Talk([ADA, read("#W1"), say("It is cancelled.")], ["And #W1?"]).held(again)
    assert statuses(said) == ["cancelled"]
    assert said.replay().same


@pytest.mark.parametrize(
    ("talk", "refused"),
    [
        ("changed", [("modify_pending_order_items", "rule")]),
        ("sent_back", [("return_delivered_order_items", "when")]),
        ("exchanged", [("exchange_delivered_order_items", "rule")]),
        ("paid_otherwise", [("modify_pending_order_payment", "when")]),
        ("yes_taken_back", [("cancel_pending_order", "when")]),
        ("handed_over", []),
    ],
)
def test_what_the_table_refuses_in_a_conversation(retail, talk, refused):
    """A second change of items, a method that is not theirs, a yes that was taken back."""
    played = TALKS[talk].held(retail)
    assert refusals(played) == refused
    assert played.replay().same


@pytest.mark.parametrize("talk", ["no_yes", "others_orders", "wrong_status"])
def test_no_change_without_a_yes_or_to_what_is_not_theirs_or_not_so_far(retail, talk):
    """Every change is refused by its condition, and the shop stays as it was."""
    played = TALKS[talk].held(retail)
    assert refusals(played)
    assert {code for _, code in refusals(played)} == {"when"}


def test_nobody_changes_anything_before_they_are_known(retail):
    """The rule comes before the condition."""
    played = TALKS["nobody_known"].held(retail)
    assert {code for _, code in refusals(played)} == {"rule"}


def test_mistakes_of_the_model_are_told_to_it_and_change_nothing(retail):
    """Unknown orders and items, too little on a gift card, no sum."""
    played = Talk(
        [
            use("find_user_id_by_email", email="nobody@example.org"),
            use("get_order_details", order_id="#W99"),
            use("calculate", expression="2 ** 9"),
            use("calculate", expression="2 * (3 + 4.5)"),
            ADA, read("#W1"), OK,
            swap(MODIFY, "#W1", "chair_oak", "lamp_red", "card_1"),
            swap(MODIFY, "#W1", "lamp_red", "chair_oak", "card_1"),
            DONE,
        ],
        ["Hello.", YES],
    ).held(retail)  # fmt: skip
    returned = [each.body for each in played.journal.records if each.kind == "call_returned"]
    kinds = [body["error"]["kind"] for body in returned if "error" in body]
    assert kinds == ["not_found", "not_found", "arguments", "not_found", "not_found"]
    assert [body["value"] for body in returned if body.get("value") == 15.0]


@pytest.mark.parametrize("talk", TALKS)
def test_golden_journals_are_decided_alike(retail, talk):
    """Recorded once, decided again by every later release."""
    journal = recorded("retail", talk, lambda: TALKS[talk].held(retail))
    assert replay(retail, journal.run_id, journal.records).same


def test_every_mistake_in_the_table_is_noticed(retail):
    """Mutants of guards, rows, conditions: by checks, rules or golden journals."""
    journals = [golden("retail", talk) for talk in TALKS]
    found = score(retail, journals)
    assert [str(verdict.mutant) for verdict in found.survivors] == []
    assert len(found.verdicts) > 15


def test_the_readme_shows_this_table(retail):
    """The picture and the rows in README.md are those of `table.toml`."""
    readme_is_current("retail", retail)
