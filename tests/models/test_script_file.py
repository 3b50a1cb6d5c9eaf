"""What a script file must mean, and what it must refuse with its place."""

import asyncio
import textwrap

import pytest

from statemachine_agents.errors import UsageError
from statemachine_agents.models.script_file import read_script
from statemachine_agents.models.scripted import (
    Fault,
    Proposed,
    ScriptedModel,
    Turn,
    raw,
    say,
    stop,
    use,
    use_all,
)
from statemachine_agents.turn.ports import ModelRequest

LINES = r"""
# a comment
{"use": "fetch_order", "arguments": {"order_id": "A1"}}
{"use": "a", "id": "mine", "text": "beside"}

{"calls": [{"use": "a"}, {"raw": "b", "arguments": "{oops", "id": "x"}], "text": "both"}
{"raw": "c", "arguments": "nan"}
{"say": "Done. "}
{"stop": "max_tokens", "text": "I was", "calls": [{"use": "a"}]}
{"stop": "refusal"}
{"fail": "overloaded", "message": "busy"}
"""

TOML = """
[[turns]]
use = "fetch_order"
arguments = { order_id = "A1" }

[[turns]]
use = "a"
id = "mine"
text = "beside"

[[turns]]
calls = [{ use = "a" }, { raw = "b", arguments = "{oops", id = "x" }]
text = "both"

[[turns]]
raw = "c"
arguments = "nan"

[[turns]]
say = "Done.\u2028"

[[turns]]
stop = "max_tokens"
text = "I was"
calls = [{ use = "a" }]

[[turns]]
stop = "refusal"

[[turns]]
fail = "overloaded"
message = "busy"
"""

TURNS = [
    use("fetch_order", order_id="A1"),
    Turn("beside", (Proposed("a", {}, "mine"),), "tool_use"),
    Turn("both", (Proposed("a"), Proposed("b", {}, "x", "{oops")), "tool_use"),
    raw("c", "nan"),
    say("Done.\u2028"),
    stop("max_tokens", "I was", use("a")),
    stop("refusal"),
    Fault("overloaded", "busy"),
]


def write(tmp_path, text, name="script.jsonl"):
    path = tmp_path / name
    path.write_text(textwrap.dedent(text), encoding="utf-8")
    return path


def test_both_formats_say_the_same(tmp_path):
    """JSON lines and TOML read to the same turns as the Python words build."""
    lines = LINES.replace("Done. ", "Done.\u2028")
    assert read_script(write(tmp_path, lines)) == TURNS
    assert read_script(write(tmp_path, TOML, "script.toml")) == TURNS
    assert use_all(use("a"), use("b")).calls == (Proposed("a"), Proposed("b"))


def test_a_file_makes_a_model(tmp_path):
    """`from_file` gives a model that replies from the file."""
    model = ScriptedModel.from_file(write(tmp_path, '{"say": "hello"}'))
    asked = ModelRequest(run="r", agent="a", model=None, system=[], tools=[], messages=[])
    reply = asyncio.run(model.complete(asked))
    assert reply.content == [{"type": "text", "text": "hello"}]
    assert model.unused == ()


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ('{"use": "a", "argumnts": {}}', ["unknown key 'argumnts'", "did you mean 'arguments'"]),
        ('{"uses": "a"}', ["the keys uses", "did you mean 'use'"]),
        ("{}", ["the keys none"]),
        ('{"use": "a", "say": "b"}', ["use and say", "exactly one of"]),
        ('{"use": 1}', ["'use' is a int, expected text"]),
        ('{"use": "a", "arguments": []}', ["'arguments' is a list, expected an object"]),
        ('{"use": "a", "id": null}', ["'id' is null, expected text"]),
        ('["use"]', ["got a list, expected an object"]),
        ('{"raw": "a"}', ["'raw' needs 'arguments'"]),
        ('{"calls": [{"say": "x"}]}', ["call 1", "exactly one of use raw"]),
        ('{"calls": [{"use": "a", "text": "x"}]}', ["call 1", "belongs beside 'calls'"]),
        ('{"fail": "overloded"}', ["'overloded'", "overloaded"]),
        ('{"say": "a"', ["not JSON"]),
        ('{"say": "a", "say": "b"}', ["stands twice"]),
        ('{"use": "a", "arguments": {"n": NaN}}', ["NaN is not JSON"]),
    ],
)
def test_a_wrong_line_is_named(tmp_path, line, words):
    """Whatever is wrong with a line is said with the file, the line, and what may stand there."""
    path = write(tmp_path, '# first\n{"say": "fine"}\n' + line)
    with pytest.raises(UsageError) as caught:
        read_script(path)
    for word in ["script.jsonl, line 3", *words]:
        assert word in str(caught.value)


def test_a_wrong_toml_block_is_named(tmp_path):
    """In TOML the line is that of the block's header."""
    path = write(tmp_path, '[[turns]]\nsay = "a"\n\n[[turns]]\nsayy = "b"\n', "s.toml")
    with pytest.raises(UsageError, match=r"s\.toml, line 4: .*did you mean 'say'"):
        read_script(path)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("turns = [{ say = 'a' }, { sayy = 'b' }]", "s.toml, turn 2"),
        ("[[turns]]\nsay = 'a'\n[other]\n", "got other, expected"),
        ("", "got no turns"),
        ("[[turns]\n", "not TOML"),
        ("[[turns]]\nuse = 'a'\narguments = { at = 2026-01-01 }", "line 1.*a date"),
    ],
)
def test_other_toml_is_refused(tmp_path, text, words):
    """TOML that is no script, or holds what JSON cannot, is refused with its place."""
    with pytest.raises(UsageError, match=words):
        read_script(write(tmp_path, text, "s.toml"))


def test_a_missing_file_is_a_usage_error(tmp_path):
    """A file that is not there, or is not text, is said to be so."""
    with pytest.raises(UsageError, match=r"'none\.jsonl' cannot be read"):
        read_script(tmp_path / "none.jsonl")
    (tmp_path / "binary.jsonl").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UsageError, match=r"'binary\.jsonl' cannot be read"):
        read_script(tmp_path / "binary.jsonl")
