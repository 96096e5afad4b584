"""All models of the battery, by name."""

from __future__ import annotations

from keras_models import attention_models, convolution_models, dense_models, refused_models, sequence_models
from keras_models.case import Case

_MODULES = {
    "dense": dense_models,
    "convolution": convolution_models,
    "sequence": sequence_models,
    "attention": attention_models,
    "refused on purpose": refused_models,
}
BATTERY: dict[str, Case] = {case.name: case for module in _MODULES.values() for case in module.CASES}
FAMILIES: dict[str, str] = {case.name: family for family, module in _MODULES.items() for case in module.CASES}
