"""What putting a reply together must keep, and what it must refuse to guess."""

import pytest

from statemachine_agents.models.streamed import Gathering, reply_of, usage_of

USAGE = {
    "input_tokens": 10,
    "output_tokens": 2,
    "cache_creation_input_tokens": None,
    "cache_read_input_tokens": 7,
}


def start(**fields):
    message = {"id": "msg_1", "model": "claude-x", "content": [], "usage": USAGE, **fields}
    return {"type": "message_start", "message": message}


def opened(index, **block):
    return {"type": "content_block_start", "index": index, "content_block": block}


def grown(index, **delta):
    return {"type": "content_block_delta", "index": index, "delta": delta}


def ended(reason="end_turn", **delta):
    return [
        {
            "type": "message_delta",
            "delta": {"stop_reason": reason, **delta},
            "usage": {"output_tokens": 9},
        },
        {"type": "message_stop"},
    ]


def gather(*events):
    gathering = Gathering()
    said = [gathering.add(event) for event in events]
    return gathering.reply(), "".join(said)


def called(*pieces, given=None):
    """Stream one call whose arguments come in these pieces."""
    block = {"type": "tool_use", "id": "toolu_1", "name": "a", "input": given or {}}
    deltas = [grown(0, type="input_json_delta", partial_json=piece) for piece in pieces]
    reply, _ = gather(start(), opened(0, **block), *deltas, *ended("tool_use"))
    return reply


def test_blocks_grow_from_their_pieces():
    """Text, thinking, signature, citations and arguments are put together, in order of index."""
    reply, said = gather(
        start(),
        opened(0, type="thinking", thinking="", signature=""),
        grown(0, type="thinking_delta", thinking="hm"),
        grown(0, type="thinking_delta", thinking="m"),
        grown(0, type="signature_delta", signature="sig"),
        {"type": "content_block_stop", "index": 0},
        opened(1, type="text", text="", citations=None),
        grown(1, type="text_delta", text="Hel"),
        grown(1, type="text_delta", text="lo"),
        grown(1, type="citations_delta", citation={"n": 1}),
        grown(1, type="citations_delta", citation={"n": 2}),
        opened(2, type="tool_use", id="t", name="a", input={}, caller={"type": "direct"}),
        grown(2, type="input_json_delta", partial_json=""),
        grown(2, type="input_json_delta", partial_json='{"x":'),
        grown(2, type="input_json_delta", partial_json=" 1}"),
        *ended("tool_use"),
    )
    assert reply.content == [
        {"type": "thinking", "thinking": "hmm", "signature": "sig"},
        {"type": "text", "text": "Hello", "citations": [{"n": 1}, {"n": 2}]},
        {
            "type": "tool_use",
            "id": "t",
            "name": "a",
            "input": {"x": 1},
            "caller": {"type": "direct"},
        },
    ]
    assert said == "Hello"
    assert (reply.id, reply.model, reply.stop_reason) == ("msg_1", "claude-x", "tool_use")
    assert not reply.cut
    assert not reply.unreadable
    assert reply.usage == {
        "input_tokens": 10,
        "output_tokens": 9,
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": 7,
    }


def test_text_that_comes_with_the_start_is_said_too():
    """Text in the opening of a block counts as arrived; other blocks say nothing."""
    _, said = gather(
        start(), opened(0, type="text", text="Hi"), opened(1, type="tool_use", id="t", name="a")
    )
    assert said == "Hi"


def test_unknown_blocks_and_deltas_are_kept():
    """A block type or delta type from the future keeps its fields; its texts grow."""
    reply, said = gather(
        start(),
        opened(0, type="hologram", colour="red", film="", frames=1),
        grown(0, type="hologram_delta", film="ab"),
        grown(0, type="hologram_delta", film="c", frames=2, extra=[1]),
        {"type": "weather", "index": 0},
        *ended(),
    )
    assert reply.content == [
        {"type": "hologram", "colour": "red", "film": "abc", "frames": 2, "extra": [1]}
    ]
    assert said == ""


@pytest.mark.parametrize("reason", ["max_tokens", "model_context_window_exceeded"])
def test_a_call_that_ran_out_of_tokens_is_empty(reason):
    """Streamed or not, a call cut by the token limit has the input {} and is not called wrong."""
    block = {"type": "tool_use", "id": "t", "name": "a", "input": {}}
    partial = grown(0, type="input_json_delta", partial_json='{"x": ')
    reply, _ = gather(start(), opened(0, **block), partial, *ended(reason))
    assert reply.content == [block]
    assert reply.stop_reason == reason
    assert not reply.unreadable
    assert not reply.cut


@pytest.mark.parametrize("pieces", [(), ("",), ("", "  ")])
def test_no_arguments_are_an_empty_object(pieces):
    """A call whose arguments never came is a call without arguments."""
    reply = called(*pieces)
    assert reply.content[0]["input"] == {}
    assert not reply.unreadable


def test_arguments_given_at_the_start_stay():
    """Arguments that came whole with the block are not wiped by an empty piece."""
    assert called("", given={"x": 1}).content[0]["input"] == {"x": 1}


@pytest.mark.parametrize(
    "raw",
    [
        '{"x": 1',
        "[1]",
        '"text"',
        "null",
        '{"x": 1, "x": 2}',
        '{"x": NaN}',
        '{"x": 1e999}',
        '{"x": 36028797018963968}',
        '{"x": 1} trailing',
        "[" * 100 + "]" * 100,
    ],
)
def test_arguments_that_are_no_plain_object_are_unreadable(raw):
    """What cannot be kept exactly is not guessed: the input is {} and the text is handed on."""
    reply = called(raw[:4], raw[4:])
    assert reply.content[0]["input"] == {}
    assert reply.unreadable == {"toolu_1": raw}
    assert reply.stop_reason == "tool_use"


def test_a_stream_without_its_end_is_cut():
    """Without `message_stop` there is no stop reason, whatever was announced before."""
    reply, said = gather(start(), opened(0, type="text", text="Hel"), ended("end_turn")[0])
    assert reply.cut
    assert reply.stop_reason is None
    assert reply.content == [{"type": "text", "text": "Hel"}]
    assert said == "Hel"
    assert reply.usage["output_tokens"] == 9


def test_nothing_has_begun_before_the_first_event():
    """`begun` and `whole` follow the events."""
    gathering = Gathering()
    assert not gathering.begun
    gathering.add(start())
    assert (gathering.begun, gathering.whole) == (True, False)
    for event in ended():
        gathering.add(event)
    assert gathering.whole


def test_a_message_start_may_hold_content():
    """Blocks that come with the start of the message are kept."""
    reply, _ = gather(start(content=[{"type": "text", "text": "x"}]), *ended())
    assert reply.content == [{"type": "text", "text": "x"}]


def test_a_refusal_says_why():
    """The explanation of a refusal, else its category, is the reply's detail."""
    details = {"type": "refusal", "category": "cyber", "explanation": "No."}
    assert gather(start(), *ended("refusal", stop_details=details))[0].detail == "No."
    message = {"content": [], "stop_reason": "refusal"}
    assert reply_of({**message, "stop_details": {**details, "explanation": None}}).detail == "cyber"
    assert reply_of({**message, "stop_details": None}).detail == ""


@pytest.mark.parametrize(
    ("given", "raw"),
    [
        ("{oops", "{oops"),
        (None, "null"),
        ([1], "[1]"),
        ({"x": float("nan")}, '{"x": NaN}'),
        ({"x": 2**60}, '{"x": 1152921504606846976}'),
    ],
)
def test_a_whole_message_is_as_strict(given, raw):
    """Arguments of a message that did not stream are judged alike, with their text rebuilt."""
    block = {"type": "tool_use", "id": "t", "name": "a", "input": given}
    reply = reply_of({"content": [block], "stop_reason": "tool_use"})
    assert reply.content == [{**block, "input": {}}]
    assert reply.unreadable == {"t": raw}


def test_usage_counts_are_whole_numbers():
    """Missing, null and odd counts are 0; later parts win."""
    assert usage_of(None, {"input_tokens": True, "output_tokens": 4}, {"output_tokens": 5}) == {
        "input_tokens": 0,
        "output_tokens": 5,
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": 0,
    }
