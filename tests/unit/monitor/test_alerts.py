import re
import shutil
import subprocess
from pathlib import Path

import pytest

from fairlead.monitor.families import FAMILIES

ALERTS = Path(__file__).parents[3] / "examples" / "prometheus" / "alerts.yml"


def test_alerts_ask_for_metrics_that_there_are() -> None:
    expressions = re.sub(r"alert: \w+|name: \w+", "", ALERTS.read_text()).split("groups:")[1]
    asked = set(re.findall(r"fairlead_\w+", expressions))
    assert asked
    assert asked <= {family.full_name for family in FAMILIES}


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool comes with Prometheus (Debian: prometheus)")
def test_alerts_are_rules_of_prometheus() -> None:
    checked = subprocess.run(["promtool", "check", "rules", ALERTS], capture_output=True, text=True, timeout=60, check=False)
    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert "6 rules found" in checked.stdout
