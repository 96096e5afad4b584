"""No global outside of the list passes (F11, F12): names that blocklists have missed, submodules, prefixes, dots and renamings."""

from __future__ import annotations

import importlib
import pickle
import warnings

import pytest
from corpus import call_pickle
from gadgets import GADGETS
from hypothesis import given
from hypothesis import strategies as st

from fairlead.security.pickle_check import allowed_globals, check_pickle


def resolves(gadget):
    module, name = gadget.split(":")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found = importlib.import_module(module)
            for part in name.split("."):
                found = getattr(found, part)
    except (ImportError, AttributeError, SyntaxError):
        return False
    return True


@pytest.mark.parametrize("gadget", sorted(set(GADGETS)))
def test_a_gadget_is_refused_by_its_exact_name(gadget, tmp_path):
    module, name = gadget.split(":")
    path = tmp_path / "model.pkl"
    path.write_bytes(call_pickle(module, name, "x"))
    findings = check_pickle(path)
    assert [finding for finding in findings if finding.is_unsafe]
    assert "is not on the allow-list" in findings[0].what


def test_the_gadgets_are_real():
    quick = [
        gadget
        for gadget in GADGETS
        if gadget.split(":")[0].split(".")[0] in ("os", "posix", "subprocess", "builtins", "pydoc", "uuid", "runpy")
    ]
    assert sum(resolves(gadget) for gadget in quick) > 50, "the names do not exist: refusing them proves nothing"


def test_no_listed_global_is_a_gadget():
    assert allowed_globals().isdisjoint(GADGETS)
    assert not [
        name
        for name in allowed_globals()
        if name.split(":")[0].split(".")[0] in ("os", "sys", "subprocess", "importlib", "pickle", "joblib")
    ]


def test_every_listed_global_is_a_class_or_function_without_dots_in_its_name():
    for entry in allowed_globals():
        module, _, name = entry.partition(":")
        assert name.isidentifier(), entry
        assert all(part.isidentifier() for part in module.split(".")), entry


@given(st.sampled_from(sorted(allowed_globals())), st.text(st.characters(codec="ascii", exclude_categories=["Cc"]), min_size=1, max_size=8))
def test_anything_added_to_a_listed_name_is_refused(entry, extra):
    from fairlead.security.pickle_check import is_allowed

    module, _, name = entry.partition(":")
    for other_module, other_name in ((module + extra, name), (module, name + extra), (extra + module, name), (f"{module}.{name}", extra)):
        assert f"{other_module}:{other_name}" in allowed_globals() or not is_allowed(other_module, other_name)


def test_python_2_names_are_judged_by_what_they_become(tmp_path):
    path = tmp_path / "model.pkl"
    path.write_bytes(call_pickle("commands", "getoutput", "id"))
    assert "subprocess.getoutput" in check_pickle(path)[0].what
    path.write_bytes(pickle.dumps({"a": {1, 2}, "b": complex(1, 2)}, protocol=2))
    assert check_pickle(path) == ()
