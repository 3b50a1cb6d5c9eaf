"""Every finding that `sma check` can make: its code, the checks it answers, how grave it is.

Rules.  1. A code that is said anywhere in the package stands here, and nothing else does
(tests/proof/test_catalogue.py).  2. A code keeps its name: baselines and scripts know it.
Not here: who finds them (the modules beside this one), the pages (`docs/checks`).
"""

from __future__ import annotations

from typing import Final

import attrs

from statemachine_agents.table.problems import Severity


@attrs.frozen
class Entry:
    """What is known about one code.

    Args:
        code: the code of the finding.
        checks: the checks it answers, such as `T01`; none for a text that is no table at all.
        title: what it says, in one line.
        severity: the gravest it is said with.
    """

    code: str
    checks: tuple[str, ...]
    title: str
    severity: Severity = "error"


CHECKS: Final = {
    "T01": "Unreachable states and rows that never fire",
    "T02": "States without a path to an end",
    "T03": "Dead ends, and rows that leave an end",
    "T04": "Results and waits that nobody takes",
    "T05": "Tools and rows that do not belong together",
    "T06": "Guards that overlap, leave gaps or cannot hold",
    "T07": "Cycles without a declared bound",
    "T08": "The worst case against the limits",
    "T09": "Effect classes and what they need",
    "T10": "Effects whose outcome is not known",
    "T11": "Rules on all paths",
    "T12": "Rules that say nothing, or leave no run",
    "T13": "Where arguments and values come from",
    "T14": "A person's approval",
    "T15": "Timers, names, duplicates and references",
}
"""Check -> its title. Source: verification.md section 2."""


def _of(checks: str, severity: Severity, **titles: str) -> tuple[Entry, ...]:
    return tuple(
        Entry(code.replace("_", "-"), tuple(checks.split()), title, severity)
        for code, title in titles.items()
    )


ENTRIES: Final = (
    *_of(
        "T01",
        "warning",
        unreachable_state="no path leads to the state",
        shadowed_row="an earlier row takes every event of this one",
    ),
    *_of(
        "T02",
        "error",
        no_end="no path leads from the state to a final state",
        no_final="the table has no final state",
    ),
    *_of(
        "T03",
        "error",
        dead_end="no event leaves the state, and it is not final",
        row_from_final="a row leaves a final state",
    ),
    *_of("T04", "warning", results_unhandled="no row takes a result of the tool"),
    *_of("T04", "error", wait_unhandled="no row takes what the state waits for"),
    *_of("T04 T15", "warning", timer_unhandled="a timer is set, but no row takes it"),
    *_of(
        "T05",
        "error",
        event_not_met="the source of the row can never meet the event",
        unknown_event="nothing gives the event",
        no_event="the row names no event",
        unused_tool="no state offers the tool",
        unknown_tool="no tool of that name exists",
        alias_of_alias="an alias names another alias",
        signal_in_do="the engine cannot give a signal",
        no_function="the table uses a tool whose function was not given",
        no_tool="a function given as a tool is none",
        unbound="the functions of the folder could not be bound",
    ),
    *_of(
        "T06",
        "warning",
        guard_gap="no row takes the event when every guard is false",
        guard_never="the guard can never hold",
        guard_error="the guard can fail to be evaluated",
    ),
    *_of(
        "T06",
        "info",
        guard_overlap="two guards can hold at once; the first row takes the event",
        guard_always="the guard always holds",
    ),
    *_of("T09", "error", no_verifier="the tool is verifiable, but nothing verifies it"),
    *_of(
        "T09 T10",
        "warning",
        effect_unknown_unhandled="no row takes the unknown outcome of an effect",
    ),
    *_of(
        "T13",
        "error",
        missing_binding="a parameter of a tool the engine calls is not bound",
        unknown_argument="the tool has no parameter of that name",
        unknown_context_key="no context key of that name exists",
        unknown_name="the first name of a path means nothing",
        unknown_result="the conjunction has no member of that name",
        private_shown="a private context key would reach a prompt",
        syntax="the expression does not parse",
    ),
    *_of(
        "T13",
        "warning",
        always_null="the value is never there",
        unknown_property="the value has no member of that name",
        type_mismatch="two types that do not fit meet",
        not_boolean="the condition is neither true nor false",
        null_negation="a negation also holds when the value is missing",
        not_filled_in="the hole is not filled in here",
        hole_in_instructions="instructions have no holes",
    ),
    Entry("secret-from-model", ("T13",), "the model supplies what looks like a secret", "warning"),
    *_of("T14", "warning", approval_without_arguments="a yes does not cover the arguments"),
    *_of("T15", "info", wait_without_timer="a run can wait there for ever"),
    *_of("T13", "info", may_be_null="the value may be null where null does not fit"),
    *_of(
        "T15",
        "error",
        bad_name="the name has characters it may not have",
        reserved_name="the name has a meaning already",
        name_clash="two things share a name",
        unknown_state="no state of that name exists",
        unknown_agent="no agent of that name exists",
        unknown_workflow="no child workflow of that name exists",
        unknown_effort="no effort of that name exists",
        unknown_scope="no scope of that name exists",
        unknown_type="no type of that name exists",
        unknown_final="an end is `success` or `failure`",
        unknown_wait="nobody can wait for that",
        wrong_default="the default is not of its key's type",
        stretch_without_default="the key is emptied, but may not be null",
        no_verb="the state does not say who acts",
        many_verbs="the state says more than one verb",
        wrong_verb="the key means nothing with this verb",
        bad_duration="the text is no duration",
        bad_number="the number is out of bounds",
        bad_join="that is no way to join",
        empty_list="the list may not be empty",
        undo_not_alone="`undo` stands alone",
        timer_without_after="the state waits for a timer that nobody sets",
        twice="the same thing stands there twice",
    ),
    *_of(
        "T15",
        "warning",
        empty_note="the row does nothing",
        at_once_without_each="`at_once` bounds nothing",
    ),
    *_of(
        "",
        "error",
        missing_key="a key that must be there is missing",
        unknown_key="the form has no such key",
        wrong_type="the value has the wrong type",
        wrong_value="the value is out of bounds",
        not_json="the value is no plain data",
        not_toml="the text is not TOML",
        under_header="a top-level key stands below a header",
        too_large="the table is larger than is read",
        too_many="more problems than are listed",
    ),
    Entry("unbounded-cycle", ("T07",), "a cycle repeats an effect that nothing counts", "info"),
    Entry("limit-too-low", ("T08",), "no run can succeed within the limit of turns", "warning"),
    Entry("fewest-turns", ("T08",), "after how many turns a run can succeed", "info"),
    Entry("effect-tried-again", ("T10",), "a call in doubt may be made again", "warning"),
    Entry("allow-error", (), "an error cannot be allowed"),
    Entry("allow-unknown", (), "no finding has the code that is allowed"),
    Entry("allow-unused", (), "nothing is found that this allows", "warning"),
    Entry("allowed", (), "a finding that the table allows, with its reason", "info"),
    Entry("written-binding", ("T13",), "a bound argument is what somebody wrote", "warning"),
    Entry("key-unused", ("T09",), "an idempotent tool cannot hand its key on", "info"),
    Entry("rule-refuted", ("T11",), "a run can break the rule, whatever the gate does", "warning"),
    Entry("rule-by-gate", ("T11",), "the rows could break the rule; the gate keeps it", "info"),
    Entry("rule-undecided", ("T11",), "whether a run can break the rule stays open", "info"),
    Entry("rule-vacuous", ("T12",), "what the rule speaks of never happens", "warning"),
    Entry("rules-contradict", ("T12",), "no successful run keeps all rules"),
)

CATALOGUE: Final = {entry.code: entry for entry in ENTRIES}
"""Code -> its entry."""


def codes_of(check: str) -> tuple[str, ...]:
    """Return the codes that answer a check such as `T01`, in the order of the catalogue."""
    return tuple(entry.code for entry in ENTRIES if check in entry.checks)


def index() -> str:
    """Return the catalogue as Markdown: what `docs/checks/README.md` says."""
    lines = [
        "# Checks",
        "",
        "Every finding of `sma check`, by the check it answers. `sma check --explain` with a check",
        "or a code prints the same, and the page of the check. The severity is the gravest that a",
        "code is said with.",
    ]
    for check, title in (*CHECKS.items(), ("", "The form of a table")):
        found = [e for e in ENTRIES if (check in e.checks if check else not e.checks)]
        lines += ["", f"## [{check}]({check}.md): {title}" if check else f"## {title}", ""]
        if not found:
            lines.append("No finding answers this check yet.")
            continue
        lines += ["| code | severity | what it says |", "|---|---|---|"]
        lines += [f"| `{each.code}` | {each.severity} | {each.title} |" for each in found]
    return "\n".join(lines) + "\n"
