"""Makes `graph_examples` importable: models that several tests of passes take."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
