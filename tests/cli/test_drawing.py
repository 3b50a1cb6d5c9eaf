"""`sma graph`: pictures as text and as files, and what is said when they cannot be drawn."""

import sys

import pytest

from statemachine_agents.load import bundled
from statemachine_agents.table.diagram import dot, markdown, mermaid
from statemachine_agents.table.model import Table
from statemachine_agents.table.rendering import can_draw
from tests.cli.terminal import ONE_TOOL, process

drawn = pytest.mark.skipif(not can_draw(), reason="mermaidx (extra `diagrams`) is not installed")


def refund():
    """The table of the bundled refund."""
    return Table.from_toml((bundled()["refund"] / "table.toml").read_text())


FORMS = [("mermaid", mermaid), ("dot", dot), ("markdown", markdown)]


@pytest.mark.parametrize(("form", "draw"), FORMS)
def test_pictures_mark_the_path_of_a_run(sma, form, draw):
    """`graph --run` draws the table with the states a run was in."""
    sma("run", "refund", "--input", "order_id=NO-SUCH-ORDER")
    said = sma("graph", "refund", "--as", form, "--run", "last")
    assert said.code == 0
    assert said.out == draw(refund(), ["fetching", "failed"])
    assert sma("graph", "refund", "--as", form).out == draw(refund()) != said.out


@pytest.mark.parametrize(("form", "draw"), FORMS)
def test_defaults_are_drawn_on_demand(sma, form, draw):
    """`--defaults` adds what happens where no row stands, in every form."""
    said = sma("graph", "refund", "--as", form, "--defaults")
    assert said.out == draw(refund(), defaults=True) != draw(refund())


def test_a_picture_goes_to_a_file(sma, home):
    """`--out` writes the same text; stdout stays empty, and JSON names the file."""
    said = sma("graph", "refund", "--out", "refund.mmd")
    assert (said.code, said.out) == (0, "")
    assert "wrote refund.mmd" in said.err
    assert (home / "refund.mmd").read_text() == mermaid(refund())
    said = sma("graph", "refund", "--as", "dot", "--out", "refund.dot", "--json")
    assert said.last == {"workflow": "refund", "as": "dot", "path": [], "out": "refund.dot"}
    assert sma("graph", "refund", "--as", "markdown", "--json").last["text"] == markdown(refund())
    said = sma("graph", "refund", "--out", "no/such/folder.mmd")
    assert said.code == 2
    assert "--out no/such/folder.mmd: cannot be written" in said.err


@drawn
def test_svg_and_png_are_written(sma, home):
    """With the extra, a run's path is an SVG on stdout and a PNG in a file."""
    sma("run", "refund", "--input", "order_id=NO-SUCH-ORDER")
    said = sma("graph", "refund", "--as", "svg", "--run", "last")
    assert said.code == 0
    assert said.out.startswith("<svg")
    assert "step 1" in said.out
    assert sma("graph", "refund", "--as", "png", "--out", "refund.png").code == 0
    assert (home / "refund.png").read_bytes().startswith(b"\x89PNG\r\n")


def test_without_the_extra_it_says_what_to_install(sma, monkeypatch):
    """Without mermaidx, SVG and PNG exit 2 with the pip command; text forms still work."""
    monkeypatch.setitem(sys.modules, "mermaidx", None)
    for form in ("svg", "png"):
        said = sma("graph", "refund", "--as", form, "--out", "x")
        assert said.code == 2
        assert "pip install 'statemachine-agents[diagrams]'" in said.err
        assert "Traceback" not in said.all
    assert sma("graph", "refund").code == 0


def test_a_png_never_goes_into_json(sma):
    """Bytes are no text: with --json, a PNG needs a file."""
    said = sma("graph", "refund", "--as", "png", "--json")
    assert said.code == 2
    assert "--out" in said.err


def test_a_graph_that_makes_no_sense_is_refused(sma, home):
    """Another workflow's run, an unknown form, an unknown table: exit 2."""
    sma("run", "refund", "--input", "order_id=NO-SUCH-ORDER")
    (home / "t.toml").write_text(ONE_TOOL.format(name="t"))
    said = sma("graph", "t.toml", "--run", "last")
    assert said.code == 2
    assert "is of workflow 'refund', not of 't'" in said.err
    assert sma("graph", "refund", "--as", "ascii").code == 2
    assert sma("graph", "refnd").code == 2


def test_the_help_names_the_forms(home):
    """`--help` of a real process lists every form and the extra."""
    said = process("graph", "--help", cwd=home)
    assert said.code == 0
    for word in ("mermaid", "dot", "markdown", "svg", "png", "diagrams", "--defaults", "--out"):
        assert word in said.out
