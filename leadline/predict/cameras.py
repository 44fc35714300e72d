"""Which camera took a photograph: the one that is stated, else that of its EXIF block, else one of an assumed view."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from leadline.core.errors import BadData, BadImage
from leadline.core.formats import formats
from leadline.core.orientation import UPRIGHT, of_file, turned_size
from leadline.data.layouts.frame import Camera
from leadline.data.pictures import opened_picture

FIELD_OF_VIEW = 58.0
"""Degrees across the longer side where nothing is known: a usual phone or colour camera of a depth sensor."""

_EXIF, _FOCAL, _FOCAL_35, _ZOOM = 0x8769, 0x920A, 0xA405, 0xA404
_WIDTH, _HEIGHT, _PER_UNIT, _UNIT = 0xA002, 0xA003, 0xA20E, 0xA210
_UNIT_MM = {2: 25.4, 3: 10.0, 4: 1.0, 5: 1e-3}
_FILM = (36.0, 24.0)  # millimetres
_SHAPE = 0.03  # sizes whose ratios of the sides differ by less are of one shape
_SENSOR_MM = (2.0, 60.0)
_FOCAL_PER_SIDE = (0.2, 50.0)  # what lenses have; the rest is a damaged tag
_NUMBER = re.compile(r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?")
_MATRICES = ("K", "camera_matrix", "intrinsic_matrix", "intrinsics", "matrix")


class Seen(NamedTuple):
    """A photograph's camera matrix float64 [3,3], for the picture as it is shown, and where it is from."""

    matrix: np.ndarray
    source: str

    def to_json(self) -> dict[str, Any]:
        """Plain values: fx, fy, cx, cy in pixels, and `source`."""
        k = self.matrix
        values = {"fx": k[0, 0], "fy": k[1, 1], "cx": k[0, 2], "cy": k[1, 2]}
        return {name: float(value) for name, value in values.items()} | {"source": self.source}


def camera_of(path: Path, size: tuple[int, int], camera: Camera | None, fov: float | None = None) -> Seen:
    """The camera of the photograph at `path`, whose (height, width) as it is shown is `size`:

    1. `camera`, of the pixels as they are stored, unless only the upright picture fits it; it turns with the picture.
       BadImage if it is of a picture of another size;
    2. `fov`, degrees across the longer side;
    3. the focal length of the EXIF block, if the picture has still the shape that the block states;
    4. FIELD_OF_VIEW across the longer side.

    Of the last three the optical axis is in the middle and pixels are square: nobody has calibrated it.
    """
    if camera is None and fov is not None:
        return Seen(by_view(size, fov), f"a field of view of {fov:g} degrees across the longer side, as stated")
    turn, tags = _read(path)
    if camera is not None:
        _refuse_other(path, size, camera, turn)
        return Seen(camera.matrix(size, turn), "the intrinsics that were given")
    focal, said = by_exif(tags, size)
    if focal is not None:
        return Seen(_middle(size, focal), said)
    assumed = f"an assumed field of view of {FIELD_OF_VIEW:g} degrees across the longer side"
    return Seen(by_view(size, FIELD_OF_VIEW), f"{assumed}; {said}")


def by_view(size: tuple[int, int], fov: float) -> np.ndarray:
    """The matrix float64 [3,3] of a camera whose image of `size` (height, width) spans `fov` degrees across its longer
    side, so that it is one camera however it is held. ValueError if `fov` is not between 0 and 180.
    """
    if not 0 < fov < 180:
        raise ValueError(f"fov is {fov}; degrees between 0 and 180 are needed")
    return _middle(size, max(size) / 2 / math.tan(math.radians(fov) / 2))


def by_exif(tags: Mapping[int, Any], size: tuple[int, int]) -> tuple[float | None, str]:
    """(focal length in pixels or None, what it is from or why there is none) by EXIF tags, for a picture of `size`.

    1. FocalLengthIn35mmFilm: the angle across the diagonal is that of a film of 36 mm x 24 mm (CIPA DCG-001). A picture
       that is wider than the film is taken to be cut above and below: then its width is 36 mm.
    2. FocalLength with FocalPlaneXResolution, for the width that the tags state; DigitalZoomRatio multiplies it.

    Neither counts if the picture has another shape than PixelXDimension and PixelYDimension: it was cropped since, and
    nobody knows how. A picture that was only made smaller keeps its angles.
    """
    longer, diagonal = max(size), math.hypot(*size)
    stated_size = [_positive(tags.get(tag)) for tag in (_HEIGHT, _WIDTH)]
    height, width = stated_size
    if height and width and abs(math.log(max(height, width) / min(height, width) * min(size) / longer)) > _SHAPE:
        return None, f"EXIF's focal length is of a picture of {width:g}x{height:g}, another shape, and does not count"
    film, real, per_unit = (_positive(tags.get(tag)) for tag in (_FOCAL_35, _FOCAL, _PER_UNIT))
    if film:
        focal = film * max(diagonal / math.hypot(*_FILM), longer / max(_FILM))
        said = f"EXIF: {film:g} mm on 35 mm film"
    elif real and per_unit:
        per_mm = per_unit / _UNIT_MM.get(int(_positive(tags.get(_UNIT)) or 2), 25.4)
        whole = max(height, width) if height and width else longer
        focal = real * per_mm * longer / whole * max(_positive(tags.get(_ZOOM)) or 1.0, 1.0)
        said = f"EXIF: {real:g} mm, {per_mm:.4g} pixels per mm"
        if not _SENSOR_MM[0] <= whole / per_mm <= _SENSOR_MM[1]:
            return None, f"EXIF's sensor would be {whole / per_mm:.3g} mm wide, which cannot be"
    else:
        return None, "EXIF states no focal length"
    if not _FOCAL_PER_SIDE[0] <= focal / longer <= _FOCAL_PER_SIDE[1]:
        return None, f"EXIF's focal length, {focal:.4g} pixels, cannot be"
    return focal, said


def stated_camera(text: str) -> Camera:
    """The Camera that `fx,fy,cx,cy` in pixels states, or a file does:

    - text with a matrix of 3x3, 3x4 or 4x4 numbers, or the four numbers;
    - KITTI's calibration, `P_rect_02` (and `S_rect_02`) or `P2`;
    - JSON with fx, fy, cx, cy (or fl_x, fl_y) or a matrix named K, camera_matrix, intrinsic_matrix or intrinsics, and
      with width and height (or w, h), which scale it to the photographs.

    BadData for a file that holds none, ValueError for other words.
    """
    path = Path(text).expanduser()
    try:
        if "," in text and not path.is_file():
            return _camera([float(word) for word in text.split(",")])
    except ValueError as error:
        raise ValueError(f"intrinsics are {text!r}; fx,fy,cx,cy in pixels, or a file, is needed ({error})") from None
    try:
        content = path.read_text("utf-8-sig")
        if content.lstrip()[:1] in ("{", "["):
            return _by_json(json.loads(content))
        rows = dict(line.split(":", 1) for line in content.splitlines() if ":" in line)
        row = rows.get("P_rect_02", rows.get("P2"))
        if row is None:
            return _camera(_numbers(re.sub(r"#.*", "", content)))
        size = _numbers(rows.get("S_rect_02", ""))
        return _camera(_numbers(row), (size[1], size[0]) if len(size) == 2 else None)
    except OSError as error:
        why = error.strerror or error
        raise BadData(f"the intrinsics {text} cannot be read: {why}; fx,fy,cx,cy or a file is needed") from None
    except (ValueError, TypeError, AttributeError) as error:
        raise BadData(f"{path} holds no intrinsics: {error}; a 3x3 matrix in text, or JSON, is needed") from error


def _camera(numbers: list[float], size: tuple[float, float] | None = None) -> Camera:
    wide = {9: 3, 12: 4, 16: 4}.get(len(numbers))
    if len(numbers) == 4:
        fx, fy, cx, cy = numbers
    elif wide:
        matrix = np.array(numbers).reshape(-1, wide)
        if not np.allclose(matrix[2, :3], (0, 0, 1)):
            raise ValueError(f"the third row of the matrix is {matrix[2, :3].tolist()}, not 0 0 1")
        (fx, _, cx), (_, fy, cy) = matrix[:2, :3].tolist()
    else:
        raise ValueError(f"{len(numbers)} numbers; 4 are needed, or a matrix of 3x3, 3x4 or 4x4")
    if not all(math.isfinite(v) for v in (fx, fy, cx, cy)) or not (fx > 0 and fy > 0):
        raise ValueError(f"the focal lengths are {fx:g} and {fy:g}; numbers above 0 are needed")
    if size is not None and not (size[0] >= 1 and size[1] >= 1):
        raise ValueError(f"the size is {size[1]:g}x{size[0]:g}; at least one pixel is needed")
    return Camera(fx, fy, cx, cy, None if size is None else (round(size[0]), round(size[1])))


def _by_json(said: Any) -> Camera:
    if not isinstance(said, Mapping):
        return _camera(np.asarray(said, np.float64).ravel().tolist())

    def first(*names: str) -> Any:
        return next((said[name] for name in names if name in said), None)

    width, height = first("width", "w", "image_width"), first("height", "h", "image_height")
    size = None if width is None or height is None else (float(height), float(width))
    four = [first("fx", "fl_x"), first("fy", "fl_y", "fx", "fl_x"), first("cx"), first("cy")]
    if None not in four:
        return _camera([float(value) for value in four], size)
    inner = first(*_MATRICES)
    if isinstance(inner, Mapping):
        return _by_json({**{k: v for k, v in said.items() if k not in _MATRICES}, **inner})
    if inner is None:
        raise ValueError(f"it has {', '.join(map(str, said)) or 'nothing'}, not fx, fy, cx, cy or a matrix K")
    numbers = np.asarray(inner, np.float64).ravel()
    if numbers.size == 9 and not numbers[[2, 5]].any() and numbers[[6, 7]].any():
        numbers = numbers.reshape(3, 3).T.ravel()  # Open3D writes columns
    return _camera(numbers.tolist(), size)


def _numbers(text: str) -> list[float]:
    return [float(found) for found in _NUMBER.findall(text)]


def _refuse_other(path: Path, size: tuple[int, int], camera: Camera, turn: int) -> None:
    """BadImage if `camera` is of pictures of another shape, or, where it states no size, plainly of another size."""
    ways = (size, turned_size(size, turn))
    shown = f"{path} is {size[1]}x{size[0]}"
    if camera.size is not None:
        ratio = camera.size[1] / camera.size[0]
        if all(abs(math.log(ratio * way[0] / way[1])) > _SHAPE for way in ways):
            is_for = f"{camera.size[1]}x{camera.size[0]}"
            raise BadImage(f"{shown}, and the intrinsics are for pictures of {is_for}, another shape")
        return
    if camera.is_of_another_size(size, turn):
        raise BadImage(
            f"{shown}, and the intrinsics' optical axis at {camera.cx:g}, {camera.cy:g} is far from its middle: they "
            "are of a picture of another size. Scale them, or give JSON that states width and height, too"
        )


def _read(path: Path) -> tuple[int, dict[int, Any]]:
    """(EXIF orientation, EXIF tags about the lens) of a file; damage is as if nothing were stated."""
    try:
        with opened_picture(path, formats()) as image:
            return of_file(image), dict(image.getexif().get_ifd(_EXIF))
    except Exception:  # damaged EXIF makes pillow raise nearly anything
        return UPRIGHT, {}


def _positive(value: Any) -> float | None:
    """A tag's number above 0; None for 0, which means unknown, and for what is none."""
    try:
        number = float(value[0] if isinstance(value, tuple) else value)
    except (TypeError, ValueError, ArithmeticError, IndexError):
        return None
    return number if math.isfinite(number) and number > 0 else None


def _middle(size: tuple[int, int], focal: float) -> np.ndarray:
    return np.array([[focal, 0, (size[1] - 1) / 2], [0, focal, (size[0] - 1) / 2], [0, 0, 1]])
