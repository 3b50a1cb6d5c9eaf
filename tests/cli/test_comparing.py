"""`sma diff`: two tables, what differs, and which runs stand where something changed."""

import shutil

from statemachine_agents.load import bundled
from tests.cli.terminal import ONE_TOOL, folder, process

ORDER = ("run", "refund", "--input", "order_id=A13")
"""A run of the bundled refund that parks in `crediting` for a person."""


def changed(home, *swaps):
    """A copy of the bundled refund's table with pieces of its text replaced."""
    text = (bundled()["refund"] / "table.toml").read_text()
    for old, new in swaps:
        assert old in text, old
        text = text.replace(old, new)
    (home / "new.toml").write_text(text)
    return "new.toml"


def test_the_same_table_exits_0(sma, home):
    """A folder, its table file and a copy of it are the same, and it says so."""
    said = sma("diff", "refund", "refund")
    assert (said.code, said.out) == (0, "refund -> refund: the same\n")
    shutil.copytree(bundled()["refund"], home / "mine")
    assert sma("diff", "refund", "mine").code == 0
    assert sma("diff", "refund", changed(home)).code == 0


def test_what_became_possible_and_impossible(sma, home):
    """Exit 1; runs by their events and rows, and the state that behaves otherwise."""
    said = sma("diff", "refund", changed(home, ("<= 50000", "<= 60000")))
    assert said.code == 1
    possible, _, impossible = said.out.partition("runs that became impossible")
    row = "+ check_refund_policy.ok [result.eligible and result.amount_cents <= 60000] (row 3)"
    assert row in possible
    assert "- check_refund_policy.ok" in impossible
    assert "~ validating on check_refund_policy.ok" in impossible


def test_json_lists_every_change(sma, home):
    """An object per change, the verdict with the runs last."""
    said = sma("diff", "refund", changed(home, ("<= 50000", "<= 60000")), "--json")
    assert said.code == 1
    assert [each["place"] for each in said.objects if each["event"] == "change"] == ["validating"]
    assert said.last["event"] == "compared"
    assert said.last["changes"] == 1
    assert said.last["gained"][0]["at"] == said.last["lost"][0]["at"] == 1
    assert sma("diff", "refund", "refund", "--json").last["same"] is True


def test_runs_in_a_state_that_changed_are_listed(sma, home):
    """With a store: runs that have not ended and stand where something changed, by state."""
    parked = [sma(*ORDER, "--json").last["run_id"] for _ in range(2)]
    sma("run", "refund", "--input", "order_id=NO-SUCH-ORDER")
    swap = ("args.amount_cents > 20000", "args.amount_cents > 10000")
    said = sma("diff", "refund", changed(home, swap), "--store", "sma-runs.db")
    assert said.code == 1
    assert "2 runs of refund not ended, 2 in a state that changed" in said.out
    assert all(run in said.out for run in parked)
    assert "process_credit needs a person when args.amount_cents > 10000" in said.out
    said = sma("diff", "refund", "new.toml", "--store", "sma-runs.db", "--json")
    assert {state: sorted(runs) for state, runs in said.last["runs"].items()} == {
        "crediting": sorted(parked)
    }
    elsewhere = changed(home, ("send_email.unknown", "send_email.error"))
    said = sma("diff", "refund", elsewhere, "--store", "sma-runs.db")
    assert "2 runs of refund not ended, 0 in a state that changed" in said.out


def test_a_state_that_vanished_holds_its_runs(sma, home):
    """Runs in a state that is gone are listed under its old name."""
    parked = sma(*ORDER, "--json").last["run_id"]
    place = changed(home, ("crediting", "paying"))
    said = sma("diff", "refund", place, "--store", "sma-runs.db")
    assert f"crediting 1 run: {parked}" in said.out
    assert "is now called paying" in said.out


def test_what_cannot_be_compared_exits_2(sma, home):
    """An unknown table, one with errors, no TOML, no store, runs: a sentence, no traceback."""
    wrong = folder(home, "wrong", ONE_TOOL.format(name="wrong").replace('"done"', '"don"'))
    (home / "bad.toml").write_text("name = \n")
    for arguments, words in (
        (("refund", "refnd"), "no workflow is named 'refnd'"),
        (("refund", wrong), "`sma check"),
        (("bad.toml", "refund"), "not TOML"),
        (("refund", "refund", "--store", "none.db"), "there is no store"),
        (("r-12ab34", "r-56cd78"), "comparing runs comes in a later release"),
        (("refund", "last"), "last is a run"),
        (("refund",), "sma --help"),
    ):
        said = sma("diff", *arguments)
        assert said.code == 2, arguments
        assert words in said.err, arguments
        assert "Traceback" not in said.all
    assert not (home / "none.db").exists()


def test_the_help_says_what_it_compares(home):
    """`--help` of a real process names tables, the store and the exit codes."""
    said = process("diff", "--help", cwd=home)
    assert said.code == 0
    for words in ("two tables", "--store", "Exits 0 when nothing differs"):
        assert words in " ".join(said.out.split())
