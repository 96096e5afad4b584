"""Every model of the PyTorch battery."""

from __future__ import annotations

from fairlead.core.dtype import DType
from torch_models import convolution_models as convolution
from torch_models import dense_models as dense
from torch_models import sequence_models as sequence
from torch_models.case import PROGRAM, SCRIPT, STATE, Case, spec

IDS = DType.INT64
CASES = (
    Case(dense.Mlp, "dense", (spec("x", 6),)),
    Case(dense.BinaryScore, "dense", (spec("x", 5),)),
    Case(dense.NormalizedMixer, "dense", (spec("x", 8),)),
    Case(dense.TextClassifier, "dense", (spec("ids", None, dtype=IDS),)),
    Case(dense.TwoInputs, "dense", (spec("table", 5), spec("picture", 1, 8, 8))),
    Case(dense.TwoOutputs, "dense", (spec("x", 4),)),
    Case(convolution.Cnn, "convolution", (spec("image", 1, 12, 12),)),
    Case(convolution.ResNetLike, "convolution", (spec("image", 3, None, None),), lengths=(12, 20)),
    Case(convolution.MobileNetLike, "convolution", (spec("image", 3, 32, 32),)),
    Case(convolution.UNetLike, "convolution", (spec("image", 1, 16, 16),)),
    Case(convolution.Signal, "convolution", (spec("signal", 2, None),), lengths=(9, 30)),
    Case(convolution.Decoder, "convolution", (spec("code", 6),)),
    Case(sequence.Lstm, "sequence", (spec("x", None, 5),), is_frozen=True),
    Case(sequence.Gru, "sequence", (spec("ids", None, dtype=IDS),), is_frozen=True),
    Case(sequence.Transformer, "attention", (spec("ids", None, dtype=IDS),)),
    Case(sequence.MaskedAttention, "attention", (spec("x", None, 8), spec("mask", None, dtype=DType.BOOL))),
    Case(dense.Spectrum, "without ONNX form", (spec("x", 4),)),
    Case(dense.Newton, "loop over data", (spec("x", 3),), formats=(SCRIPT,)),
    Case(dense.Newton, "refused on purpose: a loop over data in Python", (spec("x", 3),), formats=(STATE,)),
    Case(
        dense.Mlp,
        "refused on purpose: saved in training mode",
        (spec("x", 6),),
        formats=(PROGRAM, SCRIPT),
        is_training=True,
        is_traced=True,
    ),
    Case(dense.Mlp, "refused on purpose: fixed batch", (spec("x", 6),), formats=(PROGRAM,), free_batch=False),
)
