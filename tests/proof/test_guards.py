"""Guards and types: every finding on the table that has it, with values, and none elsewhere."""

from __future__ import annotations

import pytest

from statemachine_agents.proof.structure import check
from statemachine_agents.table.model import Agent, Key, State, Table, Transition, Use
from statemachine_agents.table.toolspec import ToolSpec
from tests.lively_tables import LIVELY

RESULT = {
    "type": "object",
    "properties": {
        "eligible": {"type": "boolean"},
        "amount": {"type": ["integer", "null"]},
        "n": {"type": "integer"},
        "kind": {"enum": ["a", "b"]},
        "name": {"type": "string"},
    },
    "required": ["eligible", "amount", "n", "kind", "name"],
    "additionalProperties": False,
}
ARGUMENTS = {
    "type": "object",
    "properties": {"id": {"type": "string"}, "count": {"type": "integer"}},
    "additionalProperties": False,
}
SPECS = {"look": ToolSpec(name="look", effect="read", arguments=ARGUMENTS, result=RESULT)}


def desk(*rows, **parts):
    """Return a table of one state with these rows; each row goes to `done` or `failed`."""
    return Table(
        **{
            "name": "desk",
            "initial": "here",
            "states": [
                State("here", ask="x", tools=["look"]),
                State("done", final="success"),
                State("failed", final="failure"),
            ],
            "transitions": [*rows, Transition("here", "model.done", "failed")],
            "context": {"id": "string", "maybe": "string?", "n": "integer", "thing": "object?"},
            **parts,
        }
    )


def row(guard=None, target="done", event="look.ok", **more):
    return Transition("here", event, target, guard=guard, **more)


def found(table, specs=SPECS, *, info=True):
    return [(p.severity, p.code, p.where, p.what) for p in check(table, specs, info=info)]


def codes(table, specs=SPECS, *, info=True):
    return [code for _, code, _, _ in found(table, specs, info=info)]


ELSE = row(target="failed")


@pytest.mark.parametrize(
    ("rows", "severity", "code", "where", "said"),
    [
        ([row("result.n > 3 and result.n < 3"), ELSE], "warning", "guard-never",
         "transitions[0].guard", "no value that may come"),
        ([row("result.kind == 'z'"), ELSE], "warning", "type-mismatch",
         "transitions[0].guard", "that value never comes"),
        ([row("result.n < 5"), row("result.n < 3", "failed"), ELSE], "warning", "shadowed-row",
         "transitions[1]", "row 1 takes first"),
        ([row("result.n < 5"), row("result.n >= 5", "failed"), ELSE], "warning", "shadowed-row",
         "transitions[2]", "row 1 and row 2 takes first"),
        ([row("result.kind in ['a', 'b']"), ELSE], "warning", "shadowed-row",
         "transitions[1]", "takes first"),
        ([row("result.n < 5"), row("result.n > 5", "failed")], "info", "guard-gap",
         "transitions[1].guard", '"n":5'),
        ([row("result.amount < 5"), ELSE], "warning", "guard-error",
         "transitions[0].guard", "guard.error"),
        ([row("result.n < 5"), row("result.n > 2", "failed"), ELSE], "info", "guard-overlap",
         "transitions[1].guard", "overlaps row 1"),
        ([row("result.n < 5 or result.n >= 5")], "info", "guard-always",
         "transitions[0].guard", "decides nothing"),
        ([row("result.eligble"), ELSE], "warning", "unknown-property",
         "transitions[0].guard", "'eligble'"),
        ([row("result.n == '5'"), ELSE], "warning", "type-mismatch",
         "transitions[0].guard", "always false"),
        ([row("result.n != '5'"), ELSE], "warning", "type-mismatch",
         "transitions[0].guard", "always true"),
        ([row("result.name < 5"), ELSE], "warning", "type-mismatch",
         "transitions[0].guard", "always fails"),
        ([row("result.name"), ELSE], "warning", "not-boolean",
         "transitions[0].guard", "must be true or false"),
        ([row("len(result.name)"), ELSE], "warning", "not-boolean",
         "transitions[0].guard", "a number"),
        ([row("result.amount != 5"), ELSE], "warning", "null-negation",
         "transitions[0].guard", "missing"),
        ([row("not (context.maybe == 'x')"), ELSE], "warning", "null-negation",
         "transitions[0].guard", "missing"),
        ([row(assign={"n": "result.name"})], "warning", "type-mismatch",
         "transitions[0].assign.n", "takes integer"),
        ([row(assign={"n": "result.amount"})], "info", "may-be-null",
         "transitions[0].assign.n", "may give null"),
        ([row(assign={"thing": "'x'"})], "warning", "type-mismatch",
         "transitions[0].assign.thing", "takes object?"),
    ],
)  # fmt: skip
def test_each_finding_is_found(rows, severity, code, where, said):
    """Severity, code, place and the words that name the values."""
    seen = found(desk(*rows))
    assert any((s, c, w) == (severity, code, where) and said in what for s, c, w, what in seen), (
        seen
    )


@pytest.mark.parametrize(
    "rows",
    [
        [row("result.eligible and result.n <= 5"), ELSE],
        [row("exists(result.amount) and result.amount < 5"), ELSE],
        [row("default(result.amount, 0) < 5"), ELSE],
        [row("exists(result.amount) and result.amount != 5"), ELSE],
        [row("result.n < 3"), row("result.n >= 3", "failed")],
        [row("result.kind == 'a'"), row("result.kind == 'b'", "failed")],
        [row("context.thing.deep == 'x'"), ELSE],
        [row("context.n + 1 > result.n"), ELSE],
        [row("any(x, context.thing.list, x.open)"), ELSE],
        [row(assign={"thing": "result", "maybe": "result.name", "id": "result.name"})],
        [row("error.kind != 'x'", event="look.error"), row(target="failed", event="look.error")],
    ],
)
def test_sound_guards_are_not_spoken_of(rows):
    """No warning where nothing is wrong, and none where nothing can be said."""
    quiet = [code for code in codes(desk(*rows), info=False) if code != "tool-unheard"]
    assert quiet == []


def test_without_schemas_nothing_is_guessed():
    """An undeclared result may be anything, and then no comparison is wrong."""
    loose = {"look": ToolSpec(name="look", effect="read")}
    rows = [row("result.a < 5 and result.b == 'x'"), row("result.c != 1", "failed"), ELSE]
    assert codes(desk(*rows), loose, info=False) == []
    assert "shadowed-row" in codes(desk(row("result.a == 1"), row("result.a == 1"), ELSE), loose)


def test_a_gap_that_fails_the_run_is_a_warning():
    """In a pure branch nothing else can happen: a value that no row takes ends the run."""
    table = desk(
        Transition("here", "look.ok", "branch"),
        Transition("branch", "entered", "done", guard="context.n > 3"),
        Transition("branch", "entered", "failed", guard="context.n < 3"),
        states=[
            State("here", ask="x", tools=["look"]),
            State("branch", do=[]),
            State("done", final="success"),
            State("failed", final="failure"),
        ],
    )
    assert ("warning", "guard-gap") in [(s, c) for s, c, _, _ in found(table)]


def test_who_takes_guard_errors_has_thought_of_them():
    """A row for `guard.error` in the same state makes it a remark."""
    rows = [row("result.amount < 5"), ELSE, Transition("here", "guard.error", "failed")]
    assert ("info", "guard-error") in [(s, c) for s, c, _, _ in found(desk(*rows))]


def test_conditions_and_bindings_are_typed_too():
    """`when`, `approve`, `bind` and the conditions of rules."""
    uses = {"look": Use(bind={"id": "context.n"}, when="args.count == 'x'", approve="args.count")}
    table = desk(row(), tools=uses, rules=["never(look where args.count < 'x')"])
    seen = {(code, where) for _, code, where, _ in found(table)}
    assert ("type-mismatch", "tools.look.bind.id") in seen
    assert ("type-mismatch", "tools.look.when") in seen
    assert ("not-boolean", "tools.look.approve") in seen
    assert ("type-mismatch", "rules[0]") in seen
    nullable = desk(row(), tools={"look": Use(bind={"id": "context.maybe"})})
    assert ("info", "may-be-null", "tools.look.bind.id") in [t[:3] for t in found(nullable)]


def test_a_conjunction_hides_nothing():
    """A row that waits for other facts takes nothing from the rows below it."""
    specs = {**SPECS, "peek": ToolSpec(name="peek", effect="read")}
    rows = [row(event="look.ok & peek.ok"), row("result.n < 3"), row(target="failed")]
    table = desk(
        *rows,
        states=[
            State("here", ask="x", tools=["look", "peek"]),
            State("done", final="success"),
            State("failed", final="failure"),
        ],
    )
    assert "shadowed-row" not in codes(table, specs)


def test_remarks_are_shown_on_demand():
    """Without `info` only errors and warnings are returned."""
    table = desk(row("result.n < 5"), row("result.n > 5", "failed"))
    assert codes(table, info=False) == []
    assert "guard-gap" in codes(table)


@pytest.mark.parametrize("name", LIVELY)
def test_tables_that_work_have_no_false_alarm(name):
    """No row of the lively tables is called dead: all of them fire in some run."""
    make, _ = LIVELY[name]
    workflow = make()
    seen = check(
        workflow.table, workflow.definition.tools, children=tuple(workflow.definition.children)
    )
    assert [p for p in seen if p.code in ("guard-never", "type-mismatch", "not-boolean")] == []


def test_replies_have_the_schema_their_state_asks_for():
    """`reply.output` is what `output=` says."""
    table = desk(
        Transition("here", "model.done", "done", guard="reply.output.n == 'x'"),
        states=[
            State("here", ask="x", tools=["look"], output={
                "type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"],
            }),
            State("done", final="success"),
            State("failed", final="failure"),
        ],
        agents=[Agent("a")],
        context={"id": Key(type="string")},
    )  # fmt: skip
    assert ("type-mismatch", "transitions[0].guard") in [t[1:3] for t in found(table)]


@pytest.mark.parametrize("guard", ["result.n > 2.5", "lower(result.name) == 'ab'"])
def test_a_guard_that_can_hold_is_not_called_dead(guard):
    """A fraction beside an integer, and a text in another spelling, leave a row alive."""
    assert not {"guard-never", "shadowed-row"} & set(codes(desk(row(guard), row(target="failed"))))


def test_a_row_for_another_spelling_is_alive():
    """`Ab` is neither `ab` nor `AB`, though all are the same in lower case."""
    rows = [
        row("result.name in ['ab', 'AB']", "failed"),
        row("lower(result.name) == 'ab'"),
        row(target="failed"),
    ]
    assert "shadowed-row" not in codes(desk(*rows))


def test_an_index_into_an_object_of_the_context_may_find_something():
    """`context.orders[args.id]` is not always null: the index may be a text."""
    table = Table(
        name="t",
        initial="one",
        states=[State("one", ask="x", tools=["pay"]), State("done", final="success")],
        transitions=[Transition("one", "pay.ok", "done")],
        tools={"pay": Use(when="context.orders[args.id].status == 'open'")},
        context={"orders": "object"},
    )
    arguments = {"type": "object", "properties": {"id": {"type": "string"}}, "required": ["id"]}
    specs = {"pay": ToolSpec(name="pay", effect="idempotent", arguments=arguments)}
    assert [each.code for each in check(table, specs)] == []
