"""Checks on what expressions, templates and rules read: does the name exist where it stands?

Rules.  1. A name that exists nowhere is an error; one that this event never gives is always null,
and a warning.  2. Context keys and states are known by name, so a wrong one is an error anywhere.
3. What is wrong in a definition is reported there, not at its uses.
Not here: types of values (`guards`), names of states, tools and keys themselves (`naming`).
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from functools import lru_cache
from typing import Final

from statemachine_agents.errors import ExpressionError
from statemachine_agents.proof.naming import ROOTS
from statemachine_agents.proof.sheet import Sheet
from statemachine_agents.table.events import ENGINE_EVENTS, is_engine
from statemachine_agents.table.expressions import Path, unparse
from statemachine_agents.table.grid import Row
from statemachine_agents.table.model import State
from statemachine_agents.table.problems import suggest
from statemachine_agents.table.rule_syntax import parse_rule
from statemachine_agents.table.templates import has_holes, parse_template

ALWAYS: Final = frozenset({"context", "visits", "iterations", "now"})
"""Names every event offers; bindings read only these."""

_CALL: Final = ALWAYS | {"args"}
_ANY: Final = frozenset(ROOTS)
_BRACED: Final = re.compile(r"\{([A-Za-z_][A-Za-z0-9_]*)[^{}]*\}")
_ENGINE: Final = {
    "user.message": {"message"},
    "approval.granted": {"approval"},
    "approval.rejected": {"approval", "args"},
    "model.done": {"reply"},
    "model.refused": {"error"},
    "model.failed": {"error"},
    "undo.error": {"error", "args"},
    "run.cancelled": {"error"},
    "guard.error": {"error"},
}


@lru_cache(maxsize=4096)
def names_given(event: str) -> frozenset[str]:
    """Return the first names an event adds for guards. Source: design.md section 3.4."""
    if event.startswith("limit."):
        return frozenset({"error"})
    if is_engine(event):
        return frozenset(_ENGINE.get(event, ()))
    outcome = event.partition(".")[2]
    return frozenset({"args", "result" if outcome in ("ok", "success") else "error"})


def check(sheet: Sheet) -> None:
    """Check everything that reads."""
    reader = _Reader(sheet)
    for name, expression in sheet.define.items():
        reader.look(f"define.{name}", expression.paths(), _ANY, "")
    reader.blame_definitions()
    for row in sheet.grid.rows:
        reader.row(row)
    for name, use in sheet.table.tools.items():
        for argument, text in use.bind.items():
            reader.expression(f"tools.{name}.bind.{argument}", text, ALWAYS, "a binding")
        for key, condition in (("when", use.when), ("approve", use.approve)):
            if condition is not None:
                reader.expression(f"tools.{name}.{key}", condition, _CALL, f"`{key}`")
    for state in sheet.table.states.values():
        reader.state(state)
    for where, text in (
        ("instructions", sheet.table.instructions),
        *(
            (f"agents.{name}.instructions", it.instructions)
            for name, it in sheet.table.agents.items()
        ),
    ):
        if has_holes(text):
            what = "`{context...}` is not filled in here: instructions never change during a run"
            sheet.warn("hole-in-instructions", where, what, advice="put it into an `ask`")
    for index, text in enumerate(sheet.table.rules):
        reader.rule(f"rules[{index}]", text)


class _Reader:
    """Looks at paths, one place after the other."""

    def __init__(self, sheet: Sheet) -> None:
        self.sheet = sheet
        self.blamed: set[tuple[str, str]] = set()
        self.found: list[tuple[str, str]] = []
        cells = sheet.grid.cells.values()
        self.events = set(ENGINE_EVENTS).union(*cells) if sheet.table.rules else set()

    def blame_definitions(self) -> None:
        """From here on, leave out what was already reported inside a definition."""
        self.blamed.update(self.found)

    def expression(self, where: str, text: str, offered: Collection[str], here: str) -> None:
        expression = self.sheet.parse(where, text)
        if expression is not None:
            self.look(where, expression.paths(), offered, here)

    def row(self, row: Row) -> None:
        where = f"transitions[{row.index}]"
        heard = self.sheet.heard.get(row.index)
        offered: Collection[str] = _ANY
        members = [member for pattern in row.patterns for member in pattern.members]
        joined = {
            member.partition(".")[0]
            for pattern in row.patterns
            if pattern.conjunction
            for member in pattern.members
        }
        if heard is not None:
            offered = ALWAYS.union(*map(names_given, heard), {"results"} if joined else ())
        here = f"`{'`, `'.join(members)}`"
        if row.guard is not None:
            self.look(f"{where}.guard", row.guard.paths(), offered, here, joined)
        for target, value in row.assigns:
            place = f"{where}.assign.{target.text}"
            context = self.sheet.table.context
            if target.root not in context:
                what = f"no context key is named {target.root!r}"
                advice = self.near(target.root, context)
                self.sheet.say("unknown-context-key", place, what, advice=advice)
            self.look(place, (*target.paths(), *value.paths()), offered, here, joined)

    def near(self, name: str, known: Iterable[str]) -> str:
        """Return what was meant, while the findings are few enough to look for it."""
        return suggest(name, known, told=len(self.sheet.problems))

    def state(self, state: State) -> None:
        where = f"states.{state.name}"
        if state.returns is not None:
            self.expression(f"{where}.returns", state.returns, ALWAYS, "`returns`")
        if state.each is not None:
            self.expression(f"{where}.each", state.each, {"context"}, "`each`")
        for key in ("ask", "say", "question"):
            text = getattr(state, key)
            if text is not None and "{" in text:
                self.template(f"{where}.{key}", text, prompt=key == "ask")

    def template(self, where: str, text: str, *, prompt: bool) -> None:
        try:
            parts = parse_template(text)
        except ExpressionError as error:
            self.sheet.say("syntax", where, str(error))
            return
        paths = [path for part in parts if not isinstance(part, str) for path in part.paths()]
        self.look(where, paths, {"context"}, "a text")
        context = self.sheet.table.context
        for name in _BRACED.findall(text):
            if name in context:
                what = f"`{{{name}}}` is plain text, though a context key has that name"
                self.sheet.warn("not-filled-in", where, what, advice=f"write `{{context.{name}}}`")
        for path in paths if prompt else ():
            name = path.member
            if path.root == "context" and name in context and context[name].private:
                what = f"the context key {name!r} is private and never reaches a prompt"
                self.sheet.say("private-shown", where, what, advice="leave it out here")

    def rule(self, where: str, text: str) -> None:
        sheet = self.sheet
        try:
            rule = parse_rule(text, sheet.define)
        except ExpressionError as error:
            sheet.say("syntax", where, str(error), span=error.facts.get("span"))
            return
        given = set(_CALL)
        for atom in rule.atoms():
            offered = _CALL if atom.intent else ALWAYS | names_given(atom.name)
            given |= offered
            if atom.intent:
                if atom.name not in sheet.known_tools:
                    what = f"no tool is named {atom.name!r}"
                    advice = suggest(atom.name, sheet.known_tools)
                    sheet.say("unknown-tool", where, what, advice=advice)
            elif atom.name not in self.events:
                what = f"no state can meet {atom.name!r}"
                sheet.say("unknown-event", where, what, advice=self.near(atom.name, self.events))
            if atom.where is not None:
                self.look(where, atom.where.paths(), offered, f"`{atom.name}`")
        if rule.per is not None:
            self.look(where, rule.per.paths(), given, "this rule")

    def look(
        self,
        where: str,
        paths: Iterable[Path],
        offered: Collection[str],
        here: str,
        joined: Collection[str] = (),
    ) -> None:
        """Check the paths read at one place.

        Args:
            where: the place.
            paths: what is read there.
            offered: first names that have a value there.
            here: what gives those names, for the message.
            joined: members of the conjunctions there, readable as `results.<name>`.
        """
        for path in paths:
            root, name = path.root, path.member
            if (root, name) in self.blamed:
                continue
            before = len(self.sheet.problems)
            span = None if where.startswith("rules[") else (path.start, path.end)
            if root not in _ANY:
                self._unknown(where, root, span)
            elif root not in offered:
                what = f"`{unparse(path)}` is always null: {here} gives no {root!r}"
                names = ", ".join(sorted(offered))
                self.sheet.warn("always-null", where, what, expected=f"one of {names}", span=span)
            elif name:
                self._inside(where, root, name, joined, span)
            if len(self.sheet.problems) > before:
                self.found.append((root, name))

    def _unknown(self, where: str, root: str, span: tuple[int, int] | None) -> None:
        table = self.sheet.table
        if root in table.context:
            advice = f"write `context.{root}`"
        elif root in table.define:
            advice = "a definition may use earlier ones only; move it up"
        else:
            advice = self.near(root, (*ROOTS, *table.define))
        what = f"nothing is named {root!r} here"
        self.sheet.say("unknown-name", where, what, advice=advice, span=span)

    def _inside(
        self,
        where: str,
        root: str,
        name: str,
        joined: Collection[str],
        span: tuple[int, int] | None,
    ) -> None:
        table = self.sheet.table
        if root == "context" and name not in table.context:
            what, advice = f"no context key is named {name!r}", self.near(name, table.context)
            self.sheet.say("unknown-context-key", where, what, advice=advice, span=span)
        elif root == "visits" and name not in table.states:
            what, advice = f"no state is named {name!r}", self.near(name, table.states)
            self.sheet.say("unknown-state", where, what, advice=advice, span=span)
        elif root == "results" and joined and name not in joined:
            what = f"{name!r} is no member of the conjunction"
            advice = suggest(name, sorted(joined))
            self.sheet.say("unknown-result", where, what, advice=advice, span=span)
