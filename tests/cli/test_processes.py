"""Real processes: Ctrl-C, a kill in the middle, two on one run, start and completion."""

import json
import os
import signal
import subprocess
import sys
import time

from tests.cli.terminal import COMMANDS, ROOT, begun, environment, process, sleeper


def waited_for(path, size=1):
    """Wait until a tool has said that it began, `size` times."""
    deadline = time.monotonic() + 60
    while not path.exists() or path.stat().st_size < size:
        assert time.monotonic() < deadline, f"{path.name} never came"
        time.sleep(0.02)


def ended(child, seconds=60):
    """Wait for a process; return its exit code, stdout and stderr."""
    out, err = child.communicate(timeout=seconds)
    return child.returncode, out, err


def test_the_module_is_the_command_line(home):
    """`python -m statemachine_agents` works, and the exit code is the process's own."""
    said = process("--help", cwd=home)
    assert said.code == 0
    assert all(name in said.out for name in COMMANDS)
    assert process("run", "refund", cwd=home).code == 2


def test_help_imports_neither_the_engine_nor_the_model(home):
    """`sma --help` loads no command: no driver, no store, no SDK."""
    text = (
        "import sys; from statemachine_agents.cli import main; main(['--help']); "
        "names = ('anthropic', 'pydantic', 'sqlite3', 'transitions', 'anyio', "
        "'statemachine_agents.driver', 'statemachine_agents.cli.session'); "
        "sys.exit(sum(name in sys.modules for name in names))"
    )
    done = subprocess.run(
        [sys.executable, "-c", text], cwd=home, env=environment(), capture_output=True, timeout=60
    )
    assert done.returncode == 0, done.stderr


def test_ctrl_c_leaves_the_run_resumable(home):
    """SIGINT during a tool: exit 130, the command that goes on, and it does, with one key."""
    place = sleeper(home, 60)
    child = begun("run", "sleeper", "--json", cwd=home)
    waited_for(place / "begun")
    child.send_signal(signal.SIGINT)
    code, out, err = ended(child, 30)
    assert code == 130, err
    assert "Traceback" not in out + err
    assert "stopping in order" in err
    (place / "seconds").write_text("0")
    said = process("resume", "last", "--json", cwd=home)
    assert said.code == 0, said.err
    assert said.last["value"] == "slept"
    run_id = said.last["run_id"]
    assert f"the run can go on: sma resume {run_id}" in err
    assert out.splitlines()[-1] == (
        f'{{"event":"interrupted","run_id":"{run_id}","next":"sma resume {run_id}"}}'
    )


def test_a_result_that_arrives_in_the_grace_is_kept(home):
    """SIGINT while a short tool runs: its result is saved before the process leaves."""
    place = sleeper(home, 1)
    child = begun("run", "sleeper", cwd=home)
    waited_for(place / "begun")
    child.send_signal(signal.SIGINT)
    code, _, err = ended(child, 30)
    assert code == 130, err
    said = process("resume", "last", "--json", cwd=home)
    assert said.code == 0, said.err
    assert (place / "begun").read_text() == "x"


def test_a_killed_process_is_resumed_at_once(home):
    """SIGKILL in the middle of a tool: resume takes the run over and ends it."""
    place = sleeper(home, 60)
    child = begun("run", "sleeper", cwd=home)
    waited_for(place / "begun")
    child.kill()
    ended(child)
    (place / "seconds").write_text("0")
    said = process("resume", "last", cwd=home)
    assert said.code == 0, said.err
    assert "is gone; taking it over" in said.err
    assert "slept" in said.out
    assert process("replay", "last", cwd=home).code == 0


def test_the_second_process_on_a_run_says_who_has_it(home):
    """One process advances a run; another one says which, exits 2, and breaks nothing."""
    place = sleeper(home, 4)
    child = begun("run", "sleeper", "--json", cwd=home)
    waited_for(place / "begun")
    said = process("resume", "last", cwd=home)
    assert said.code == 2
    assert f"is being advanced by process {child.pid} on this machine" in said.err
    shown = process("show", "last", cwd=home)
    assert f"process {child.pid} on this machine" in shown.out
    code, _, err = ended(child)
    assert code == 0, err
    assert (place / "begun").read_text() == "x"


def test_a_cancel_reaches_a_run_that_another_process_advances(home):
    """`sma cancel` beside a running `sma run`: both end with the same end."""
    place = sleeper(home, 2)
    child = begun("run", "sleeper", "--json", cwd=home)
    waited_for(place / "begun")
    said = process("cancel", "last", "--reason", "enough", "--json", cwd=home)
    code, out, err = ended(child)
    assert f"sent; process {child.pid} on this machine" in said.err, said.err
    assert said.code == code, (said.all, out, err)
    assert said.last["status"] in ("cancelled", "succeeded")
    assert said.last == json.loads(out.splitlines()[-1])


def test_completion_is_installed_for_a_shell(home):
    """`sma --install-completion` writes a script that knows the commands."""
    done = subprocess.run(
        [sys.executable, "-m", "statemachine_agents", "--install-completion", "--shell", "bash"],
        cwd=home, env=environment(HOME=str(home), SHELL="/bin/bash"), capture_output=True,
        text=True, timeout=60,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    scripts = [path for path in home.rglob("*") if path.is_file() and "sma" in path.name]
    assert scripts
    text = scripts[0].read_text()
    assert all(name in text for name in COMMANDS)


def test_the_console_script_is_declared():
    """`sma` and `statemachine-agents` lead to the same door as the module."""
    import tomllib

    scripts = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]
    assert set(scripts.values()) == {"statemachine_agents.cli:main"}
    assert {"sma", "statemachine-agents"} <= set(scripts)
    assert os.access(ROOT / "statemachine_agents" / "__main__.py", os.R_OK)
