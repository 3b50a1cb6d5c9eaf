"""Tables that many tests use: the refund desk of the design, and one that has every section."""

from __future__ import annotations

from statemachine_agents.table.model import Table
from statemachine_agents.table.toolspec import ToolSpec

REFUND_TOML = """\
name = "refund"
version = "1"
initial = "fetching"
instructions = "You are the refund desk of a shop."
limits = { iterations = 12 }
rules = [
  "at_most(process_credit, 1, per=args.order_id)",
  "only_after(process_credit, check_refund_policy.ok where result.eligible)",
  "leads_to(process_credit.ok, [send_email.ok, approval.granted])",
]
transitions = [
  { source = "fetching",     event = "fetch_order.ok",         target = "validating",  assign = { order = "result" } },
  { source = "fetching",     event = "fetch_order.error",      target = "failed",      guard = "error.kind == 'not_found'", assign = { reason = "error.text" } },
  { source = "validating",   event = "check_refund_policy.ok", target = "crediting",   guard = "result.eligible and result.amount_cents <= 50000", assign = { policy = "result" } },
  { source = "validating",   event = "check_refund_policy.ok", target = "failed",      assign = { reason = "default(result.reason, 'over the limit of this desk')" } },
  { source = "crediting",    event = "process_credit.ok",      target = "emailing",    assign = { credit = "result" } },
  { source = "crediting",    event = "approval.rejected",      target = "failed",      assign = { reason = "'a person declined the credit'" } },
  { source = "crediting",    event = "process_credit.unknown", target = "reconciling" },
  { source = "reconciling",  event = "process_credit.ok",      target = "emailing",    assign = { credit = "result" } },
  { source = "reconciling",  event = "process_credit.error",   target = "crediting" },
  { source = "emailing",     event = "send_email.ok",          target = "complete" },
  # From here on the money is paid: nothing may end in "failed".
  { source = "emailing",     event = ["send_email.error", "model.refused", "limit.*", "run.cancelled"], target = "needs_person" },
  { source = "needs_person", event = "approval.granted",       target = "complete" },
  { source = "needs_person", event = "approval.rejected",      target = "emailing" },
]

[states]
fetching     = { ask = "Look up the order.", tools = ["fetch_order"] }
validating   = { ask = "Check it against the policy.", tools = ["check_refund_policy"] }
crediting    = { ask = "Credit the customer once.", tools = ["process_credit"] }
reconciling  = { wait = "resolution", question = "Was the money moved?", shows = ["order", "policy"] }
emailing     = { ask = "Send the confirmation.", tools = ["send_email"] }
needs_person = { wait = "approval", question = "Paid, but no mail went out. Has the customer been told?", shows = ["order", "credit"] }
complete     = { final = "success", returns = "context.credit" }
failed       = { final = "failure", returns = "context.reason" }

[tools]
fetch_order.bind         = { order_id = "context.order_id" }
check_refund_policy.bind = { order_id = "context.order_id" }
process_credit.bind      = { order_id = "context.order_id", amount_cents = "context.policy.amount_cents" }
process_credit.when      = "context.policy.eligible"
process_credit.approve   = "args.amount_cents > 20000"
send_email.bind          = { to = "context.order.email" }

[context]
order_id = "string"
order    = "object?"
policy   = "object?"
credit   = "object?"
reason   = "string?"
"""  # noqa: E501 - one row a line is the form of a table
"""The refund table of design.md section 3.3."""

EVERYTHING_TOML = """\
name = "everything"
version = "7"
initial = "sorting"
instructions = "Be \\"brief\\".\\nAnd kind: äöü \\u2603."
everywhere = ["look_up", "give_up"]
limits = { iterations = 9, cost_usd = 0.25 }
rules = ["at_most(pay, 1)"]
transitions = [
  { source = "*", event = "*.ok", assign = { "seen.count" = "visits.sorting", "seen.last" = "result" } },
  { source = "sorting", event = "look_up.ok & pay.ok", target = "checking", guard = "exists(results.pay.id) and busy", name = "both" },
  { source = "sorting", event = ["give_up.ok", "model.done"], target = "stay" },
  { source = "sorting", event = "user.message", target = "sorting", guard = "message.text == 'again'" },
  { source = "sorting", event = "pay.ok", target = "checking" },
  { source = "checking", event = "settled", target = "asking" },
  { source = "asking", event = "approval.*", target = "children", guard = "approval.by != \\"nobody\\"" },
  { source = "asking", event = "timer.fired", target = "undoing" },
  { source = "children", event = "refund.success", target = "done" },
  { source = "working", event = "*.error", target = "failed", assign = { why = "error.text" } },
  { source = "undoing", event = "undo.ok", target = "failed" },
  { source = "writing", event = "model.done", target = "done" },
]

[states]
sorting = { ask = "Sort {context.item}.", tools = ["pay"], talk = true, agent = "clerk", parallel = true, shows = ["item"], fresh = true, after = "90s" }
checking = { do = ["look_up"], say = "One moment." }
asking = { wait = ["approval", "timer"], question = "Go on?", after = "2d" }
children = { run = "refund", each = "context.seen.list", at_once = 2, join = 3 }
undoing = { do = "undo" }
done = { final = "success", returns = "{ item: context.item, n: len(default(context.seen, {})) }" }
failed = { final = "failure", returns = "context.why" }

[states.writing]
ask = "Write it."
output = { type = "object", properties = { text = { type = "string" } }, required = ["text"] }

[tools]
pay = { bind = { amount = "context.item.amount" }, when = "args.amount < 100", why = "Too much.", approve = "args.amount > 50", undo = "pay_back" }
look_up = { use = "search" }

[context]
item = "object"
seen = { type = "object?", private = true }
why = { type = "string", default = "unknown" }
temp = { type = "list", default = [], scope = "stretch" }

[groups]
working = ["sorting", "checking"]

[agents.clerk]
instructions = "You sort."
model = "claude-x"
max_tokens = 100
effort = "low"

[signals.give_up]
about = "Say that it cannot be done."
reason = "string"
code = "integer?"

[define]
limit_cents = "5000"
busy = "visits.sorting < 3 or context.item.amount > limit_cents"
"""  # noqa: E501 - as above
"""A table with every section and nearly every key of the language.
[check]
allow = [
  { code = "wait-without-timer", reason = "people answer within a day" },
  { code = "results-unhandled", reason = "it only looks", where = "states" },
]
"""


def refund() -> Table:
    """Return the refund table."""
    return Table.from_toml(REFUND_TOML)


def everything() -> Table:
    """Return the table with every section."""
    return Table.from_toml(EVERYTHING_TOML)


def refund_specs() -> dict[str, ToolSpec]:
    """Return specs as the refund desk's functions have them."""
    text: dict[str, object] = {"type": "string"}
    order = _arguments(order_id=text)
    credit = _arguments(order_id=text, amount_cents={"type": "integer"})
    return {
        "fetch_order": ToolSpec(name="fetch_order", arguments=order, effect="read"),
        "check_refund_policy": ToolSpec(name="check_refund_policy", arguments=order, effect="read"),
        "process_credit": ToolSpec(name="process_credit", arguments=credit, effect="manual"),
        "send_email": ToolSpec(
            name="send_email", arguments=_arguments(to=text), effect="idempotent"
        ),
    }


def _arguments(**properties: object) -> dict[str, object]:
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }
