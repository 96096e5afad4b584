"""A boosting library's own file, checked by our parsers before the library itself may open it.

Takes the path of a snapshot; gives the library that it belongs to, and its objective. Raises SourceError for damage, UnsupportedError for
what is not served. Only called in a sandboxed child; imports none of the libraries.
"""

from __future__ import annotations

from pathlib import Path

from fairlead.errors import SourceError
from fairlead.security.catboost_model import SIZE_LIMIT_BYTES, parse_catboost
from fairlead.security.catboost_trees import answers_of
from fairlead.security.lightgbm_linear import check_linear
from fairlead.security.lightgbm_text import parse_lightgbm


def check_booster(path: Path, library: str) -> str:
    """Return the objective of the model in the file at `path`, which `library` is to open next."""
    with path.open("rb") as file:
        data = file.read(SIZE_LIMIT_BYTES + 1)
    if library == "catboost":
        return answers_of(parse_catboost(data)).loss
    if library == "lightgbm":
        model = parse_lightgbm(data)
        check_linear(model)
        return " ".join(model.objective)
    raise SourceError("The file is of no boosting library.", hint="Import the model again.")
