"""README, docs and examples say what the code does: they are executed."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
INSIDE = {**os.environ, "PYTHONPATH": str(ROOT)}
EXAMPLES = sorted((ROOT / "examples").glob("[0-9]*.py"))


def blocks(language, text=README):
    return re.findall(rf"^```{language}\n(.*?)^```$", text, flags=re.MULTILINE | re.DOTALL)


def test_the_quickstart_is_two_one_line_commands():
    """The README's Quickstart holds exactly two bash blocks of one line each; CI runs them."""
    part = README.split("## Quickstart")[1].split("\n## ")[0]
    commands = blocks("bash", part)
    assert len(commands) == 2
    assert all(command.count("\n") == 1 for command in commands)
    assert "sma run refund" in commands[0]
    assert "pytest" in commands[1]


def test_the_readme_code_runs():
    """The table and the Python of the README work as printed, together."""
    scope = {"GREETING": blocks("toml")[0]}
    code = "\n".join(blocks("python"))
    exec(compile(code, "README.md", "exec"), scope)
    assert scope["played"].outcome.ok


def test_every_command_the_readme_names_exists():
    """`sma --help` knows every command that the README tells people to type."""
    named = set(re.findall(r"sma (\w+)", README)) - {"run"} | {"run"}
    done = subprocess.run(
        [sys.executable, "-m", "statemachine_agents", "--help"],
        capture_output=True,
        text=True,
        env=INSIDE,
    )
    assert done.returncode == 0, done.stderr
    assert [name for name in named if name not in done.stdout] == []


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_examples_run(path, tmp_path):
    """Every example runs without a key or a warning, in under 80 lines, and says something."""
    assert len(path.read_text().splitlines()) <= 80
    command = [sys.executable, "-W", "error", str(path)]
    done = subprocess.run(
        command, capture_output=True, text=True, cwd=tmp_path, env=INSIDE, timeout=60
    )
    assert done.returncode == 0, f"{shlex.join(command)}\n{done.stderr}"
    assert done.stdout.strip()


def test_there_are_examples():
    """The examples folder is not empty."""
    assert len(EXAMPLES) >= 6


def test_links_lead_somewhere():
    """Every relative link in README and docs points to a file that exists."""
    broken = []
    for page in [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]:
        for target in re.findall(r"\]\((?!http|#)([^)#]+)", page.read_text()):
            if not (page.parent / target).exists():
                broken.append(f"{page.relative_to(ROOT)}: {target}")
    assert broken == []
