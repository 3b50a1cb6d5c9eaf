"""What people say to runs: approve, send, resolve, resume, cancel; and whose functions go on."""

import json
import shlex
import shutil

import pytest

from tests.cli.terminal import ONE_TOOL, RAISES, SLEEPS, TALK, folder

GREETS = """
{"say": "Hello, how can I help?"}
{"use": "bye", "arguments": {"why": "all said"}}
"""


def large(sma):
    """A run that waits for a yes to 320.00."""
    said = sma("run", "refund", "--input", "order_id=A14", "--json")
    assert said.code == 5
    return said.last["run_id"]


def doubtful(sma, home):
    """A run whose tool broke in the middle: nobody knows what it did."""
    folder(home, "risky", ONE_TOOL.format(name="risky"), RAISES)
    said = sma("run", "risky", "--json")
    assert said.code == 5
    assert said.last["waiting"] == ["resolution"]
    return said


def test_a_yes_completes_the_run(sma):
    """`sma approve` runs the call with the approved arguments and goes on to the end."""
    run_id = large(sma)
    said = sma("approve", run_id, "--by", "ada", "--note", "known customer", "--json")
    assert said.code == 0, said.err
    assert said.last["value"]["amount_cents"] == 32000
    assert "yes by ada: known customer" in sma("show", run_id).out
    # Told rightly although another process told what came before.
    moves = [each for each in said.objects if each.get("event") == "state_left"]
    assert [move["state"] for move in moves] == ["crediting", "emailing"]
    assert all(0 <= move["seconds"] < 600 for move in moves)
    tools = [each["tool"] for each in said.objects if each.get("event") == "call_finished"]
    assert tools == ["process_credit", "send_email"]


def test_a_no_fails_the_run_with_the_note(sma):
    """`--reject` is a no: the run ends as its table says, exit 3."""
    said = sma("approve", large(sma), "--reject", "--note", "too much", "--json")
    assert said.code == 3
    assert said.last["reason"] == "too much"


def test_the_digest_of_other_arguments_is_refused(sma):
    """Who approves what they saw names its digest; another digest is refused, the run waits on."""
    run_id = large(sma)
    said = sma("approve", run_id, "--digest", "00")
    assert said.code == 2
    assert "not the ones that were shown" in said.err
    (line,) = [each for each in sma("show", run_id).out.splitlines() if "digest" in each]
    assert sma("approve", run_id, "--digest", line.split()[-1]).code == 0


def test_approving_twice_or_the_wrong_one_is_a_mistake(sma):
    """An approval nobody asked for, or a second one, exits 2 and changes nothing."""
    run_id = large(sma)
    wrong = sma("approve", run_id, "--approval", "a99")
    assert wrong.code == 2
    assert "nothing waits for the approval a99" in wrong.err
    assert sma("approve", run_id).code == 0
    again = sma("approve", run_id)
    assert again.code == 2
    assert "nothing waits for an approval" in again.err


def test_the_next_command_works_as_it_is_printed(sma, home):
    """What a parked run says to type next does it, with its own store and its own workflow."""
    shutil.copytree(bundled_refund(), home / "my desk")
    first = sma(
        "run", "my desk", "--input", "order_id=A14", "--store", "my runs.db", "--model",
        "rehearsal", "--json",
    )  # fmt: skip
    assert first.code == 5, first.err
    line = first.event("pending")["next"][0]
    assert "--workflow 'my desk'" in line
    assert "--store 'my runs.db'" in line
    name, *arguments = shlex.split(line)
    assert name == "sma"
    assert sma(*arguments).code == 0


def bundled_refund():
    """The folder of the bundled workflow."""
    from statemachine_agents.load import bundled

    return bundled()["refund"]


def test_a_customer_is_answered_and_the_run_waits_again(sma, home):
    """`sma send` gives the message, shows the reply, and parks until the next one."""
    folder(home, "talk", TALK)
    (home / "turns.jsonl").write_text(GREETS)
    begun = sma("run", "talk", "--json")
    assert begun.code == 5
    run_id = begun.last["run_id"]
    assert begun.event("pending")["next"] == [f"sma send {run_id} TEXT"]
    said = sma("send", run_id, "Hi!", "--model", "scripted:turns.jsonl")
    assert said.code == 5, said.err
    assert "to the customer: Hello, how can I help?" in said.out
    (home / "turns.jsonl").write_text(GREETS.split("\n")[2] + "\n")
    said = sma("send", run_id, "Bye!", "--model", "scripted:turns.jsonl", "--json")
    assert said.code == 0
    assert said.last["value"] == "all said"


def test_a_yes_is_an_attribute_of_a_message(sma, home):
    """The retail desk cancels an order only after `--attribute confirms=true`."""
    found = {"use": "find_user_id_by_email", "arguments": {"email": "ada.brook@example.org"}}
    cancel = {"use": "cancel_pending_order",
              "arguments": {"order_id": "#W1", "reason": "ordered by mistake"}}  # fmt: skip
    read = {"use": "get_order_details", "arguments": {"order_id": "#W1"}}

    def script(*turns):
        lines = [json.dumps(turn) for turn in turns]
        (home / "turns.jsonl").write_text("\n".join(lines) + "\n")

    run_id = sma("run", "retail", "--json").last["run_id"]
    model = ("--model", "scripted:turns.jsonl")
    script(found, read, cancel, {"say": "Shall I?"})
    said = sma("send", run_id, "Cancel #W1.", *model)
    assert said.code == 5
    assert "Cancel only a pending order" in sma("show", run_id).out
    script(cancel, {"say": "Done."})
    said = sma("send", run_id, "Yes!", "--attribute", "confirms=true", *model, "--json")
    assert said.code == 5
    assert '"status":"cancelled"' in sma("show", run_id, "--json").out.replace(" ", "")
    wrong = sma("send", run_id, "Yes!", "--attribute", "confirms", *model)
    assert wrong.code == 2
    assert "expected KEY=VALUE, such as confirms=true" in wrong.all


def test_the_same_message_id_is_taken_once(sma, home):
    """A channel that delivers twice is answered once."""
    folder(home, "talk", TALK)
    run_id = sma("run", "talk", "--json").last["run_id"]
    (home / "turns.jsonl").write_text(GREETS.split("\n")[1] + "\n")
    model = ("--model", "scripted:turns.jsonl", "--message-id", "m1")
    assert sma("send", run_id, "Hi!", *model).code == 5
    assert sma("send", run_id, "Hi!", *model).code == 5
    assert sma("show", run_id).out.count("message_received") == 1


def test_a_call_in_doubt_is_resolved_as_done(sma, home):
    """A person says what the tool would have returned; the run goes on with it."""
    parked = doubtful(sma, home)
    run_id = parked.last["run_id"]
    assert parked.event("pending")["next"] == [
        f"sma resolve {run_id} --done RESULT-AS-JSON",
        f"sma resolve {run_id} --not-done",
    ]
    said = sma("resolve", run_id, "--done", '"made after all"', "--by", "bo", "--json")
    assert said.code == 0, said.err
    assert said.last["value"] == "made after all"
    assert "bo says done" in sma("show", run_id).out


def test_a_call_in_doubt_is_resolved_as_not_done(sma, home):
    """A person says that it did not happen: the tool's error row takes it."""
    run_id = doubtful(sma, home).last["run_id"]
    said = sma("resolve", run_id, "--call", "1", "--not-done", "--json")
    assert said.code == 3
    assert said.last["state"] == "bad"


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ([], "say either --done"),
        (["--done", "1", "--not-done"], "say either --done"),
        (["--done", "not json"], "a text is written in quotes"),
        (["--call", "7", "--not-done"], "no call 7 is in doubt"),
    ],
)
def test_a_resolution_that_makes_no_sense_is_refused(sma, home, arguments, sentence):
    """Neither, both, no JSON, or a call that is not in doubt: exit 2 with the reason."""
    run_id = doubtful(sma, home).last["run_id"]
    said = sma("resolve", run_id, *arguments)
    assert said.code == 2
    assert sentence in said.err


def test_a_cancelled_run_exits_3(sma):
    """`sma cancel` ends a parked run; who and why stand in the journal."""
    run_id = large(sma)
    said = sma("cancel", run_id, "--reason", "wrong order", "--by", "cy", "--json")
    assert said.code == 3
    assert said.last["status"] == "cancelled"
    assert "by cy: wrong order" in sma("show", run_id).out


def test_what_comes_too_late_is_refused(sma):
    """A run that has ended takes nothing any more; resuming it shows how it ended."""
    sma("run", "refund", "--input", "order_id=A1")
    for arguments in (["send", "last", "hello"], ["cancel", "last"], ["approve", "last"]):
        said = sma(*arguments)
        assert said.code == 2
        assert said.err.startswith("sma: ")
    assert sma("resume", "last").code == 0


def test_functions_come_from_a_workflow_with_the_same_tools(sma, home):
    """A folder that only has the run's name is not taken for its workflow."""
    desk = home / "workflows"
    desk.mkdir()
    folder(desk, "risky", ONE_TOOL.format(name="risky"), RAISES)
    run_id = sma("run", "workflows/risky", "--json").last["run_id"]
    assert sma("show", run_id).code == 0
    folder(home, "risky", ONE_TOOL.format(name="risky"), SLEEPS)
    said = sma("resolve", run_id, "--done", "1")
    assert said.code == 0, said.err


def test_a_workflow_that_is_nowhere_must_be_named(sma, home):
    """Without its functions a run cannot go on; the sentence says how to name them."""
    run_id = doubtful(sma, home).last["run_id"]
    shutil.move(home / "risky", home / "elsewhere")
    said = sma("resolve", run_id, "--not-done")
    assert said.code == 2
    assert "--workflow" in said.err
    folder(home, "poor", TALK.replace('"talk"', '"poor"'))
    said = sma("resolve", run_id, "--not-done", "--workflow", "poor")
    assert said.code == 2
    assert "needs the tools work, which poor does not have" in said.err
    assert sma("resolve", run_id, "--not-done", "--workflow", "elsewhere").code == 3


def test_a_run_keeps_its_definition_when_the_table_changes(sma, home):
    """Rows written since a run began do not touch it; the same tools go on with it."""
    run_id = large(sma)
    shutil.copytree(bundled_refund(), home / "refund")
    table = home / "refund" / "table.toml"
    table.write_text(table.read_text().replace("amount_cents > 20000", "amount_cents > 1"))
    assert sma("approve", run_id).code == 0
    assert sma("replay", run_id).code == 0
