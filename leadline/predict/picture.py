"""A picture in any of the forms in which people have one, as pixels."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from leadline.core.errors import BadImage
from leadline.core.preprocess import from_pillow, read_image

Picture = str | Path | Image.Image | np.ndarray
"""A file, a pillow image, uint8 RGB [H,W,3] or uint8 grey [H,W]."""


def image_array(image: Picture) -> np.ndarray:
    """The picture's pixels, uint8 RGB [H,W,3]; BadImage for an unusable file, ValueError for an unusable array."""
    if isinstance(image, str | Path):
        return read_image(image)
    if isinstance(image, Image.Image):
        try:
            return from_pillow(image)
        except (OSError, SyntaxError) as error:  # pillow reads the pixels only now
            raise BadImage(
                f"{getattr(image, 'filename', '') or 'the pillow image'} cannot be decoded: {error}"
            ) from error
    if (
        image.dtype != np.uint8
        or 0 in image.shape
        or not (image.ndim == 2 or (image.ndim == 3 and image.shape[2] == 3))
    ):
        raise ValueError(f"the image is {image.dtype} {image.shape}; uint8 [H,W,3] (RGB) or [H,W] (grey) is needed")
    return image if image.ndim == 3 else np.repeat(image[..., None], 3, axis=2)
