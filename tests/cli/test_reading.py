"""Looking at runs: runs, show, replay, export. Nothing is called, nothing is changed."""

import json
import shutil
import socket
import sqlite3

import pytest

from tests.cli.terminal import ONE_TOOL, RAISES, folder


@pytest.fixture
def store(sma):
    """Three runs: A1 refunded, A14 waiting, NO-SUCH-ORDER failed."""
    return [
        sma("run", "refund", "--input", f"order_id={order}", "--json").last["run_id"]
        for order in ("A1", "A14", "NO-SUCH-ORDER")
    ]


def test_runs_are_listed_newest_first(sma, store):
    """Id, workflow, status, state and reason of each; `--json` gives whole rows."""
    said = sma("runs")
    assert said.code == 0
    assert [line.split()[0] for line in said.out.splitlines()[1:]] == store[::-1]
    assert "there is no order" in said.out
    rows = sma("runs", "--json").objects
    assert [row["run"] for row in rows] == store[::-1]
    assert rows[2]["status"] == "succeeded"


def test_runs_are_filtered(sma, store):
    """By status, by workflow, by number."""
    assert [row["run"] for row in sma("runs", "--status", "waiting", "--json").objects] == [
        store[1]
    ]
    assert len(sma("runs", "--workflow", "refund", "--limit", "2", "--json").objects) == 2
    assert sma("runs", "--workflow", "other", "--json").objects == []
    assert sma("runs", "--status", "sleeping").code == 2
    assert sma("runs", "--limit", "0").code == 2


def test_show_tells_every_record(sma, store):
    """Seq, time, kind and words: state, tool, arguments, result, row and guard verdicts."""
    said = sma("show", store[0])
    assert said.code == 0
    for words in (
        'run_started    refund@1 with {"order_id": "A1"}',
        "asks for fetch_order {}",
        'call 1 fetch_order {"order_id": "A1"} (read)',
        "row 3 fires [result.eligible and result.amount_cents <= 50000]: validating -> crediting",
        "guards: row 3 true",
        "sets credit = ",
        "succeeded in complete",
    ):
        assert words in said.out, words


def test_show_json_gives_every_record_and_the_outcome_last(sma, store):
    """A program gets whole bodies, in order, and then how the run stands."""
    objects = sma("show", store[0], "--json").objects
    assert [each["seq"] for each in objects[:-1]] == list(range(1, len(objects)))
    assert objects[0]["kind"] == "run_started"
    assert objects[0]["body"]["context"]["order_id"] == "A1"
    assert objects[-1]["status"] == "succeeded"


def test_show_of_a_parked_run_says_what_to_type(sma, store):
    """The question, the arguments, and the command that answers."""
    said = sma("show", store[1])
    assert f"next      sma approve {store[1]}\n" in said.out
    assert "waits for approval" in said.out
    assert "owed" not in said.out


def test_every_kind_of_record_has_words(sma, home, store):
    """Refusals, errors, doubts, resolutions, cancels and resumes are said in words, not as JSON."""
    folder(home, "risky", ONE_TOOL.format(name="risky"), RAISES)
    sma("run", "risky")
    sma("resolve", "last", "--not-done")
    assert "outcome not known" in sma("show", "last").out
    assert "says not_done" in sma("show", "last").out
    (home / "turns.jsonl").write_text(
        '{"use": "send_email"}\n{"fail": "overloaded", "message": "busy"}\n'
    )
    sma("run", "refund", "--input", "order_id=A2", "--model", "scripted:turns.jsonl")
    sma("resume", "last", "--by", "di")
    said = sma("show", "last").out
    assert "call_refused" in said
    assert "could not be asked: overloaded: busy" in said
    assert "run_resumed" in said
    assert "by di: resumed" in said
    from statemachine_agents.cli.records import _SAY
    from statemachine_agents.journal.records import KINDS

    assert set(_SAY) | {"stepped", "run_migrated"} == set(KINDS)


def test_replay_needs_no_shop_no_code_and_no_network(sma, store, home, monkeypatch):
    """Every record is decided again with the shop deleted and sockets closed."""

    def closed(*_arguments, **_more):
        raise OSError("sockets are closed in this test")

    for path in home.glob("shop.db*"):
        path.unlink()
    shutil.rmtree(home / "mail")
    monkeypatch.setattr(socket.socket, "connect", closed)
    monkeypatch.setattr("statemachine_agents.load.bundled", dict)
    for run_id in store:
        said = sma("replay", run_id)
        assert said.code == 0
        assert "records identical" in said.out
        assert "0 model calls, 0 tool calls" in said.out
    found = sma("replay", store[0], "--json").last
    assert found["same"] is True
    assert found["records"] == len(sma("show", store[0], "--json").objects) - 1
    assert found["steps"] == 5
    assert (found["model_calls"], found["tool_calls"]) == (0, 0)


def test_an_exported_journal_replays_anywhere(sma, store, home):
    """The file holds definition and records; it is private, and it is enough."""
    said = sma("export", store[0], "--out", "a1.jsonl")
    assert said.code == 0
    assert (home / "a1.jsonl").stat().st_mode & 0o777 == 0o600
    assert sma("export", store[0]).out == (home / "a1.jsonl").read_text()
    (home / "sma-runs.db").unlink()
    assert sma("replay", "--file", "a1.jsonl").code == 0


def test_a_large_result_is_carried_by_the_file(sma, home):
    """A value kept beside the journal travels with it: shown, exported, replayed."""
    tools = RAISES.replace('raise RuntimeError("the line went dead")', 'return "x" * 400_000')
    folder(home, "large", ONE_TOOL.format(name="large"), tools)
    assert sma("run", "large").code == 0
    assert sma("replay", "last").code == 0
    shown = sma("show", "last", "--json").objects
    assert len(shown[-1]["value"]) == 400_000
    assert sma("export", "last", "--out", "large.jsonl").code == 0
    assert sma("replay", "--file", "large.jsonl").code == 0


FAMILY = '''
from statemachine_agents import State, Table, Transition, Use, Workflow, tool

@tool
def greet(name: str) -> str:
    """Greet somebody."""
    if name == "nobody":
        raise RuntimeError("who?")
    return f"hello {name}"

one = Workflow(
    Table(
        name="one",
        initial="greeting",
        context={"item": "string", "said": "string?"},
        tools={"greet": Use(bind={"name": "context.item"})},
        states=[
            State("greeting", do=["greet"]),
            State("done", final="success", returns="context.said"),
        ],
        transitions=[Transition("greeting", "greet.ok", "done", assign={"said": "result"})],
    ),
    tools=[greet],
)
workflow = Workflow(
    Table(
        name="all", initial="greeting", context={"names": "list"},
        states=[
            State("greeting", run=["one"], each="context.names", at_once=2),
            State("done", final="success"),
        ],
        transitions=[Transition("greeting", "settled", "done")],
    ),
    workflows=[one],
)
'''


def test_a_family_of_runs_is_told_apart(sma, home):
    """Children are shown beside their parent, `last` is the parent, and a child can be named."""
    (home / "family").mkdir()
    (home / "family" / "workflow.py").write_text(FAMILY)
    said = sma("run", "family", "--input", 'names=["ann", "bob"]')
    assert said.code == 0, said.all
    rows = sma("runs", "--json").objects
    parent = next(row["run"] for row in rows if row["parent"] is None)
    children = [row["run"] for row in rows if row["parent"] == parent]
    assert len(children) == 2
    assert sma("show", "last", "--json").last["run_id"] == parent
    assert sma("show", parent[:8], "--json").last["run_id"] == parent
    assert "child of " + parent in sma("show", children[0]).out
    for run_id in (parent, *children):
        assert sma("replay", run_id).code == 0
    for line in ("c1 greet ok", "c2 greet ok"):
        assert line in " ".join(said.out.split())


def test_a_childs_doubt_is_resolved_through_the_child(sma, home):
    """A parked child is named by its own id; its end goes on in the parent."""
    (home / "family").mkdir()
    (home / "family" / "workflow.py").write_text(FAMILY)
    said = sma("run", "family", "--input", 'names=["nobody"]', "--json")
    assert said.code == 5, said.all
    child = next(row["run"] for row in sma("runs", "--json").objects if row["parent"])
    pending = said.event("pending")
    assert pending["pending"] == [
        {"run_id": child, "call": 1, "tool": "greet", "arguments": {"name": "nobody"}}
    ]
    assert pending["next"][1] == f"sma resolve {child} --not-done --workflow family"
    assert f"sma resolve {child} --not-done" in sma("show", "last").out
    said = sma("resolve", child, "--done", '"hello"', "--workflow", "family", "--json")
    assert said.code == 0, said.all
    assert said.last["value"] == "hello"
    assert sma("show", "last", "--json").last["status"] == "succeeded"


def test_a_changed_guard_input_is_found(sma, store, home):
    """A value changed in a copy: the broken hash, then the row and the verdicts that now differ."""
    sma("export", store[0], "--out", "a1.jsonl")
    text = (home / "a1.jsonl").read_text()
    (home / "b1.jsonl").write_text(text.replace('"eligible":true', '"eligible":false'))
    said = sma("replay", "--file", "b1.jsonl")
    assert said.code == 1
    assert "its body does not match its hash" in said.out
    assert "first difference at seq 12 (stepped)" in said.out
    assert "row 4 fires now; guards: row 3 false" in said.out
    found = sma("replay", "--file", "b1.jsonl", "--json").last
    assert found["same"] is False
    assert found["difference"]["seq"] == 12


def test_a_record_changed_in_the_store_is_found(sma, store):
    """Whoever edits the database is found out by replay; show says it too, after the records."""
    with sqlite3.connect("sma-runs.db") as db:
        db.execute(
            "update record set body = cast(replace(cast(body as text), ?, ?) as blob) "
            "where run = ? and seq = 11",
            ('"eligible":true', '"eligible":false', store[0]),
        )
    db.close()
    said = sma("replay", store[0])
    assert said.code == 1
    assert "seq 11" in said.out
    shown = sma("show", store[0])
    assert shown.code == 70
    assert "succeeded in complete" in shown.out
    assert "does not match its hash" in shown.err


def test_a_torn_journal_is_named_as_torn(sma, store, home):
    """A file that ends in the middle of a line: exit 1, the line, and what to do."""
    sma("export", store[0], "--out", "a1.jsonl")
    text = (home / "a1.jsonl").read_text()
    (home / "a1.jsonl").write_text(text[:-20])
    said = sma("replay", "--file", "a1.jsonl")
    assert said.code == 1
    assert "torn write" in said.out
    lines = text.splitlines(keepends=True)
    (home / "a1.jsonl").write_text("".join(lines[:5] + lines[6:]))
    said = sma("replay", "--file", "a1.jsonl", "--json")
    assert said.code == 1
    assert "expected seq 5" in said.last["damaged"]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["replay"], "name a run"),
        (["replay", "last", "--file", "x.jsonl"], "name a run"),
        (["replay", "--file", "none.jsonl"], "cannot be read"),
        (["replay", "--file", "empty.jsonl"], "holds no records"),
        (["export", "last", "--out", "no/such/folder.jsonl"], "cannot be written"),
        (["show", "r-none"], "no run 'r-none' in sma-runs.db"),
        (["show", "r-"], "is the beginning of 3 runs"),
        (["show", "last", "--store", "none.db"], "there is no store"),
    ],
)
def test_what_cannot_be_found_exits_2(sma, store, home, arguments, sentence):
    """A wrong name is a usage error with a sentence; looking never creates a store."""
    (home / "empty.jsonl").write_text("")
    said = sma(*arguments)
    assert said.code == 2
    assert sentence in said.err
    assert not (home / "none.db").exists()


def test_a_run_is_named_by_its_beginning_or_as_last(sma, store):
    """A unique beginning is enough, with or without `r-`; `last` is the newest."""
    assert json.loads(sma("show", store[0][:9], "--json").out.splitlines()[-1])["state"] == (
        "complete"
    )
    assert sma("show", store[1][2:10], "--json").last["state"] == "crediting"
    assert sma("show", "last", "--json").last["run_id"] == store[2]


def test_an_empty_store_has_no_last_run(sma, store, home):
    """`last` of a store without runs is a mistake that is said."""
    with sqlite3.connect("sma-runs.db") as db:
        for table in ("record", "inbox", "outbox", "run"):
            db.execute(f"delete from {table}")
    db.close()
    assert "there is no run in this store yet" in sma("show", "last").err
    assert sma("runs").out == "no runs in sma-runs.db\n"
