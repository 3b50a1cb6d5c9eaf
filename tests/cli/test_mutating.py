"""`sma mutate`: survivors, runs that show them, golden journals made of these."""

import pytest

from tests.testing.test_mutation import TABLE, TOOLS


@pytest.fixture
def desk(home):
    """A workflow in a folder."""
    place = home / "desk"
    place.mkdir()
    (place / "table.toml").write_text(TABLE)
    (place / "tools.py").write_text(TOOLS)
    return place


def test_survivors_are_listed_and_exit_1(sma, desk):
    """Without a golden journal hardly anything is noticed."""
    said = sma("mutate", "desk", "--runs", "0")
    assert said.code == 1
    assert "survives transitions[0]" in said.out
    assert "0 golden journals" in said.out
    objects = sma("mutate", "desk", "--runs", "0", "--json").objects
    assert objects[-1]["event"] == "mutated"
    assert objects[-1]["mutants"] == len(objects) - 1
    assert {"kind", "where", "what", "noticed"} <= set(objects[0])


def test_the_runs_that_show_them_become_golden_journals(sma, desk):
    """What is kept once is noticed ever after."""
    first = sma("mutate", "desk", "--keep", desk / "golden")
    assert first.code == 1
    assert list((desk / "golden").glob("*.jsonl"))
    second = sma("mutate", "desk")
    assert second.code == 0, second.out
    assert "0 survivors" in second.out
    for path in (desk / "golden").iterdir():
        assert sma("replay", "--file", path).code == 0


@pytest.mark.parametrize(
    ("arguments", "what"),
    [
        (["desk", "--runs", "-1"], "expected 0 or more"),
        (["desk", "--goldens", "nowhere"], "there is no such folder"),
        (["desk", "--goldens", "bad"], "not a journal record"),
        (["nothing"], "nothing"),
        (["desk", "--tests", "false"], "without any mutant"),
        (["desk", "--tests", "no-such-command-here"], "no-such-command-here"),
        (["desk", "--input", "x=1"], "x"),
    ],
)
def test_mistakes_are_said_in_a_sentence(sma, home, desk, arguments, what):
    """Exit 2, no traceback."""
    (home / "bad").mkdir()
    (home / "bad" / "a.jsonl").write_text("{}\n")
    said = sma("mutate", *arguments)
    assert said.code == 2, said.all
    assert what in said.err
    assert "Traceback" not in said.all
