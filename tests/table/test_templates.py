"""Texts with `{context.key}` in them: what is filled in, and what stays as it was written."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from statemachine_agents.errors import ExpressionError
from statemachine_agents.table.templates import has_holes, parse_template, render

CONTEXT = {
    "name": "Ann",
    "n": 3,
    "order": {"id": "A1", "items": [{"sku": "x"}]},
    "gone": None,
    "with space": True,
}


@pytest.mark.parametrize(
    ("text", "filled"),
    [
        ("Hello {context.name}!", "Hello Ann!"),
        ("{context.n}", "3"),
        ("{context.order}", '{"id":"A1","items":[{"sku":"x"}]}'),
        ("{context.order.id}{context.order.items[0].sku}", "A1x"),
        ("{context['with space']}", "true"),
        ("[{context.gone}][{context.missing.deep}]", "[][]"),
        ("no holes", "no holes"),
        ("", ""),
    ],
)
def test_paths_are_filled_in(text: str, filled: str):
    """Texts stand as they are, other values as JSON, what is missing as nothing."""
    assert render(text, CONTEXT) == filled


@pytest.mark.parametrize(
    "text",
    ["{name}", "{}", "{context}", "{ context.name }", "{result.x}", '{"a": 1}', "{context.1}"],
)
def test_other_braces_are_plain_text(text: str):
    """JSON in an instruction needs no escapes."""
    assert not has_holes(text)
    assert render(text, CONTEXT) == text


def test_a_value_is_not_filled_in_again():
    """Braces that come from data stay data."""
    assert render("{context.name}", {"name": "{context.n}", "n": 1}) == "{context.n}"


def test_a_hole_that_is_no_path_is_refused():
    """It looks like a path, so it was meant as one."""
    with pytest.raises(ExpressionError):
        parse_template("{context.a[+]}")


@given(st.text().filter(lambda text: not has_holes(text)))
def test_text_without_holes_is_unchanged(text: str):
    """Rendering is the identity there."""
    assert render(text, {}) == text
