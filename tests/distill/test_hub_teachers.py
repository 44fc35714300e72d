"""Hugging Face's depth models as teachers: real loading code on small nets with random weights, in the hub's layout."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from leadline.core.errors import BadCheckpoint
from leadline.data.batch import Batch
from leadline.distill.options import ExternalModel, TeacherOptions
from leadline.distill.teachers import build_teacher, open_teacher

transformers = pytest.importorskip("transformers")
pytestmark = [
    pytest.mark.usefixtures("one_thread"),
    # what transformers and the packages that it looks for warn of is not ours
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning"),
]

STAGES = ["stage1", "stage2", "stage3", "stage4"]


def pictures(height: int = 48, width: int = 64) -> Batch:
    rng = np.random.default_rng(0)
    image = torch.from_numpy(rng.integers(0, 256, (2, 3, height, width)).astype(np.float32) / 255)
    return Batch(image, None, None, ("a", "b"))


def depth_anything(**said: Any) -> tuple[Any, Any]:
    from transformers import DepthAnythingConfig, DepthAnythingForDepthEstimation, Dinov2Config, DPTImageProcessor

    backbone = Dinov2Config(
        hidden_size=16, num_hidden_layers=4, num_attention_heads=2, image_size=28, patch_size=14, out_features=STAGES,
        apply_layernorm=True, reshape_hidden_states=False,
    )  # fmt: skip
    config = DepthAnythingConfig(
        backbone_config=backbone, reassemble_hidden_size=16, neck_hidden_sizes=[8, 8, 8, 8], fusion_hidden_size=8,
        head_hidden_size=4, patch_size=14, **said,
    )  # fmt: skip
    processor = DPTImageProcessor(
        size={"height": 28, "width": 28}, keep_aspect_ratio=True, ensure_multiple_of=14
    )  # fmt: skip
    return DepthAnythingForDepthEstimation(config), processor


def dpt() -> tuple[Any, Any]:
    from transformers import DPTConfig, DPTForDepthEstimation, DPTImageProcessor

    config = DPTConfig(
        hidden_size=16, num_hidden_layers=4, num_attention_heads=2, intermediate_size=16, image_size=32, patch_size=16,
        backbone_out_indices=[0, 1, 2, 3], neck_hidden_sizes=[8, 8, 8, 8], fusion_hidden_size=8, is_hybrid=False,
    )  # fmt: skip
    return DPTForDepthEstimation(config), DPTImageProcessor(size={"height": 32, "width": 32})


def dpt_on_dinov2() -> tuple[Any, Any]:
    from transformers import Dinov2Config, DPTConfig, DPTForDepthEstimation, DPTImageProcessor

    backbone = Dinov2Config(
        hidden_size=16, num_hidden_layers=4, num_attention_heads=2, image_size=28, patch_size=14, out_features=STAGES,
        apply_layernorm=False, reshape_hidden_states=False,
    )  # fmt: skip
    config = DPTConfig(
        backbone_config=backbone, neck_hidden_sizes=[8, 8, 8, 8], fusion_hidden_size=8, is_hybrid=False,
        reassemble_factors=[4, 2, 1, 0.5], use_bias_in_fusion_residual=False,
    )  # fmt: skip
    return DPTForDepthEstimation(config), DPTImageProcessor(size={"height": 28, "width": 28})


def zoedepth() -> tuple[Any, Any]:
    from transformers import BeitConfig, ZoeDepthConfig, ZoeDepthForDepthEstimation, ZoeDepthImageProcessor

    backbone = BeitConfig(
        hidden_size=16, num_hidden_layers=4, num_attention_heads=2, intermediate_size=16, image_size=32, patch_size=16,
        out_features=STAGES, reshape_hidden_states=False, use_relative_position_bias=True,
    )  # fmt: skip
    config = ZoeDepthConfig(
        backbone_config=backbone, neck_hidden_sizes=[8, 8, 8, 8], fusion_hidden_size=8, bottleneck_features=8,
        num_relative_features=8, bin_embedding_dim=8, num_attractors=[4, 2, 2, 1],
        bin_configurations=[{"n_bins": 8, "min_depth": 0.1, "max_depth": 10.0, "name": "nyu"}],
        backbone_hidden_size=16, use_pretrained_backbone=False,
    )  # fmt: skip
    return ZoeDepthForDepthEstimation(config), ZoeDepthImageProcessor(size={"height": 32, "width": 32})


def glpn() -> tuple[Any, Any]:
    from transformers import GLPNConfig, GLPNForDepthEstimation, GLPNImageProcessor

    config = GLPNConfig(
        depths=[1, 1, 1, 1], hidden_sizes=[8, 8, 16, 16], num_attention_heads=[1, 1, 2, 2], decoder_hidden_size=8
    )  # fmt: skip
    return GLPNForDepthEstimation(config), GLPNImageProcessor()


def stored(make: Callable[[], tuple[Any, Any]], folder: Path) -> Path:
    torch.manual_seed(0)
    net, processor = make()
    net.save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder


@pytest.mark.parametrize(
    ("make", "kind"),
    [
        (depth_anything, "relative_disparity"),
        (lambda: depth_anything(depth_estimation_type="metric", max_depth=20), "metric"),
        (dpt, "relative_disparity"),
        (zoedepth, "metric"),
        (glpn, "metric"),
    ],
    ids=["depth anything", "depth anything metric", "dpt", "zoedepth", "glpn"],
)
@pytest.mark.slow
def test_a_model_in_the_hubs_layout_teaches(make: Callable[[], tuple[Any, Any]], kind: str, tmp_path: Path) -> None:
    teacher = open_teacher(stored(make, tmp_path / "model"), ExternalModel(licences=("apache-2.0",)))
    assert teacher.kind == kind and teacher.facts["licences"] == ["apache-2.0"] and len(teacher.facts["sha256"]) == 64
    answer = teacher(pictures())
    assert answer.depth.shape == (2, 1, 48, 64)
    assert torch.isfinite(answer.depth).float().mean() > 0.9
    one = teacher(Batch(pictures().image[1:], None, None, ("b",)))
    assert torch.equal(one.depth[0].nan_to_num(), answer.depth[1].nan_to_num()), "a picture's depth is its own"


def test_the_kind_that_somebody_states_counts_where_the_model_says_nothing(tmp_path: Path) -> None:
    folder = stored(dpt_on_dinov2, tmp_path / "model")
    with pytest.raises(ValueError, match=r"model is a dpt, and nothing says what its numbers are"):
        open_teacher(folder)
    assert open_teacher(folder, ExternalModel(kind="metric")).kind == "metric"
    told = stored(depth_anything, tmp_path / "told")
    with pytest.raises(ValueError, match=r"told gives relative_disparity and says so itself; metric .* is wrong"):
        build_teacher(TeacherOptions(teacher=(str(told),), external=ExternalModel(kind="metric")))


def test_a_model_stored_in_half_precision_answers_too(tmp_path: Path) -> None:
    folder = stored(lambda: (dpt()[0].half(), dpt()[1]), tmp_path / "model")
    answer = open_teacher(folder)(pictures())
    assert answer.depth.dtype == torch.float32 and torch.isfinite(answer.depth).any()


def test_another_processor_is_another_teacher(tmp_path: Path) -> None:
    folder = stored(dpt, tmp_path / "model")
    before, config = open_teacher(folder).facts["sha256"], folder / "preprocessor_config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"image_mean": [0.1, 0.2, 0.3]}))
    assert open_teacher(folder).facts["sha256"] != before


def test_folders_that_are_no_depth_model(tmp_path: Path) -> None:
    folder = stored(depth_anything, tmp_path / "model")
    (folder / "model.safetensors").unlink()
    with pytest.raises(BadCheckpoint, match=r"is not a depth model that transformers can load"):
        open_teacher(folder)
    words = tmp_path / "words"
    words.mkdir()
    (words / "config.json").write_text(json.dumps({"model_type": "bert"}))
    with pytest.raises(BadCheckpoint, match=r"words is not a depth model"):
        open_teacher(words)
    with pytest.raises(BadCheckpoint, match=r"nobody/nothing is no file or folder here, and (no depth model|the hub)"):
        open_teacher("nobody/nothing")


@pytest.mark.skipif(importlib.util.find_spec("torchvision") is not None, reason="torchvision is installed")
def test_a_model_whose_pictures_torchvision_prepares_says_so(tmp_path: Path) -> None:
    folder = stored(glpn, tmp_path / "model")
    said = {"image_processor_type": "DepthProImageProcessor", "size": {"height": 56, "width": 56}}
    (folder / "preprocessor_config.json").write_text(json.dumps(said))
    with pytest.raises(BadCheckpoint, match=r"prepares the pictures of .*model by torchvision, which is not installed"):
        open_teacher(folder)


def test_weights_that_a_folder_lacks_are_missed_only_where_an_answer_depends_on_them(tmp_path: Path) -> None:
    """Published files of DPT lack the first residual unit of its decoder, which nothing goes through."""
    from safetensors.torch import load_file, save_file

    folder = stored(dpt, tmp_path / "dpt")
    weights = folder / "model.safetensors"
    whole = load_file(weights)
    before = open_teacher(folder)(pictures()).depth
    unused = [name for name in whole if name.startswith("neck.fusion_stage.layers.0.residual_layer1")]
    save_file({name: value for name, value in whole.items() if name not in unused}, weights, {"format": "pt"})
    assert unused and torch.equal(open_teacher(folder)(pictures()).depth, before)
    save_file({name: value for name, value in whole.items() if "head." not in name}, weights, {"format": "pt"})
    with pytest.raises(BadCheckpoint, match=r"dpt lacks \d+ of its weights, head\..*copy or download it again"):
        open_teacher(folder)


@pytest.mark.gpu
def test_a_model_answers_where_the_pictures_lie(tmp_path: Path) -> None:
    teacher, batch = open_teacher(stored(depth_anything, tmp_path / "model")), pictures()
    here = teacher(batch).depth
    there = teacher(replace(batch, image=batch.image.cuda())).depth
    assert there.is_cuda
    torch.testing.assert_close(there.cpu(), here, rtol=1e-2, atol=1e-3)
