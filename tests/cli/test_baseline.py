"""A baseline: known findings are not told again, new ones fail."""

from __future__ import annotations

import json

import pytest

TABLE = 'name = "t"\ninitial = "a"\ntransitions = [\n%s]\n[states]\na = { ask = "x" }\n'
ROW = '  { source = "a", event = "model.done", target = "%s" },\n'


@pytest.fixture
def table(home):
    def write(*targets, above=""):
        text = above + TABLE % "".join(ROW % target for target in targets)
        (home / "t.toml").write_text(text)

    return write


def test_only_new_findings_fail(sma, table, home):
    """What was written down is silent, wherever its line has moved; a new one is told."""
    table("b")
    assert sma("check", "t.toml", "--write-baseline", "known.json").code == 1
    table("b", above="# moved\n\n")
    quiet = sma("check", "t.toml", "--baseline", "known.json")
    assert (quiet.code, "unknown-state" in quiet.out) == (0, False)
    table("b", "c")
    loud = sma("check", "t.toml", "--baseline", "known.json")
    assert loud.code == 1
    assert "'c'" in loud.out
    assert "'b'" not in loud.out
    facts = json.loads((home / "known.json").read_text())
    assert facts["format"] == 1
    assert all(set(item) == {"path", "code", "where", "what"} for item in facts["findings"])


@pytest.mark.parametrize(
    "text", [None, "{", "[]", '{"format": 1, "findings": [1]}', '{"format": 2}']
)
def test_a_file_that_is_no_baseline_is_refused(sma, table, home, text):
    """A missing or wrong baseline is a mistake of usage, with the way to write one."""
    table("b")
    if text is not None:
        (home / "known.json").write_text(text)
    done = sma("check", "t.toml", "--baseline", "known.json")
    assert done.code == 2
    assert "--write-baseline" in done.err
