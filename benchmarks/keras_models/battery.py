"""All models of the battery, by name."""

from __future__ import annotations

from keras_models import attention_models, convolution_models, dense_models, refused_models, sequence_models
from keras_models.case import Case

BATTERY: dict[str, Case] = {
    case.name: case
    for module in (dense_models, convolution_models, sequence_models, attention_models, refused_models)
    for case in module.CASES
}
