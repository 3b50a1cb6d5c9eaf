"""Prompt caching and token counts: what a driver that only appends saves, and what loses it."""

from __future__ import annotations

from contextlib import contextmanager
from itertools import pairwise

import anthropic
import pytest

from statemachine_agents.testing.messages_api import MessagesAPI, reply

OPUS = "claude-opus-5-5"
MARK = {"type": "ephemeral"}
HOUR = {"type": "ephemeral", "ttl": "1h"}
CLEAR = "mid-conversation-system-clear-at-2026-08-21"
TOOLS = [
    {"name": f"tool_{n}", "description": "d" * 400, "input_schema": {"type": "object"}}
    for n in range(6)
]
SYSTEM = "You are the refund desk of a shop. " * 60


class Clock:
    def __init__(self):
        self.now = 1_790_000_000.0

    def __call__(self):
        return self.now


@contextmanager
def served(script, clock=None):
    with (
        MessagesAPI(script, clock=clock or Clock()) as api,
        anthropic.Anthropic(api_key="test", base_url=api.url, max_retries=0) as client,
    ):
        yield api, client


def ask(client, messages, **more):
    settings = {"model": OPUS, "max_tokens": 100, "system": SYSTEM, "tools": TOOLS, **more}
    return client.messages.create(messages=messages, **settings)


def user(words, **more):
    return {"role": "user", "content": [{"type": "text", "text": words, **more}]}


def use(request):
    """One reply a turn: call the first tool, thinking included."""
    return reply(
        calls=[(request["tools"][0]["name"], {"turn": len(request["messages"])})], thinking=True
    )


def conversation(client, turns, *, note=None, betas="", system=lambda turn: SYSTEM, **more):
    """Run an append-only tool loop; return the usages."""
    messages, usages = [user("please refund A1")], []
    for turn in range(turns):
        if note is not None:
            messages.append({"role": "system", "content": f"state {turn}", **note})
        got = ask(
            client,
            messages,
            system=system(turn),
            extra_headers={"anthropic-beta": betas} if betas else {},
            **more,
        )
        usages.append(got.usage)
        messages += [
            got.to_param(),
            {
                "role": "user",
                "content": [
                    {"type": "tool_result", "tool_use_id": block.id, "content": "r" * 300}
                    for block in got.content
                    if block.type == "tool_use"
                ],
            },
        ]
    return usages


def total(usage):
    return (
        usage.input_tokens
        + (usage.cache_creation_input_tokens or 0)
        + (usage.cache_read_input_tokens or 0)
    )


def test_each_turn_reads_what_the_turn_before_had():
    """With the automatic mark, request n reads all of request n-1 and writes only what is new."""
    with served(use) as (_, client):
        usages = conversation(client, 6, cache_control=MARK, note={})
    assert (usages[0].cache_read_input_tokens, usages[0].input_tokens) == (0, 0)
    assert usages[0].cache_creation_input_tokens == total(usages[0]) > 512
    for before, after in pairwise(usages):
        assert after.cache_read_input_tokens == total(before)
        assert after.cache_creation_input_tokens == total(after) - total(before)
        assert after.cache_creation.ephemeral_5m_input_tokens == after.cache_creation_input_tokens


def test_thirty_append_only_turns_hit_nine_tokens_of_ten():
    """The hit rate of a long append-only run is at least 90 per cent."""
    with served(use) as (api, client):
        conversation(client, 30, cache_control=MARK, note={})
        assert api.hit_rate(1) > 0.9
        assert api.hit_rate() < api.hit_rate(1)


def test_turn_scoped_notes_cost_nothing_once_their_turn_is_over():
    """A cleared note is not counted, and does not stop the next request from hitting."""
    with served(use) as (api, client):
        usages = conversation(
            client, 8, cache_control=MARK, note={"clear_at": "next_user_message"}, betas=CLEAR
        )
        assert api.hit_rate(1) > 0.85
    assert all(usage.input_tokens > 0 for usage in usages), "the note itself is never cached"
    with served(use) as (_, client):
        kept = conversation(client, 8, cache_control=MARK, note={})
    assert total(usages[-1]) < total(kept[-1])


def test_a_system_prompt_that_changes_never_hits():
    """Rewriting system each turn (on a model that allows it) writes the cache and reads nothing."""
    with served(use) as (api, client):
        conversation(
            client,
            5,
            cache_control=MARK,
            model="claude-opus-5",
            system=lambda turn: f"{SYSTEM} state {turn}",
        )
        assert api.hit_rate() == 0.0


def test_a_short_prefix_is_silently_not_cached():
    """Below the model's minimum nothing is written, and no error is raised."""
    with served(use) as (_, client):
        usages = conversation(
            client, 2, cache_control=MARK, system=lambda _: "short", tools=TOOLS[:1]
        )
    for usage in usages:
        assert usage.cache_creation_input_tokens == usage.cache_read_input_tokens == 0
        assert usage.input_tokens == total(usage)


def test_entries_live_five_minutes_from_their_last_use():
    """A hit renews the entry; after five minutes without one it is gone."""
    clock = Clock()
    with served(lambda body: reply("ok"), clock) as (_, client):
        first = ask(client, [user("hi")], cache_control=MARK).usage
        for _ in range(3):
            clock.now += 299
            assert ask(client, [user("hi")], cache_control=MARK).usage.cache_read_input_tokens == (
                total(first)
            )
        clock.now += 300
        late = ask(client, [user("hi")], cache_control=MARK).usage
    assert (late.cache_read_input_tokens, late.cache_creation_input_tokens) == (0, total(first))


def test_an_hour_on_the_system_prompt_outlives_the_conversation():
    """After a pause the 1h prefix is read and only the messages are written anew."""
    clock = Clock()
    system = [{"type": "text", "text": SYSTEM, "cache_control": HOUR}]
    with served(lambda body: reply("ok"), clock) as (_, client):
        first = ask(client, [user("hi")], system=system, cache_control=MARK).usage
        clock.now += 1800
        second = ask(client, [user("hi")], system=system, cache_control=MARK).usage
        clock.now += 3600
        third = ask(client, [user("hi")], system=system, cache_control=MARK).usage
    prefix = first.cache_creation.ephemeral_1h_input_tokens
    assert prefix > 512
    assert first.cache_creation.ephemeral_5m_input_tokens == total(first) - prefix > 0
    assert second.cache_read_input_tokens == prefix
    assert second.cache_creation.ephemeral_1h_input_tokens == 0
    assert third.cache_read_input_tokens == 0


@pytest.mark.parametrize(
    ("change", "kept"),
    [
        ({"model": "claude-fable-5-1"}, "nothing"),
        ({"speed": "fast"}, "nothing"),
        ({"tools": TOOLS[:5]}, "nothing"),
        ({"tool_choice": {"type": "auto"}}, "system"),
        ({"thinking": {"type": "adaptive"}}, "system"),
    ],
)
def test_a_change_invalidates_what_comes_after_it(change, kept):
    """Model, speed and tools lose everything; tool_choice and thinking lose the messages only."""
    system = [{"type": "text", "text": SYSTEM, "cache_control": MARK}]
    with served(lambda body: reply("ok")) as (_, client):
        plain = ask(client, [user("hi")], system=system, cache_control=MARK).usage
        changed = ask(client, [user("hi")], system=system, cache_control=MARK, **change).usage
    if kept == "nothing":
        assert changed.cache_read_input_tokens == 0
    else:
        assert 512 < changed.cache_read_input_tokens < total(plain)


@pytest.mark.parametrize(("more", "hit"), [(20, True), (21, False)])
def test_a_mark_looks_back_twenty_blocks(more, hit):
    """An entry further back than 20 blocks of the only mark is not found."""
    blocks = [{"type": "text", "text": f"block {n}"} for n in range(1 + more)]
    with served(lambda body: reply("ok")) as (_, client):
        ask(client, [{"role": "user", "content": blocks[:1]}], cache_control=MARK)
        usage = ask(client, [{"role": "user", "content": blocks}], cache_control=MARK).usage
    assert bool(usage.cache_read_input_tokens) is hit


def test_a_moved_mark_is_no_edit():
    """Marks are instructions: the same blocks with marks elsewhere hit the same entry."""
    with served(lambda body: reply("ok")) as (_, client):
        ask(client, [user("hi", cache_control=MARK)])
        usage = ask(client, [user("hi"), user("more", cache_control=MARK)]).usage
    assert usage.cache_read_input_tokens > 512


def test_an_error_writes_no_cache():
    """A request that was answered with a fault leaves nothing behind to hit."""
    steps = [{"error": {"status": 529}}, {"reply": {"text": "ok"}}]
    with served(steps) as (api, client):
        with pytest.raises(anthropic.OverloadedError):
            ask(client, [user("hi")], cache_control=MARK)
        assert ask(client, [user("hi")], cache_control=MARK).usage.cache_read_input_tokens == 0
        assert api.requests[0].usage is None


def test_max_tokens_zero_fills_the_cache_and_takes_no_step():
    """Pre-warming answers nothing, and the next request hits."""
    with served([reply("ok")]) as (api, client):
        warm = ask(client, [user("hi")], cache_control=MARK, max_tokens=0)
        assert (warm.content, warm.stop_reason, len(api.script)) == ([], "max_tokens", 1)
        assert ask(client, [user("hi")], cache_control=MARK).usage.cache_read_input_tokens == (
            total(warm.usage)
        )


def test_count_tokens_counts_what_the_request_will_cost():
    """The count equals the whole input side of the same request; it takes no step."""
    with served([reply("ok")]) as (api, client):
        settings = {"model": OPUS, "system": SYSTEM, "tools": TOOLS}
        counted = client.messages.count_tokens(messages=[user("hi")], **settings)
        assert len(api.script) == 1
        assert counted.input_tokens == total(ask(client, [user("hi")]).usage)
        with pytest.raises(anthropic.BadRequestError, match="not supported for this model"):
            client.messages.count_tokens(
                messages=[user("hi")], tool_choice={"type": "any"}, **settings
            )
