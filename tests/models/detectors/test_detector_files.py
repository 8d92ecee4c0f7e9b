"""Model files that are missing, damaged, or of another shape."""

import shutil

import numpy as np
import onnx
import pytest

from curation.errors import ModelError
from curation.models.detectors import centerface, nudenet, onnx_graph, package_file
from curation.models.detectors.boxes import suppressed
from curation.models.detectors.onnx_graph import with_free_shapes
from curation.models.detectors.package_file import CENTERFACE, NUDENET, PackageFile, find_package_file
from curation.models.detectors.resize import to_tensor
from curation.models.detectors.session import OnnxModel

AXES = ("batch", 3, "height", "width")


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A package with a model file in it, which fails when it is imported."""
    folder = tmp_path / "fakedetector"
    folder.mkdir()
    (folder / "__init__.py").write_text("raise ImportError('no cv2 here')")
    shutil.copy(find_package_file(NUDENET), folder / "model.onnx")
    monkeypatch.syspath_prepend(str(tmp_path))
    return PackageFile("fakedetector", "1.0", "model.onnx", NUDENET.sha256)


def test_a_file_is_found_without_importing_its_package(package, tmp_path):
    assert find_package_file(package) == tmp_path / "fakedetector" / "model.onnx"


def test_a_missing_package_is_one_line_that_says_how_to_get_it():
    with pytest.raises(ModelError) as caught:
        find_package_file(PackageFile("no_such_detector", "1.0", "model.onnx", "0" * 64))
    assert str(caught.value) == (
        f"model no_such_detector: is not installed; run `{package_file.INSTALL}`, or turn its filter off "
        "(safety.nsfw: off, safety.faces: keep)"
    )


def test_a_missing_file_is_one_line(package, tmp_path):
    (tmp_path / "fakedetector" / "model.onnx").unlink()
    with pytest.raises(ModelError, match=r"model\.onnx is missing; run `python -m pip install"):
        find_package_file(package)


def test_a_file_of_one_changed_byte_is_refused(package, tmp_path):
    path = tmp_path / "fakedetector" / "model.onnx"
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    with pytest.raises(ModelError, match=r"is not that of fakedetector 1\.0") as caught:
        find_package_file(package)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("data", [b"", b"\x00", b"<html>", b"\xff" * 40, b"\x3a\xff\xff\xff\xff\x0f"])
def test_what_is_no_onnx_is_one_line(tmp_path, data):
    path = tmp_path / "bad.onnx"
    path.write_bytes(data)
    with pytest.raises(ModelError) as caught:
        OnnxModel(path, threads=1)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("share", [0.001, 0.3, 0.999])
def test_a_truncated_model_is_one_line(tmp_path, share):
    data = find_package_file(CENTERFACE).read_bytes()
    path = tmp_path / "cut.onnx"
    path.write_bytes(data[: int(len(data) * share)])
    with pytest.raises(ModelError, match="cut off or no model; the file is damaged"):
        OnnxModel(path, threads=1)


def test_freed_shapes_take_any_batch_and_size():
    model = OnnxModel(find_package_file(CENTERFACE), threads=1)
    for batch, height, width in ((1, 32, 64), (5, 64, 32), (3, 96, 96)):
        heatmap, scale, offset, landmarks = model.run(np.zeros((batch, 3, height, width), np.float32))
        assert heatmap.shape == (batch, 1, height // 4, width // 4)
        assert scale.shape == offset.shape == (batch, 2, height // 4, width // 4)
        assert landmarks.shape == (batch, 10, height // 4, width // 4)


def test_freeing_shapes_twice_changes_nothing_more():
    once = with_free_shapes(find_package_file(CENTERFACE).read_bytes(), AXES)
    assert with_free_shapes(once, AXES) == once


def test_freed_shapes_stand_in_the_model_as_the_axes_say():
    graph = onnx.load_from_string(with_free_shapes(find_package_file(CENTERFACE).read_bytes(), AXES)).graph
    (image,) = graph.input  # and no weight
    dimensions = [axis.dim_param or axis.dim_value for axis in image.type.tensor_type.shape.dim]
    assert dimensions == ["batch", 3, "height", "width"]
    assert [output.type.tensor_type.HasField("shape") for output in graph.output] == [False] * 4
    assert not graph.value_info


def model_with(tensor, branch):
    """A model that adds a weight to its input, in its graph or in the branch of a condition."""
    value = onnx.helper.make_tensor_value_info
    image, out = (value(name, onnx.TensorProto.FLOAT, [1, 3, 2, 2]) for name in ("image", "out"))
    add = onnx.helper.make_node("Add", ["image", tensor.name], ["out"])
    graph = onnx.helper.make_graph([add], "graph", [image], [out], [tensor])
    if branch:
        inner = onnx.helper.make_graph([add], "branch", [], [out], [tensor])
        yes = onnx.helper.make_tensor("yes", onnx.TensorProto.BOOL, [], [True])
        either = onnx.helper.make_node("If", ["yes"], ["out"], then_branch=inner, else_branch=inner)
        graph = onnx.helper.make_graph([either], "graph", [image], [out], [yes])
    opset = [onnx.helper.make_opsetid("", 13)]
    return onnx.helper.make_model(graph, opset_imports=opset, ir_version=8).SerializeToString()


@pytest.mark.parametrize("branch", [False, True])
def test_weights_in_another_file_are_refused_and_that_file_is_not_read(tmp_path, monkeypatch, branch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "weights.bin").write_bytes(np.ones(12, np.float32).tobytes())
    tensor = onnx.numpy_helper.from_array(np.ones((1, 3, 2, 2), np.float32), "bias")
    path = tmp_path / "model.onnx"
    path.write_bytes(model_with(tensor, branch))
    assert (
        OnnxModel(path, threads=1).run(np.zeros((1, 3, 2, 2), np.float32))[0].tolist() == np.ones((1, 3, 2, 2)).tolist()
    )
    onnx.external_data_helper.set_external_data(tensor, "weights.bin")
    tensor.ClearField("raw_data")
    path.write_bytes(model_with(tensor, branch))
    with pytest.raises(ModelError) as caught:
        OnnxModel(path, threads=1)
    assert str(caught.value) == (f"{path}: ONNX model: the weight 'bias' lies in another file; use a model of one file")


def test_a_model_larger_than_protobuf_reads_is_one_line(monkeypatch):
    monkeypatch.setattr(onnx_graph, "MAX_BYTES", 1000)
    with pytest.raises(
        ModelError, match=r"^ONNX model: has 1,001 bytes, of which 1,000 can be read; use a smaller one$"
    ):
        with_free_shapes(bytes(1001), AXES)


def test_suppression_keeps_the_best_of_overlapping_boxes():
    corners = np.array([[0, 0, 10, 10], [1, 1, 11, 11], [20, 20, 30, 30], [0, 0, 0, 0], [0, 0, 0, 0]], np.float32)
    scores = np.array([0.5, 0.9, 0.4, 0.3, 0.3], np.float32)
    keep = suppressed(corners, scores, 0.45)
    assert keep.tolist() == [1, 2, 3]  # of two equal empty boxes the first
    assert keep.dtype == np.int64


def suppressed_one_by_one(corners, scores, overlapping):
    """What greedy suppression says, written out: each box against the best of those left."""
    order = np.argsort(-scores, kind="stable")
    keep = []
    while len(order):
        best, order = order[0], order[1:]
        keep.append(int(best))
        sides = np.minimum(corners[best, 2:], corners[order, 2:]) - np.maximum(corners[best, :2], corners[order, :2])
        common = np.prod(np.maximum(sides, 0), axis=1)
        areas = np.prod(corners[:, 2:] - corners[:, :2], axis=1)
        union = areas[best] + areas[order] - common
        overlap = np.divide(common, union, out=np.ones_like(common), where=union > 0)
        order = order[~overlapping(overlap)]
    return keep


@pytest.mark.parametrize("seed", range(20))
def test_suppression_keeps_the_boxes_that_one_by_one_comparison_keeps(seed):
    """Whole-number corners and few scores: there are equal boxes, empty ones, equal scores and overlaps of just 0.3."""
    rng = np.random.default_rng(seed)
    upper_left = rng.integers(0, 12, (300, 2))
    corners = np.concatenate((upper_left, upper_left + rng.integers(0, 8, (300, 2))), axis=1).astype(np.float32)
    scores = rng.integers(1, 6, 300).astype(np.float32) / 8
    expected = suppressed_one_by_one(corners, scores, lambda overlap: overlap > nudenet.MAX_OVERLAP)
    assert suppressed(corners, scores, nudenet.MAX_OVERLAP).tolist() == expected
    expected = suppressed_one_by_one(corners, scores, lambda overlap: overlap >= 0.3)
    assert suppressed(corners, scores, centerface.MAX_OVERLAP).tolist() == expected


def test_a_face_that_shares_just_three_tenths_with_a_better_one_goes():
    corners = np.array([[0, 0, 10, 1], [0, 0, 3, 1]], np.float32)
    scores = np.array([0.9, 0.8], np.float32)
    assert suppressed(corners, scores, centerface.MAX_OVERLAP).tolist() == [0]
    assert suppressed(corners, scores, float(np.float32(0.3))).tolist() == [0, 1]


def test_suppression_of_nothing_is_nothing():
    assert suppressed(np.empty((0, 4), np.float32), np.empty(0, np.float32), 0.5).size == 0


def test_resize_takes_each_pixel_from_its_four_neighbours():
    image = np.random.default_rng(0).integers(0, 256, (50, 70, 3), dtype=np.uint8)
    image.setflags(write=False)
    width, height = 32, 96
    across = np.clip((np.arange(width) + 0.5) * 70 / width - 0.5, 0, 69)
    down = np.clip((np.arange(height) + 0.5) * 50 / height - 0.5, 0, 49)
    left, top = np.floor(across).astype(int), np.floor(down).astype(int)
    right, bottom = np.minimum(left + 1, 69), np.minimum(top + 1, 49)
    x, y = (across - left)[:, None], (down - top)[:, None, None]
    upper = image[top][:, left] * (1 - x) + image[top][:, right] * x
    lower = image[bottom][:, left] * (1 - x) + image[bottom][:, right] * x
    expected = (upper * (1 - y) + lower * y).transpose(2, 0, 1)
    assert np.abs(to_tensor(image, width, height) - expected).max() <= 1.01


def test_an_image_of_the_right_size_is_not_touched():
    image = np.random.default_rng(0).integers(0, 256, (32, 64, 3), dtype=np.uint8)
    np.testing.assert_array_equal(to_tensor(image, 64, 32), image.transpose(2, 0, 1))
