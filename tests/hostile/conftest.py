from __future__ import annotations

import sys
from pathlib import Path

import pytest

from fairlead.security.sandbox import OneShotSandbox

sys.path.insert(0, str(Path(__file__).parent))  # corpus.py, which benchmarks/attack_table.py uses, too


@pytest.fixture(scope="session")
def sandbox():
    return OneShotSandbox()
