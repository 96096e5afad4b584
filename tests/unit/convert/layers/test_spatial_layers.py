import numpy as np
import pytest

from fairlead.errors import UnsupportedError


@pytest.mark.parametrize("padding", ["valid", "same"])
@pytest.mark.parametrize(("stride", "dilation"), [(1, 1), (2, 1), (1, 2), (3, 1)])
@pytest.mark.parametrize("free", [False, True])
def test_a_convolution_pads_strides_and_dilates_as_keras_does(row, draw, agree, padding, stride, dilation, free):
    config = {"filters": 4, "kernel_size": [3, 2], "padding": padding, "strides": [stride] * 2, "dilation_rate": [dilation] * 2}
    case = row((None if free else 9, 8, 3), ("Conv2D", config, {"kernel": draw(3, 2, 3, 4), "bias": draw(4)}))
    for rows, height in ((1, 9), (3, 12 if free else 9)):
        agree(case, draw(rows, height, 8, 3))


@pytest.mark.parametrize(
    ("kind", "shape", "config", "weights"),
    [
        (
            "Conv1D", (11, 3), {"filters": 4, "kernel_size": [3], "padding": "causal", "dilation_rate": [2]},
            {"kernel": (3, 3, 4), "bias": (4,)},
        ),
        ("Conv2D", (6, 6, 4), {"filters": 6, "kernel_size": [3, 3], "groups": 2, "use_bias": False}, {"kernel": (3, 3, 2, 6)}),
        ("Conv3D", (4, 5, 6, 2), {"filters": 3, "kernel_size": [2, 2, 2], "activation": "relu"}, {"kernel": (2, 2, 2, 2, 3), "bias": (3,)}),
        ("DepthwiseConv2D", (6, 6, 3), {"kernel_size": [3, 3], "depth_multiplier": 2}, {"depthwise_kernel": (3, 3, 3, 2), "bias": (6,)}),
        ("DepthwiseConv1D", (6, 3), {"kernel_size": [3], "padding": "same"}, {"depthwise_kernel": (3, 3, 1), "bias": (3,)}),
        (
            "SeparableConv2D", (6, 6, 3), {"kernel_size": [3, 3], "filters": 5},
            {"depthwise_kernel": (3, 3, 3, 1), "pointwise_kernel": (1, 1, 3, 5), "bias": (5,)},
        ),
        (
            "Conv2DTranspose", (4, 5, 3), {"filters": 2, "kernel_size": [3, 3], "strides": [2, 2], "padding": "same"},
            {"kernel": (3, 3, 2, 3), "bias": (2,)},
        ),
        ("Conv2DTranspose", (4, 5, 3), {"filters": 2, "kernel_size": [1, 4], "strides": [3, 2]}, {"kernel": (1, 4, 2, 3), "bias": (2,)}),
        (
            "Conv1DTranspose", (None, 3), {"filters": 2, "kernel_size": [3], "strides": [2], "output_padding": [1], "padding": "same"},
            {"kernel": (3, 2, 3), "bias": (2,)},
        ),
        ("MaxPooling2D", (7, 6, 3), {"pool_size": [3, 2], "strides": [2, 2], "padding": "same"}, {}),
        ("AveragePooling2D", (7, 6, 3), {"pool_size": [3, 2], "strides": [2, 2], "padding": "same"}, {}),
        ("AveragePooling1D", (None, 3), {"pool_size": [3], "strides": [2], "padding": "same"}, {}),
        ("MaxPooling3D", (4, 5, 6, 2), {}, {}),
        ("GlobalMaxPooling2D", (7, 6, 3), {"keepdims": True}, {}),
        ("GlobalAveragePooling3D", (3, 4, 5, 2), {}, {}),
        ("ZeroPadding2D", (5, 6, 3), {"padding": [[1, 2], [0, 3]]}, {}),
        ("ZeroPadding1D", (None, 3), {"padding": [[1, 2]]}, {}),
        ("Cropping2D", (5, 6, 3), {"cropping": [[1, 0], [2, 1]]}, {}),
        ("UpSampling1D", (None, 3), {"size": [3]}, {}),
        ("UpSampling2D", (5, 6, 3), {"size": [2, 3], "interpolation": "bilinear"}, {}),
        ("UpSampling3D", (2, 3, 4, 2), {"size": [2, 1, 3]}, {}),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)  # fmt: skip
@pytest.mark.parametrize("data_format", ["channels_last", "channels_first"])
def test_a_spatial_layer_agrees_with_numpy_in_both_data_formats(row, draw, agree, kind, shape, config, weights, data_format):
    arrays = {role: draw(*size) for role, size in weights.items()}
    if data_format == "channels_first":
        shape = (shape[-1], *shape[:-1])
    case = row(shape, (kind, {**config, "data_format": data_format}, arrays))
    agree(case, draw(2, *(7 if size is None else size for size in shape)))


def test_the_digit_classifier_has_one_transpose_and_no_more(row, draw, agree):
    case = row(
        (28, 28, 1),
        ("Conv2D", {"filters": 32, "kernel_size": [3, 3], "activation": "relu"}, {"kernel": draw(3, 3, 1, 32) / 3, "bias": draw(32)}),
        ("MaxPooling2D", {}, {}),
        ("Flatten", {}, {}),
        ("Dense", {"units": 64, "activation": "relu"}, {"kernel": draw(5408, 64) / 70, "bias": draw(64)}),
        ("Dropout", {}, {}),
        ("Dense", {"units": 10, "activation": "softmax"}, {"kernel": draw(64, 10) / 8, "bias": draw(10)}),
    )
    assert case.operators() == ["Transpose", "Conv", "Relu", "MaxPool", "Flatten", "Gemm", "Relu", "Gemm", "Softmax"]
    agree(case, draw(3, 28, 28, 1))


def test_a_residual_block_stays_channels_first_between_its_ends(row, join, draw):
    kernel = {"kernel": draw(3, 3, 4, 4), "bias": draw(4)}
    statistics = {"gamma": draw(4), "beta": draw(4), "moving_mean": draw(4), "moving_variance": np.abs(draw(4)) + 0.1}
    conv = {"filters": 4, "kernel_size": [3, 3], "padding": "same"}
    case = row((8, 8, 4), ("Conv2D", conv, kernel), ("BatchNormalization", {}, statistics), ("ReLU", {}, {}), ("Conv2D", conv, kernel))
    assert case.operators() == ["Transpose", "Conv", "BatchNormalization", "Relu", "Conv", "Transpose"]


def test_a_flattened_image_is_put_in_keras_order_where_somebody_sees_it(row, draw, agree):
    conv = ("Conv2D", {"filters": 2, "kernel_size": [2, 2]}, {"kernel": draw(2, 2, 3, 2), "bias": draw(2)})
    for tail in [()], [("LayerNormalization", {}, {"gamma": draw(12), "beta": draw(12)})], [("Reshape", {"target_shape": [4, -1]}, {})]:
        agree(row((3, 4, 3), conv, ("Flatten", {}, {}), *(step for step in tail if step)), draw(2, 3, 4, 3))


def test_stride_and_dilation_on_a_free_axis_are_refused_by_name(row, draw):
    config = {"filters": 1, "kernel_size": [3], "padding": "same", "strides": [2], "dilation_rate": [2]}
    case = row((None, 1), ("Conv1D", config, {"kernel": draw(3, 1, 1), "bias": draw(1)}))
    with pytest.raises(UnsupportedError, match=r"'conv1d_0' \(Conv1D\).*free size"):
        case.model()


def test_a_kernel_that_does_not_fit_the_config_is_refused_by_name(row, draw):
    case = row((8, 8, 3), ("Conv2D", {"filters": 5, "kernel_size": [3, 3]}, {"kernel": draw(3, 3, 3, 4), "bias": draw(4)}))
    with pytest.raises(UnsupportedError, match="conv2d_0"):
        case.model()
