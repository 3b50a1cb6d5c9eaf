"""The commands that drive a run: run, resume, send, approve, resolve, cancel.

Rules.  1. A mistake in the command line is found before anything is written.  2. What a person says
to a run goes through the store's inbox like everything from outside.
Not here: driving itself (`session`), reading runs (`reading`).
"""

from __future__ import annotations

from functools import partial
from typing import Annotated

from cyclopts import Parameter

from statemachine_agents.cli import options as o
from statemachine_agents.cli.finding import attributes_of, home_of, inputs_of, with_iterations
from statemachine_agents.cli.paper import Paper
from statemachine_agents.cli.session import Session, somebody
from statemachine_agents.driver import Driver
from statemachine_agents.errors import UsageError, ValueRefused
from statemachine_agents.load import load_workflow
from statemachine_agents.values import JSON, parse


def _session(means: o.Means, named: str | None) -> Session:
    return Session(Paper(json=means.json), means.store, means.model, means.base_url, named)


def run(
    workflow: Annotated[
        str, Parameter(help="A folder, module:attribute, table file, or a bundled workflow's name.")
    ],
    /,
    *,
    inputs: o.Inputs = (),
    input_json: Annotated[o.Text, Parameter(help="Inputs as one JSON object.")] = None,
    max_iterations: Annotated[
        int | None, Parameter(help="Most model requests, instead of the table's own limit.")
    ] = None,
    request_id: Annotated[
        o.Text, Parameter(help="Your id of this request: the same id gives the same run.")
    ] = None,
    means: o.Means = o.START,
) -> int:
    """Run a workflow until it ends or waits for somebody."""
    bound = with_iterations(load_workflow(workflow, home_of(means.store)), max_iterations)
    given = inputs_of(bound.table, inputs, input_json)
    bound.bind_context(given)
    # A run's workflow is looked for by the table's name; anything else has to be told again.
    session = _session(means, None if workflow == bound.table.name else workflow)

    async def speak(driver: Driver) -> str:
        run_id: str = await driver.start(given, request_id=request_id, wait=False)
        return run_id

    return session.start(bound, speak)


def resume(
    run: o.RunId,
    /,
    *,
    by: o.By = None,
    lift: Annotated[
        bool,
        Parameter(
            negative="",
            show_default=False,
            help="End a quarantine: what made the run fail again and again has been mended.",
        ),
    ] = False,
    means: o.Further = o.GO_ON,
) -> int:
    """Go on with a run: after a crash, a Ctrl-C, a model that could not be asked, or a timer."""

    async def speak(driver: Driver, run_id: str) -> None:
        await driver.resume(run_id, by=somebody(by), lift=lift, wait=False)

    return _session(means, means.workflow).go_on(run, speak, follow=False)


def send(
    run: o.RunId,
    text: Annotated[str, Parameter(help="What the customer wrote.")],
    /,
    *,
    message_id: Annotated[
        o.Text, Parameter(help="The channel's id of the message; the same id is taken once.")
    ] = None,
    sender: Annotated[o.Text, Parameter(help="Who wrote it.")] = None,
    attribute: Annotated[
        tuple[str, ...],
        Parameter(
            negative="",
            show_default=False,
            help="One more fact about the message, KEY=VALUE such as confirms=true: what guards "
            "read as `message.KEY`; may be given several times.",
        ),
    ] = (),
    means: o.Further = o.GO_ON,
) -> int:
    """Give a run a customer's message."""
    attributes = attributes_of(attribute)

    async def speak(driver: Driver, run_id: str) -> None:
        await driver.send(
            run_id, text, message_id=message_id, sender=sender, attributes=attributes, wait=False
        )

    return _session(means, means.workflow).go_on(run, speak, follow=True)


def approve(
    run: o.RunId,
    /,
    *,
    approval: Annotated[
        o.Text, Parameter(help="Which one, when several wait; `sma show RUN` lists them.")
    ] = None,
    reject: Annotated[o.Flag, Parameter(help="Say no.")] = False,
    note: Annotated[o.Text, Parameter(help="Why; the journal keeps it.")] = None,
    digest: Annotated[
        o.Text,
        Parameter(
            help="Of the arguments you saw, as `sma show RUN` prints it; refused when they are "
            "others."
        ),
    ] = None,
    by: o.By = None,
    means: o.Further = o.GO_ON,
) -> int:
    """Say yes to what a run asks a person, or no with --reject."""
    answer = partial(
        Driver.approve, approval=approval, granted=not reject, by=somebody(by), note=note,
        digest=digest, wait=False,
    )  # fmt: skip
    return _session(means, means.workflow).go_on(run, answer, follow=True)


def resolve(
    run: o.RunId,
    /,
    *,
    call: Annotated[
        int | None, Parameter(help="Number of the call, when several are in doubt; see `sma show`.")
    ] = None,
    done: Annotated[
        o.Text, Parameter(help="It happened: what the tool would have returned, as JSON.")
    ] = None,
    not_done: Annotated[o.Flag, Parameter(help="It did not happen.")] = False,
    by: o.By = None,
    means: o.Further = o.GO_ON,
) -> int:
    """Say what really happened to a call whose outcome is not known."""
    answer = partial(
        Driver.resolve, call=call, done=_found_out(done, not_done=not_done), not_done=not_done,
        by=somebody(by), wait=False,
    )  # fmt: skip
    return _session(means, means.workflow).go_on(run, answer, follow=True)


def _found_out(done: str | None, *, not_done: bool) -> JSON:
    """Return the value of `--done`; exactly one of the two answers must be given."""
    if not_done == (done is not None):
        msg = "say either --done RESULT (what the tool would have returned) or --not-done"
        raise UsageError(msg)
    if done is None:
        return None
    try:
        return parse(done, where="--done")
    except ValueRefused as error:
        msg = f"{error}; a text is written in quotes: --done '\"it is done\"'"
        raise UsageError(msg) from error


def cancel(
    run: o.RunId,
    /,
    *,
    reason: Annotated[str, Parameter(show_default=False, help="Why; the journal keeps it.")] = "",
    by: o.By = None,
    means: o.Further = o.GO_ON,
) -> int:
    """Ask a run to stop; its table may say how, and a call in doubt is settled first."""
    answer = partial(Driver.cancel, by=somebody(by), reason=reason, wait=False)
    return _session(means, means.workflow).go_on(run, answer, follow=True)
