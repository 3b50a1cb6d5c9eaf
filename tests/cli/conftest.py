"""A user's situation: an empty directory, no key, no terminal."""

from functools import partial

import pytest

from tests.cli.terminal import typed


@pytest.fixture
def home(tmp_path, monkeypatch):
    """The directory the user stands in; stores, shops and workflows of a test lie here."""
    for name in ("ANTHROPIC_API_KEY", "ANTHROPIC_BASE_URL", "SMA_DEBUG", "SMA_SMTP_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def sma(capsys, home):
    """Type `sma ...` in that directory, in this process."""
    return partial(typed, capsys)
