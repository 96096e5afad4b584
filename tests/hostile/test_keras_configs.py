"""K01-K05, K07 and K17: configs that name code. Each is refused, and nothing that it names runs."""

from __future__ import annotations

import ast
import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import keras_corpus as corpus
import pytest

from fairlead.errors import UnsafeContentError, UnsupportedError
from fairlead.ingest.inspection import inspect_source
from fairlead.ingest.keras_safety import check_config
from fairlead.ingest.stage import ingest

SOURCE = Path(__file__).parents[2] / "src"


def nested(layer):
    inner = corpus.node("Sequential", "inner", "keras", layers=[layer])
    return {
        "top": corpus.sequential(layer),
        "nested model": corpus.sequential(inner),
        "TimeDistributed": corpus.sequential(corpus.node("TimeDistributed", "t", layer=layer)),
        "Bidirectional": corpus.sequential(corpus.node("Bidirectional", "b", layer=layer)),
        "activation": corpus.sequential(corpus.dense() | {"config": corpus.dense()["config"] | {"activation": layer}}),
        "initializer": corpus.sequential(corpus.dense(kernel_initializer=layer)),
    }


PLACES = ("top", "nested model", "TimeDistributed", "Bidirectional", "activation", "initializer")


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("suffix", [".keras", ".h5"])
def test_k01_a_lambda_layer_is_refused_wherever_it_hides(tmp_path, sandbox, place, suffix):
    canary = tmp_path / "canary"
    layer = corpus.lambda_layer(canary)
    write = corpus.write_keras if suffix == ".keras" else corpus.write_h5
    path = write(tmp_path / f"m{suffix}", nested(layer)[place])
    with pytest.raises(UnsafeContentError, match="Lambda holds code") as caught:
        ingest(path, tmp_path / "work", sandbox=sandbox)
    assert "evil" in str(caught.value)
    assert not canary.exists()


@pytest.mark.parametrize("place", PLACES)
def test_k01_a_lambda_layer_of_keras_2_is_refused_wherever_it_hides(tmp_path, place):
    with pytest.raises(UnsafeContentError, match="Lambda holds code"):
        check_config(nested(corpus.legacy_lambda_layer(tmp_path / "canary"))[place])


def test_k01_inspect_lists_a_lambda_layer_without_opening_the_file(tmp_path, sandbox):
    canary = tmp_path / "canary"
    path = corpus.write_keras(tmp_path / "m.keras", corpus.sequential(corpus.lambda_layer(canary)))
    inspection = inspect_source(path, sandbox=sandbox)
    assert inspection.is_unsafe
    assert any("Lambda" in finding.what and "evil" in finding.where for finding in inspection.findings)
    assert inspection.interface is None
    assert not canary.exists()


@pytest.mark.skipif(
    not all(map(importlib.util.find_spec, ("keras", "jax"))), reason="Keras with JAX is not installed: the control needs the raw library"
)
@pytest.mark.parametrize("suffix", [".keras", ".h5"])
def test_k01_control_raw_keras_runs_the_code_of_the_same_file(tmp_path, suffix):
    canary = tmp_path / "canary"
    layer = corpus.lambda_layer(canary)
    path = (corpus.write_keras if suffix == ".keras" else corpus.write_h5)(
        tmp_path / f"m{suffix}", corpus.sequential(layer, corpus.dense())
    )
    absent = "tensorflow", "torch", "sklearn"  # Keras imports every framework that is there, which takes seconds, and needs one
    code = (
        f"import sys; sys.modules.update(dict.fromkeys({absent})); import keras; "
        "keras.saving.load_model(sys.argv[1], compile=False, safe_mode=False)"
    )
    environment = os.environ | {"KERAS_BACKEND": "jax", "JAX_PLATFORMS": "cpu", "HOME": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", code, str(path)], env=environment, capture_output=True, text=True, timeout=300, check=False
    )
    assert canary.exists(), done.stderr[-2000:]


def function(module, name, class_name="function"):
    return {"module": module, "class_name": class_name, "config": name, "registered_name": class_name}


# K02 and K03: what Keras was made to look up by name, one by one.
NAMED = [
    ("os", "system"), ("os", "popen"), ("posix", "system"), ("subprocess", "run"), ("subprocess", "Popen"), ("builtins", "exec"),
    ("builtins", "eval"), ("builtins", "__import__"), ("builtins", "open"), ("builtins", "getattr"), ("pickle", "loads"),
    ("marshal", "loads"), ("importlib", "import_module"), ("shutil", "rmtree"), ("pathlib", "Path"), ("socket", "create_connection"),
    ("urllib.request", "urlretrieve"), ("ctypes", "CDLL"), ("runpy", "run_path"), ("code", "interact"), ("pty", "spawn"),
    ("timeit", "timeit"), ("cProfile", "run"), ("pdb", "run"), ("pkgutil", "resolve_name"), ("numpy", "load"), ("numpy.f2py", "compile"),
    ("keras.utils", "get_file"), ("keras.src.utils.file_utils", "get_file"), ("keras.saving", "load_model"), ("keras.models", "load_model"),
    ("keras.config", "enable_unsafe_deserialization"), ("keras.src.saving.serialization_lib", "enable_unsafe_deserialization"),
    ("keras.layers", "deserialize"), ("keras.src.utils.torch_utils", "TorchModuleWrapper"), ("tensorflow", "load_library"),
    ("tensorflow.io", "write_file"), ("torch.hub", "load"), ("joblib", "load"), ("keras.activations", "get"), ("", "system"),
]  # fmt: skip


@pytest.mark.parametrize(("module", "name"), NAMED, ids=[f"{module}.{name}" for module, name in NAMED])
def test_k02_k03_whatever_a_config_names_is_refused_as_function_and_as_layer(module, name):
    for bad in (
        corpus.sequential(corpus.dense(kernel_initializer=function(module, name))),
        corpus.sequential(corpus.dense() | {"config": corpus.dense()["config"] | {"activation": function(module, name)}}),
        corpus.sequential(corpus.node(name, "evil", module)),
        corpus.sequential({"module": module, "class_name": name, "config": "touch canary", "registered_name": None}),
        corpus.node(name, "evil", module, layers=[corpus.dense()]),
    ):
        with pytest.raises((UnsafeContentError, UnsupportedError)) as caught:
            check_config(bad)
        assert caught.value.hint


def test_k02_a_function_in_config_json_comes_through_no_door(tmp_path, sandbox):
    bad = corpus.sequential(corpus.dense(kernel_initializer=function("os", "system")))
    path = corpus.write_keras(tmp_path / "m.keras", bad)
    with pytest.raises(UnsafeContentError, match=r"os\.system"):
        ingest(path, tmp_path / "work", sandbox=sandbox)


def test_k02_control_a_loader_that_looks_names_up_runs_them(tmp_path):
    """What Keras before 3.9 did with such a node, in its own words: import the module, take the attribute, call it."""
    canary = tmp_path / "canary"
    described = function("os", "system")
    code = "import importlib, sys; getattr(importlib.import_module(sys.argv[1]), sys.argv[2])(sys.argv[3])"
    subprocess.run([sys.executable, "-c", code, described["module"], described["config"], f"touch {canary}"], check=True, timeout=60)
    assert canary.exists()


def test_k04_a_first_node_that_switches_safe_mode_off_does_not_help_a_second(tmp_path, sandbox):
    canary = tmp_path / "canary"
    off = function("keras.config", "enable_unsafe_deserialization")
    path = corpus.write_keras(tmp_path / "m.keras", corpus.sequential(off, corpus.lambda_layer(canary), corpus.dense()))
    with pytest.raises(UnsafeContentError):
        ingest(path, tmp_path / "work", sandbox=sandbox)
    assert not canary.exists()


@pytest.mark.parametrize("name", ["from_config", "deserialize_keras_object", "enable_unsafe_deserialization", "model_from_json"])
def test_k05_no_code_of_ours_builds_objects_from_a_foreign_config(name):
    for file in SOURCE.rglob("*.py"):
        used = {item.attr for item in ast.walk(ast.parse(file.read_text())) if isinstance(item, ast.Attribute)}
        assert name not in used, file


@pytest.mark.parametrize(
    "layer",
    [
        corpus.node("TFSMLayer", "evil", filepath="/elsewhere", call_endpoint="serve"),
        corpus.node("TorchModuleWrapper", "evil", output_shape=None),
        corpus.node("JaxLayer", "evil", call_fn={}),
        corpus.node("FlaxLayer", "evil", method=None),
    ],
    ids=lambda layer: layer["class_name"],
)
def test_k07_layers_that_open_something_else_are_refused(tmp_path, sandbox, layer):
    path = corpus.write_keras(tmp_path / "m.keras", corpus.sequential(layer))
    with pytest.raises(UnsafeContentError, match=layer["class_name"]):
        ingest(path, tmp_path / "work", sandbox=sandbox)


@pytest.mark.parametrize("registered", ["my_package>Dense", "Custom>Dense", "Lambda", "os.system"])
def test_k17_a_custom_class_does_not_pass_as_a_built_in_one_of_the_same_name(registered):
    bad = corpus.dense() | {"registered_name": registered}
    with pytest.raises(UnsupportedError, match="not Keras's"):
        check_config(corpus.sequential(bad))
    check_config(corpus.sequential(corpus.dense() | {"registered_name": "Dense"}))  # what Keras itself writes


def test_a_node_without_a_proper_class_is_refused():
    for bad in ({"module": "os"}, {"class_name": None}, {"class_name": ["Dense"]}, {"class_name": "Dense", "module": 3}):
        with pytest.raises(UnsafeContentError):
            check_config(corpus.sequential(corpus.dense(kernel_initializer=bad)))


def test_a_vocabulary_that_names_a_file_is_refused(tmp_path, sandbox):
    layer = corpus.node("StringLookup", "lookup", vocabulary="/etc/hostname")
    with pytest.raises((UnsafeContentError, UnsupportedError), match="StringLookup"):
        ingest(corpus.write_keras(tmp_path / "m.keras", corpus.sequential(layer)), tmp_path / "work", sandbox=sandbox)


def test_the_builders_make_good_files_when_nothing_is_wrong(tmp_path, sandbox):
    for path in (
        corpus.write_keras(tmp_path / "m.keras", corpus.sequential(corpus.dense())),
        corpus.write_h5(tmp_path / "m.h5", corpus.sequential(corpus.dense())),
    ):
        artifact = ingest(path, tmp_path / f"work{path.suffix}", sandbox=sandbox)
        assert artifact.facts["parameter_count"] == 10
