"""A student of the teacher's own layers: the units that matter most, trained on what the teacher answers. Raises IdlePassError where
nothing gets narrower. Takes a course; gives the narrow network.
"""

from __future__ import annotations

from fairlead.errors import IdlePassError
from fairlead.optimize.training.course import Course
from fairlead.optimize.training.importance import group_norms
from fairlead.optimize.training.narrowing import Narrow, narrowable, narrowed, narrower, shown


def slimmed(course: Course, width: float) -> tuple[Narrow, str]:
    """Return the course's network with every group of units narrowed to `width` of it, and a sentence that says so."""
    narrow = narrowable(course)
    before = narrow.widths
    widths = narrower(before, width)
    if widths == before:
        raise IdlePassError(f"A width of {width:g} leaves groups of {shown(before)} as they are.", hint="Give a smaller width.")
    scores = [None if group is None else group_norms(narrow.network, narrow.coupling, group) for group in narrow.groups]
    return narrowed(course, narrow, widths, scores), f"the student has widths {shown(widths)} instead of {shown(before)}"
