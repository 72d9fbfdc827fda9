"""The demo is a program, not a package: its modules are found as Python finds them for ``demo/run.py``."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2] / "demo"))
