"""`python -m statemachine_agents` is the command line `sma`."""

from __future__ import annotations

import sys

from statemachine_agents.cli import main

if __name__ == "__main__":
    sys.exit(main())
