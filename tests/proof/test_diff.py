"""Diff: what became possible and impossible, and that what means the same is the same."""

from __future__ import annotations

import itertools

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from statemachine_agents.proof.diff import diff
from statemachine_agents.proof.walks import moves_of, parted
from statemachine_agents.table.definition import Definition
from statemachine_agents.table.grid import expand
from statemachine_agents.table.model import Key, Limits, State, Table, Transition, Use
from tests.strategies import SPECS, tables
from tests.tables import REFUND_TOML, everything, refund, refund_specs


def changed(*swaps: tuple[str, str]) -> Table:
    """The refund table with pieces of its text replaced, each of which must be there."""
    text = REFUND_TOML
    for old, new in swaps:
        assert old in text, old
        text = text.replace(old, new)
    return Table.from_toml(text)


def found(*swaps: tuple[str, str]) -> list[tuple[str, str, str, str]]:
    """The changes from the refund table: sense, kind, place, text."""
    return [
        (each.sense, each.kind, each.place, each.text)
        for each in diff(refund(), changed(*swaps)).changes
    ]


ROW = '  { source = "crediting",    event = "process_credit.unknown", target = "reconciling" },\n'


def test_a_table_is_the_same_as_itself():
    """Nothing is reported, whatever the name and version say."""
    for table in (refund(), everything()):
        assert diff(table, table).same
        assert diff(table, attrs.evolve(table, name="other", version="9")).same


def test_what_means_the_same_is_the_same():
    """Other spelling, named rows, named expressions, rows of other states in another order."""
    same = changed(
        ("result.eligible and result.amount_cents <= 50000", "(result.eligible) and small"),
        ("[context]", '[define]\nsmall = "result.amount_cents <= 50000"\n[context]'),
        (ROW, ""),
        ("transitions = [\n", "transitions = [\n" + ROW.replace(" }", ', name = "lost" }')),
        (
            "at_most(process_credit, 1, per=args.order_id)",
            "at_most( process_credit , 1,per = args.order_id )",
        ),
    )
    difference = diff(refund(), same)
    assert difference.changes == ()
    assert difference.same


@given(tables())
def test_rows_for_every_state_mean_what_the_star_means(table: Table):
    """`*`, groups and patterns written out, row by row, are the same table."""
    written = written_out(table)
    assert all(row.source in table.states for row in written.transitions)
    assert not any("*" in event for row in written.transitions for event in row.event)
    difference = diff(table, written)
    assert difference.changes == ()
    assert difference.same


def written_out(table: Table) -> Table:
    """The table with each row once for each state and event where it stands."""
    grid, _ = expand(table)
    rows: list[tuple[int, Transition]] = []
    for state, cells in grid.cells.items():
        texts: dict[int, dict[str, None]] = {}
        for cell in cells.values():
            for entry in (*cell.notes, *cell.moves):
                text = " & ".join(entry.needs) or cell.event
                texts.setdefault(entry.row.index, {})[text] = None
        for index, events in texts.items():
            row = attrs.evolve(table.transitions[index], source=state, event=tuple(events))
            rows.append((index, row))
    rows.sort(key=lambda each: each[0])
    return attrs.evolve(table, transitions=tuple(row for _, row in rows), groups={})


def test_a_row_that_is_gone():
    """The lost run is the shortest that used it, with guards; the cell says what happens now."""
    difference = diff(refund(), changed((ROW, "")))
    (walk,) = difference.lost
    assert [hop.events for hop in walk.hops] == [
        ("fetch_order.ok",),
        ("check_refund_policy.ok",),
        ("process_credit.unknown",),
        ("process_credit.ok",),
        ("send_email.ok",),
    ]
    assert walk.at == 2
    assert walk.hops[1].guard == "result.eligible and result.amount_cents <= 50000"
    assert walk.hops[1].row == "row 3"
    assert walk.end == "success"
    assert difference.gained == ()
    kinds = [(each.sense, each.kind, each.place) for each in difference.changes]
    assert kinds == [
        ("impossible", "state", "reconciling"),
        ("changed", "outcome", "crediting"),
    ]
    assert difference.changes[1].before == "-> reconciling"
    assert difference.changes[1].after == "default: parked"
    assert difference.changes[1].events == ("process_credit.unknown",)
    assert set(difference.touched) == {"reconciling", "crediting"}


def test_a_guard_that_lets_more_through():
    """The old and the new condition are a lost and a gained run, parting at the same move."""
    difference = diff(refund(), changed(("<= 50000", "<= 60000")))
    (lost,), (gained,) = difference.lost, difference.gained
    assert lost.at == gained.at == 1
    assert lost.hops[1].guard.endswith("<= 50000")
    assert gained.hops[1].guard.endswith("<= 60000")
    assert [each.place for each in difference.changes] == ["validating"]


def test_an_end_of_another_kind():
    """The same facts that end well in one table and badly in the other are told apart."""
    difference = diff(
        refund(), changed(('complete     = { final = "success"', 'complete = { final = "failure"'))
    )
    assert {walk.end for walk in difference.lost} == {"success"}
    assert {walk.end for walk in difference.gained} == {"failure"}
    assert all(walk.at is None for walk in (*difference.lost, *difference.gained))
    assert [(each.kind, each.before, each.after) for each in difference.changes] == [
        ("verb", "success", "failure")
    ]


def test_rows_in_another_order():
    """The same rows of one cell in another order are said to be just that, and part no run."""
    rows = [
        Transition("a", "f.ok", "b", "result == 1"),
        Transition("a", "f.ok", "c", "result < 5"),
        Transition("a", "f.error", "c"),
    ]
    states = [
        State("a", ask="x", tools=["f"]),
        State("b", final="success"),
        State("c", final="failure"),
    ]
    table = Table(name="t", initial="a", states=states, transitions=rows)
    swapped = attrs.evolve(table, transitions=(rows[1], rows[0], rows[2]))
    difference = diff(table, swapped)
    (change,) = difference.changes
    assert (change.kind, change.place, change.events) == ("order", "a", ("f.ok",))
    assert difference.gained == difference.lost == ()
    assert not difference.same
    assert diff(table, attrs.evolve(table, transitions=(rows[2], rows[0], rows[1]))).same


def test_a_row_instead_of_a_default():
    """Where one table has a row and the other ends by default, both runs are told."""
    row = '"model.refused", "limit.*", "run.cancelled"'
    difference = diff(refund(), changed((row, '"model.refused", "limit.*"')))
    (lost,), (gained,) = difference.lost, difference.gained
    assert (lost.hops[-2].row, lost.hops[-2].target, lost.end) == (
        "row 11", "needs_person", "success",
    )  # fmt: skip
    assert (gained.hops[-1].row, gained.hops[-1].target, gained.end) == (
        "default", "cancelled", "cancelled",
    )  # fmt: skip
    assert lost.hops[lost.at].events == gained.hops[gained.at].events == ("run.cancelled",)


def small(*rows: Transition) -> Table:
    """A table of seven states in which rows alone differ; `end` is a success, `bad` a failure."""
    states = [State(name, ask="x", tools=["f", "g"]) for name in "abcde"]
    finals = [State("end", final="success"), State("bad", final="failure")]
    return Table(name="t", initial="a", states=[*states, *finals], transitions=rows)


def test_what_stands_behind_a_row_that_always_fires_counts_for_nothing():
    """A hidden row, and the second of two with one guard, can go or lead elsewhere."""
    sure = Transition("a", "f.ok", "end")
    assert diff(small(sure), small(sure, Transition("a", "f.ok", "bad", "result == 1"))).same
    first = Transition("a", "g.ok", "end", "result == 1")
    second = Transition("a", "g.ok", "bad", "result == 1")
    assert diff(small(sure, first), small(sure, first, second)).lost == ()
    assert diff(small(sure, first), small(sure, first, second)).gained == ()


def test_the_shortest_way_there_is_told():
    """Where several ways lead to the place that differs, the shortest is shown."""
    last = Transition("d", "g.ok", "end")
    for near, far in (("f.ok", "g.ok"), ("g.ok", "f.ok")):
        rows = [
            Transition("a", near, "c"),
            Transition("c", "f.ok", "d"),
            Transition("a", far, "b"),
            Transition("b", "f.ok", "e"),
            Transition("e", "f.ok", "d"),
            Transition("d", "f.ok", "end"),
        ]
        (walk,) = diff(small(*rows, last), small(*rows)).lost
        assert [hop.events for hop in walk.hops] == [(near,), ("f.ok",), ("g.ok",)]


def test_a_state_with_another_name():
    """It is one change, and neither lost, gained nor a change of the cells that lead there."""
    difference = diff(refund(), changed(("reconciling", "asking_the_bank")))
    (change,) = difference.changes
    assert (change.kind, change.before, change.after) == (
        "renamed",
        "reconciling",
        "asking_the_bank",
    )
    assert difference.gained == difference.lost == ()
    assert list(difference.touched) == ["reconciling"]


def test_a_state_that_nobody_reaches_counts_for_nothing():
    """What no run can meet is no difference."""
    table = refund()
    more = attrs.evolve(table, states=[*table.states.values(), State("lonely", final="failure")])
    assert diff(table, more).same


def test_another_start():
    """A run that starts elsewhere is said first."""
    difference = diff(refund(), attrs.evolve(refund(), initial="validating"))
    assert difference.changes[0].kind == "start"
    assert difference.changes[0].text == "a run starts in validating, not in fetching"
    assert ("impossible", "state", "fetching") in [
        (each.sense, each.kind, each.place) for each in difference.changes
    ]


def test_tools_offered_and_called():
    """A tool more or less is said per state, with the word for who calls it."""
    offered = ('tools = ["check_refund_policy"]', 'tools = ["check_refund_policy", "send_email"]')
    assert ("possible", "offer", "validating", "send_email may be called here") in found(offered)
    back = diff(changed(offered), refund())
    assert ("impossible", "offer", "send_email is not called here any more") in [
        (each.sense, each.kind, each.text) for each in back.changes
    ]
    states = [State("a", do=["f"]), State("b", final="success")]
    table = Table(
        name="t", initial="a", states=states, transitions=[Transition("a", "settled", "b")]
    )
    more = attrs.evolve(table, states=[State("a", do=["f", "g"]), states[1]])
    assert ("possible", "call", "the engine calls g here") in [
        (each.sense, each.kind, each.text) for each in diff(table, more).changes
    ]


SMALL = [
    (
        (', amount_cents = "context.policy.amount_cents"', ""),
        "possible", "bind", "process_credit",
        "the model may choose amount_cents, which was context.policy.amount_cents",
    ),
    (
        ('to = "context.order.email"', 'to = "context.order.email", cc = "\'a@b\'"'),
        "impossible", "bind", "send_email", "the model cannot choose cc: it is 'a@b'",
    ),
    (
        ('to = "context.order.email"', 'to = "context.order.mail"'),
        "changed", "bind", "send_email",
        "gets to from context.order.mail, not from context.order.email",
    ),
    (
        ('process_credit.when      = "context.policy.eligible"\n', ""),
        "possible", "when", "process_credit", "is called without a condition",
    ),
    (
        ("[context]", 'fetch_order.when = "iterations < 3"\n[context]'),
        "impossible", "when", "fetch_order", "is called only when iterations < 3",
    ),
    (
        ("args.amount_cents > 20000", "args.amount_cents > 90000"),
        "changed", "approve", "process_credit", "needs a person when args.amount_cents > 90000",
    ),
    (
        ('process_credit.approve   = "args.amount_cents > 20000"\n', ""),
        "possible", "approve", "process_credit", "needs no person any more",
    ),
    (
        ("limits = { iterations = 12 }", "limits = { iterations = 12, cost_usd = 0.5 }"),
        "changed", "limit", "cost_usd", "is 0.5, was without bound",
    ),
    (
        ('  "at_most(process_credit, 1, per=args.order_id)",\n', ""),
        "possible", "rule", "at_most(process_credit, 1, per=args.order_id)", "holds no more",
    ),
    (
        ("rules = [\n", 'rules = [\n  "never(send_email)",\n'),
        "impossible", "rule", "never(send_email)", "holds now",
    ),
    (
        ('credit   = "object?"', 'credit   = "object"'),
        "changed", "context", "credit", "is object, was object?; a run cannot start without it",
    ),
    (
        ('reason   = "string?"', 'reason   = "string?"\nphone = "string"'),
        "changed", "context", "phone", "is a new key: string; a run cannot start without it",
    ),
    (
        ("You are the refund desk", "You are a refund desk"),
        "changed", "wording", "instructions", "the model is instructed otherwise",
    ),
    (
        ("Was the money moved?", "Did it move?"),
        "changed", "wording", "reconciling", "says another `question`",
    ),
    (
        ('shows = ["order", "policy"]', 'shows = ["order"]'),
        "changed", "acts", "reconciling", "has another `shows`",
    ),
    (
        ('returns = "context.credit"', 'returns = "context.credit.id"'),
        "changed", "acts", "complete", "has another `returns`",
    ),
]  # fmt: skip


@pytest.mark.parametrize(("swap", "sense", "kind", "place", "text"), SMALL)
def test_each_kind_of_change_is_one_sentence(swap, sense, kind, place, text):
    """One edit gives its sentence, with the right sense; the way back is a difference too."""
    assert (sense, kind, place, text) in found(swap)
    back = diff(changed(swap), refund())
    assert not back.same
    turned = {"possible": "impossible", "impossible": "possible", "changed": "changed"}
    senses = {each.sense for each in back.changes if each.kind == kind}
    assert turned[sense] in senses or kind == "approve"


def test_effects_count_where_both_sides_know_them():
    """Another effect class or schema is a change; with one side unknown nothing is invented."""
    specs = refund_specs()
    before = Definition(refund(), specs)
    after = Definition(
        refund(),
        {
            **specs,
            "fetch_order": attrs.evolve(specs["fetch_order"], effect="manual"),
            "send_email": attrs.evolve(specs["send_email"], result={"type": "string"}),
        },
    )
    texts = [(each.kind, each.place, each.states) for each in diff(before, after).changes]
    assert ("effect", "fetch_order", ("fetching",)) in texts
    assert ("tool", "send_email", ("emailing",)) in texts
    assert diff(before, before).same
    assert diff(before, refund()).same
    assert diff(refund(), after).same


def test_the_plain_form_says_everything():
    """`to_dict` holds the verdict, each change and each run, in plain JSON values."""
    plain = diff(refund(), changed((ROW, ""))).to_dict()
    assert plain["same"] is False
    assert plain["changes"][1]["events"] == ["process_credit.unknown"]
    assert plain["lost"][0]["hops"][2]["target"] == "reconciling"
    assert diff(refund(), refund()).to_dict()["changes"] == []


@given(tables(), st.data())
def test_walks_agree_with_all_short_words(table: Table, data: st.DataObject):
    """Against an enumerator: no run is invented, and the first place to part is found."""
    rows = list(table.transitions)
    if rows:
        index = data.draw(st.integers(0, len(rows) - 1))
        how = data.draw(st.sampled_from(["drop", "retarget", "bare"]))
        row = rows[index]
        if how == "drop":
            del rows[index]
        elif how == "retarget" and row.target is not None:
            rows[index] = attrs.evolve(row, target=data.draw(st.sampled_from(list(table.states))))
        else:
            rows[index] = attrs.evolve(row, guard=None)
    other = attrs.evolve(table, transitions=tuple(rows))
    one, two = (expand(each, SPECS)[0] for each in (table, other))
    found = parted(one, two)
    mine, theirs = words(one, 3), words(two, 3)
    for walks, own, foreign in ((found.lost, mine, theirs), (found.gained, theirs, mine)):
        for walk in walks:
            size = len(walk.hops) if walk.at is None else walk.at + 1
            if size <= 3:
                labels = [[(event, hop.guard) for event in hop.events] for hop in walk.hops[:size]]
                for word in itertools.product(*labels):
                    assert word in own
                    assert own[word] != foreign.get(word)
    # Up to three moves, a word of one table alone means that some walk of that size is reported.
    differing = [len(word) for word in {*mine, *theirs} if mine.get(word) != theirs.get(word)]
    if differing:
        sizes = [
            len(walk.hops) if walk.at is None else walk.at + 1
            for walk in (*found.lost, *found.gained)
        ]
        assert min(sizes) == min(differing)
    else:
        assert all(
            (len(walk.hops) if walk.at is None else walk.at + 1) > 3
            for walk in (*found.lost, *found.gained)
        )


def words(grid, most: int) -> dict[tuple[tuple[str, str], ...], str]:
    """Every word of at most so many moves, and how the run has ended after it."""
    moves = moves_of(grid)
    out: dict[tuple[tuple[str, str], ...], str] = {}
    pending = [((), grid.table.initial)]
    while pending:
        word, state = pending.pop()
        if len(word) == most:
            continue
        for label, hop in moves.get(state, {}).items():
            longer = (*word, label)
            if hop.row == "default":
                out[longer] = {"failed": "failure", "cancelled": "cancelled"}[hop.target]
                continue
            out[longer] = grid.table.states[hop.target].final or ""
            pending.append((longer, hop.target))
    return out


def test_many_states_are_walked_in_order():
    """A chain of 500 states with one row less near its end is told apart there only."""
    states = [State(f"s{n}", ask="x", tools=["f"]) for n in range(500)]
    rows = [Transition(f"s{n}", "f.ok", f"s{n + 1}") for n in range(499)]
    rows.append(Transition("s499", "f.ok", "done"))
    rows.append(Transition("s498", "f.error", "done"))
    table = Table(
        name="t", initial="s0", states=[*states, State("done", final="success")], transitions=rows
    )
    difference = diff(table, attrs.evolve(table, transitions=tuple(rows[:-1])))
    (walk,) = difference.lost
    assert walk.at == 498
    assert difference.complete


def test_private_values_and_aliases():
    """An alias, an undo or a limit given back to its default are told as well."""
    use = Use(undo="pay_back", use="charge")
    states = [State("a", ask="x", tools=["pay"]), State("b", final="success")]
    table = Table(
        name="t", initial="a", states=states, transitions=[Transition("a", "pay.ok", "b")],
        tools={"pay": Use()}, limits=Limits(calls=3), context={"x": Key(type="any")},
    )  # fmt: skip
    after = attrs.evolve(
        table, tools={"pay": use}, limits=Limits(), context={"x": Key(type="any", private=True)}
    )
    assert [(each.place, each.text) for each in diff(table, after).changes] == [
        ("pay", "is undone by another tool"),
        ("pay", "is another function"),
        ("calls", "is 40, was 3"),
        ("x", "has another default, scope or privacy"),
    ]
