"""Joint transforms of image, depth and validity: functions (Item, random generator) -> Item, on numpy items.

Enlarging a picture by s makes everything look s times nearer, so transforms that zoom divide depth by s.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
from PIL import Image, ImageEnhance

from leadline.core.geometry import crop_intrinsics, scale_intrinsics
from leadline.core.spec import Kind
from leadline.core.types import Item
from leadline.data.options import View

Transform = Callable[[Item, np.random.Generator], Item]

NEAREST, BILINEAR = Image.Resampling.NEAREST, Image.Resampling.BILINEAR

# The principal axes (columns) of ImageNet's RGB in 0..1 and the variances along them (Krizhevsky et al. 2012).
_PCA_AXES = np.array([[-0.5675, 0.7192, 0.4009], [-0.5808, -0.0045, -0.8140], [-0.5836, -0.6948, 0.4203]])
_PCA_VARIANCES = np.array([0.2175, 0.0188, 0.0045])


def fastdepth_train(sample: Item, rng: np.random.Generator) -> Item:
    """FastDepth's training list in its order (dataloaders/nyu.py of the authors): 224x224, all nearest-neighbour.

    1. zoom s ~ U(1, 1.5), angle ~ U(-5, 5) degrees, flip with p = 0.5; depth := depth / s;
    2. height to 250, rotate, zoom by s, centre crop 228x304, flip, stretch to 224x224;
    3. brightness, contrast, saturation each by U(0.6, 1.4), in random order.

    Deviation: a frame too narrow for the crop (upright, square), which theirs fails on, is enlarged until it fits.
    """
    zoom, angle, flip = rng.uniform(1.0, 1.5), rng.uniform(-5.0, 5.0), bool(rng.random() < 0.5)
    pseudo = None if sample.pseudo_depth is None else zoomed(sample.pseudo_depth, zoom, sample.pseudo_kind)
    sample = replace(sample, target=sample.target / np.float32(zoom), pseudo_depth=pseudo)
    sample = resize(sample, _scaled(sample, _factor(sample, 250)), image_filter=NEAREST)
    sample = rotate(sample, angle)
    sample = resize(sample, _scaled(sample, zoom), image_filter=NEAREST)
    sample = centre_crop(sample, (228, 304))
    sample = mirror(sample) if flip else sample
    return jitter(resize(sample, (224, 224), image_filter=NEAREST), rng)


def fastdepth_val(sample: Item, rng: np.random.Generator | None = None) -> Item:
    """FastDepth's evaluation view: height to 250, centre crop 228x304, stretch to 224x224, nearest-neighbour.

    Narrow frames as in `fastdepth_train`.
    """
    sample = resize(sample, _scaled(sample, _factor(sample, 250)), image_filter=NEAREST)
    return resize(centre_crop(sample, (228, 304)), (224, 224), image_filter=NEAREST)


def hu_train(sample: Item, rng: np.random.Generator) -> Item:
    """The training list of Hu et al. (WACV 2019), which the Boosting student shares: image 228x304, depth 114x152.

    1. the short side to 240, mirror with p = 0.5, rotate by U(-5, 5) degrees, centre crop 228x304;
    2. depth to 114x152;
    3. lighting: the principal colours of ImageNet, each times its variance times N(0, 0.1), added to the image in 0..1;
    4. brightness, contrast, saturation each by U(0.6, 1.4), in random order.

    Deviations: rotation is bilinear (theirs: splines), of depth nearest-neighbour; colours are clipped and rounded;
    a frame too narrow for the crop (upright, square), which theirs fails on, is enlarged until it fits.
    """
    sample = resize(sample, _scaled(sample, _factor(sample, 240, min(sample.image.shape[:2]))))
    sample = mirror(sample) if rng.random() < 0.5 else sample
    sample = centre_crop(rotate(sample, rng.uniform(-5, 5), image_filter=BILINEAR), (228, 304))
    small = resize(sample, (114, 152))
    shift = 255 * _PCA_AXES @ (_PCA_VARIANCES * rng.normal(0, 0.1, 3))
    image = (sample.image + shift).clip(0, 255).round().astype(np.uint8)
    return jitter(replace(small, image=image), rng)


def augment(sample: Item, rng: np.random.Generator, view: View = View()) -> Item:
    """One random cut-out of the frame, stretched to `view.size`: image bilinear, depth and validity nearest.

    Unlike FastDepth's list it starts from the whole frame, the view that `predict` gives the net.
    """
    zoom, cut = _viewed(sample, rng, view)
    cut = replace(cut, target=np.where(cut.valid, cut.target / np.float32(zoom), np.float32(0)))
    if cut.pseudo_depth is not None:
        cut = replace(cut, pseudo_depth=zoomed(cut.pseudo_depth, zoom, sample.pseudo_kind))
    return colour_shift(jitter(cut, rng, view.jitter), rng, view.colour_shift)


def augment_labels(sample: Item, rng: np.random.Generator, view: View = View()) -> Item:
    """As `augment`, of an item whose target is a class for each pixel: classes do not change with the zoom."""
    _, cut = _viewed(sample, rng, view)
    cut = replace(cut, target=np.where(cut.valid, cut.target, 0))
    return colour_shift(jitter(cut, rng, view.jitter), rng, view.colour_shift)


def augment_joint(sample: Item, rng: np.random.Generator, view: View = View()) -> Item:
    """As `augment`, of an item with depth and classes: the zoom divides the depth, and both are nearest."""
    zoom, cut = _viewed(sample, rng, view)
    target = cut.target / np.array([zoom, 1], np.float32)[:, None, None]
    cut = replace(cut, target=np.where(cut.valid, target, np.float32(0)))
    return colour_shift(jitter(cut, rng, view.jitter), rng, view.colour_shift)


def _viewed(sample: Item, rng: np.random.Generator, view: View) -> tuple[float, Item]:
    """(the zoom, what is seen at one random `place`): the image bilinear, all else nearest, and no colour changed."""
    zoom, matrix = place(sample.image.shape[:2], rng, view)
    size, affine = view.pixels[::-1], Image.Transform.AFFINE
    image = np.asarray(Image.fromarray(sample.image).transform(size, affine, matrix, BILINEAR))

    def seen(plane: Image.Image) -> Image.Image:
        return plane.transform(size, affine, matrix, NEAREST)

    pseudo = None if sample.pseudo_depth is None else _each_plane(sample.pseudo_depth, seen)
    target, valid = _each_plane(sample.target, seen), _each_plane(sample.valid, seen)
    # the intrinsics of the cut-out are not kept: a rotated, stretched view has none of the simple form
    return zoom, Item(image, target, valid, sample.name, pseudo_depth=pseudo, pseudo_kind=sample.pseudo_kind)


def _each_plane(planes: np.ndarray, change: Callable[[Image.Image], Image.Image]) -> np.ndarray:
    """`change` of a map [H,W], or of each of several [N,H,W], float32, bool or whole numbers; the type stays. A single
    value, of the whole image, is as it was.
    """
    if not planes.ndim:
        return planes
    if planes.ndim == 3:
        return np.stack([_each_plane(plane, change) for plane in planes])
    stored = {"f": np.float32, "b": np.uint8}.get(planes.dtype.kind, np.int32)
    return np.asarray(change(Image.fromarray(planes.astype(stored, copy=False)))).astype(planes.dtype, copy=False)


def zoomed(pseudo: np.ndarray, zoom: float, kind: Kind) -> np.ndarray:
    """A teacher's depth for a picture enlarged by `zoom`: metres are divided, relative numbers stay."""
    return pseudo / np.float32(zoom) if kind == "metric" else pseudo


def place(
    frame: tuple[int, int], rng: np.random.Generator, view: View
) -> tuple[float, tuple[float, float, float, float, float, float]]:
    """Where `augment` looks in a frame of this (height, width): its zoom, and Pillow's affine matrix."""
    zoom = np.exp(rng.uniform(*np.log(view.zoom)))
    tall = np.exp(rng.uniform(-1, 1) * np.log(view.stretch) / 2)
    angle = np.deg2rad(rng.uniform(-view.rotate, view.rotate))
    across, down = (rng.uniform(-0.5, 0.5, 2) * view.shift).tolist()
    flip = -1.0 if rng.random() < view.flip else 1.0
    return zoom, _cut(frame, view.pixels, (zoom * tall, zoom / tall), angle, (down, across), flip)


def jitter(sample: Item, rng: np.random.Generator, strength: float = 0.4) -> Item:
    """Brightness, contrast and saturation of the image, each by U(1 - strength, 1 + strength), in random order."""
    if strength == 0:
        return sample
    image = Image.fromarray(sample.image)
    kinds = (ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color)
    order, factors = jittered(rng, strength)
    for i in order:
        image = kinds[i](image).enhance(factors[i])
    return replace(sample, image=np.asarray(image))


def jittered(rng: np.random.Generator, strength: float) -> tuple[np.ndarray, np.ndarray]:
    """What `jitter` draws: the order of brightness, contrast and saturation, and the factor of each."""
    order, factors = np.arange(3), np.ones(3)
    if strength:
        order = rng.permutation(3)
        for i in order:
            factors[i] = rng.uniform(1 - strength, 1 + strength)
    return order, factors


def colour_shift(sample: Item, rng: np.random.Generator, strength: float) -> Item:
    """White balance and gamma: each channel c becomes gain * c ** gamma, both within 1 +- strength."""
    if strength == 0:
        return sample
    gains, gamma = shifted(rng, strength)
    curve = np.linspace(0, 1, 256)[:, None] ** gamma * gains
    table = (curve.clip(0, 1) * 255).round().astype(np.uint8)
    return replace(sample, image=by_table(sample.image, table))


def shifted(rng: np.random.Generator, strength: float) -> tuple[np.ndarray, float]:
    """What `colour_shift` draws: the gain of each channel, and gamma."""
    if strength == 0:
        return np.ones(3), 1.0
    return rng.uniform(1 - strength, 1 + strength, 3), rng.uniform(1 - strength, 1 + strength)


def by_table(image: np.ndarray, table: np.ndarray) -> np.ndarray:
    """uint8 [H,W,3] with each channel c looked up in column c of `table`, [256,3]."""
    return np.stack([table[:, c][image[..., c]] for c in range(3)], axis=-1)


def resize(sample: Item, size: tuple[int, int], *, image_filter: Image.Resampling = BILINEAR) -> Item:
    """The whole item at `size`; targets and validity always nearest-neighbour. Intrinsics follow."""
    height, width = size
    image = np.asarray(Image.fromarray(sample.image).resize((width, height), image_filter))
    right = sample.right
    if right is not None:
        right = np.asarray(Image.fromarray(right).resize((width, height), image_filter))

    def smaller(plane: Image.Image) -> Image.Image:
        return plane.resize((width, height), NEAREST)

    target, valid = _each_plane(sample.target, smaller), _each_plane(sample.valid, smaller)
    pseudo = None if sample.pseudo_depth is None else _each_plane(sample.pseudo_depth, smaller)
    camera = sample.intrinsics
    if camera is not None:
        camera = scale_intrinsics(camera, sample.image.shape[:2], size)
    return replace(sample, image=image, right=right, target=target, valid=valid, pseudo_depth=pseudo, intrinsics=camera)


def rotate(sample: Item, degrees: float, *, image_filter: Image.Resampling = NEAREST) -> Item:
    """Rotated counter-clockwise about the centre, depth by nearest neighbour; what was outside is black and invalid."""
    image = np.asarray(Image.fromarray(sample.image).rotate(degrees, image_filter))
    target = np.asarray(Image.fromarray(sample.target).rotate(degrees, NEAREST))
    valid = np.asarray(Image.fromarray(sample.valid.astype(np.uint8)).rotate(degrees, NEAREST)).astype(bool)
    pseudo = sample.pseudo_depth
    if pseudo is not None:
        pseudo = np.asarray(Image.fromarray(pseudo).rotate(degrees, NEAREST))
    return replace(sample, image=image, target=target, valid=valid, pseudo_depth=pseudo, intrinsics=None, right=None)


def centre_crop(sample: Item, size: tuple[int, int]) -> Item:
    """The middle `size` of the item; a larger size than the item is a ValueError."""
    height, width = sample.image.shape[:2]
    if size[0] > height or size[1] > width:
        raise ValueError(f"cannot crop {size} out of an image of {(height, width)}")
    top, left = round((height - size[0]) / 2), round((width - size[1]) / 2)
    part = (slice(top, top + size[0]), slice(left, left + size[1]))
    camera = sample.intrinsics
    if camera is not None:
        camera = crop_intrinsics(camera, top, left)
    right = None if sample.right is None else sample.right[part]
    image, target, valid = sample.image[part], sample.target[part], sample.valid[part]
    pseudo = None if sample.pseudo_depth is None else sample.pseudo_depth[part]
    return replace(sample, image=image, target=target, valid=valid, pseudo_depth=pseudo, intrinsics=camera, right=right)


def mirror(sample: Item) -> Item:
    """Left and right exchanged. A stereo pair would need its views exchanged too, so the right view is dropped."""
    image, target, valid = (np.ascontiguousarray(a[:, ::-1]) for a in (sample.image, sample.target, sample.valid))
    pseudo = None if sample.pseudo_depth is None else np.ascontiguousarray(sample.pseudo_depth[:, ::-1])
    return Item(image, target, valid, sample.name, pseudo_depth=pseudo, pseudo_kind=sample.pseudo_kind)


def _factor(sample: Item, pixels: int, side: int | None = None) -> float:
    """What makes a side (none given: the height) `pixels` long, or more where the crop of 304 columns needs it."""
    height, width = sample.image.shape[:2]
    return float(max(pixels / (side or height), 304 / width))


def _scaled(sample: Item, factor: float) -> tuple[int, int]:
    """As FastDepth's resize: each side times the factor, cut down to whole pixels."""
    height, width = sample.image.shape[:2]
    return int(round(height * factor, 6)), int(round(width * factor, 6))


def _cut(
    source: tuple[int, int],
    size: tuple[int, int],
    zoom: tuple[float, float],
    angle: float,
    shift: Sequence[float],
    flip: float,
) -> tuple[float, float, float, float, float, float]:
    """Pillow's affine coefficients: output pixel (x, y) -> source pixel (a x + b y + c, d x + e y + f)."""
    height, width = source
    room = [max(0.0, 1 - 1 / zoom[0]) * height, max(0.0, 1 - 1 / zoom[1]) * width]
    centre_y, centre_x = height / 2 + shift[0] * room[0], width / 2 + shift[1] * room[1]
    step_y, step_x = height / zoom[0] / size[0], width / zoom[1] / size[1]
    cos, sin = float(np.cos(angle)), float(np.sin(angle))
    a, b = cos * step_x * flip, -sin * step_y
    d, e = sin * step_x * flip, cos * step_y
    c = centre_x - a * size[1] / 2 - b * size[0] / 2
    f = centre_y - d * size[1] / 2 - e * size[0] / 2
    return a, b, c, d, e, f
