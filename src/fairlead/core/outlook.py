"""What is expected of a candidate before anybody made it. Pure values.

Law: an outlook is no promise. What was measured says so (`is_latency_measured`); everything else is an estimate, and verify decides.
"""

from __future__ import annotations

from dataclasses import dataclass

from fairlead.core.plan import Candidate


@dataclass(frozen=True)
class Outlook:
    """`loses` says what the candidate may give up ("" for nothing). `size_bytes` of its files and `latency_ms` of a call with one row are
    None where nothing can be said beforehand; `speed` says in words what is to be expected. `is_installed`: what makes and runs it is on
    this machine.
    """

    candidate: Candidate
    loses: str = ""
    size_bytes: int | None = None
    latency_ms: float | None = None
    is_latency_measured: bool = False
    speed: str = ""
    is_installed: bool = True


@dataclass(frozen=True)
class PromiseOutlook:
    """What is known of a requirement before any candidate was made: the value of the model as converted (`measured`, None where it was not
    looked at), whether it keeps the bound, and a sentence. `is_impossible`: nothing that runs here can keep it.
    """

    requirement: str
    sentence: str
    measured: float | None = None
    is_kept: bool | None = None
    is_impossible: bool = False
