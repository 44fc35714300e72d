"""A photograph in, depth out: what may go in, what a source names, and a folder in which one file is bad."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from leadline.core.errors import BadArtefact, BadCheckpoint, BadImage
from leadline.core.image_sources import sources
from leadline.core.preprocess import prepare, restore
from leadline.core.spec import Head, Preprocess
from leadline.predict.files import predict_files
from leadline.predict.picture import image_array
from leadline.predict.predictor import Predictor, load_predictor

RGB = np.random.default_rng(0).integers(0, 255, (30, 40, 3), dtype=np.uint8)
HOW = Preprocess(size=(8, 8))


def brightness(images: np.ndarray) -> np.ndarray:
    """A stand-in for a net: 1 m for black to 5 m for white."""
    return 1 + 4 * images.mean(axis=1, keepdims=True)


def nothing(images: np.ndarray) -> np.ndarray:
    return np.full_like(images[:, :1], np.nan)


FAKE = Predictor("fake", brightness, HOW, Head())


def photo(path: Path, pixels: np.ndarray = RGB) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)
    return path


def test_the_depth_has_the_size_of_the_photograph() -> None:
    depth = FAKE(RGB)
    assert depth.values.shape == (30, 40)
    assert (depth.kind, depth.unit) == ("metric", "m")
    assert depth.valid is not None and depth.valid.all()


def test_a_predictor_is_prepare_the_runner_and_restore() -> None:
    assert (FAKE(RGB).values == restore(brightness(prepare(RGB, HOW))[0, 0], RGB.shape[:2], HOW)[0]).all()


def test_file_pillow_image_and_array_give_the_same_depth(tmp_path: Path) -> None:
    path = photo(tmp_path / "a.png")
    for image in (path, str(path), Image.fromarray(RGB)):
        assert (FAKE(image).values == FAKE(RGB).values).all()


def test_a_1x1_image_has_a_depth() -> None:
    assert FAKE(np.full((1, 1, 3), 255, np.uint8)).values.tolist() == [[5.0]]


def test_grey_counts_as_rgb() -> None:
    grey = RGB[..., 0]
    assert (FAKE(grey).values == FAKE(np.stack([grey] * 3, axis=-1)).values).all()


@pytest.mark.parametrize(
    "array",
    [RGB.astype(np.float32), RGB / 255, RGB.transpose(2, 0, 1), np.dstack([RGB, RGB[..., :1]]), RGB[None], RGB[:0]],
)
def test_an_array_of_another_form_is_an_error(array: np.ndarray) -> None:
    with pytest.raises(ValueError, match=r"uint8 \[H,W,3\] \(RGB\) or \[H,W\] \(grey\) is needed"):
        image_array(array)


def test_a_pillow_image_that_cannot_be_decoded_is_a_bad_image(tmp_path: Path) -> None:
    path = photo(tmp_path / "a.jpg")
    path.write_bytes(path.read_bytes()[:-200])
    with Image.open(path) as image, pytest.raises(BadImage, match=r"a\.jpg"):
        image_array(image)


def test_every_part_of_the_time_is_told() -> None:
    _, latency_ms = FAKE.timed(RGB)
    assert list(latency_ms) == ["read_ms", "preprocess_ms", "inference_ms", "postprocess_ms"]
    assert min(latency_ms.values()) >= 0


def test_a_folder_names_its_own_images_in_order(tmp_path: Path) -> None:
    for name in ("b.JPG", "a.png", "deep/c.png"):
        photo(tmp_path / name)
    (tmp_path / "notes.md").write_text("no image")
    (tmp_path / "d.png").mkdir()
    assert sources(tmp_path) == [tmp_path / "a.png", tmp_path / "b.JPG"]


def test_a_pattern_names_what_it_matches(tmp_path: Path) -> None:
    for name in ("b.png", "a.png", "deep/er/c.png", "x.jpg"):
        photo(tmp_path / name)
    assert [p.name for p in sources(f"{tmp_path}/*.png")] == ["a.png", "b.png"]
    assert [p.name for p in sources(f"{tmp_path}/**/*.png")] == ["a.png", "b.png", "c.png"]


def test_a_file_whose_name_looks_like_a_pattern_is_that_file(tmp_path: Path) -> None:
    path = photo(tmp_path / "a[1].png")
    assert sources(path) == [path]


def test_a_list_names_files_relative_to_itself(tmp_path: Path) -> None:
    listing = tmp_path / "some.txt"
    listing.write_text(f"# mine\na.png\n\n  sub/b.png  \n{tmp_path}/c.png\nmissing.png\n")
    assert sources(listing) == [tmp_path / name for name in ("a.png", "sub/b.png", "c.png", "missing.png")]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("nothing.jpg", "there is no"),
        ("*.jpg", "no file matches"),
        ("empty", "holds no image"),
        ("empty.txt", "names no image"),
        ("binary.txt", "not a text file"),
    ],
)
def test_a_source_that_names_nothing_is_a_bad_image(tmp_path: Path, name: str, message: str) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty.txt").write_text("# none\n")
    (tmp_path / "binary.txt").write_bytes(b"\xff\xfe\x00\xd8")
    with pytest.raises(BadImage, match=message):
        sources(tmp_path / name)


def test_in_a_folder_one_bad_file_is_reported_and_the_rest_is_done(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    photo(folder / "a.jpg")
    (folder / "b.jpg").write_bytes(b"")
    photo(folder / "c.png")
    first, bad, last = predict_files(FAKE, sources(folder), tmp_path / "out", save=["png16", "vis"])
    assert "b.jpg is empty" in (bad.error or "")
    assert bad.to_json() == {"source": str(folder / "b.jpg"), "error": bad.error}
    assert first.error is last.error is None
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == [
        "a_depth.png", "a_vis.png", "c_depth.png", "c_vis.png",
    ]  # fmt: skip


def test_without_keep_going_the_first_bad_file_ends_it(tmp_path: Path) -> None:
    work = predict_files(FAKE, [tmp_path / "no.jpg"], tmp_path / "out", keep_going=False)
    with pytest.raises(BadImage, match="does not exist"):
        next(work)


def test_an_outcome_tells_kind_unit_and_range(tmp_path: Path) -> None:
    pixels = np.zeros((4, 8, 3), np.uint8)
    pixels[:, 6:] = 255
    predictor = Predictor("fake", brightness, Preprocess(size=(4, 8)), Head())
    (outcome,) = predict_files(predictor, [photo(tmp_path / "a.png", pixels)], tmp_path / "out", save=["npy"])
    facts = outcome.to_json()
    assert (facts["kind"], facts["unit"], facts["size"], facts["valid"]) == ("metric", "m", (4, 8), 1.0)
    assert (facts["min"], facts["median"], facts["max"]) == (1.0, 1.0, 5.0)
    assert facts["files"] == [str(tmp_path / "out" / "a_depth.npy")]
    assert set(facts["latency_ms"]) == {"read_ms", "preprocess_ms", "inference_ms", "postprocess_ms"}


def test_a_depth_without_any_valid_pixel_is_told_as_such(tmp_path: Path) -> None:
    predictor = Predictor("blind", nothing, HOW, Head())
    every = ["png16", "npy", "npz", "vis", "ply"]
    (outcome,) = predict_files(predictor, [photo(tmp_path / "a.png")], tmp_path / "out", save=every)
    assert (outcome.valid, outcome.low, outcome.median, outcome.high) == (0.0, None, None, None)
    with Image.open(tmp_path / "out" / "a_depth.png") as image:
        assert not np.array(image).any()


def test_the_results_may_lie_beside_the_photographs(tmp_path: Path) -> None:
    paths = [photo(tmp_path / name) for name in ("a.png", "a_vis.png")]
    before = [path.read_bytes() for path in paths]
    outcomes = list(predict_files(FAKE, paths, tmp_path, save=["vis"]))
    assert [path.read_bytes() for path in paths] == before
    assert len({outcome.files for outcome in outcomes}) == 2


def test_bad_choices_are_refused_before_the_first_file(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="one or more of"):
        predict_files(FAKE, [], tmp_path, save=["jpeg"])
    relative = Predictor("fake", brightness, HOW, Head("relative_disparity", "relative_disparity"))
    with pytest.raises(ValueError, match="png16 is in metres"):
        predict_files(relative, [], tmp_path, save=["png16"])
    with pytest.raises(ValueError, match="is a file; the results need a folder"):
        predict_files(FAKE, [], photo(tmp_path / "file.png"))


def test_a_checkpoint_becomes_a_predictor_that_agrees_with_its_net(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    from leadline.core.preprocess import prepare, restore
    from leadline.nn import zoo
    from leadline.nn.build import build
    from leadline.nn.checkpoint import save

    net = build(zoo.fastdepth_pruned(), seed=0).eval()
    predictor = load_predictor(save(net, tmp_path / "net.safetensors"))
    assert (predictor.name, predictor.preprocess, predictor.head) == (
        net.spec.name, net.spec.preprocess, net.spec.head,
    )  # fmt: skip
    with torch.no_grad():
        output = net(torch.tensor(prepare(RGB, net.spec.preprocess))).numpy()
    expected, _ = restore(output[0, 0], (30, 40), net.spec.preprocess)
    assert np.allclose(predictor(RGB).values, expected, atol=1e-4)


def test_a_model_that_is_not_there_is_a_bad_checkpoint(tmp_path: Path) -> None:
    with pytest.raises(BadCheckpoint, match="no model"):
        load_predictor(tmp_path / "none.safetensors")


FRAME = (30, 40)


@pytest.fixture(scope="module")
def whole_frame(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A checkpoint that sees 90 % of a frame, and its file for whole frames of RGB's size."""
    from support.fake_backend import stand_in
    from support.tiny_runtime_nets import small_net

    from leadline.nn.checkpoint import save
    from leadline.runtime.export import export
    from leadline.runtime.options import CompileOptions

    folder = tmp_path_factory.mktemp("frames")
    net = small_net(preprocess=Preprocess(size=(32, 64), view=(0.9, 0.9)))
    checkpoint = save(net, folder / "small.safetensors")
    with pytest.MonkeyPatch.context() as patch:
        stand_in(patch)
        return checkpoint, export(checkpoint, "standin", folder / "small.standin", CompileOptions(frame=FRAME))


def test_a_whole_frame_file_predicts_what_the_checkpoint_does(
    whole_frame: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    from support.fake_backend import stand_in

    stand_in(monkeypatch)
    checkpoint, file = whole_frame
    predictor = load_predictor(file)
    assert (predictor.frame, predictor.runtime, predictor.precision) == (FRAME, "standin", "fp32")
    found, expected = predictor(RGB), load_predictor(checkpoint)(RGB)
    assert found.kind == expected.kind and found.valid is not None and expected.valid is not None
    assert (found.valid == expected.valid).all() and not found.valid.all()
    # its resizing does not round to whole grey levels
    assert np.abs(found.values - expected.values)[found.valid].max() < 0.02 * expected.values.max()
    assert (found.values[~found.valid] == 0).all()
    assert list(predictor.timed(RGB)[1]) == ["read_ms", "preprocess_ms", "inference_ms", "postprocess_ms"]


def test_a_whole_frame_file_refuses_a_picture_of_another_size(
    whole_frame: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from support.fake_backend import stand_in

    stand_in(monkeypatch)
    predictor = load_predictor(whole_frame[1])
    with pytest.raises(BadImage, match=r"picture is 40x30 .* frames of 30x40 only: resize .* --frame 40x30"):
        predictor(RGB.transpose(1, 0, 2))
    path = photo(tmp_path / "turned.png", RGB.transpose(1, 0, 2).copy())
    (outcome,) = predict_files(predictor, [path], tmp_path / "out")
    assert outcome.error is not None and outcome.error.startswith(f"{path}: the picture is 40x30")


def test_a_checkpoint_runs_by_another_runtime_from_the_cache(
    whole_frame: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from support.fake_backend import stand_in

    backend = stand_in(monkeypatch)
    monkeypatch.setenv("LEADLINE_CACHE", str(tmp_path))
    checkpoint, file = whole_frame
    for _ in range(2):
        predictor = load_predictor(checkpoint, runtime="standin", threads=1)
        assert np.allclose(predictor(RGB).values, load_predictor(checkpoint)(RGB).values, atol=1e-5)
    assert (predictor.runtime, predictor.frame, len(backend.compiled)) == ("standin", None, 1)
    with pytest.raises(ValueError, match="is a file for standin"):
        load_predictor(file, runtime="eager")


def test_an_exported_file_that_is_not_there_is_a_bad_artefact(tmp_path: Path) -> None:
    with pytest.raises(BadArtefact, match="there is no file"):
        load_predictor(tmp_path / "net.tflite")
