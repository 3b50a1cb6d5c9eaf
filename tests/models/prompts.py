"""What every conversation must satisfy: shared by the tests that look at whole prompts."""

from itertools import pairwise

import attrs

from statemachine_agents.testing.messages_api import Reply
from statemachine_agents.values import dumps


def thinking(step):
    """Return a step whose reply opens with a signed thinking block."""
    if isinstance(step, Reply):
        return attrs.evolve(step, thinking=True)
    return attrs.evolve(step, reply=thinking(step.reply)) if hasattr(step, "reply") else step


def require_sound(api, journal):
    """Require that nothing was refused, every request continues the one before, and it replays.

    Returns:
        The bodies of `model_asked`, each with the request body it led to.
    """
    assert [each.verdict for each in api.requests if not each.accepted] == []
    assert not api.failures
    assert not api.script
    for before, after in pairwise(api.requests):
        if after.attempt:
            assert after.body == before.body
    sent = [each.body for each in api.requests if each.attempt == 0]
    asked = [record.body for record in journal.records if record.kind == "model_asked"]
    pairs = list(zip(asked, sent, strict=True))
    for agent in {each["agent"] for each in asked}:
        own = [(each["epoch"], body) for each, body in pairs if each["agent"] == agent]
        heads = {dumps([body["tools"], body["system"], body["tool_choice"]]) for _, body in own}
        assert len(heads) == 1
        for (old, before), (new, after) in pairwise(own):
            if old == new:
                prefix = dumps(before["messages"]).removesuffix(b"]")
                assert dumps(after["messages"]).startswith(prefix)
    journal.replay().require_same()
    return pairs
