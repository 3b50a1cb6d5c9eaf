"""`sma conform`: runs of a store, exported journals, logs of other systems."""

import json

import pytest

MAPPING = """
turn = "event.turn"

[[facts]]
when = "event.ev == 'call'"
call = "event.name"
arguments = "event.arguments"
result = "event.result"
"""
RULES = """
name = "strict"
initial = "end"
rules = ["at_most(pay, 1)", "must(send)"]
[states]
start = { ask = "x", tools = ["pay", "send"] }
end = { final = "success" }
"""


@pytest.fixture
def refunded(sma):
    """The id of a refunded run."""
    return sma("run", "refund", "--input", "order_id=A1", "--json").last["run_id"]


@pytest.fixture
def strict(home):
    """A table of rules that a refund breaks."""
    text = RULES.replace("pay", "fetch_order").replace("send", "process_credit")
    (home / "strict.toml").write_text(text.replace("at_most(fetch_order, 1)", "never(fetch_order)"))
    return "strict.toml"


def test_a_run_keeps_the_rules_it_was_made_with(sma, refunded):
    """Without `--rules` each run is asked its own; every rule is counted."""
    said = sma("conform", "all")
    assert said.code == 0
    assert "1 run" in said.out
    assert "0 violations" in said.out
    assert "at_most(process_credit, 1, per=args.order_id)" in said.out
    last = sma("conform", refunded, "last", "--json").last
    assert last["event"] == "conformed"
    assert last["runs"] == 2
    assert {each["kept"] for each in last["rules"].values()} == {2}


def test_other_rules_are_asked_of_old_runs(sma, refunded, strict):
    """A violation names run, position, fact and rule, and exits 1."""
    said = sma("conform", refunded, "--rules", strict)
    assert said.code == 1
    assert f"run {refunded}, at " in said.out
    assert "fetch_order: breaks never(fetch_order)" in said.out
    found = sma("conform", refunded, "--rules", strict, "--json")
    assert found.event("violation")["rule"] == 0
    assert found.last["rules"]["must(process_credit)"] == {"kept": 1, "broken": 0, "owed": 0}


def test_an_exported_journal_is_asked_without_the_store(sma, home, refunded, strict):
    """The file carries its definition."""
    assert sma("export", refunded, "--out", "a.jsonl").code == 0
    (home / "sma-runs.db").unlink()
    assert sma("conform", "a.jsonl").code == 0
    assert sma("conform", "a.jsonl", "--rules", strict).code == 1


@pytest.mark.parametrize("form", ["lines", "list", "one"])
def test_foreign_logs_are_read_through_a_mapping(sma, home, form):
    """One log a line, a list of logs, or one log."""
    pay = {"ev": "call", "turn": 1, "name": "pay", "arguments": {}, "result": "ok"}
    send = {**pay, "turn": 3, "name": "send"}
    logs = [{"id": "good", "events": [pay, send]}, {"id": "bad", "events": [pay, pay]}]
    text = {
        "lines": "\n".join(map(json.dumps, logs)),
        "list": json.dumps(logs, indent=1),
        "one": json.dumps(logs[1], indent=1),
    }[form]
    (home / "logs.json").write_text(text)
    (home / "map.toml").write_text(MAPPING)
    (home / "rules.toml").write_text(RULES)
    said = sma("conform", "logs.json", "--rules", "rules.toml", "--map", "map.toml", "--json")
    assert said.code == 1
    broken = [each for each in said.objects if each["event"] == "violation"]
    assert [(each["run_id"], each["at"], each["text"]) for each in broken] == [
        ("bad", 2, "at_most(pay, 1)"),
        ("bad", 0, "must(send)"),
    ]
    assert said.last["runs"] == (1 if form == "one" else 2)


@pytest.mark.parametrize(
    ("arguments", "what"),
    [
        ([], "conform needs journals"),
        (["logs.json"], "needs --rules TABLE and --map FILE"),
        (["logs.json", "--rules", "rules.toml"], "--map FILE"),
        (["logs.json", "--rules", "norules.toml"], "has no rules"),
        (["logs.json", "--rules", "rules.toml", "--map", "none.toml"], "cannot be read as TOML"),
        (["logs.json", "--rules", "rules.toml", "--map", "bad.toml"], "facts[0]"),
        (["broken.json", "--rules", "rules.toml", "--map", "map.toml"], "not JSON"),
        (["empty.json", "--rules", "rules.toml", "--map", "map.toml"], "is empty"),
        (["torn.jsonl"], "torn"),
        (["nothing-of-this-name"], "sma-runs.db"),
        (["logs.json", "--rules", "nowhere"], "nowhere"),
    ],
)
def test_mistakes_are_said_in_a_sentence(sma, home, arguments, what):
    """Exit 2, the place and the remedy, no traceback."""
    (home / "logs.json").write_text('{"events": []}')
    (home / "map.toml").write_text(MAPPING)
    (home / "bad.toml").write_text('facts = [{ call = "(" }]')
    (home / "rules.toml").write_text(RULES)
    (home / "norules.toml").write_text(RULES.replace("rules =", "everywhere = [] #"))
    (home / "broken.json").write_text("{no")
    (home / "empty.json").write_text("\n")
    (home / "torn.jsonl").write_text('{"definition":{"a')
    said = sma("conform", *arguments)
    assert said.code == 2, said.all
    assert what in said.err
    assert "Traceback" not in said.all
