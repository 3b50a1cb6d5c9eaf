"""The command line `sma`: its commands by name, each loaded when it is typed.

Rules.  1. `sma --help` loads no command: names and first lines stand here.  2. A command returns
its exit code; what it raises is reported in one place (`failures`).
Not here: what the commands do (`driving`, `reading`, `checking`, `drawing`, `comparing`).
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any, Final

from cyclopts import App

from statemachine_agents import __version__

_COMMANDS: Final = {
    "run": ("driving", "Run a workflow until it ends or waits for somebody."),
    "check": ("checking", "Check tables and their tools; list every problem at once."),
    "graph": ("drawing", "Draw a table: Mermaid, Graphviz, Markdown, SVG or PNG; a run's path."),
    "diff": ("comparing", "Say what became possible and impossible between two tables."),
    "mutate": ("mutating", "Put mistakes into a table, one at a time, and see who notices."),
    "runs": ("reading", "List runs, newest first."),
    "show": ("reading", "Show what happened in a run, record by record."),
    "replay": ("reading", "Decide a run again from its journal alone and compare."),
    "conform": ("conforming", "Ask runs, or logs of other systems, whether they keep rules."),
    "export": ("reading", "Write a run's journal as JSON lines, to keep or to send."),
    "resume": ("driving", "Go on with a run: after a crash, a Ctrl-C, a failed model or a timer."),
    "send": ("driving", "Give a run a customer's message."),
    "approve": ("driving", "Say yes to what a run asks a person, or no with --reject."),
    "resolve": ("driving", "Say what really happened to a call whose outcome is not known."),
    "cancel": ("driving", "Ask a run to stop."),
}

_MORE: Final = {
    "run": "\nExample: sma run refund --input order_id=A1",
    "check": """
A folder is checked with its functions, a table file alone. Exits 0 without errors (there may be
warnings), 1 with errors, 2 when something could not be read.
Example: sma check workflows/refund my.toml --format github""",
    "mutate": """
Noticed by checks, rules, golden journals, and with --tests by a command run on a copy of the
folder. With --runs N a run is looked for in which each survivor shows; --keep DIR writes these runs
down as golden journals. Exits 0 when every mutant was noticed, 1 with survivors.""",
    "graph": """
SVG and PNG need the extra `diagrams`: pip install 'statemachine-agents[diagrams]'. Long guards are
cut in pictures; `--as markdown` has them whole.
Example: sma graph refund --as png --run last --out refund.png""",
    "diff": """
Rows that mean the same are the same, however they are written. Exits 0 when nothing differs, 1
when something does, 2 when a table cannot be read or has errors.
Example: sma diff refund ./my-refund --store sma-runs.db""",
    "replay": """
Calls no model and no tool, and needs neither the workflow's code nor the shop. Exits 0 when every
record is identical, 1 with the first difference.""",
    "conform": """
Calls nothing. Exits 0 when every rule is kept, 1 with violations. A foreign log needs --rules and
--map: a TOML file of expressions on `run` and `event`; see docs/guide.md.""",
    "approve": "\nA yes is a yes to these very arguments: pass --digest to be sure of it.",
    "resolve": '\nExample: sma resolve r-1f3a --done \'{"credit_id": "cr-A1"}\'',
}

_HELP: Final = """State machines for LLM agents: run workflows, look at runs, replay them.

A workflow is a table; a run is a journal; the model only proposes.
Start with: sma run refund --input order_id=A1"""

_EPILOGUE: Final = """Exit codes: 0 success, 1 findings or divergence, 2 usage, 3 failed or \
cancelled, 4 limit, 5 parked, 70 internal or store error, 130 interrupted.
"""


def build() -> App:
    """Return the command line."""
    app = App(
        name="sma",
        help=_HELP,
        help_epilogue=_EPILOGUE,
        help_format="plaintext",
        version=f"statemachine-agents {__version__}",
        result_action="return_value",
        exit_on_error=False,
        print_error=False,
        suppress_keyboard_interrupt=False,
    )
    for rank, (name, (module, line)) in enumerate(_COMMANDS.items()):
        app.command(
            f"statemachine_agents.cli.{module}:{name}",
            name=name,
            help=line + "\n" + _MORE.get(name, ""),
            sort_key=rank,
        )
    app.register_install_completion_command(help="Install completion for your shell.")
    return app


def call(arguments: Sequence[str]) -> int:
    """Run one command line; return its exit code and never raise."""
    as_json = "--json" in arguments
    try:
        result: Any = build()(list(arguments))
    except SystemExit as left:
        return left.code if isinstance(left.code, int) else int(left.code is not None)
    except BaseException as error:  # noqa: BLE001 - the last door: everything becomes an exit code
        from statemachine_agents.cli.failures import report
        from statemachine_agents.cli.paper import Paper

        return report(error, Paper(json=as_json))
    return result if isinstance(result, int) else 0


def enter() -> int:
    """Run the process's own command line."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            # A terminal that cannot show a character is no reason to fail.
            stream.reconfigure(errors="backslashreplace")
    return call(sys.argv[1:])
