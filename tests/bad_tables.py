"""One bad table per structural finding, with the exact place of the finding.

Each is the sound table with one thing changed, so that what is found comes from the change.
"""

from __future__ import annotations

from typing import Any

from statemachine_agents.table.model import Agent, Key, Signal, State, Table, Transition, Use
from statemachine_agents.table.toolspec import ToolSpec


def spec(name: str, effect: str = "read", **options: Any) -> ToolSpec:
    arguments = {
        "type": "object",
        "properties": {"id": {"type": "string"}, "size": {"type": "integer", "default": 1}},
        "required": ["id"],
        "additionalProperties": False,
    }
    return ToolSpec(name=name, effect=effect, arguments=arguments, **options)


TOOLS = {"find": spec("find"), "pay": spec("pay", "manual")}
"""What the sound table's tools are."""

SOUND: dict[str, Any] = {
    "name": "shop",
    "initial": "look",
    "states": [
        State("look", ask="Look it up.", tools=["find"]),
        State("settle", do=["pay"]),
        State("doubt", wait="resolution"),
        State("done", final="success"),
        State("failed", final="failure"),
    ],
    "transitions": [
        Transition("look", "find.ok", "settle"),
        Transition("settle", "pay.ok", "done"),
        Transition("settle", "pay.unknown", "doubt"),
        Transition("doubt", "pay.ok", "done"),
        Transition("doubt", "pay.error", "failed"),
    ],
    "tools": {"pay": Use(bind={"id": "context.id"})},
    "context": {"id": "string", "secret": Key(type="string?", private=True)},
}


def sound(*, rows: list[Transition] | None = None, **changes: Any) -> Table:
    """The sound table; `rows` come before its own, states of one name are replaced."""
    parts = {**SOUND, **changes}
    states = {state.name: state for state in (*SOUND["states"], *changes.get("states", ()))}
    parts["states"] = list(states.values())
    parts["transitions"] = [*(rows or ()), *parts["transitions"]]
    parts["tools"] = {**SOUND["tools"], **changes.get("tools", {})}
    parts["context"] = {**SOUND["context"], **changes.get("context", {})}
    return Table(**parts)


def row(event: str | list[str] = "find.ok", target: str | None = "settle", **parts: Any) -> Table:
    """The sound table with one more row out of `look`, above the others."""
    return sound(rows=[Transition(parts.pop("source", "look"), event, target, **parts)])


def look(**parts: Any) -> Table:
    """The sound table with its first state written another way."""
    return sound(states=[State("look", **{"ask": "x", "tools": ["find"], **parts})])


def spare(**parts: Any) -> Table:
    """The sound table with one more state, `spare`, reached by a row and left by `way`."""
    way = parts.pop("way", [])
    if isinstance(way, str):
        way = [Transition("spare", way, "done")]
    rows = [Transition("look", "model.done", "spare"), *way]
    return sound(rows=rows, states=[State("spare", **parts)])


def use(name: str, **parts: Any) -> Table:
    """The sound table with a `[tools]` entry; `find` is offered, `pay` is done."""
    bind = {"id": "context.id"} if name == "pay" else {}
    return sound(tools={name: Use(**{"bind": bind, **parts})})


def ends_nowhere(*, talk: bool) -> Table:
    states = [State("look", ask="x", tools=["find"], talk=talk)]
    rows = [Transition("look", "find.ok", "look")]
    return Table(name="shop", initial="look", states=states, transitions=rows)


ERRORS: list[tuple[str, Table, str]] = [
    # names
    ("unknown-state", sound(initial="lok"), "initial"),
    ("unknown-state", row(target="setle"), "transitions[0].target"),
    ("unknown-state", row(source="loko"), "transitions[0].source"),
    ("unknown-state", sound(groups={"g": ["look", "lok"]}), "groups.g[1]"),
    ("unknown-state", row(guard="visits.lok < 3"), "transitions[0].guard"),
    ("unknown-agent", look(agent="clerk"), "states.look.agent"),
    ("unknown-workflow", spare(run="child", way="settled"), "states.spare.run[0]"),
    ("unknown-effort", sound(agents=[Agent("a", effort="huge")]), "agents.a.effort"),
    ("unknown-context-key", look(shows=["idd"]), "states.look.shows[0]"),
    ("unknown-context-key", look(ask="Find {context.idd}."), "states.look.ask"),
    ("unknown-context-key", look(say="Find {context.idd}."), "states.look.say"),
    ("unknown-context-key", row(guard="context.idd == 1"), "transitions[0].guard"),
    ("unknown-context-key", row(assign={"idd": "1"}), "transitions[0].assign.idd"),
    ("unknown-context-key", row(assign={"id": "context.x"}), "transitions[0].assign.id"),
    (
        "unknown-context-key",
        row(assign={"id[context.x]": "1"}),
        "transitions[0].assign.id[context.x]",
    ),
    ("unknown-context-key", use("pay", bind={"id": "context.idd"}), "tools.pay.bind.id"),
    ("unknown-context-key", use("pay", when="context.x"), "tools.pay.when"),
    ("unknown-context-key", use("pay", approve="context.x"), "tools.pay.approve"),
    (
        "unknown-context-key",
        sound(states=[State("done", final="success", returns="context.x")]),
        "states.done.returns",
    ),
    (
        "unknown-context-key",
        spare(run="shop", each="context.x", way="settled"),
        "states.spare.each",
    ),
    (
        "unknown-context-key",
        spare(wait="message", question="{context.x}?", way="user.message"),
        "states.spare.question",
    ),
    ("unknown-context-key", sound(define={"d": "context.x"}), "define.d"),
    ("unknown-context-key", sound(rules=["never(pay where context.x)"]), "rules[0]"),
    ("unknown-context-key", sound(rules=["at_most(pay, 1, per=context.x)"]), "rules[0]"),
    ("unknown-name", row(guard="rezult.ok"), "transitions[0].guard"),
    ("unknown-name", row(guard="id == 1"), "transitions[0].guard"),
    ("unknown-name", use("pay", when="order.paid"), "tools.pay.when"),
    ("unknown-name", sound(define={"b": "a", "a": "1"}), "define.b"),
    ("unknown-name", sound(rules=["never(pay where agrs.id == 1)"]), "rules[0]"),
    (
        "unknown-result",
        sound(
            states=[State("look", ask="x", tools=["find", "pay"])],
            rows=[Transition("look", "find.ok & pay.ok", "done", "results.fidn.x")],
        ),
        "transitions[0].guard",
    ),
    ("bad-name", sound(states=[State("a b", ask="x")]), "states.a b"),
    ("bad-name", sound(groups={"*": ["look"]}), "groups.*"),
    ("bad-name", sound(agents=[Agent("a.b")]), "agents.a.b"),
    ("bad-name", use("pay it"), "tools.pay it"),
    ("bad-name", look(tools=["find", "find it"]), "states.look.tools[1]"),
    ("bad-name", sound(signals={"a b": Signal()}), "signals.a b"),
    ("bad-name", sound(context={"a-b": "any"}), "context.a-b"),
    ("bad-name", sound(define={"a-b": "1"}), "define.a-b"),
    ("reserved-name", sound(name="run"), "name"),
    ("reserved-name", look(tools=["find", "model"]), "states.look.tools[1]"),
    ("reserved-name", use("limit"), "tools.limit"),
    ("reserved-name", sound(signals={"settled": Signal()}), "signals.settled"),
    ("reserved-name", spare(run="timer", way="settled"), "states.spare.run[0]"),
    ("reserved-name", sound(states=[State("stay", ask="x")]), "states.stay"),
    ("reserved-name", sound(define={"result": "1"}), "define.result"),
    ("reserved-name", sound(define={"len": "1"}), "define.len"),
    ("reserved-name", sound(signals={"s": Signal(fields={"about": "string"})}), "signals.s.about"),
    ("name-clash", sound(groups={"look": ["settle"]}), "groups.look"),
    ("name-clash", sound(signals={"find": Signal()}), "signals.find"),
    ("name-clash", sound(signals={"pay": Signal()}), "signals.pay"),
    ("name-clash", spare(run="find", way="settled"), "states.spare.run[0]"),
    ("no-event", row(event=[]), "transitions[0].event"),
    ("unknown-type", sound(context={"n": "int"}), "context.n"),
    ("unknown-type", sound(signals={"s": Signal(fields={"n": "text"})}), "signals.s.n"),
    ("unknown-scope", sound(context={"n": Key(type="any", scope="turn")}), "context.n.scope"),
    ("wrong-default", sound(context={"n": Key(type="integer", default="1")}), "context.n.default"),
    ("wrong-default", sound(context={"n": Key(type="integer", default=True)}), "context.n.default"),
    (
        "stretch-without-default",
        sound(context={"n": Key(type="string", scope="stretch")}),
        "context.n",
    ),
    ("private-shown", look(shows=["secret"]), "states.look.shows[0]"),
    ("private-shown", look(ask="Say {context.secret}."), "states.look.ask"),
    # events and syntax
    ("unknown-event", row(event="fidn.ok"), "transitions[0].event"),
    ("unknown-event", sound(rules=["never(fidn.ok)"]), "rules[0]"),
    ("event-not-met", row(event="pay.ok"), "transitions[0].event"),
    ("syntax", row(event="find ok"), "transitions[0].event"),
    ("syntax", row(guard="result ="), "transitions[0].guard"),
    ("syntax", row(assign={"id": "1 +"}), "transitions[0].assign.id"),
    ("syntax", use("pay", bind={"id": "context."}), "tools.pay.bind.id"),
    ("syntax", use("pay", when="context.id ="), "tools.pay.when"),
    ("syntax", use("pay", approve="("), "tools.pay.approve"),
    ("syntax", sound(states=[State("done", final="success", returns="]")]), "states.done.returns"),
    ("syntax", spare(run="shop", each="*", way="settled"), "states.spare.each"),
    ("syntax", look(ask="{context.id[+]}"), "states.look.ask"),
    ("syntax", sound(define={"d": "1 +"}), "define.d"),
    ("syntax", sound(rules=["at_most(pay)"]), "rules[0]"),
    # verbs
    ("no-verb", sound(states=[State("look", tools=["find"])]), "states.look"),
    ("many-verbs", look(wait="message"), "states.look"),
    (
        "wrong-verb",
        sound(states=[State("settle", do=["pay"], tools=["find"])]),
        "states.settle.tools",
    ),
    ("wrong-verb", look(question="Yes?"), "states.look.question"),
    ("wrong-verb", look(returns="context.id"), "states.look.returns"),
    ("wrong-verb", look(each="context.id"), "states.look.each"),
    ("wrong-verb", look(at_once=2), "states.look.at_once"),
    ("wrong-verb", look(join="any"), "states.look.join"),
    ("wrong-verb", sound(states=[State("done", final="success", after="1h")]), "states.done.after"),
    ("wrong-verb", spare(wait="message", talk=True, way="user.message"), "states.spare.talk"),
    ("wrong-verb", spare(do=["pay"], agent="a", way="pay.ok"), "states.spare.agent"),
    ("wrong-verb", spare(do=[], output={}, way="entered"), "states.spare.output"),
    ("wrong-verb", spare(do=[], shows=["id"], way="entered"), "states.spare.shows"),
    ("wrong-verb", spare(do=[], parallel=True, way="entered"), "states.spare.parallel"),
    ("wrong-verb", spare(do=[], fresh=True, way="entered"), "states.spare.fresh"),
    ("unknown-final", sound(states=[State("done", final="succes")]), "states.done.final"),
    ("bad-duration", look(after="1 hour"), "states.look.after"),
    ("bad-duration", look(after="90"), "states.look.after"),
    ("empty-list", spare(run=[], way="settled"), "states.spare.run"),
    ("empty-list", spare(wait=[]), "states.spare.wait"),
    ("undo-not-alone", spare(do=["undo", "pay"], way="pay.ok"), "states.spare.do"),
    ("bad-number", spare(run="shop", each="[]", at_once=0, way="settled"), "states.spare.at_once"),
    ("bad-join", spare(run="shop", join="most", way="settled"), "states.spare.join"),
    ("bad-join", spare(run="shop", join=0, way="settled"), "states.spare.join"),
    ("bad-join", spare(run="shop", join=2, way="settled"), "states.spare.join"),
    ("unknown-wait", spare(wait=["message", "rain"], way="user.message"), "states.spare.wait[1]"),
    ("timer-without-after", spare(wait="timer"), "states.spare.wait[0]"),
    ("wait-unhandled", spare(wait="approval", way="entered"), "states.spare.wait[0]"),
    ("wait-unhandled", spare(wait="timer", after="1h", way="entered"), "states.spare.wait[0]"),
    # tools
    ("unknown-tool", look(tools=["find", "fidn"]), "states.look.tools[1]"),
    ("unknown-tool", sound(states=[State("settle", do=["pya"])]), "states.settle.do[0]"),
    ("unknown-tool", sound(everywhere=["help"]), "everywhere[0]"),
    ("unknown-tool", use("pay", undo="unpay"), "tools.pay.undo"),
    (
        "unknown-tool",
        sound(
            states=[State("look", ask="x", tools=["find", "other"])], tools={"other": Use(use="x")}
        ),
        "tools.other.use",
    ),
    (
        "unknown-tool",
        sound(signals={"stop": Signal()}, tools={"pay": Use(bind={"id": "'1'"}, use="stop")}),
        "tools.pay.use",
    ),
    ("unknown-tool", sound(rules=["never(pya)"]), "rules[0]"),
    (
        "alias-of-alias",
        sound(tools={"find": Use(use="pay"), "pay": Use(bind={"id": "'1'"}, use="find")}),
        "tools.find.use",
    ),
    ("unused-tool", use("fnd"), "tools.fnd"),
    (
        "signal-in-do",
        sound(states=[State("settle", do=["pay", "stop"])], signals={"stop": Signal()}),
        "states.settle.do[1]",
    ),
    ("missing-binding", use("pay", bind={}), "tools.pay.bind"),
    (
        "unknown-argument",
        use("pay", bind={"id": "context.id", "sise": "1"}),
        "tools.pay.bind.sise",
    ),
    # flow
    ("row-from-final", row(source="done"), "transitions[0].source"),
    ("dead-end", spare(wait="message"), "states.spare"),
    (
        "no-end",
        spare(ask="x", tools=["find"], way=[Transition("spare", "find.ok", "spare")]),
        "states.spare",
    ),
    ("no-final", ends_nowhere(talk=False), "states"),
]

WARNINGS: list[tuple[str, Table, str]] = [
    ("bad-name", sound(name="the shop"), "name"),
    (
        "reserved-name",
        sound(
            states=[State("approval", ask="x")],
            rows=[
                Transition("look", "model.done", "approval"),
                Transition("approval", "model.done", "done"),
            ],
        ),
        "states.approval",
    ),
    ("empty-note", row(target=None), "transitions[0]"),
    ("event-not-met", row(source="*", event="undo.ok"), "transitions[0].event"),
    ("always-null", row(guard="error.kind == 'x'"), "transitions[0].guard"),
    ("always-null", row(event="find.error", guard="result.x"), "transitions[0].guard"),
    ("always-null", row(event="find.error", assign={"id": "result.x"}), "transitions[0].assign.id"),
    ("always-null", row(guard="results.find.x"), "transitions[0].guard"),
    ("always-null", use("pay", bind={"id": "args.id"}), "tools.pay.bind.id"),
    ("always-null", use("pay", when="result.ok"), "tools.pay.when"),
    ("always-null", look(ask="{context.id[args.n]}"), "states.look.ask"),
    ("always-null", sound(rules=["never(pay where result.x)"]), "rules[0]"),
    ("not-filled-in", look(ask="Find {id}."), "states.look.ask"),
    ("hole-in-instructions", sound(instructions="Serve {context.id}."), "instructions"),
    (
        "hole-in-instructions",
        sound(agents=[Agent("a", "Serve {context.id}.")]),
        "agents.a.instructions",
    ),
    ("timer-unhandled", look(after="1h"), "states.look.after"),
    (
        "timer-unhandled",
        spare(wait="message", after="1h", way="user.message"),
        "states.spare.after",
    ),
    (
        "wait-unhandled",
        spare(wait=["message", "approval"], way="user.message"),
        "states.spare.wait[1]",
    ),
    ("at-once-without-each", spare(run="shop", at_once=2, way="settled"), "states.spare.at_once"),
    ("twice", look(tools=["find", "find"]), "states.look.tools[1]"),
    ("results-unhandled", look(tools=["find", "post"]), "states.look.tools[1]"),
    ("effect-unknown-unhandled", look(tools=["find", "pay"]), "states.look.tools[1]"),
    ("unreachable-state", sound(states=[State("island", final="failure")]), "states.island"),
    (
        "no-end",
        spare(wait="message", way=[Transition("spare", "user.message", "spare")]),
        "states.spare",
    ),
    ("no-final", ends_nowhere(talk=True), "states"),
    (
        "shadowed-row",
        sound(rows=[Transition("look", f"find.{it}", "done") for it in ("*", "error")]),
        "transitions[1]",
    ),
]
