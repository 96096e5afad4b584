"""Writes src/fairlead/security/estimator_globals.txt: every global that a pickle or skops file of an estimator may use, by exact name.

Run it where the supported scikit-learn is installed, and read the difference before committing it: each line is a thing that a foreign
file may have called. Only classes and functions without effects outside of their own object belong here.
"""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import sys
import warnings
from pathlib import Path

TARGET = Path(__file__).parent.parent / "src" / "fairlead" / "security" / "estimator_globals.txt"

# What estimators are made of, besides estimators: modules of scikit-learn whose own classes are plain data with arithmetic.
PART_MODULES = (
    "sklearn._loss._loss", "sklearn._loss.link", "sklearn._loss.loss", "sklearn.calibration", "sklearn.compose._column_transformer",
    "sklearn.ensemble._hist_gradient_boosting.binning", "sklearn.ensemble._hist_gradient_boosting.predictor",
    "sklearn.gaussian_process.kernels", "sklearn.linear_model._sgd_fast", "sklearn.metrics._dist_metrics", "sklearn.metrics._scorer",
    "sklearn.model_selection._split", "sklearn.neighbors._ball_tree", "sklearn.neighbors._kd_tree",
    "sklearn.neural_network._stochastic_optimizers", "sklearn.utils._bunch",
)  # fmt: skip
# Not estimators to be opened: they reach out, or keep functions of the caller.
LEFT_OUT_MODULES = (
    "sklearn.datasets",
    "sklearn.tests",
    "sklearn.externals",
    "sklearn.experimental",
    "sklearn.conftest",
    "sklearn.utils._testing",
)
FUNCTIONS = {
    "sklearn.feature_selection._univariate_selection": ("chi2", "f_classif", "f_oneway", "f_regression", "r_regression"),
    "sklearn.feature_selection._mutual_info": ("mutual_info_classif", "mutual_info_regression"),
    # How Cython's parts without a __reduce__ of their own are written. Its other functions of this name belong to bases and builders.
    "sklearn._loss._loss": ("__pyx_unpickle_CyHalfMultinomialLoss",),
    "sklearn.metrics._dist_metrics": ("newObj",),
    "sklearn.neighbors._ball_tree": ("newObj",),
    "sklearn.neighbors._kd_tree": ("newObj",),
}
BY_HAND = """
_codecs:encode
builtins:bool
builtins:bytearray
builtins:bytes
builtins:complex
builtins:dict
builtins:float
builtins:frozenset
builtins:int
builtins:list
builtins:object
builtins:range
builtins:set
builtins:slice
builtins:str
builtins:tuple
collections:OrderedDict
collections:defaultdict
copyreg:_reconstructor
numpy:bool_
numpy:dtype
numpy:float16
numpy:float32
numpy:float64
numpy:int16
numpy:int32
numpy:int64
numpy:int8
numpy:matrix
numpy:mean
numpy:ndarray
numpy:str_
numpy:uint16
numpy:uint32
numpy:uint64
numpy:uint8
numpy._core.multiarray:_reconstruct
numpy._core.multiarray:scalar
numpy._core.numeric:_frombuffer
numpy.ma:MaskedArray
numpy.ma.core:MaskedArray
numpy.ma.core:_mareconstruct
numpy.random:RandomState
numpy.random.mtrand:RandomState
numpy.random._generator:Generator
numpy.random._mt19937:MT19937
numpy.random._pcg64:PCG64
numpy.random._pcg64:PCG64DXSM
numpy.random._philox:Philox
numpy.random._sfc64:SFC64
numpy.random._pickle:__generator_ctor
numpy.random.bit_generator:SeedSequence
numpy.random.bit_generator:__pyx_unpickle_SeedSequence
numpy.random._pickle:__bit_generator_ctor
numpy.random._pickle:__randomstate_ctor
scipy._lib.array_api_compat.numpy._aliases:asarray
scipy.interpolate._bsplines:BSpline
sklearn.cluster._birch:_CFNode
sklearn.cluster._bisect_k_means:_BisectingTree
sklearn.cluster._kmeans:_kmeans_single_elkan
sklearn.cluster._kmeans:_kmeans_single_lloyd
sklearn.utils.validation:check_array
xgboost.core:Booster
xgboost.sklearn:XGBClassifier
xgboost.sklearn:XGBRFClassifier
xgboost.sklearn:XGBRFRegressor
xgboost.sklearn:XGBRanker
xgboost.sklearn:XGBRegressor
lightgbm.basic:Booster
lightgbm.sklearn:LGBMClassifier
lightgbm.sklearn:LGBMRanker
lightgbm.sklearn:LGBMRegressor
catboost.core:CatBoost
catboost.core:CatBoostClassifier
catboost.core:CatBoostRanker
catboost.core:CatBoostRegressor
sklearn.cluster._birch:_CFSubcluster
sklearn.tree._tree:Tree
sklearn.utils._metadata_requests:MetadataRequest
sklearn.utils._metadata_requests:MethodMetadataRequest
""".split()  # noqa: SIM905 - one name per line makes differences readable
SPARSE = ("csr", "csc", "coo", "lil", "dok", "dia", "bsr")


def main() -> None:
    """Write the list."""
    warnings.simplefilter("ignore")
    names = set(BY_HAND)
    names |= estimators()
    for module in PART_MODULES:
        names |= own_classes(module)
    for module, functions in FUNCTIONS.items():
        names |= {f"{module}:{name}" for name in functions if hasattr(importlib.import_module(module), name)}
    names |= scores()
    names |= {f"scipy.sparse._{kind}:{kind}_{form}" for kind in SPARSE for form in ("matrix", "array")}
    names |= element_types()
    names |= ufuncs()
    import sklearn

    head = f"# Written by scripts/list_estimator_globals.py with scikit-learn {sklearn.__version__}: module:name, exact, no patterns.\n"
    TARGET.write_text(head + "\n".join(sorted(names)) + "\n", encoding="ascii")
    print(f"{len(names)} names in {TARGET.name}")


def estimators() -> set[str]:
    """Every class that scikit-learn fits, and their bases."""
    import sklearn
    from sklearn.base import BaseEstimator

    found = set()
    for info in pkgutil.walk_packages(sklearn.__path__, "sklearn."):
        if info.name.startswith(LEFT_OUT_MODULES) or ".tests" in info.name:
            continue
        try:
            module = importlib.import_module(info.name)
        except ImportError as error:
            print(f"left out {info.name}: {error}", file=sys.stderr)
            continue
        for name, value in vars(module).items():
            if inspect.isclass(value) and issubclass(value, BaseEstimator) and value.__module__ == info.name:
                found.add(f"{info.name}:{name}")
    return found


def own_classes(module_name: str) -> set[str]:
    """The classes that a module defines itself."""
    module = importlib.import_module(module_name)
    own = {
        name
        for name, value in vars(module).items()
        if inspect.isclass(value) and value.__module__ in (module_name, module_name.rpartition(".")[2])
    }
    return {f"{module_name}:{name}" for name in own if "<" not in name}


def scores() -> set[str]:
    """The functions behind scorers, as search estimators keep them."""
    from sklearn.metrics import get_scorer, get_scorer_names

    functions = [get_scorer(name)._score_func for name in get_scorer_names()]  # noqa: SLF001 - it has no public name
    return {f"{function.__module__}:{function.__name__}" for function in functions}


def element_types() -> set[str]:
    """Classes of element types: numpy 2 pickles some dtypes by them."""
    import numpy.dtypes

    return {f"numpy.dtypes:{name}" for name, value in vars(numpy.dtypes).items() if inspect.isclass(value)}


def ufuncs() -> set[str]:
    """Element-wise functions, as FunctionTransformer keeps them; skops calls them by the module that has them."""
    import numpy as np

    found = {name for name, value in vars(np).items() if isinstance(value, np.ufunc)}
    return {f"{module}:{name}" for name in found for module in ("numpy", "numpy._core._multiarray_umath")}


if __name__ == "__main__":
    main()
