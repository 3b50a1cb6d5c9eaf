"""The refund workflow: its shop, its letters, its table. Runs through the driver are elsewhere."""

from __future__ import annotations

import asyncio
import mailbox
import os
import re
import sqlite3
import subprocess
import sys
import threading
from collections import Counter
from contextlib import closing
from pathlib import Path

import attrs
import pytest

from statemachine_agents import Call, Table, ToolError, Workflow
from statemachine_agents.errors import UsageError
from statemachine_agents.kernel.gate import schema_faults
from statemachine_agents.load import load_workflow
from statemachine_agents.models.samples import Sampler
from statemachine_agents.proof.structure import check, defaults
from statemachine_agents.table.definition import Definition
from statemachine_agents.table.diagram import markdown, mermaid
from statemachine_agents.tools.toolbox import Doubted, Failed, Returned, Toolbox
from statemachine_agents.tools.verifying import not_done

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "workflows" / "refund"
ORDER_A1 = {
    "order_id": "A1",
    "customer": "Ada Brook",
    "email": "ada@shopper.example",
    "item": "kettle",
    "kind": "goods",
    "amount_cents": 4900,
    "ordered_on": "2026-11-10",
    "status": "delivered",
}
CREDIT_A1 = {
    "credit_id": "cr-A1",
    "order_id": "A1",
    "amount_cents": 4900,
    "run_id": "r1",
    "credited_on": "2026-11-20",
}


def a_call(key="r1/3/x/00", run="r1"):
    return Call(run_id=run, call_id=3, key=key, deadline=2**52)


class Desk:
    """The workflow's tools, called as a run calls them: through the toolbox, specs and schemas."""

    def __init__(self, home: Path) -> None:
        self.workflow = load_workflow(FOLDER, home)
        self.box = Toolbox(self.workflow.functions)
        self.tools = self.workflow.functions["fetch_order"].__self__
        self.shop = self.tools.shop

    def __call__(self, name, call=None, **arguments):
        spec = self.workflow.definition.tools[name]
        return asyncio.run(self.box.call(name, arguments, call or a_call(), spec=spec))

    def verify(self, call=None, to="ada@shopper.example"):
        spec = self.workflow.definition.tools["send_email"]
        arguments = {"to": to, "subject": "Your refund", "body": "Paid."}
        coming = self.box.verify("send_email", arguments, call or a_call(), spec=spec)
        return asyncio.run(coming)

    def mail(self, call=None, to="ada@shopper.example", subject="Your refund", body="Paid."):
        return self("send_email", call, to=to, subject=subject, body=body)

    def module(self, name):
        package = type(self.tools).__module__.rpartition(".")[0]
        return sys.modules[f"{package}.{name}"]


@pytest.fixture
def desk(tmp_path, monkeypatch):
    monkeypatch.delenv("SMA_SMTP_URL", raising=False)
    return Desk(tmp_path)


def at_once(count, work):
    """Run `work(number)` in as many threads, all let go together; return their results."""
    gate = threading.Barrier(count)
    results = [None] * count

    def one(number):
        gate.wait()
        results[number] = work(number)

    threads = [threading.Thread(target=one, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results


# ----------------------------------------------------------------------------------------- the shop


def test_building_touches_nothing(desk, tmp_path):
    """`build` only names places: the shop and the mail folder appear at first use."""
    assert list(tmp_path.iterdir()) == []
    assert desk("fetch_order", order_id="A1") == Returned(ORDER_A1)
    assert (tmp_path / "shop.db").is_file()


def test_thirty_orders_of_every_sort(desk):
    """The new shop has A1 to A30, several of each sort, and every verdict says why."""
    said = Counter()
    for number in range(1, 31):
        order = desk("fetch_order", order_id=f"A{number}").value
        verdict = desk("check_refund_policy", order_id=f"A{number}").value
        assert verdict["order_id"] == f"A{number}"
        assert verdict["amount_cents"] == order["amount_cents"]
        assert verdict["eligible"] is (verdict["reason"] is None)
        words = "old already cancelled digital gift largest"
        word = next((w for w in words.split() if w in (verdict["reason"] or "")), "eligible")
        if verdict["eligible"] and order["amount_cents"] > 50_000:
            word = "over the desk's limit"
        elif verdict["eligible"] and order["amount_cents"] > 20_000:
            word = "needs a person"
        said[word] += 1
        said["bounces"] += order["email"].endswith("@bounce.example")
    assert said == {
        "eligible": 9, "old": 3, "already": 3, "needs a person": 5, "over the desk's limit": 3,
        "largest": 2, "digital": 2, "gift": 1, "cancelled": 2, "bounces": 3,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("order", "reason"),
    [
        ("A30", None),
        ("A7", "order A7 is 31 days old, the policy allows 30"),
        ("A10", "order A10 was already refunded by run r-early-1 on 2026-11-12"),
        ("A20", "order A20 is over the largest refund of the shop, 200000 cents"),
        ("A24", "order A24 is of the kind gift_card: gift cards are not paid out"),
        ("A25", "order A25 was cancelled, nothing was paid"),
    ],
)
def test_the_policy_gives_its_reason(desk, order, reason):
    """A verdict names the order and the figures; on its last day an order is still taken back."""
    assert desk("check_refund_policy", order_id=order).value["reason"] == reason


@pytest.mark.parametrize("tool", ["fetch_order", "check_refund_policy", "process_credit"])
def test_an_unknown_order_is_named(desk, tool):
    """All three say `not_found` with the number that was asked for, and nothing is credited."""
    more = {"amount_cents": 5} if tool == "process_credit" else {}
    got = desk(tool, order_id="Z9'; DROP TABLE orders --", **more)
    assert got == Failed("not_found", 'there is no order "Z9\'; DROP TABLE orders --"')
    assert len(desk.shop.credits()) == 3


def test_the_policy_is_the_shops_own(desk, tmp_path):
    """Days and today's date are read from the shop's file each time, not from a clock."""
    desk("fetch_order", order_id="A1")
    with closing(sqlite3.connect(tmp_path / "shop.db")) as db, db:
        db.execute("UPDATE policy SET today = '2027-01-31', days = 60")
    reason = desk("check_refund_policy", order_id="A1").value["reason"]
    assert reason == "order A1 is 82 days old, the policy allows 60"


# --------------------------------------------------------------------------------------- the ledger


def test_the_same_key_gives_the_same_credit(desk):
    """A credit repeated under its key is returned again, and there is one row."""
    first = desk("process_credit", order_id="A1", amount_cents=4900)
    again = desk("process_credit", order_id="A1", amount_cents=4900)
    assert first == again == Returned(CREDIT_A1)
    assert [credit.order_id for credit in desk.shop.credits()] == ["A1", "A10", "A11", "A12"]


def test_another_run_hears_who_was_first(desk):
    """Another run under another key gets `already_refunded`, naming run and date."""
    desk("process_credit", order_id="A1", amount_cents=4900)
    got = desk("process_credit", a_call("k2", "r2"), order_id="A1", amount_cents=4900)
    why = "order A1 was already refunded by run r1 on 2026-11-20"
    assert got == Failed("already_refunded", why)
    assert desk("check_refund_policy", order_id="A1").value["reason"] == why


def test_the_same_run_finds_its_own_credit(desk):
    """A call taken for not done, though it was, does no harm: the run gets its credit back."""
    first = desk("process_credit", order_id="A1", amount_cents=4900)
    assert desk("process_credit", a_call("k2"), order_id="A1", amount_cents=4900) == first
    assert len(desk.shop.credits()) == 4


@pytest.mark.parametrize(
    ("order", "cents", "kind", "words"),
    [
        ("A2", 4900, "key_reused", "was used for A1"),
        ("A1", 4901, "key_reused", "was used for A1"),
        ("A3", 2401, "amount", "order A3: expected 2400 cents, got 2401"),
        ("A7", 3500, "not_eligible", "31 days old"),
        ("A10", 3900, "already_refunded", "by run r-early-1"),
        ("A25", 14900, "not_eligible", "was cancelled"),
        ("A1", 0, "arguments", "amount_cents"),
    ],
)
def test_the_shop_defends_itself(desk, order, cents, kind, words):
    """Whatever a table lets through: no other amount, no ineligible order, no key for two."""
    desk("process_credit", order_id="A1", amount_cents=4900)
    key = "k2" if kind in ("amount", "not_eligible", "already_refunded") else "r1/3/x/00"
    got = desk("process_credit", a_call(key), order_id=order, amount_cents=cents)
    assert isinstance(got, Failed)
    assert got.kind == kind
    assert words in got.text
    assert len(desk.shop.credits()) == 4


def test_of_many_runs_at_once_one_credits(desk):
    """Eight runs credit A1 in eight threads: one succeeds, seven hear that it was that one."""

    def credit(number):
        try:
            return desk.shop.credit("A1", 4900, key=f"k{number}", run_id=f"r{number}")
        except ToolError as error:
            return error

    results = at_once(8, credit)
    (winner,) = [each for each in results if not isinstance(each, ToolError)]
    losers = [each for each in results if isinstance(each, ToolError)]
    assert {error.kind for error in losers} == {"already_refunded"}
    assert all(f"by run {winner.run_id} " in str(error) for error in losers)
    assert [each for each in desk.shop.credits() if each.order_id == "A1"] == [winner]


def test_overlapping_attempts_of_one_call_are_one_credit(desk):
    """Eight attempts under one key, all at once, all get the same credit."""
    credit = {desk.shop.credit("A1", 4900, key="k", run_id="r1")} | set(
        at_once(8, lambda _: desk.shop.credit("A1", 4900, key="k", run_id="r1"))
    )
    assert len(credit) == 1
    assert len(desk.shop.credits()) == 4


@pytest.mark.parametrize(("key", "order"), [("k1", "A2"), ("k2", "A1")])
def test_sqlite_insists(desk, tmp_path, key, order):
    """The file itself refuses a second credit of an order and a second use of a key."""
    desk.shop.credit("A1", 4900, key="k1", run_id="r1")
    row = ("cr-x", key, order, 100, "r9", "2026-11-20")
    with closing(sqlite3.connect(tmp_path / "shop.db")) as db:
        with pytest.raises(sqlite3.IntegrityError, match="UNIQUE"):
            db.execute("INSERT INTO credit VALUES (?, ?, ?, ?, ?, ?)", row)
        with pytest.raises(sqlite3.IntegrityError, match="CHECK"):
            db.execute("INSERT INTO credit VALUES ('c', 'k', 'A3', 1.5, 'r', 'd')")


def test_a_locked_shop_leaves_a_doubt(desk, tmp_path, monkeypatch):
    """A lock is no "it did not happen": an earlier attempt may have gone through. Reads go on."""
    desk("fetch_order", order_id="A1")
    monkeypatch.setattr(desk.module("shop"), "BUSY_SECONDS", 0.01)
    with closing(sqlite3.connect(tmp_path / "shop.db", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        got = desk("process_credit", order_id="A1", amount_cents=4900)
        assert desk("fetch_order", order_id="A1") == Returned(ORDER_A1)
    assert isinstance(got, Doubted)
    assert "locked" in got.detail
    assert desk("process_credit", order_id="A1", amount_cents=4900) == Returned(CREDIT_A1)


def test_a_wholly_locked_shop_is_busy_to_readers(desk, tmp_path, monkeypatch):
    """A read that meets an exclusive lock gets kind `busy`, which is tried again."""
    desk("fetch_order", order_id="A1")
    monkeypatch.setattr(desk.module("shop"), "BUSY_SECONDS", 0.01)
    with closing(sqlite3.connect(tmp_path / "shop.db", isolation_level=None)) as other:
        other.execute("PRAGMA locking_mode = EXCLUSIVE")
        other.execute("BEGIN EXCLUSIVE")
        got = desk("fetch_order", order_id="A1")
    assert isinstance(got, Failed)
    assert (got.kind, got.text) == ("busy", "the shop is busy")
    assert "busy" in desk.workflow.definition.tools["fetch_order"].retry.on


@pytest.mark.parametrize("content", [b"", b"no database at all" * 100])
def test_a_foreign_file_is_left_alone(desk, tmp_path, content):
    """A file that is no shop is neither filled nor overwritten."""
    (tmp_path / "shop.db").write_bytes(content)
    with pytest.raises((UsageError, sqlite3.DatabaseError), match=r"no shop of|not a database"):
        desk.shop.order("A1")
    assert (tmp_path / "shop.db").read_bytes() == content


def test_processes_may_come_first_at_once(tmp_path):
    """Four processes that meet an empty home make one whole shop, and one of them credits A1."""
    script = """
import sys, time
from pathlib import Path
from statemachine_agents import ToolError
from statemachine_agents.load import load_workflow
folder, home, number = sys.argv[1:]
shop = load_workflow(folder, Path(home) / "home").functions["fetch_order"].__self__.shop
Path(home, number).touch()
while len([p for p in Path(home).iterdir() if p.name.isdigit()]) < 4:
    time.sleep(0.001)
try:
    print(shop.credit("A1", 4900, key="k" + number, run_id="r" + number).run_id)
except ToolError as error:
    print(error.kind)
"""
    running = [
        subprocess.Popen(
            [sys.executable, "-c", script, str(FOLDER), str(tmp_path), str(number)],
            cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )
        for number in range(4)
    ]  # fmt: skip
    said = [process.communicate(timeout=120) for process in running]
    assert [error for _, error in said] == [""] * 4
    words = Counter(out.strip() for out, _ in said)
    assert words.pop("already_refunded") == 3
    (winner,) = words
    with closing(sqlite3.connect(tmp_path / "home" / "shop.db")) as db:
        rows = db.execute("SELECT run_id FROM credit WHERE order_id = 'A1'").fetchall()
        assert rows == [(winner,)]
        assert db.execute("SELECT count(*) FROM orders").fetchone() == (30,)
        assert db.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    left = {path.name for path in (tmp_path / "home").iterdir()}
    assert left <= {"shop.db", "shop.db-wal", "shop.db-shm"}


# ------------------------------------------------------------------------------------------ letters


def test_a_letter_lies_in_the_maildir(desk, tmp_path):
    """It can be read with the standard library: headers, and a body that keeps its umlauts."""
    got = desk.mail(subject="Grüße", body="Größe: 49 €\n\nBye")
    box = mailbox.Maildir(tmp_path / "mail", create=False)
    ((key, letter),) = box.items()
    assert got == Returned({"message_id": letter["Message-ID"], "to": "ada@shopper.example"})
    assert letter["To"] == "ada@shopper.example"
    assert letter["From"] == "Refund desk <refunds@shop.example>"
    assert "49 €" in letter.get_payload(decode=True).decode()
    assert re.fullmatch(r"<[0-9a-f]{32}@shop\.example>", letter["Message-ID"])
    assert key.startswith(letter["Message-ID"][1:33])
    assert list((tmp_path / "mail" / "tmp").iterdir()) == []


def test_one_call_writes_one_letter(desk, tmp_path):
    """Repeated, overlapping and already read: one key is one letter, another key another one."""
    at_once(4, lambda _: desk.mail())
    box = mailbox.Maildir(tmp_path / "mail", create=False)
    (key,) = box.keys()
    letter = box[key]
    letter.set_subdir("cur")
    letter.set_flags("S")
    box[key] = letter
    desk.mail()
    assert len(mailbox.Maildir(tmp_path / "mail", create=False)) == 1
    desk.mail(a_call("other"))
    assert len(mailbox.Maildir(tmp_path / "mail", create=False)) == 2


def test_the_verifier_looks_for_the_letter(desk):
    """Before it is written: not done. Afterwards: done, with what the tool would have returned."""
    assert desk.verify() == not_done()
    sent = desk.mail()
    found = desk.verify()
    assert (found.answer, found.value) == ("done", sent.value)
    assert desk.verify(a_call("other")) == not_done()


@pytest.mark.parametrize(
    ("to", "subject", "kind"),
    [
        ("ada@shopper.example", "Hi\r\nBcc: all@shopper.example", "header"),
        ("ada@shopper.example", "Hi\nthere", "header"),
        ("ada@shopper.example", "Hi\u2028there", "header"),
        ("ada@shopper.example", "Hi\x00", "header"),
        ("ada@shopper.example\nBcc: all@shopper.example", "Hi", "header"),
        ("ada@shopper.example, eve@shopper.example", "Hi", "address"),
        ("Ada <ada@shopper.example>", "Hi", "address"),
        ("ada", "Hi", "address"),
        ("", "Hi", "address"),
        ("ada@BOUNCE.example", "Hi", "bounced"),
    ],
)
def test_a_letter_that_cannot_go_is_refused(desk, tmp_path, to, subject, kind):
    """No text becomes a header or a second address, and nothing is delivered."""
    with pytest.raises(ToolError) as caught:
        desk.tools.send_email(to, subject, "Paid.", a_call())
    assert caught.value.kind == kind
    assert not (tmp_path / "mail").exists()


def test_the_gate_sees_the_line_break_first(desk):
    """The model is told by the schema, before anything is journaled as an effect."""
    shown = desk.workflow.bindings["send_email"].shown
    assert set(shown["properties"]) == {"subject", "body"}
    assert schema_faults(shown, {"subject": "Your refund \u2014 A1 \U0001f44d", "body": "b"}) == ""
    for text in ("a\nb", "a\n", "a\x85b", "a\u2028b", "", "x" * 151):
        assert "subject" in schema_faults(shown, {"subject": text, "body": "b"})


def test_bounced_orders_bounce(desk):
    """The order whose customer has no mailbox gives `.error` of kind `bounced`."""
    to = desk("fetch_order", order_id="A27").value["email"]
    got = desk.mail(to=to)
    assert got == Failed("bounced", f"mail to {to} bounced: no such mailbox")


# --------------------------------------------------------------------------------------- the table


def test_the_table_is_clean(desk):
    """Bound to its tools, and as text alone, the table has no finding, not even a warning."""
    assert desk.workflow.problems == ()
    assert check(desk.workflow.table) == ()
    assert desk.workflow.table.limits.iterations == 12
    required = [name for name, key in desk.workflow.table.context.items() if key.required]
    assert required == ["order_id"]


def test_every_tool_says_what_it_gives(desk):
    """Each tool has its effect class and a result schema; only the letter is the model's."""
    specs = desk.workflow.definition.tools
    assert {name: spec.effect for name, spec in specs.items()} == {
        "fetch_order": "read",
        "check_refund_policy": "read",
        "process_credit": "idempotent",
        "send_email": "verifiable",
    }
    for name, spec in specs.items():
        assert spec.result["required"], name
        given = sorted(desk.workflow.bindings[name].shown["properties"])
        assert given == (["body", "subject"] if name == "send_email" else [])


def test_a_model_without_a_brain_can_write_the_letter(desk):
    """The schema holds examples that fit it, so a rehearsal needs no facts."""
    shown = desk.workflow.bindings["send_email"].shown
    made = Sampler(shown).arguments()
    assert made["subject"] == "Your refund"
    assert "paid your order back" in made["body"]
    assert schema_faults(shown, made) == ""


def moves_of(cell):
    """Return the rows of a cell that can fire, and whether its default can."""
    rows = []
    for entry in cell.moves:
        rows.append(entry.row)
        if entry.row.guard is None and not entry.needs:
            return rows, False
    return rows, True


def unsafe_ends(workflow):
    """Walk the grid from where the money is paid, or in doubt; return every way to a bad end.

    Paid: wherever `process_credit.ok` leads, and where a guard breaks on it. In doubt: wherever
    `process_credit.unknown` leads, except by a resolution. A bad end is a failure, a cancelled run,
    or a limit that would ask the model again, which the engine answers with a failure.
    """
    table, cells = workflow.table, workflow.grid.cells
    paid, doubt, found = set(), set(), set()

    def follow(state, event):
        rows, falls = moves_of(cells[state][event])
        targets = {state if row.stays else row.transition.target for row in rows}
        if falls and cells[state][event].default in ("failed", "cancelled"):
            found.add((state, event, cells[state][event].default))
        for target in targets:
            if table.states[target].final == "failure":
                found.add((state, event, target))
            if event.startswith("limit.") and table.states[target].verb == "ask":
                found.add((state, event, f"asks in {target}"))
        return targets

    for state in cells:
        if cells[state].get("process_credit.ok") and cells[state]["process_credit.ok"].moves:
            paid |= follow(state, "process_credit.ok") | follow(state, "guard.error")
        if cells[state].get("process_credit.unknown"):
            doubt |= follow(state, "process_credit.unknown") - {state}
    assert paid
    assert doubt
    for group, settled in ((paid, ()), (doubt, ("process_credit.ok", "process_credit.error"))):
        pending = list(group)
        while pending:
            state = pending.pop()
            for event in set(cells[state]) - set(settled):
                fresh = follow(state, event) - group
                group.update(fresh)
                pending += fresh
    return paid, found


def test_no_run_fails_once_the_money_is_paid(desk):
    """From every state after `process_credit.ok`, or in doubt, no row and no default fails."""
    paid, found = unsafe_ends(desk.workflow)
    assert paid == {"emailing", "needs_person", "complete"}
    assert found == set()


def without(workflow, index, event):
    """Return the workflow without one event of one row."""
    table = workflow.table
    rows = list(table.transitions)
    kept = tuple(each for each in rows[index].event if each != event)
    rows[index : index + 1] = [attrs.evolve(rows[index], event=kept)] if kept else []
    changed = attrs.evolve(table, transitions=tuple(rows))
    return Workflow.from_definition(Definition(changed, workflow.definition.tools))


def test_the_walk_sees_what_is_missing(desk):
    """Take away any row that catches an engine event after the money: the walk finds the hole."""
    late = ("crediting", "reconciling", "emailing", "needs_person")
    caught = ("limit", "guard", "run", "model")
    tried = 0
    for index, row in enumerate(desk.workflow.table.transitions):
        for event in row.event:
            if row.source in late and event.split(".")[0] in caught:
                _, found = unsafe_ends(without(desk.workflow, index, event))
                assert found, (row.source, event)
                tried += 1
    assert tried == 11


def test_every_failure_has_its_reason(desk):
    """Each row into `failed` assigns the reason, and no cell fails by default, without one."""
    table = desk.workflow.table
    into = [row for row in table.transitions if row.target == "failed"]
    assert len(into) >= 7
    assert all("reason" in row.assign for row in into)
    fallen = defaults(table, desk.workflow.definition.tools)
    assert [each for each in fallen if each.default == "failed"] == []
    cancelled = {each.state for each in fallen if each.default == "cancelled"}
    assert cancelled == {"fetching", "validating", "crediting"}


def generated(table: Table) -> str:
    """Return the part of the README that is made from the table."""
    return f"```mermaid\n{mermaid(table)}```\n\n{markdown(table)}"


def test_the_readme_shows_this_table(desk):
    """The picture and the rows in README.md are those of `table.toml`."""
    path = FOLDER / "README.md"
    text = path.read_text(encoding="utf-8")
    start, end = "<!-- generated: table -->\n", "<!-- /generated -->"
    before, _, rest = text.partition(start)
    assert end in rest, f"{path}: the markers {start!r} and {end!r} are missing"
    wanted = f"{before}{start}\n{generated(desk.workflow.table)}\n{end}{rest.partition(end)[2]}"
    if os.environ.get("SMA_UPDATE") == "1":
        path.write_text(wanted, encoding="utf-8")
        text = wanted
    assert text == wanted, "README.md is old; SMA_UPDATE=1 pytest rewrites it"
