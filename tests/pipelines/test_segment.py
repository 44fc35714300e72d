"""Segmentation from files to figures: CamVid, labels under transforms, the overlap of regions, and what is refused."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from support.png_bomb import bomb
from support.tiny_streets import TINY, VOID, street, write
from support.tiny_training import trained_by_command

from leadline.cli.main import main
from leadline.core.errors import BadData, BadImage
from leadline.core.own_results import is_own_picture
from leadline.core.tasks import CAMVID
from leadline.core.types import Item, Labels
from leadline.core.viz_labels import coloured_labels, labels_picture, palette
from leadline.data.batch import Batch
from leadline.data.layouts.detect import open_dataset
from leadline.data.loader import collate
from leadline.data.options import View
from leadline.data.transforms.augment import augment_labels
from leadline.evaluation.evaluate import evaluate
from leadline.evaluation.labels import confusion, intersection_over_union, measure_labels
from leadline.nn import zoo
from leadline.nn.build import build
from leadline.nn.checkpoint import load, save
from leadline.nn.pretrained.tflite import Folded
from leadline.pipelines.train import train
from leadline.pipelines.training_setup import parts
from leadline.predict.predictor import predictor_of
from leadline.runtime.export import export
from leadline.runtime.options import CompileOptions
from leadline.training.losses.classes import cross_entropy
from leadline.training.options import FitOptions, Training

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def camvid(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("camvid")
    write(root, "train", 12, 0)
    write(root, "test", 4, 100, lists=False)
    return root


def test_pictures_and_annotations_are_paired_by_lists_or_by_folders(camvid: Path) -> None:
    data, test = open_dataset(camvid, "train"), open_dataset(camvid, "test")
    assert (len(data), len(test)) == (12, 4) and data.classes == CAMVID
    labels = street(3)[1]
    item = data[3]
    assert item.name == "train/003" and item.target.dtype == np.int64
    assert np.array_equal(item.valid, labels != VOID) and np.array_equal(item.target[item.valid], labels[item.valid])
    assert not item.target[~item.valid].any()
    batch = collate([data[0], data[1]])
    assert batch.target.shape == (2, 1, 36, 48) and batch.target.dtype == torch.int64


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        ("size", r"train/000 is 48 wide, 36 high, and its annotation 20 wide, 10 high"),
        ("number", r"000\.png holds the number 12; 0 to 10 are classes and 11 is void"),
        ("colour", r"000\.png has the mode RGB; one channel of 8 bits is needed"),
        ("empty", r"000\.png cannot be read as an annotation"),
    ],
)
def test_annotations_that_do_not_fit_are_named(tmp_path: Path, damage: str, message: str) -> None:
    write(tmp_path, "train", 1, 0)
    file = tmp_path / "trainannot/000.png"
    made = {
        "size": np.zeros((10, 20), np.uint8),
        "number": np.full((36, 48), 12, np.uint8),
        "colour": np.zeros((36, 48, 3), np.uint8),
    }
    file.write_bytes(b"") if damage == "empty" else Image.fromarray(made[damage]).save(file)
    with pytest.raises((BadData, BadImage), match=message):
        open_dataset(tmp_path, "train")[0]


@pytest.mark.parametrize("side", [11_000, 20_000])  # pillow itself refuses the larger one only
def test_an_annotation_that_would_fill_the_memory_is_one_line_of_error(tmp_path: Path, side: int) -> None:
    write(tmp_path, "train", 1, 0)
    (tmp_path / "trainannot/000.png").write_bytes(bomb(side, side, 8))
    with pytest.raises(BadImage, match=r"trainannot/000\.png cannot be read as an annotation: .*pixels") as caught:
        open_dataset(tmp_path, "train")[0]
    assert "\n" not in str(caught.value)


def test_a_list_that_names_what_is_not_there_is_refused(tmp_path: Path) -> None:
    write(tmp_path, "train", 2, 0)
    (tmp_path / "trainannot/001.png").unlink()
    with pytest.raises(
        BadData, match=r"train\.txt names 1 files that are not there, such as /SegNet/CamVid/trainannot/001\.png"
    ):
        open_dataset(tmp_path, "train")


def test_the_files_of_a_list_lie_below_its_folder(tmp_path: Path) -> None:
    write(tmp_path / "away", "other", 1, 7)
    write(tmp_path / "set", "train", 2, 0)
    away = tmp_path / "away/other/000.jpg"
    for word in (away, "../away/other/000.jpg", "/", "..", "no\0name", "x" * 300):
        (tmp_path / "set/train.txt").write_text(f"train/000.jpg trainannot/000.png\n{word} trainannot/001.png\n")
        with pytest.raises(BadData, match=r"train\.txt names 1 files that are not there, such as ") as caught:
            open_dataset(tmp_path / "set", "train")
        assert str(caught.value).endswith(str(word))


def test_lists_are_read_as_other_programs_write_them(tmp_path: Path) -> None:
    write(tmp_path, "train", 3, 0)
    lines = [f"C:\\CamVid\\train\\{i:03d}.jpg C:\\CamVid\\trainannot\\{i:03d}.png" for i in (2, 0, 2)]
    (tmp_path / "train.txt").write_bytes("\r\n".join(["# a comment", *lines, ""]).encode("utf-16"))
    assert [key.name for key in open_dataset(tmp_path, "train").keys] == ["train/002", "train/000"]
    (tmp_path / "train.txt").write_bytes(b"\0\xff\xfe no text")
    with pytest.raises(BadData, match=r"train\.txt cannot be read as a list in plain text"):
        open_dataset(tmp_path, "train")
    (tmp_path / "train.txt").write_text("train/000.jpg trainannot/000.png 1\n")
    with pytest.raises(BadData, match=r"train\.txt: the line 'train/000.* 1' has 3 columns; picture and annotation"):
        open_dataset(tmp_path, "train")


def test_without_lists_hidden_files_are_no_pictures_and_pipes_are_not_waited_for(tmp_path: Path) -> None:
    write(tmp_path, "train", 2, 0, lists=False)
    (tmp_path / "train/._000.jpg").write_bytes(b"Mac OS X")
    (tmp_path / "trainannot/001.png").unlink()
    os.mkfifo(tmp_path / "trainannot/001.png")
    data = open_dataset(tmp_path, "train")
    assert [key.name for key in data.keys] == ["train/000", "train/001"]
    with pytest.raises(BadImage, match=r"trainannot/001\.png cannot be read as an annotation: there is no such file"):
        data[1]


def test_labels_move_with_the_picture_and_never_become_other_classes() -> None:
    """Each class has its own colour here, so that every valid pixel of a view can be checked."""
    labels = np.random.default_rng(0).integers(0, 4, (6, 8)).repeat(8, 0).repeat(8, 1)
    image = np.stack([labels * 60] * 3, axis=-1).astype(np.uint8)
    item = Item(image, labels.astype(np.int64), np.ones(labels.shape, bool), "x")
    view = View(size=(40, 56), rotate=8, zoom=(0.7, 2.0), shift=1.0, flip=0.5, jitter=0, colour_shift=0)
    for seed in range(8):
        seen = augment_labels(item, np.random.default_rng(seed), view)
        assert seen.target.dtype == np.int64 and set(np.unique(seen.target)) <= {0, 1, 2, 3}
        assert not seen.target[~seen.valid].any() and seen.valid.any()
        exact = np.isin(seen.image[..., 0], (0, 60, 120, 180)) & seen.valid  # bilinear mixes at the borders
        inner = exact & (seen.image[..., 0] == seen.target * 60)
        assert inner.sum() > 0.97 * exact.sum()


def test_the_overlap_is_that_of_a_plain_count() -> None:
    rng = np.random.default_rng(0)
    target, predicted = rng.integers(0, 3, (2, 20, 20))
    valid = rng.random((20, 20)) < 0.8
    counts = confusion(predicted, target, valid, 4)
    for i in range(3):
        a, b = (target == i) & valid, (predicted == i) & valid
        assert intersection_over_union(counts)[i] == pytest.approx((a & b).sum() / (a | b).sum())
    assert np.isnan(intersection_over_union(counts)[3])  # neither there nor predicted: it does not count
    found = measure_labels(counts)
    assert found["pixel_accuracy"] == pytest.approx((predicted == target)[valid].mean())
    assert found["miou"] == pytest.approx(intersection_over_union(counts)[:3].mean())
    with pytest.raises(ValueError, match="the target holds classes 0 to 2; 0 to 1 are known"):
        confusion(predicted.clip(0, 1), target, valid, 2)


def test_overlaps_are_those_of_the_whole_set_and_void_never_counts() -> None:
    """Not a mean over images: a class may be in one of them alone."""
    first, second = np.zeros((2, 4, 4), np.int64)
    second[0] = 1
    valid = np.ones((4, 4), bool)
    void = valid.copy()
    void[1:] = False
    image = np.zeros((4, 4, 3), np.uint8)
    items = [Item(image, first, valid, "a"), Item(image + 1, second, void, "b")]
    answers = {0: np.zeros((4, 4), np.uint8), 1: np.array([[1, 1, 0, 0]] * 4, np.uint8)}

    def predict(frame: np.ndarray) -> Labels:
        return Labels(answers[int(frame[0, 0, 0])], ("x", "y"), valid)

    report = evaluate(predict, items, "miou@1")
    assert report.context["iou"] == pytest.approx([16 / 18, 2 / 4])
    assert report.metrics["miou"] == pytest.approx((16 / 18 + 2 / 4) / 2) and report.n == 2
    assert report.metrics["pixel_accuracy"] == pytest.approx(18 / 20)
    assert report.context["n_pixels"] == 20


def test_void_pixels_never_matter_to_the_loss() -> None:
    scores = torch.randn(2, 3, 4, 5, generator=torch.Generator().manual_seed(0), requires_grad=True)
    target = torch.randint(0, 3, (2, 1, 4, 5), generator=torch.Generator().manual_seed(1))
    valid = torch.rand(2, 1, 4, 5, generator=torch.Generator().manual_seed(2)) < 0.5
    batch = Batch(torch.zeros(2, 3, 4, 5), target, valid, ("a", "b"))

    def net(_: Any) -> torch.Tensor:
        return scores

    value, logs = cross_entropy(net, batch)  # type: ignore[arg-type]
    log_odds = scores.double().log_softmax(1).gather(1, target)[valid]
    assert float(value.detach()) == pytest.approx(float(-log_odds.detach().mean()), rel=1e-6)
    assert 0 <= logs["right"] <= 1
    value.backward()  # type: ignore[no-untyped-call]
    assert scores.grad is not None and not scores.grad[(~valid).expand_as(scores)].any()
    assert cross_entropy(net, replace(batch, valid=torch.zeros_like(valid)))[1] == {"skipped": 1.0}  # type: ignore[arg-type]


@pytest.mark.parametrize("name", zoo.names("segment"))
def test_a_net_of_labels_is_saved_and_loaded_and_scores_every_pixel(name: str, tmp_path: Path) -> None:
    spec = zoo.spec(name)
    small = replace(
        spec,
        encoder=replace(spec.encoder, widths=tuple(max(4, w // 16) for w in spec.encoder.widths)),
        decoder=replace(spec.decoder, widths=tuple(w if w == 11 else max(4, w // 16) for w in spec.decoder.widths)),
    )
    net = build(small, seed=0).eval()
    again = load(save(net, tmp_path / "net.safetensors"))
    for size in ((64, 96), (50, 35)):
        image = torch.rand(1, 3, *size)
        with torch.no_grad():
            out = net(image)
            assert out.shape == (1, len(spec.head.classes), *size) and torch.isfinite(out).all()
            assert torch.equal(again(image), out)


def training(camvid: Path, out: Path, **changes: Any) -> Training:
    fit = FitOptions(steps=40, optimizer="adam", lr=0.02, weight_decay=0.0, precision="no", log_every=100)
    view = View(rotate=0, zoom=(1, 1.2), shift=0.2, jitter=0, colour_shift=0)
    plain = Training(data=(str(camvid),), out=out, batch=4, fit=fit, view=view, workers=0, val_every=0)
    return replace(plain, **changes)


def test_a_net_learns_to_name_what_pixels_show(camvid: Path, tmp_path: Path) -> None:
    net, report = train(training(camvid, tmp_path / "run", val_every=10), build(TINY, seed=0))
    assert report.protocol == "miou@1" and report.n == 4 and report.metrics["pixel_accuracy"] > 0.9
    found = evaluate(predictor_of(net).labels, open_dataset(camvid, "test"), "miou@1")
    assert found.metrics["miou"] > 0.5 and len(found.context["iou"]) == 11
    assert len([*(tmp_path / "run/pictures").glob("*.jpg")]) == 1


def test_the_encoder_of_a_net_of_labels_starts_from_the_file_of_a_classifier(
    camvid: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = np.random.default_rng(0)
    encoder = build(zoo.spec("skipnet_mobilenet"), seed=1).encoder
    shapes = [tuple(m.weight.shape) for m in encoder.modules() if isinstance(m, torch.nn.Conv2d)]
    layers = [Folded(rng.normal(0, 0.1, s).astype(np.float32), np.zeros(s[0], np.float32)) for s in shapes]
    monkeypatch.setattr("leadline.nn.pretrained.tflite.read_tflite", lambda path: layers)
    file = tmp_path / "classifier.tflite"
    file.touch()
    made = parts(training(camvid, tmp_path / "run", model="skipnet_mobilenet", init=file, view=View(size=(64, 96))))
    for conv, layer in zip(
        (m for m in made.net.encoder.modules() if isinstance(m, torch.nn.Conv2d)), layers, strict=True
    ):
        ours, theirs = conv.weight.detach().flatten(1), torch.from_numpy(layer.weight).flatten(1)
        likeness = torch.nn.functional.cosine_similarity(ours, theirs, dim=1)  # filters keep their direction
        assert float(likeness.min()) > 0.999


def test_the_command_line_writes_numbers_and_a_picture_with_a_legend(camvid: Path, tmp_path: Path, capsys: Any) -> None:
    net = trained_by_command(TINY, camvid, tmp_path / "run", batch=4)
    capsys.readouterr()
    assert main(["val", "--data", str(camvid), "--model", net, "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["protocol"] == "miou@1" and report["n"] == 4 and len(report["context"]["iou"]) == 11
    photo, out = camvid / "test/000.jpg", tmp_path / "out"
    assert main(["predict", str(photo), "--model", net, "--out", str(out), "--json"]) == 0
    (row,) = json.loads(capsys.readouterr().out)["files"]
    assert sum(row["classes"].values()) <= 1 + 1e-9 and row["files"] == [
        str(out / f"000{end}") for end in ("_labels.png", "_vis.png")
    ]
    numbers = np.asarray(Image.open(out / "000_labels.png"))
    assert numbers.shape == (36, 48) and numbers.dtype == np.uint8 and numbers.max() < 11
    assert np.array_equal(numbers, predictor_of(load(net)).labels(photo).values)
    assert all(is_own_picture(Path(file)) for file in row["files"])  # no photograph for the next run


def test_every_class_has_a_colour_of_its_own_and_the_legend_names_those_that_occur() -> None:
    assert len({tuple(row) for row in palette(40).tolist()}) == 40 and [0, 0, 0] not in palette(40).tolist()
    labels = Labels(np.array([[0, 1], [1, 1]]).repeat(20, 0).repeat(20, 1), ("a", "b", "c"), np.ones((40, 40), bool))
    picture = labels_picture(labels)
    assert picture.shape[0] == 40 and picture.shape[1] > 40
    assert np.array_equal(picture[:, :40], coloured_labels(labels)) and tuple(picture[0, 0]) == tuple(palette(3)[0])
    side = {tuple(pixel) for pixel in picture[:, 40:].reshape(-1, 3).tolist()}
    assert tuple(palette(3)[1]) in side and tuple(palette(3)[2]) not in side
    void = replace(labels, valid=np.zeros((40, 40), bool))
    assert not coloured_labels(void).any()


def test_what_knows_no_labels_yet_says_so(tmp_path: Path) -> None:
    net = build(TINY, seed=0)
    with pytest.raises(ValueError, match=r"whole frames .* is for nets of depth so far, and this one gives labels"):
        export(net, "eager", tmp_path / "a.safetensors", CompileOptions(frame=(48, 64)))
    flipped = replace(predictor_of(net), flip=True)
    with pytest.raises(ValueError, match="tiny_labels gives labels; flip is for depth, leave it out"):
        flipped.answer(np.zeros((36, 48, 3), np.uint8))
