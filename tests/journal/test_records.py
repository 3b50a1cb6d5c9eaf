"""Records: the envelope, the chain, and what a seal protects."""

from __future__ import annotations

import hashlib
import re

import attrs
import pytest

from statemachine_agents.errors import JournalDamaged, UsageError, ValueRefused
from statemachine_agents.journal.records import (
    BLOB,
    FORMAT,
    GENESIS,
    Draft,
    Head,
    Record,
    blob_of,
    header_of,
    record_of,
    seal,
    uuid7,
    verify,
    verify_chain,
    with_blob,
)
from statemachine_agents.system import SeededEntropy
from statemachine_agents.turn import effects as fx
from statemachine_agents.values import MAX_BLOB, MAX_BODY, dumps
from tests.driving import Hand
from tests.lively_tables import worker

AT = 1_800_000_000_123_456
DEFINITION = "d" * 64


def sealed(*drafts: Draft, head: Head | None = None, blobs=None, seed: int = 1) -> list[Record]:
    return seal(
        drafts,
        run="r-1",
        definition=DEFINITION,
        fence=3,
        head=head or Head(),
        at=AT,
        entropy=SeededEntropy(seed),
        blobs=blobs,
    )


def test_the_header_bytes_are_canonical_json():
    """The header is written by hand because it is faster; it must be what `dumps` would write."""
    for record in sealed(Draft("stepped", {"a": 1}), Draft("run_ended", {"b": [None]})):
        names = ("at", "body_hash", "definition", "fence", "kind", "rid", "run", "seq", "v")
        plain = {name: getattr(record, name) for name in names}
        assert dumps(plain) == header_of(
            record.run, record.seq, record.rid, record.kind, record.v, record.at, record.fence,
            record.definition, record.body_hash,
        )  # fmt: skip


def test_the_hashes_are_what_the_protocol_says():
    """`body_hash` covers salt and body, `hash` covers the hash before and the header."""
    first, second = sealed(Draft("stepped", {"z": 1, "a": "ü"}), Draft("run_ended", {}))
    assert first.data == '{"a":"ü","z":1}'.encode()
    assert first.body_hash == hashlib.sha256(first.salt + first.data).hexdigest()
    header = header_of(
        "r-1", 2, second.rid, "run_ended", FORMAT, AT, 3, DEFINITION, second.body_hash
    )
    assert second.hash == hashlib.sha256(first.hash.encode() + header).hexdigest()
    assert (first.seq, second.seq, first.v) == (1, 2, FORMAT)
    assert len(first.salt) == 16
    assert first.salt != second.salt


def test_a_seal_continues_at_its_head():
    """Records sealed in two parts are one chain."""
    first = sealed(Draft("stepped", {"a": 1}))
    second = sealed(Draft("stepped", {"a": 2}), head=Head(1, first[0].hash), seed=2)
    assert verify_chain([*first, *second]) == Head(2, second[0].hash)
    with pytest.raises(JournalDamaged, match="does not continue the chain"):
        verify(second[0], GENESIS)


def test_record_ids_are_uuids_of_version_7():
    """Time first, then version, variant and noise; different noise, different id."""
    text = uuid7(AT, bytes(range(10)))
    assert re.fullmatch(r"[0-9a-f]{12}7[0-9a-f]{3}[89ab][0-9a-f]{15}", text)
    assert int(text[:12], 16) == AT // 1000
    for noise in (bytes(10), b"\xff" * 10):
        assert re.fullmatch(r"[0-9a-f]{12}7[0-9a-f]{3}[89ab][0-9a-f]{15}", uuid7(AT, noise))
    assert len({uuid7(AT, bytes([byte] * 10)) for byte in range(256)}) == 256


def test_equal_bodies_have_different_hashes():
    """The salt makes a hash of a short body useless for guessing it."""
    one, two = sealed(Draft("stepped", {"yes": True}), Draft("stepped", {"yes": True}))
    assert one.body_hash != two.body_hash


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("rid", "0" * 32),
        ("kind", "run_ended"),
        ("at", AT + 1),
        ("fence", 4),
        ("definition", "e" * 64),
        ("run", "r-2"),
        ("v", 0),
        ("salt", b"x" * 16),
        ("data", b'{"a":2}'),
        ("hash", "f" * 64),
        ("body_hash", "f" * 64),
        ("v", FORMAT + 1),
        ("kind", "no_such_kind"),
    ],
)
def test_no_part_of_a_record_can_be_changed(field, value):
    """Whatever differs from what was sealed is found, and an unknown kind or format refused."""
    record = attrs.evolve(sealed(Draft("stepped", {"a": 1}))[0], **{field: value})
    with pytest.raises(JournalDamaged) as caught:
        verify(record, GENESIS)
    assert caught.value.facts["seq"] == 1


def test_an_erased_body_keeps_the_chain_whole():
    """Deleting body and salt is no damage: the header holds the hash."""
    records = sealed(Draft("message_received", {"text": "me"}), Draft("run_ended", {}))
    erased = attrs.evolve(records[0], data=None, salt=b"", body={})
    assert erased.erased
    assert verify_chain([erased, records[1]]).seq == 2


def test_a_large_body_becomes_a_blob_by_hash():
    """Over 256 KiB the record names the hash; the body comes back from exactly those bytes."""
    blobs: list[tuple[str, bytes]] = []
    body = {"value": "x" * MAX_BODY}
    record = sealed(Draft("call_returned", body), blobs=blobs)[0]
    digest, data = blobs[0]
    assert len(record.data) < 200
    assert digest == hashlib.sha256(data).hexdigest()
    row = {name: getattr(record, name) for name in attrs.fields_dict(Record)}
    stored = record_of(row)
    assert blob_of(stored) == digest
    assert with_blob(stored, data).body == body
    with pytest.raises(JournalDamaged, match="blob"):
        with_blob(stored, data + b" ")
    assert sealed(Draft("call_returned", body))[0].data == record.data  # whoever keeps no blobs
    small = sealed(Draft("call_returned", {BLOB: "mine", "a": 1, "b": 2}))[0]
    assert blob_of(small) is None


def test_what_cannot_be_written_is_refused_whole():
    """A body over the hard cap, or one that is no JSON, seals nothing."""
    with pytest.raises(ValueRefused, match="cap"):
        sealed(Draft("call_returned", {"value": "x" * MAX_BLOB}))
    with pytest.raises(ValueRefused):
        sealed(Draft("call_returned", {"value": {1, 2}}))


@pytest.mark.parametrize("data", [b"[]", b'{"b":1,"a":2}', b'{"a":NaN}', b"{", b"1"])
def test_a_stored_body_that_is_no_canonical_object_is_damage(data):
    """What the store gives back is not trusted."""
    record = sealed(Draft("stepped", {}))[0]
    row = {**{name: getattr(record, name) for name in attrs.fields_dict(Record)}, "data": data}
    with pytest.raises(JournalDamaged, match="body"):
        record_of(row)


@pytest.mark.parametrize("run", ["", 'a"b', "a b", "ü", "x" * 201, "a\n"])
def test_run_ids_have_a_closed_alphabet(run):
    """A run id goes into headers, files and URLs as it is."""
    with pytest.raises(UsageError, match="run id"):
        Hand(worker(), run=run)


def test_sealing_twice_gives_the_same_records():
    """After a commit whose fate is unknown the same records are offered again, ids included."""
    hand = Hand(worker())
    first = hand.run.seal(1)
    assert hand.run.seal(1) == first
    hand.run.saved(first)
    hand.records += first
    hand.run.receive(fx.Returned(1, {}), hand.now())
    some = hand.run.seal(1)
    hand.run.receive(fx.Returned(2, {}), hand.now())
    more = hand.run.seal(1)
    assert more[: len(some)] == some
    hand.run.saved(more)
    hand.records += more
    assert [record.rid for record in hand.run.seal(2)] == []
    hand.audit()
