"""`sma run`: outcomes, exit codes, inputs, models, limits."""

import json
import sqlite3

import pytest

from tests.cli.terminal import KEYS, ONE_TOOL, RAISES, folder

FOUR_TURNS = """
{"use": "fetch_order"}
{"use": "check_refund_policy"}
{"use": "process_credit"}
{"use": "send_email", "arguments": {"subject": "Refund", "body": "Hello, it is on its way."}}
"""


def test_an_eligible_order_is_refunded(sma, home):
    """A1 goes the whole way, exit 0, and the outcome object is the last line."""
    said = sma("run", "refund", "--input", "order_id=A1", "--json")
    assert said.code == 0, said.err
    assert set(said.last) == KEYS
    assert said.last["status"] == "succeeded"
    assert said.last["state"] == "complete"
    assert said.last["path"] == ["fetching", "validating", "crediting", "emailing", "complete"]
    assert said.last["value"]["order_id"] == "A1"
    assert said.last["iterations"] == 4
    assert said.last["run_id"].startswith("r-")
    assert {path.name for path in home.iterdir()} >= {"sma-runs.db", "shop.db", "mail"}


def test_the_second_time_it_names_the_first_run(sma):
    """A credit is paid once; the second run fails and says which run paid."""
    first = sma("run", "refund", "--input", "order_id=A1", "--json").last["run_id"]
    said = sma("run", "refund", "--input", "order_id=A1")
    assert said.code == 3
    assert f"already refunded by run {first}" in said.out


def test_an_unknown_order_fails_with_its_reason(sma):
    """An order that does not exist ends the run as failed, exit 3, the reason said."""
    said = sma("run", "refund", "--input", "order_id=NO-SUCH-ORDER")
    assert said.code == 3
    assert "there is no order 'NO-SUCH-ORDER'" in said.out
    as_json = sma("run", "refund", "--input", "order_id=NO-SUCH-ORDER", "--json")
    assert as_json.code == 3
    assert as_json.last["reason"] == "there is no order 'NO-SUCH-ORDER'"


def test_a_limit_exits_4_and_is_named_with_its_state(sma):
    """Two turns are too few: the limit and the state where it was met are said."""
    said = sma("run", "refund", "--input", "order_id=A1", "--max-iterations", "2")
    assert said.code == 4
    assert "iterations reached in state crediting" in said.out
    as_json = sma("run", "refund", "--input", "order_id=A2", "--max-iterations", "2", "--json")
    assert as_json.code == 4
    assert as_json.last["limit"] == "iterations"
    assert "crediting" in as_json.last["reason"]


def test_the_limit_of_iterations_is_part_of_the_definition(sma):
    """A run under --max-iterations replays, because its definition says the same limit."""
    sma("run", "refund", "--input", "order_id=A1", "--max-iterations", "2")
    assert sma("replay", "last").code == 0
    said = sma("run", "refund", "--input", "order_id=A1", "--max-iterations", "2")
    assert "turn 1 of 2" in said.out


def test_a_large_credit_parks_and_names_the_next_command(sma):
    """Exit 5, the question, its arguments, and what to type."""
    said = sma("run", "refund", "--input", "order_id=A14", "--json")
    assert said.code == 5
    assert said.last["status"] == "waiting"
    assert said.last["waiting"] == ["approval"]
    pending = said.event("pending")
    assert pending["pending"][0]["tool"] == "process_credit"
    assert pending["pending"][0]["arguments"] == {"amount_cents": 32000, "order_id": "A14"}
    run_id = said.last["run_id"]
    assert pending["next"] == [f"sma approve {run_id}", f"sma approve {run_id} --reject"]


def test_the_live_view_tells_states_turns_tools_rows_and_guards(sma):
    """Whoever watches sees where the run is, what was called, which row fired and why."""
    said = sma("run", "refund", "--input", "order_id=A1")
    assert said.code == 0
    for line in (
        "turn 1 of 12 asks for fetch_order",
        "fetch_order ok",
        "row 1: fetch_order.ok -> validating",
        "(row 3 true)",
        "succeeded in complete",
    ):
        assert line in said.out


def test_a_linear_table_is_counted(sma, home):
    """Where states stand in a line, the view says which of how many."""
    tools = RAISES.replace('raise RuntimeError("the line went dead")', 'return "made"')
    folder(home, "linear", ONE_TOOL.format(name="linear"), tools)
    said = sma("run", "linear")
    assert said.code == 0, said.err
    assert "working (1 of 2)" in said.out
    assert "done (2 of 2)" in said.out


def test_events_of_json_tell_the_row_and_the_verdicts(sma):
    """A program gets for every move: the event, the row, its guard and what the guards said."""
    said = sma("run", "refund", "--input", "order_id=A1", "--json")
    moves = [each for each in said.objects if each.get("event") == "state_left"]
    assert [move["on"] for move in moves][:2] == ["fetch_order.ok", "check_refund_policy.ok"]
    assert moves[1]["row"] == 2
    assert moves[1]["verdicts"] == [[2, True, ""]]
    assert "result.eligible" in moves[1]["guard"]
    entered = [each["state"] for each in said.objects if each.get("event") == "state_entered"]
    assert entered == said.last["path"]


def test_rehearsal_says_in_one_line_that_no_model_was_used(sma):
    """Without a key the rehearsal walks the table, and says so on stderr, once."""
    said = sma("run", "refund", "--input", "order_id=A1", "--json")
    assert said.err.count("\n") == 1
    assert "no model was used" in said.err


def test_a_scripted_model_replies_from_a_file(sma, home):
    """--model scripted:FILE plays the file; nothing is said about rehearsals."""
    (home / "turns.jsonl").write_text(FOUR_TURNS)
    said = sma(
        "run", "refund", "--input", "order_id=A1", "--model", "scripted:turns.jsonl", "--json"
    )
    assert said.code == 0, said.err
    assert said.err == ""
    assert said.event("run")["model"] == "scripted:turns.jsonl"


def test_a_script_that_is_too_short_says_so_and_how_to_go_on(sma, home):
    """The run is kept: what was used up is the script."""
    (home / "turns.jsonl").write_text(FOUR_TURNS.split("\n")[1] + "\n")
    said = sma("run", "refund", "--input", "order_id=A1", "--model", "scripted:turns.jsonl")
    assert said.code == 2
    assert "all 1 turns of the script are used" in said.err
    assert "the run can go on: sma resume r-" in said.err
    assert "Traceback" not in said.all
    assert sma("resume", "last", "--model", "rehearsal").code == 0


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--input", "order_idd=A1"], "did you mean 'order_id'?"),
        ([], "input 'order_id' is missing; expected string"),
        (["--input", "order_id"], "expected KEY=VALUE"),
        (["--input", "order_id=A1", "--input", "order_id=A2"], "is given twice"),
        (["--input-json", "{"], "--input-json: not JSON"),
        (["--input-json", "[1]"], "--input-json: expected an object"),
        (["--input-json", '{"order_id": 1}'], "expected string, got integer"),
        (["--input", "order_id=A1", "--max-iterations", "0"], "expected 1 or more"),
        (["--input", "order_id=A1", "--max-iterations", "few"], "unable to convert"),
        (["--input", "order_id=A1", "--model", "scripted:none.jsonl"], "cannot be read"),
    ],
)
def test_a_wrong_input_exits_2_and_makes_nothing(sma, home, arguments, sentence):
    """A mistake is found before a store, a shop or a run is made."""
    said = sma("run", "refund", *arguments)
    assert said.code == 2
    assert sentence in said.err
    assert "Traceback" not in said.all
    assert not list(home.glob("shop.db"))
    if "scripted" not in str(arguments):
        assert not list(home.glob("sma-runs.db"))


def test_inputs_are_read_as_their_declared_types(sma, home):
    """Text stays text, numbers, booleans, objects and null are read as JSON."""
    table = """
name = "typed"
initial = "start"
transitions = [{ source = "start", event = "entered", target = "done" }]
[states]
start = { do = [] }
done = { final = "success", returns = "context" }
[context]
t = "string"
n = "integer"
b = "boolean"
o = "object"
x = "any"
z = "string?"
"""
    folder(home, "typed", table)
    said = sma(
        "run", "typed", "--json", "--input", "t=1", "--input", "n=-2", "--input", "b=true",
        "--input", 'o={"a": [1]}', "--input", "x=free text=yes", "--input-json", '{"z": null}',
    )  # fmt: skip
    assert said.code == 0, said.err
    wanted = {"t": "1", "n": -2, "b": True, "o": {"a": [1]}, "x": "free text=yes", "z": None}
    assert said.last["value"] == wanted
    wrong = sma(
        "run", "typed", "--input", "t=1", "--input", "n=two", "--input", "b=1", "--input", "o={}"
    )
    assert wrong.code == 2
    wrong = sma(
        "run", "typed", "--input", "t=1", "--input", "n=2", "--input", "b=1", "--input", "o={}"
    )
    assert wrong.code == 2
    assert "input 'b': expected boolean, got integer" in wrong.err


def test_the_same_request_id_gives_the_same_run(sma):
    """A caller that repeats itself gets the run it already has."""
    one = sma("run", "refund", "--input", "order_id=A1", "--request-id", "q1", "--json").last
    two = sma("run", "refund", "--input", "order_id=A1", "--request-id", "q1", "--json").last
    assert one == two
    assert len(sma("runs", "--json").objects) == 1


def test_the_shop_lies_beside_the_store(sma, home):
    """`home` of a workflow is the directory of the store, wherever the user stands."""
    (home / "far").mkdir()
    said = sma("run", "refund", "--input", "order_id=A1", "--store", "far/runs.db")
    assert said.code == 0
    assert (home / "far" / "shop.db").exists()
    assert not (home / "shop.db").exists()


def test_a_key_makes_claude_the_default(sma, monkeypatch):
    """With a key Claude is asked; where nothing answers, the run parks and says how to go on."""
    monkeypatch.setenv("ANTHROPIC_API_KEY", "not-a-real-key")
    said = sma(
        "run", "refund", "--input", "order_id=A1", "--base-url", "http://127.0.0.1:9", "--json"
    )
    assert said.code == 5
    assert said.event("run")["model"] == "claude-sonnet-5-5"
    assert said.last["waiting"] == ["resume"]
    assert "not-a-real-key" not in said.all
    line = said.event("pending")["next"][0]
    assert line.startswith(f"sma resume {said.last['run_id']}")
    assert "--base-url http://127.0.0.1:9" in line
    monkeypatch.delenv("ANTHROPIC_API_KEY")
    assert sma("resume", "last").code == 0


def test_the_reason_of_a_failed_model_is_shown(sma):
    """People see why the model could not be asked, not only that."""
    said = sma(
        "run", "refund", "--input", "order_id=A1", "--model", "claude-haiku-5-5", "--base-url",
        "http://127.0.0.1:9",
    )  # fmt: skip
    assert said.code == 5
    assert "the model could not be asked" in said.out
    assert "transport" in said.out or "auth" in said.out


def test_the_journal_is_on_disk_before_the_command_ends(sma):
    """What `run` said happened can be read by another program right after."""
    run_id = sma("run", "refund", "--input", "order_id=A1", "--json").last["run_id"]
    with sqlite3.connect("file:sma-runs.db?mode=ro", uri=True) as db:
        (count,) = db.execute("select count(*) from record where run = ?", (run_id,)).fetchone()
    db.close()
    assert count == json.loads(sma("runs", "--json").out.splitlines()[0])["seq"]
