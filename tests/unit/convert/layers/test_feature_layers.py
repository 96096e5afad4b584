import numpy as np
import pytest

from fairlead.convert.layers.table import LAYER_CONVERTERS
from fairlead.core.dtype import DType
from fairlead.core.layer_kinds import ACTIVATIONS, KNOWN_KINDS
from fairlead.errors import UnsupportedError

KNOTS = np.array([[-40.0, -3.0, -1.0, -0.5, -0.25, 0.0, 0.25, 0.5, 1.0, 3.0, 6.0, 40.0]], dtype=np.float32)


def test_every_layer_that_the_reader_passes_on_has_a_converter():
    assert set(KNOWN_KINDS) <= set(LAYER_CONVERTERS)


@pytest.mark.parametrize("name", sorted(ACTIVATIONS))
def test_every_activation_agrees_with_numpy_at_its_knots(row, agree, name):
    agree(row((12,), ("Activation", {"activation": name}, {})), KNOTS)


@pytest.mark.parametrize(
    ("name", "want"),
    [("hard_sigmoid", [0.0, 1 / 3, 0.5, 1.0]), ("leaky_relu", [-0.8, -0.2, 0.0, 4.0]), ("relu6", [0.0, 0.0, 0.0, 4.0])],
)
def test_an_activation_has_keras_3_parameters(row, name, want):
    (got,) = row((4,), ("Activation", {"activation": name}, {})).run(np.array([[-4.0, -1.0, 0.0, 4.0]], dtype=np.float32))
    np.testing.assert_allclose(got, [want], atol=1e-6)


def test_an_unknown_activation_is_refused_by_name(row):
    with pytest.raises(UnsupportedError, match=r"'activation_0' \(Activation\) has the activation 'wobble'"):
        row((4,), ("Activation", {"activation": "wobble"}, {})).model()


def test_a_setting_that_nobody_asked_for_is_refused_by_name(row, draw):
    with pytest.raises(UnsupportedError, match="has the setting 'sparkle'"):
        row((4,), ("Dense", {"units": 2, "sparkle": 1}, {"kernel": draw(4, 2), "bias": draw(2)})).model()


@pytest.mark.parametrize("slope", [0.0, 0.1])
@pytest.mark.parametrize("ceiling", [None, 6.0, 2.5])
@pytest.mark.parametrize("threshold", [0.0, 0.75])
def test_relu_bends_at_slope_ceiling_and_threshold(row, slope, ceiling, threshold):
    case = row((12,), ("ReLU", {"negative_slope": slope, "max_value": ceiling, "threshold": threshold}, {}))
    want = np.where(threshold < KNOTS, KNOTS, slope * np.minimum(KNOTS - threshold, 0))
    want = want if ceiling is None else np.where(threshold < KNOTS, np.minimum(KNOTS, ceiling), want)
    np.testing.assert_allclose(case.run(KNOTS)[0], want, atol=1e-6)


@pytest.mark.parametrize(
    ("kind", "config", "weights", "shape"),
    [
        ("Dense", {"units": 4, "activation": "gelu"}, {"kernel": (6, 4), "bias": (4,)}, (None, 6)),
        ("Dense", {"units": 4, "use_bias": False}, {"kernel": (6, 4)}, (6,)),
        (
            "EinsumDense", {"equation": "abc,cde->abde", "output_shape": [None, 4, 2], "bias_axes": "de"},
            {"kernel": (6, 4, 2), "bias": (4, 2)}, (5, 6),
        ),
        ("EinsumDense", {"equation": "...x,xy->...y", "output_shape": 4}, {"kernel": (6, 4)}, (None, 6)),
        ("PReLU", {"shared_axes": [1, 2]}, {"alpha": (1, 1, 3)}, (4, 5, 3)),
        ("LeakyReLU", {"negative_slope": 0.15}, {}, (6,)),
        ("ELU", {"alpha": 0.7}, {}, (6,)),
        ("Softmax", {"axis": 1}, {}, (4, 5)),
        ("Softmax", {"axis": [1, 2]}, {}, (4, 5)),
        ("Permute", {"dims": [3, 1, 2]}, {}, (4, 5, 3)),
        ("RepeatVector", {"n": 3}, {}, (5,)),
        ("Reshape", {"target_shape": [-1, 3]}, {}, (None, 6)),
        ("Flatten", {"data_format": "channels_first"}, {}, (3, 4, 5)),
        ("Flatten", {}, {}, (None, 3)),
        ("LayerNormalization", {}, {"gamma": (6,), "beta": (6,)}, (None, 6)),
        ("LayerNormalization", {"axis": [1, 2], "center": False}, {"gamma": (5, 6)}, (5, 6)),
        ("LayerNormalization", {"axis": [1, 3]}, {"gamma": (5, 3), "beta": (5, 3)}, (5, 6, 3)),
        ("RMSNormalization", {}, {"scale": (6,)}, (None, 6)),
        ("UnitNormalization", {"axis": [1, 2]}, {}, (4, 6)),
        ("GroupNormalization", {"groups": 2}, {"gamma": (4,), "beta": (4,)}, (None, 5, 4)),
        ("GroupNormalization", {"groups": -1, "axis": 1}, {"gamma": (4,), "beta": (4,)}, (4, 6)),
        ("Rescaling", {"scale": [0.5, 2.0, 3.0], "offset": [1.0, 0.0, -1.0]}, {}, (4, 5, 3)),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)  # fmt: skip
def test_a_layer_agrees_with_numpy(row, draw, agree, kind, config, weights, shape):
    case = row(shape, (kind, config, {role: draw(*size) for role, size in weights.items()}))
    for batch, free in ((1, 4), (3, 7)):
        agree(case, draw(batch, *(free if size is None else size for size in shape)))


@pytest.mark.parametrize("axis", [-1, 1])
@pytest.mark.parametrize("has_affine", [True, False])
def test_batch_normalization_uses_the_moving_statistics(row, draw, axis, has_affine):
    size = (5, 6, 4)[axis if axis == -1 else axis - 1]
    arrays = {"moving_mean": draw(size), "moving_variance": np.abs(draw(size)) + 0.1, "gamma": draw(size), "beta": draw(size)}
    case = row((5, 6, 4), ("BatchNormalization", {"axis": axis, "scale": has_affine, "center": has_affine}, arrays))
    x = draw(2, 5, 6, 4)
    along = [1, 1, 1, 1]
    along[axis] = size
    mean, variance, gamma, beta = (arrays[key].reshape(along) for key in ("moving_mean", "moving_variance", "gamma", "beta"))
    want = (x - mean) / np.sqrt(variance + 0.001)
    np.testing.assert_allclose(case.run(x)[0], want * gamma + beta if has_affine else want, atol=1e-5)


def test_normalization_keeps_its_digits_where_values_are_large(row):
    mean, variance = np.full((1, 3), 1e6), np.array([[1.0, 4.0, 0.0]])
    case = row((3,), ("Normalization", {}, {"mean": mean, "variance": variance}))
    (got,) = case.run(np.array([[1e6 + 1, 1e6 - 2, 1e6]], dtype=np.float32))
    np.testing.assert_array_equal(got, [[1.0, -1.0, 0.0]])


@pytest.mark.parametrize("dtype", [DType.INT32, DType.FP32])
def test_an_embedding_takes_whole_numbers_of_either_type(row, draw, dtype):
    table = draw(5, 3)
    case = row((None,), ("Embedding", {"input_dim": 5, "output_dim": 3}, {"embeddings": table}), dtype=dtype)
    ids = np.array([[0, 4, 2], [1, 1, 3]])
    np.testing.assert_array_equal(case.run(ids.astype(dtype.numpy))[0], table[ids])


@pytest.mark.parametrize("kind", ["Add", "Subtract", "Multiply", "Average", "Maximum", "Minimum"])
@pytest.mark.parametrize("other", [(5, 6), (1, 6), (6,)])
def test_arithmetic_on_two_inputs_broadcasts(join, draw, agree, kind, other):
    agree(join(kind, [(5, 6), other], {}, {}), draw(2, 5, 6), draw(2, *other))


@pytest.mark.parametrize("axis", [1, 2, -1])
def test_inputs_are_joined_along_an_axis(join, draw, agree, axis):
    agree(join("Concatenate", [(5, 6), (5, 6), (5, 6)], {"axis": axis}, {}), draw(2, 5, 6), draw(2, 5, 6), draw(2, 5, 6))


@pytest.mark.parametrize(
    ("shapes", "axes"),
    [([(6,), (6,)], -1), ([(5, 6), (4, 6)], [2, 2]), ([(5, 6), (5, 4)], 1), ([(5, 6), (6,)], [2, 1]), ([(6,), (5, 6)], [1, 2])],
)
@pytest.mark.parametrize("normalize", [False, True])
def test_dot_products_run_along_the_named_axes(join, draw, agree, shapes, axes, normalize):
    agree(join("Dot", shapes, {"axes": axes, "normalize": normalize}, {}), *(draw(2, *shape) for shape in shapes))


def test_shapes_that_do_not_fit_are_refused_by_name(join):
    with pytest.raises(UnsupportedError, match=r"'add_0' \(Add\) joins shapes"):
        join("Add", [(5, 6), (5, 7)], {}, {}).model()
