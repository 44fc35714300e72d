"""A small whole data set in every layout that leadline knows, each a function of a folder."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image
from support import tiny_streets
from support.tiny_classes import pictures, png, write_batches, write_parquet
from support.tiny_scenes import render, write_folder

N, SIZE = 4, (24, 32)
KITTI = "P_rect_02: 30 0 16 2 0 30 12 0 0 0 1 0\nP_rect_03: 30 0 16 -10 0 30 12 0 0 0 1 0\nS_rect_02: 32 24\n"


def _frames() -> list[tuple[np.ndarray, np.ndarray]]:
    return [render(seed, size=SIZE) for seed in range(N)]


def _put(path: Path, image: np.ndarray, depth: np.ndarray | None = None, scale: float = 1000) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(image if depth is None else (depth * scale).astype(np.uint16)).save(path)


def plain(root: Path, ending: str = ".png") -> None:
    from leadline.data.depth_io import write_depth

    write_folder(root, _frames())
    if ending == ".tif":
        for i, (_, depth) in enumerate(_frames()):
            Image.fromarray(depth).save(root / "depth" / f"{i:03d}.tif")
    elif ending != ".png":
        for i, (_, depth) in enumerate(_frames()):
            write_depth(root / "depth" / f"{i:03d}{ending}", depth)
    if ending != ".png":
        for path in (root / "depth").glob("*.png"):
            path.unlink()
    (root / "dataset.toml").write_text(
        'layout = "folder"\nmin_depth = 0.1\nmax_depth = 10.0\ntest_fraction = 0.25\ninvalid = 0\n'
        "intrinsics = [30.0, 30.0, 16.0, 12.0]\n"
    )
    (root / "camera-intrinsics.txt").write_text("30 0 16\n0 30 12\n0 0 1\n")


def in_parts(root: Path) -> None:
    for part in ("train", "test"):
        write_folder(root / part, _frames()[: N // 2])


def listed(root: Path) -> None:
    write_folder(root, _frames())
    (root / "train.txt").write_text("000\nimages/001.png\n")
    (root / "test.txt").write_text("002.png depth/002.png\n003\n")


def unlabelled(root: Path) -> None:
    for i, (image, _) in enumerate(_frames()):
        _put(root / f"scene{i % 2}" / f"{i}.png", image)


def kitti(root: Path) -> None:
    drive = root / "2011_09_26" / "2011_09_26_drive_0005_sync"
    for i, (image, depth) in enumerate(_frames()):
        for view in ("image_02", "image_03"):
            _put(drive / view / "data" / f"{i:010d}.png", image)
        _put(drive / "proj_depth" / "groundtruth" / "image_02" / f"{i:010d}.png", image, depth, 256)
    (root / "2011_09_26" / "calib_cam_to_cam.txt").write_text(KITTI)


def eigen(root: Path) -> None:
    rows = []
    for i, (image, depth) in enumerate(_frames()):
        name = f"2011_09_26/2011_09_26_drive_0005_sync/image_02/data/{i:010d}.png"
        truth = f"2011_09_26_drive_0005_sync/proj_depth/groundtruth/image_02/{i:010d}.png"
        _put(root / name, image)
        _put(root / truth, image, depth, 256)
        rows.append(f"{name} {truth} 721.5377")
    (root / "kitti_eigen_train_files_with_gt.txt").write_text("\n".join(rows[:2]) + "\n")
    (root / "kitti_eigen_test_files_with_gt.txt").write_text("\n".join(rows[2:]) + "\n")
    (root / "2011_09_26" / "calib_cam_to_cam.txt").write_text(KITTI)


def nyu_txt(root: Path) -> None:
    rows = []
    for i, (image, depth) in enumerate(_frames()):
        _put(root / "bath" / f"rgb_{i}.jpg", image)
        _put(root / "bath" / f"sync_depth_{i}.png", image, depth)
        rows.append(f"/bath/rgb_{i}.jpg /bath/sync_depth_{i}.png 518.8579")
    (root / "nyudepthv2_train_files_with_gt.txt").write_text("\n".join(rows[:3]) + "\n")
    (root / "nyudepthv2_test_files_with_gt.txt").write_text(rows[3] + "\n")


def nyu_h5(root: Path) -> None:
    import h5py

    for i, (image, depth) in enumerate(_frames()):
        path = root / ("val/official" if i == N - 1 else "train/bath") / f"{i + 1:05d}.h5"
        path.parent.mkdir(parents=True, exist_ok=True)
        with h5py.File(path, "w") as file:
            file["rgb"], file["depth"] = image.transpose(2, 0, 1), depth


def nyu_mat(root: Path) -> None:
    import h5py
    from scipy.io import savemat

    images = np.stack([image.transpose(2, 1, 0) for image, _ in _frames()])
    depths = np.stack([depth.T for _, depth in _frames()])
    root.mkdir(parents=True, exist_ok=True)
    with h5py.File(root / "nyu_depth_v2_labeled.mat", "w") as file:
        file["images"], file["depths"] = images, depths
    savemat(root / "splits.mat", {"trainNdxs": np.array([[1], [2]]), "testNdxs": np.array([[3], [4]])})


def densedepth(root: Path) -> None:
    for part, own in (("train", range(3)), ("test", range(3, N))):
        rows = []
        for i in own:
            image, depth = _frames()[i]
            _put(root / "data" / f"nyu2_{part}" / f"{i}.jpg", image)
            _put(root / "data" / f"nyu2_{part}" / f"{i}.png", image, depth)
            rows.append(f"data/nyu2_{part}/{i}.jpg,data/nyu2_{part}/{i}.png")
        (root / "data" / f"nyu2_{part}.csv").write_text("\n".join(rows) + "\n")


def scenes7(root: Path) -> None:
    for i, (image, depth) in enumerate(_frames()):
        place = root / "chess" / f"seq-0{1 + i % 2}" / f"frame-{i:06d}"
        _put(place.with_suffix(".color.png"), image)
        _put(place.with_suffix(".depth.png"), image, depth)
    (root / "chess" / "TrainSplit.txt").write_text("sequence1\n")
    (root / "chess" / "TestSplit.txt").write_text("sequence2\n")
    (root / "chess" / "camera-intrinsics.txt").write_text("30 0 16\n0 30 12\n0 0 1\n")


def tum(root: Path) -> None:
    lines: dict[str, list[str]] = {"rgb": [], "depth": []}
    for i, (image, depth) in enumerate(_frames()):
        for kind in lines:
            name = f"{kind}/{100 + i / 10 + 0.001 * (kind == 'rgb'):.6f}.png"
            _put(root / name, image, depth if kind == "depth" else None, 5000)
            lines[kind].append(f"{Path(name).stem} {name}")
    for kind, rows in lines.items():
        (root / f"{kind}.txt").write_text("# time file\n" + "\n".join(rows) + "\n")


def labels(root: Path) -> None:
    """Photographs, and beside them what a teacher says of them."""
    from leadline.cli.main import main
    from leadline.nn import zoo
    from leadline.nn.build import build
    from leadline.nn.checkpoint import save

    write_folder(root / "rooms", _frames())
    net = root.parent / "teacher.safetensors"
    if not net.exists():
        save(build(zoo.litedepth(), seed=0), net)
    said = root / "labels"
    code = main(["label", str(root / "rooms"), "--out", str(said), "--teacher", str(net), "--split", "all"])
    assert code == 0 and (said / "manifest.json").is_file()


def camvid(root: Path) -> None:
    tiny_streets.write(root, "train", N - 1, 0)
    tiny_streets.write(root, "test", 1, N, lists=False)


def cifar(root: Path) -> None:
    write_batches(root, "data_batch_1", 12, 0)
    write_batches(root, "test_batch", 10, 1)


def cifar_parquet(root: Path) -> None:
    for part, n in (("train", 12), ("test", 10)):
        images, labels = pictures(n, len(part))
        write_parquet(root, part, [png(image) for image in images], labels)


LAYOUTS: dict[str, Callable[[Path], None]] = {
    **{f"plain{end}": lambda root, end=end: plain(root, end) for end in (".png", ".npy", ".npz", ".exr", ".tif")},
         # type: ignore[misc]
    "in_parts": in_parts, "listed": listed, "unlabelled": unlabelled, "kitti": kitti, "eigen": eigen,
    "nyu_txt": nyu_txt,
    "nyu_h5": nyu_h5, "nyu_mat": nyu_mat, "densedepth": densedepth, "scenes7": scenes7, "tum": tum, "labels": labels,
    "camvid": camvid, "cifar": cifar,
    **({"cifar_parquet": cifar_parquet} if importlib.util.find_spec("pyarrow") else {}),
}  # fmt: skip
