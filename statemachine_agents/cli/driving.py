"""The commands that drive a run: run, resume, send, approve, resolve, cancel.

Rules.  1. A mistake in the command line is found before anything is written.  2. What a person says
to a run goes through the store's inbox like everything from outside.
Not here: driving itself (`session`), reading runs (`reading`).
"""

from __future__ import annotations

from functools import partial
from typing import Annotated, Any

from cyclopts import Parameter

from statemachine_agents.cli import options as o
from statemachine_agents.cli.finding import home_of, inputs_of, with_iterations
from statemachine_agents.cli.paper import Paper
from statemachine_agents.cli.session import Session, somebody
from statemachine_agents.driver import Driver
from statemachine_agents.errors import UsageError, ValueRefused
from statemachine_agents.load import load_workflow
from statemachine_agents.values import JSON, parse


def run(
    workflow: str,
    /,
    *,
    inputs: Annotated[tuple[str, ...], Parameter(name="--input", negative="")] = (),
    input_json: str | None = None,
    store: o.Store = o.STORE,
    model: o.Model = None,
    base_url: o.BaseURL = None,
    max_iterations: int | None = None,
    request_id: str | None = None,
    json: o.Json = False,
) -> int:
    """Run a workflow until it ends or waits for somebody.

    Args:
        workflow: A folder, a module:attribute, a table file, or the name of a bundled workflow.
        inputs: An input of the workflow, KEY=VALUE; may be given several times.
        input_json: All inputs as one JSON object.
        store: see `options`.
        model: see `options`.
        base_url: see `options`.
        max_iterations: Most model requests, instead of the table's own limit.
        request_id: Your id of this request: the same id gives the same run, however often.
        json: see `options`.
    """
    paper = Paper(json=json)
    loaded = load_workflow(workflow, home_of(store))
    bound = with_iterations(loaded, max_iterations)
    given = inputs_of(bound.table, inputs, input_json)
    bound.bind_context(given)
    # What the run's name leads to may be found later without being told; a path is not.
    named = None if workflow == bound.table.name else workflow
    session = Session(paper, store, model, base_url, named)

    async def speak(driver: Driver) -> str:
        run_id: str = await driver.start(given, request_id=request_id, wait=False)
        return run_id

    return session.start(bound, speak)


def resume(
    run: o.RunId,
    /,
    *,
    store: o.Store = o.STORE,
    workflow: o.Named = None,
    model: o.Model = None,
    base_url: o.BaseURL = None,
    by: o.By = None,
    json: o.Json = False,
) -> int:
    """Go on with a run: after a crash, a Ctrl-C, a model that could not be asked, or a timer."""
    session = Session(Paper(json=json), store, model, base_url, workflow)

    async def speak(driver: Driver, run_id: str) -> None:
        await driver.resume(run_id, by=somebody(by), wait=False)

    return session.go_on(run, speak, follow=False)


def send(
    run: o.RunId,
    text: str,
    /,
    *,
    message_id: str | None = None,
    sender: str | None = None,
    store: o.Store = o.STORE,
    workflow: o.Named = None,
    model: o.Model = None,
    base_url: o.BaseURL = None,
    json: o.Json = False,
) -> int:
    """Give a run a customer's message.

    Args:
        run: see `options`.
        text: What the customer wrote.
        message_id: The channel's id of the message; the same id is taken once.
        sender: Who wrote it.
    """
    session = Session(Paper(json=json), store, model, base_url, workflow)
    speak = partial(_send, text=text, message_id=message_id, sender=sender)
    return session.go_on(run, speak, follow=True)


async def _send(driver: Driver, run_id: str, **said: Any) -> None:
    await driver.send(run_id, said.pop("text"), **said, wait=False)


def approve(
    run: o.RunId,
    /,
    *,
    approval: str | None = None,
    reject: Annotated[bool, Parameter(negative="", show_default=False)] = False,
    by: o.By = None,
    note: str | None = None,
    digest: str | None = None,
    store: o.Store = o.STORE,
    workflow: o.Named = None,
    model: o.Model = None,
    base_url: o.BaseURL = None,
    json: o.Json = False,
) -> int:
    """Say yes to what a run asks a person, or no with --reject.

    Args:
        run: see `options`.
        approval: Which one, when several wait; `sma show RUN` lists them.
        reject: Say no.
        note: Why; the journal keeps it.
        digest: Of the arguments you saw, as `sma show RUN` prints it; refused when they are others.
    """
    session = Session(Paper(json=json), store, model, base_url, workflow)

    async def speak(driver: Driver, run_id: str) -> None:
        await driver.approve(
            run_id,
            approval,
            granted=not reject,
            by=somebody(by),
            note=note,
            digest=digest,
            wait=False,
        )

    return session.go_on(run, speak, follow=True)


def resolve(
    run: o.RunId,
    /,
    *,
    call: int | None = None,
    done: str | None = None,
    not_done: Annotated[bool, Parameter(negative="", show_default=False)] = False,
    by: o.By = None,
    store: o.Store = o.STORE,
    workflow: o.Named = None,
    model: o.Model = None,
    base_url: o.BaseURL = None,
    json: o.Json = False,
) -> int:
    """Say what really happened to a call whose outcome is not known.

    Args:
        run: see `options`.
        call: Number of the call, when several are in doubt; `sma show RUN` lists them.
        done: It happened, and this is what the tool would have returned, as JSON.
        not_done: It did not happen.
    """
    value = _found_out(done, not_done=not_done)
    session = Session(Paper(json=json), store, model, base_url, workflow)

    async def speak(driver: Driver, run_id: str) -> None:
        await driver.resolve(
            run_id, call, done=value, not_done=not_done, by=somebody(by), wait=False
        )

    return session.go_on(run, speak, follow=True)


def _found_out(done: str | None, *, not_done: bool) -> JSON:
    """Return the value of `--done`; exactly one of the two answers must be given."""
    if not_done == (done is not None):
        raise UsageError(
            "say either --done RESULT (what the tool would have returned) or --not-done"
        )
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
    reason: str = "",
    by: o.By = None,
    store: o.Store = o.STORE,
    workflow: o.Named = None,
    model: o.Model = None,
    base_url: o.BaseURL = None,
    json: o.Json = False,
) -> int:
    """Ask a run to stop; its table may have a row for that, and a call in doubt is settled first.

    Args:
        run: see `options`.
        reason: Why; the journal keeps it.
    """
    session = Session(Paper(json=json), store, model, base_url, workflow)

    async def speak(driver: Driver, run_id: str) -> None:
        await driver.cancel(run_id, by=somebody(by), reason=reason, wait=False)

    return session.go_on(run, speak, follow=True)
