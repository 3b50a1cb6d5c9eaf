"""One finding of `sma check` that a table keeps, with the reason: no part of what decides a run."""

from __future__ import annotations

import attrs


@attrs.frozen(kw_only=True)
class Allowance:
    """A finding that the author knows and wants to keep.

    Args:
        code: code of the finding; errors cannot be allowed.
        reason: why it is right here.
        where: beginning of its place, such as `states.needs_person`; empty for every place.
    """

    code: str
    reason: str
    where: str = ""
