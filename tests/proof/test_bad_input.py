"""Bad input: whatever is handed in, it ends in findings or a clear error, soon, in little room."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from statemachine_agents.errors import ExpressionError, TableError
from statemachine_agents.proof.structure import check
from statemachine_agents.table.bounds import MAX_STATES
from statemachine_agents.table.expressions import parse
from statemachine_agents.table.model import State, Table
from statemachine_agents.table.toml import MAX_BYTES
from tests.bad_input import ROOT, judge, tables

COUNT = int(os.environ.get("SMA_FUZZ", "20000"))
HEAD = 'name = "t"\ninitial = "s0"\n'


def states(count: int, body: str = 'ask = "x"') -> str:
    return "[states]\n" + "".join(f"s{number} = {{ {body} }}\n" for number in range(count))


def refused(text: str) -> str:
    with pytest.raises(TableError) as caught:
        Table.from_toml(text)
    return str(caught.value)


def test_mistakes_by_chance():
    """Spoilt tables and random expressions end in findings or our own error, within 1 s each and
    256 MB for all of them; $SMA_FUZZ sets how many."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.bad_input", str(COUNT)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3_000:]
    facts = json.loads(done.stdout)
    assert facts["inputs"] == COUNT
    ends = ("expression sound", "expression syntax", "table findings", "table refused")
    assert all(facts[end] for end in ends), facts
    # Now and then a mistake leaves a table that nothing can be said against.
    assert sum(facts[end] for end in ends) + facts.get("table sound", 0) == COUNT, facts


@pytest.mark.parametrize("text", tables(), ids=lambda text: text.split('"')[1])
def test_every_truncation(text: str):
    """A shipped table cut off after any of its bytes is refused or has findings, or is whole."""
    data = text.encode()
    seen = {judge("table", data[:size].decode("utf-8", "replace")) for size in range(len(data) + 1)}
    assert "refused" in seen
    assert judge("table", text) in ("sound", "findings")


def test_a_file_over_the_size_is_refused_unparsed():
    """Bytes count, not characters; what stands in it is not looked at."""
    assert "before it is parsed" in refused("\x00" * (MAX_BYTES + 1))
    assert "before it is parsed" in refused("é" * (MAX_BYTES // 2 + 1))


def test_too_many_states_are_refused():
    """2,000 states can be read and checked; one more is refused, also when written in Python."""
    whole = Table.from_toml(HEAD + states(MAX_STATES))
    assert "too-large" not in {problem.code for problem in check(whole)}
    assert "[too-large]" in refused(HEAD + states(MAX_STATES + 1))
    written = Table(
        name="t",
        initial="s0",
        states=[State(f"s{number}", final="success") for number in range(MAX_STATES + 1)],
    )
    assert [problem.code for problem in check(written)] == ["too-large"]


@pytest.mark.parametrize(
    "text",
    [
        HEAD + "transitions = [\n" + '{ source = "s0", event = "a.ok" },\n' * 10_001 + "]\n",
        HEAD
        + "transitions = [\n"
        + '{ source = "*", event = "*", target = "s0" },\n' * 500
        + "]\n"
        + states(500),
        HEAD + "everywhere = [" + '"t", "u",' + ", ".join(f'"t{n}"' for n in range(500)) + "]\n"
        + states(200),
    ],
    ids=["rows", "rows times states", "tools times states"],
)  # fmt: skip
def test_what_would_expand_too_far_is_refused(text: str):
    """Rows, and what they and the tools multiply to, are bounded before anything is expanded."""
    assert "[too-large]" in refused(text)


@pytest.mark.parametrize(
    "text",
    ["a." * 100_000 + "b = 1", '"a" . ' * 100 + "b = 1", "x = 1\n[" + "a." * 100 + "b]"],
    ids=["bare", "quoted", "header"],
)
def test_keys_of_very_many_parts_are_refused(text: str):
    """They are refused before the TOML reader spends the square of their number in memory."""
    assert "over 64 parts" in refused(text)


@pytest.mark.parametrize(
    "text",
    ["rules = " + "[" * 100_000, "a = " + "{ a = " * 5_000, "\x00\x01\x7f\x1b[2J", "", "\ufeff"],
    ids=["arrays", "objects", "binary", "empty", "mark"],
)
def test_junk_is_refused_in_words(text: str):
    """Deep nesting, control characters and nothing at all are ordinary mistakes."""
    assert refused(text).strip()


@pytest.mark.parametrize("size", [1_000, 1_001, 100_000])
@pytest.mark.parametrize("part", ["(", "not ", "-", "[", "a or ", "x.", "len(", "'", "9", "{a: "])
def test_long_expressions(part: str, size: int):
    """A guard of a thousand characters is read or refused; a longer one is always refused."""
    with pytest.raises(ExpressionError):
        parse((part * size)[:size])


def test_a_guard_of_a_thousand_characters():
    """The longest guard that may be written is judged like any other."""
    guard = " or ".join(f"visits.s0 > {number}" for number in range(70))[:1_000].rpartition(" or")[
        0
    ]
    text = HEAD + "transitions = [\n" + (
        f'{{ source = "s0", event = "model.done", target = "s1", guard = "{guard}" }},\n]\n'
    )  # fmt: skip
    assert judge("table", text + states(2)) == "findings"


@pytest.mark.parametrize("members", ["[{ a = 1 }]", '[["s0"]]', '"s0"', "[1]"])
@pytest.mark.parametrize("rest", ["states = 5\n", 'states = "s0"\n', ""])
def test_odd_members_of_a_group(members: str, rest: str):
    """Rows that TOML swallowed into `[groups]` are told from a group of that name, whatever they
    hold."""
    assert "[under-header]" in refused(HEAD + rest + f"[groups]\ntransitions = {members}\n")
