"""What a plan says of its candidates."""

from __future__ import annotations

from fairlead.cli.plan_text import _what
from fairlead.core.outlook import Outlook
from fairlead.core.plan import Candidate


def test_what_has_to_be_installed_comes_before_what_a_narrow_screen_cuts() -> None:
    outlook = Outlook(
        Candidate("openvino", (), "openvino", 1, "OpenVINO fuses"), speed="not installed: pip install 'x'", is_installed=False
    )
    assert _what(outlook) == "not installed: pip install 'x'; OpenVINO fuses"
