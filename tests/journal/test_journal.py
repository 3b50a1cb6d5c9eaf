"""The file form of a journal: it verifies anywhere, and nothing can be done to it unnoticed."""

from __future__ import annotations

import json
from random import Random

import attrs
import pytest

from statemachine_agents.errors import JournalDamaged
from statemachine_agents.journal.journal import Journal
from statemachine_agents.kernel.workflow import Workflow
from statemachine_agents.values import MAX_BODY
from tests.driving import Hand, use
from tests.lively_tables import refund_desk

FLIPS = 6_000


def refunded() -> Hand:
    """Return a refund run that went well."""
    hand = Hand(refund_desk(), {"order_id": "A1"})
    for tool, value in (
        ("fetch_order", {"email": "a@b"}),
        ("check_refund_policy", {"eligible": True, "amount_cents": 9}),
        ("process_credit", {"id": "cr-1"}),
        ("send_email", {"ok": True}),
    ):
        hand.reply(use(tool))
        hand.returns(value)
    assert hand.outcome.ok
    return hand


@pytest.fixture(scope="module")
def journal() -> Journal:
    """A journal of some twenty records."""
    return refunded().journal()


def damaged(data: bytes) -> bool:
    """Whether reading and verifying a file finds damage."""
    try:
        Journal.loads(data).verify()
    except JournalDamaged:
        return True
    return False


def test_a_file_comes_back_as_it_was(journal):
    """Definition and records round-trip, byte for byte, and the workflow is in it."""
    data = journal.dumps()
    back = Journal.loads(data).verify()
    assert (back.definition, back.records) == (journal.definition, journal.records)
    assert [record.body for record in back.records] == [r.body for r in journal.records]
    assert back.dumps() == data
    assert back.run_id == "r-1"
    assert isinstance(back.workflow, Workflow)
    assert back.replay().require_same().model_calls == 0


def test_a_file_cut_anywhere_is_found(journal):
    """Truncated at any byte, at the end of a line too, a file does not verify."""
    data = journal.dumps()
    assert [size for size in range(len(data)) if not damaged(data[:size])] == []


def test_a_torn_last_line_is_named(journal):
    """A write that was cut off says so, with its line; that is not the same as a wrong line."""
    data = journal.dumps()
    with pytest.raises(JournalDamaged, match="torn") as caught:
        Journal.loads(data[:-1])
    assert caught.value.facts["torn"] is True
    assert caught.value.facts["line"] == data.count(b"\n")
    with pytest.raises(JournalDamaged) as caught:
        Journal.loads(data[:-30] + b"\n")
    assert "torn" not in caught.value.facts


def test_what_was_saved_before_a_torn_line_can_be_read(journal):
    """Without the torn line and the head that speaks of it, the exact prefix verifies."""
    lines = journal.dumps().split(b"\n")
    first = json.loads(lines[0])
    del first["head"]
    head = json.dumps(first, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
    kept = b"\n".join([head, *lines[1:8]]) + b"\n"
    assert Journal.loads(kept).verify().records == journal.records[:7]


def test_flipped_bits_are_found(journal):
    """No single bit of a file can be flipped unnoticed; a seeded sample of them is tried."""
    data = journal.dumps()
    random = Random(3)
    unnoticed = []
    for _ in range(FLIPS):
        place = random.randrange(len(data) * 8)
        changed = bytearray(data)
        changed[place // 8] ^= 1 << place % 8
        if not damaged(bytes(changed)):
            unnoticed.append(place)
    assert unnoticed == []


def test_records_cannot_be_removed_doubled_or_swapped(journal):
    """Every deletion, the last record too, every duplication and every swap is found."""
    lines = journal.dumps().splitlines(keepends=True)
    for place in range(1, len(lines)):
        assert damaged(b"".join([*lines[:place], *lines[place + 1 :]]))
        assert damaged(b"".join([*lines[: place + 1], *lines[place:]]))
    for place in range(1, len(lines) - 1):
        a, b = lines[place : place + 2]
        assert damaged(b"".join([*lines[:place], b, a, *lines[place + 2 :]]))
    assert damaged(b"".join(lines[1:]))


def test_another_definition_is_found(journal):
    """A journal tells by hash which table it was decided under."""
    changed = journal.definition.replace(b"refund desk", b"refund disk")
    assert changed != journal.definition
    with pytest.raises(JournalDamaged, match="definition"):
        attrs.evolve(journal, definition=changed).verify()


def test_an_erased_body_is_not_mistaken_for_a_damaged_name(journal):
    """A line without body and salt is erased; one whose `body` has another name is not."""
    record = journal.records[4]
    erased = attrs.evolve(record, data=None, salt=b"", body={})
    records = [*journal.records[:4], erased, *journal.records[5:]]
    data = Journal(journal.definition, records).dumps()
    back = Journal.loads(data).verify()
    assert back.records[4].erased
    assert back.dumps() == data
    with pytest.raises(JournalDamaged, match="boda"):
        Journal.loads(journal.dumps().replace(b'"body":', b'"boda":', 1))


def test_a_body_kept_as_a_blob_travels_in_the_file():
    """A result over 256 KiB is in the file too, and a wrong one is found by its hash."""
    hand = Hand(refund_desk(), {"order_id": "A1"})
    hand.reply(use("fetch_order"))
    hand.returns({"email": "a@b", "scan": "x" * MAX_BODY})
    hand.audit()
    blobs = hand.run.take_blobs()
    assert len(blobs) == 2  # the result, and the step that assigns it
    data = hand.journal().dumps()
    returned = hand.kinds.index("call_returned")
    assert Journal.loads(data).records[returned].body["value"]["scan"] == "x" * MAX_BODY
    with pytest.raises(JournalDamaged, match="blob"):
        Journal.loads(data.replace(b"xxx", b"xyx", 1))


def test_a_journal_without_records_is_a_file_too(journal):
    """Only a definition: nothing to verify, nothing to replay."""
    empty = Journal(journal.definition, ())
    back = Journal.loads(empty.dumps()).verify()
    assert back.records == ()
    assert back.run_id == ""


@pytest.mark.parametrize("data", [b"", b"\n", b"{}\n", b"[]\n", b'{"definition":1,"what":2}\n'])
def test_what_is_no_journal_is_refused(data):
    """Any other file is an error about its first line, never something else."""
    with pytest.raises(JournalDamaged, match="line 1"):
        Journal.loads(data)
