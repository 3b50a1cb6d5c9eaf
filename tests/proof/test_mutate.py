"""Mutants: one change each, every row and guard and binding, never the table itself."""

from __future__ import annotations

import attrs

from statemachine_agents.proof.mutate import mutants
from statemachine_agents.table.model import State, Table, Transition, Use
from tests.tables import refund


def table(**parts):
    """Return a small table with a guard worth changing."""
    return Table(
        **{
            "name": "t",
            "initial": "a",
            "states": [
                State("a", ask="x", tools=["look"]),
                State("b", ask="y", tools=["look"]),
                State("good", final="success"),
                State("bad", final="failure"),
            ],
            "transitions": [
                Transition(
                    "a", "look.ok", "b",
                    guard="result.ok and result.n <= 5 and result.k != 'x'",
                    assign={"seen": "result"},
                ),
                Transition("a", "look.ok", "bad"),
                Transition("*", "look.error", assign={"seen": "error"}),
                Transition("b", "look.ok", "stay"),
            ],
            "tools": {
                "look": Use(bind={"id": "context.id"}, when="context.n < 3", approve="args.n > 1")
            },
            "context": {"id": "string", "seen": "any", "n": "integer"},
            **parts,
        }
    )  # fmt: skip


def said(kind=None):
    return {str(mutant) for mutant in mutants(table()) if kind in (None, mutant.kind)}


def test_every_mutant_is_a_table_of_its_own():
    """None equals the original or another one, and all can be read back."""
    made = mutants(refund())
    texts = [mutant.table.to_toml() for mutant in made]
    assert len(set(texts)) == len(texts)
    assert refund().to_toml() not in texts
    assert all(Table.from_toml(text) for text in texts)


def test_rows_are_dropped_and_sent_elsewhere():
    """To an end of the other kind, to the next state, and nowhere."""
    rows = [mutant for mutant in mutants(table()) if mutant.kind == "row" and mutant.row == 0]
    assert len(rows[0].table.transitions) == 3
    assert {mutant.table.transitions[0].target for mutant in rows[1:]} == {"bad", "good", "stay"}
    notes = [mutant for mutant in mutants(table()) if mutant.kind == "row" and mutant.row == 2]
    assert [len(mutant.table.transitions) for mutant in notes] == [3]


def test_guards_are_dropped_negated_and_weakened():
    """Each part is lost once, each bound moved once, each comparison turned."""
    guards = {
        mutant.table.transitions[0].guard for mutant in mutants(table()) if mutant.kind == "guard"
    }
    whole = "result.ok and result.n <= 5 and result.k != 'x'"
    assert guards == {
        None,
        f"not ({whole})",
        "result.ok and result.n <= 5",
        "result.k != 'x'",
        "result.ok and result.k != 'x'",
        "result.n <= 5 and result.k != 'x'",
        "result.ok and result.n < 5 and result.k != 'x'",
        "result.ok and result.n <= 6 and result.k != 'x'",
        "result.ok and result.n <= 5 and result.k == 'x'",
    }


def test_bindings_conditions_and_assignments_are_dropped():
    """Whatever an author might forget."""
    assert any("bind.id: no longer bound" in text for text in said("binding"))
    assert any("when: dropped" in text for text in said("condition"))
    assert any("approve: dropped" in text for text in said("condition"))
    assert any("`<=` for `<`" in text for text in said("condition"))
    assert any("assign.seen: no longer assigned" in text for text in said("assign"))


def test_a_guard_that_does_not_read_is_only_dropped_and_negated():
    """A broken table has mutants too; nothing raises."""
    broken = attrs.evolve(table(), transitions=(Transition("a", "look.ok", "b", guard="(("),))
    kinds = [mutant.what for mutant in mutants(broken) if mutant.kind == "guard"]
    assert kinds == ["guard dropped: ((", "guard negated: (("]
