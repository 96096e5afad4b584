"""The runtime tells nobody how it is used: it starts no thread that would."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

CODE = "import os{}; import onnxruntime; print(len(os.listdir('/proc/self/task')))"


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="needs /proc")
def test_onnxruntime_starts_no_thread_of_its_own_once_fairlead_is_imported() -> None:
    environment = {name: text for name, text in os.environ.items() if name != "ORT_DISABLE_TELEMETRY"} | {"OPENBLAS_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, "-c", CODE.format(", fairlead")], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "1"
