"""The vocabulary of steps, in Python and as JSON lines: what is accepted, what is refused."""

from __future__ import annotations

import pytest

from statemachine_agents.errors import UsageError
from statemachine_agents.testing.messages_api import (
    Call,
    MessagesAPI,
    cut,
    delay,
    drop,
    error,
    from_dict,
    load_script,
    malformed,
    parse_script,
    refusal,
    reply,
    stream_error,
    truncated,
)

FILE = """
# a conversation with every word
{"reply": {"text": "One moment.", "calls": [["fetch_order", {"order_id": "A1"}, "call_1"]]}}
{"reply": {"thinking": true, "stop_reason": "bored", "usage": {"output_tokens": 5}}}
{"error": {"status": 429, "retry_after": 0.5, "headers": {"X-Should-Retry": "false"}}}
   # indented comment
{"delay": {"seconds": 1, "step": {"reply": {"text": "late"}}}}
{"drop": {}}
{"cut": {"after": 3, "clean": true, "step": {"reply": {"text": "cut"}}}}
{"stream_error": {"after": 2}}
{"malformed": {"name": "f", "raw": "{x"}}
{"truncated": {"name": "f", "input": {"a": 1}}}
{"refusal": {"category": "bio"}}
"""


def test_a_file_says_the_same_words():
    """Each line of the file form is the step that the function of that name makes."""
    assert parse_script(FILE) == (
        reply("One moment.", [("fetch_order", {"order_id": "A1"}, "call_1")]),
        reply(thinking=True, stop_reason="bored", usage={"output_tokens": 5}),
        error(429, retry_after=0.5, headers={"x-should-retry": "false"}),
        delay(1, reply("late")),
        drop(),
        cut(3, reply("cut"), clean=True),
        stream_error(after=2),
        malformed("f", "{x"),
        truncated("f", {"a": 1}),
        refusal("bio"),
    )


def test_a_file_is_loaded_from_disk(tmp_path):
    """A script file is read as UTF-8; a missing one is the caller's mistake."""
    path = tmp_path / "script.jsonl"
    path.write_text('{"reply": {"text": "é"}}\n', encoding="utf-8")
    assert load_script(path) == (reply("é"),)
    with pytest.raises(UsageError, match="cannot be read"):
        load_script(tmp_path / "none.jsonl")


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("{", "script, line 2: not JSON"),
        ("[]", "script, line 2: got .*expected one object with one key out of: reply error"),
        ('{"answer": {}}', "expected one object with one key"),
        ('{"reply": {}, "drop": {}}', "expected one object with one key"),
        ('{"reply": "hi"}', "line 2.reply: got 'hi', expected an object of arguments"),
        ('{"reply": {"txt": "hi"}}', "line 2.reply: .*unexpected keyword argument 'txt'"),
        ('{"reply": {"text": 5}}', "line 2.reply: text: got 5, expected str or null"),
        ('{"reply": {"calls": [["f"]]}}', r"calls\[0\]: got \['f'\], expected \(name, input\)"),
        ('{"reply": {"calls": [["f", {}, 3]]}}', r"calls\[0\]: got"),
        ('{"reply": {"blocks": [{"x": 1}]}}', "blocks: got .*expected objects with a type"),
        ('{"error": {}}', "line 2.error: .*missing 1 required positional argument: 'status'"),
        ('{"error": {"status": 200}}', "status is 200, expected 400 to 599"),
        ('{"cut": {"after": -1}}', "after is -1, expected 0 or more events"),
        ('{"cut": {"after": 1, "step": {"drop": {}}}}', "reply: got Drop.*expected Reply"),
        ('{"delay": {"seconds": -1, "step": {"drop": {}}}}', "got -1 seconds"),
        ('{"delay": {"seconds": 1, "step": {"dorp": {}}}}', "line 2.delay.step: got"),
        ('{"stream_error": {"type": "bad"}}', "got type 'bad', expected one of"),
    ],
)
def test_a_wrong_line_is_named(line, words):
    """A script error says which line, which word, what was found and what is expected."""
    with pytest.raises(UsageError, match=words):
        parse_script(f"# first\n{line}\n")


def test_mistakes_in_python_are_caught_where_they_are_made():
    """A wrong step is refused when it is written, not when a client asks."""
    with pytest.raises(UsageError, match="a delay again"):
        delay(1, delay(1, drop()))
    with pytest.raises(UsageError, match=r"calls\[0\].input: got a set"):
        reply(calls=[("f", {1, 2})])
    with pytest.raises(UsageError, match="id: got 3, expected str or null"):
        Call("f", {}, 3)
    with pytest.raises(UsageError, match="step 1: got 'hello', expected a step"):
        MessagesAPI([reply("x"), "hello"])
    assert from_dict({"drop": {}}) == drop()
