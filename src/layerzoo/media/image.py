"""Decode images to RGB, and convert RGB images to the input of an image network."""

from __future__ import annotations

import io
from functools import lru_cache
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from layerzoo.errors import SampleError
from layerzoo.media import jpeg2000, png, tiff
from layerzoo.media.fit import Extent, fitted, resized_size
from layerzoo.media.orientation import exif_orientation, swaps_sides, upright_box, upright_by_exif
from layerzoo.media.sample import UnusableError, failing_as, name_of
from layerzoo.media.sniff import looks_like, sniff
from layerzoo.media.source import Encoded, is_encoded, opened
from layerzoo.spec import ImagePreprocess

ImageSource = Encoded | Image.Image | NDArray[Any]

# Left out: EPS and WMF, which Pillow passes to another program, and formats that it recognises but cannot read.
FORMATS = [
    "JPEG",
    "PNG",
    "GIF",
    "WEBP",
    "BMP",
    "DIB",
    "TIFF",
    "PPM",
    "AVIF",
    "JPEG2000",
    "ICO",
    "CUR",
    "ICNS",
    "TGA",
    "QOI",
    "PSD",
    "PCX",
    "DCX",
    "SGI",
    "DDS",
    "SUN",
    "XBM",
    "XPM",
    "MSP",
    "IM",
    "FLI",
]
_BAND_PIXELS = 1 << 22
_JPEG = b"\xff\xd8\xff"
_LEAST_SCALE = 2
"""Of the size to which the preprocessing resizes an image. Resizing then still averages over at least two pixels, so
that little depends on how libjpeg reduced the image."""
_KNOW_WHITE = "so that the value of white is known"
_TIFF = {b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"}
_SIXTEEN_BIT = {"I;16", "I;16B", "I;16L", "I;16N", "I"}


def decode(source: ImageSource) -> Image.Image:
    """Decode an image to RGB, as an image viewer shows it.

    EXIF orientation is applied; transparency is laid over white; 16-bit greys are scaled to 8 bits, not
    clipped; of an animation the first frame is taken. Colour profiles are not applied, as in the reference pipelines.
    For every other file, grey and CMYK ones included, this is ``Image.open(path).convert("RGB")``, with which timm and
    torchvision read images: they ignore the orientation and drop transparency.

    Args:
        source: a path, the bytes of a file, a PIL image, or an array (height, width) or (height, width, 1 | 3 | 4) of
            uint8 or uint16.
    Raises: SampleError if it is empty, truncated, damaged, not an image, of floating point (the value of white is
        unknown), or a file of more than PIL.Image.MAX_IMAGE_PIXELS (Pillow warns of a decompression bomb).
    """
    with failing_as(name_of(source)):
        if isinstance(source, Image.Image):
            return _to_rgb(_loaded(source))
        if isinstance(source, np.ndarray):
            return _to_rgb(_of_array(source))
        if is_encoded(source):
            return _to_rgb(_read(source))
        raise UnusableError(
            f"cannot read an image of type {type(source).__name__}. Pass a path, bytes, a PIL image or an array of "
            "uint8 or uint16"
        )


def decode_reduced(source: Encoded, preprocess: ImagePreprocess) -> tuple[Image.Image, Extent] | None:
    """Decode a JPEG at a reduced scale, 1/2, 1/4 or 1/8, to RGB.

    The scale is the smallest at which the image is at least twice as high and as wide as the preprocessing resizes it
    to. libjpeg then computes only the lower frequencies of each block of 8 × 8 pixels.

    Args:
        source: a path, or the bytes of a file.
        preprocess: the declared preprocessing.
    Returns: the upright image, and the full image that it shows; None where :func:`decode` has to be used: for another
        format, an image that is not large enough, or one that cannot be decoded.
    """
    try:
        with failing_as(name_of(source)), opened(source) as file:
            return _reduced_jpeg(file, preprocess) if file.read(3) == _JPEG else None
    except SampleError:
        return None  # decode() states the reason


def _reduced_jpeg(file: BinaryIO, preprocess: ImagePreprocess) -> tuple[Image.Image, Extent] | None:
    image = _opened_by_pillow(file, None)
    orientation = exif_orientation(image)
    swap = swaps_sides(orientation)
    width, height = reversed(image.size) if swap else image.size
    height_px, width_px = (max(1, _LEAST_SCALE * side) for side in resized_size(height, width, preprocess))
    _check_pixels(image)
    drafted = image.draft(None, (height_px, width_px) if swap else (width_px, height_px))
    if drafted is None or image.size in ((width, height), (height, width)):
        return None
    box = upright_box(drafted[1], image.size, orientation)
    return _to_rgb(_loaded(image)), Extent((width, height), box)


def to_array(image: Image.Image, preprocess: ImagePreprocess, extent: Extent | None = None) -> NDArray[np.float32]:
    """Resize, crop and normalise an image.

    Args:
        image: RGB.
        preprocess: the declared preprocessing.
        extent: of an image at a reduced scale; None: a full image.
    Returns: (channel, height, width) float32. Equals, bit for bit, timm's evaluation transform on the same
    image (``transforms_imagenet_eval``, crop modes center, squash and border), and thereby torchvision's Resize,
    CenterCrop, ToTensor and Normalize.
    Raises: SampleError for an image so narrow that resizing it would make it larger than PIL.Image.MAX_IMAGE_PIXELS,
    or leave nothing of it.
    """
    pixels = np.asarray(fitted(image, preprocess, extent))
    scaled = np.empty((3, *preprocess.size_px), np.float32)
    np.divide(pixels.transpose(2, 0, 1), np.float32(255), out=scaled)
    scaled -= _by_channel(tuple(preprocess.mean))
    scaled /= _by_channel(tuple(preprocess.std))
    return scaled


@lru_cache
def _by_channel(values: tuple[float, ...]) -> NDArray[np.float32]:
    """Return values of red, green and blue in the shape (channel, 1, 1)."""
    return np.array(values, np.float32)[:, None, None]


def over_white(image: Image.Image) -> Image.Image:
    """Composite an image that has transparency over white. Returns: RGB."""
    opaque = Image.new("RGB", image.size)
    rows = max(1, _BAND_PIXELS // image.width)  # in bands: a large image takes several copies on the way
    for top in range(0, image.height, rows):
        band = (0, top, image.width, min(image.height, top + rows))
        opaque.paste(_over_white(image if band[3] - top == image.height else image.crop(band)), (0, top))
    return opaque


def _over_white(image: Image.Image) -> Image.Image:
    opaque = Image.new("RGBA", image.size, "white")
    opaque.alpha_composite(image.convert("RGBA"))
    return opaque.convert("RGB")


def _read(source: Encoded) -> Image.Image:
    with opened(source) as file:
        layout = tiff.layout_of(file) if file.read(4) in _TIFF else None
        if layout is not None and layout.is_misread_by_pillow:
            return _tiff(file, layout)
        try:
            return _read_by_pillow(file, layout)
        except UnusableError:
            if layout is not None and layout.is_readable:
                return _tiff(file, layout)
            if (pixels_alone := png.without_metadata(file)) is not None:
                return _read_by_pillow(io.BytesIO(pixels_alone), None)
            raise


def _opened_by_pillow(file: BinaryIO, layout: tiff.Layout | None) -> Image.Image:
    """Read the header of an image. Raises: UnusableError."""
    file.seek(0)
    try:
        return Image.open(file, formats=FORMATS)
    except UnidentifiedImageError as error:
        if layout is not None:
            raise UnusableError(f"damaged, or a TIFF that Pillow cannot read: {layout}") from error
        raise UnusableError(_not_an_image(file)) from error
    except MemoryError:
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise UnusableError(f"refused as a decompression bomb: {error}") from error
    except Exception as error:  # Pillow's readers raise exceptions of any type for damaged bytes
        raise UnusableError(_damage(error)) from error


def _read_by_pillow(file: BinaryIO, layout: tiff.Layout | None) -> Image.Image:
    image = _opened_by_pillow(file, layout)
    if layout is not None:
        tiff.refuse_signed(layout)
    if image.format == "JPEG2000" and image.mode in {"LA", "RGB", "RGBA"} and jpeg2000.bits(file) > 8:
        return jpeg2000.read(file)
    if image.format == "PNG":
        png.fix_transparency(image)
    loaded = _loaded(image)
    if layout is not None:
        tiff.fix_palette(loaded, layout)
    return loaded


def _tiff(file: BinaryIO, layout: tiff.Layout) -> Image.Image:
    try:
        return tiff.read(file, layout)
    except (UnusableError, MemoryError):
        raise
    except Exception as error:  # as above
        raise UnusableError(_damage(error)) from error


def _not_an_image(file: BinaryIO) -> str:
    content = sniff(file)
    if content is None or content.modality != "vision":
        return f"not an image: {looks_like(file)}"
    if content.format == "heic":
        return "a HEIC image, which Pillow cannot read: convert it to JPEG or PNG"
    return f"truncated or damaged: begins as {content.format} and cannot be read as such"


def _check_pixels(image: Image.Image) -> None:
    """Raises: UnusableError for an image file with more than PIL.Image.MAX_IMAGE_PIXELS, or without pixels."""
    limit = Image.MAX_IMAGE_PIXELS
    if limit is not None and image.width * image.height > limit and getattr(image, "fp", None):
        raise UnusableError(
            f"refused as a decompression bomb: {image.width} × {image.height} pixels; the limit is {limit} "
            "(PIL.Image.MAX_IMAGE_PIXELS)"
        )
    if 0 in image.size:
        raise UnusableError("empty: an image without pixels")


def _loaded(image: Image.Image) -> Image.Image:
    _check_pixels(image)
    try:
        image.load()
    except MemoryError:
        raise
    except Exception as error:  # as above
        raise UnusableError(_damage(error)) from error
    # The orientation is read after the pixels: Pillow turns a TIFF itself while loading it.
    return upright_by_exif(image)


def _damage(error: Exception) -> str:
    reason = str(error) or type(error).__name__
    is_truncated = "truncated" in reason.lower() or isinstance(error, EOFError)
    return f"truncated: {reason}" if is_truncated else f"damaged: {reason}"


def _of_array(array: NDArray[Any]) -> Image.Image:
    if array.size == 0:
        raise UnusableError(f"empty: an array of shape {array.shape}")
    if array.dtype not in (np.uint8, np.uint16):
        raise UnusableError(
            f"an array of {array.dtype}. Pass uint8 (0 to 255) or uint16 (0 to 65535), or declare the values of black "
            "and white, as in value_range=(0, 1)"
        )
    if array.ndim == 3 and array.shape[2] == 1:
        array = array[:, :, 0]
    if not (array.ndim == 2 or (array.ndim == 3 and array.shape[2] in (3, 4))):
        raise UnusableError(
            f"an array of shape {array.shape}: an image is (height, width) or (height, width, 1, 3 or 4 channels). "
            "Declare other axes, and those of a batch, as in layout='NCHW'"
        )
    return Image.fromarray(np.ascontiguousarray(_to_8_bits(array) if array.dtype == np.uint16 else array))


def _to_8_bits(values: NDArray[Any]) -> NDArray[np.uint8]:
    """0..65535 to 0..255, to the nearest: 257 times 255 is 65535."""
    return ((values.astype(np.uint32) + 128) // 257).astype(np.uint8)


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode == "F":
        raise UnusableError(f"a floating-point image: convert it to 8 or 16 bits, {_KNOW_WHITE}")
    if image.mode in _SIXTEEN_BIT:
        image = _of_16_bits(image)
    try:
        if image.mode == "LAB":
            return _of_cielab(image)
        if image.has_transparency_data:
            return over_white(image)
        return image if image.mode == "RGB" else image.convert("RGB")
    except ValueError as error:
        raise UnusableError(f"an image of mode {image.mode}, which Pillow cannot convert to RGB") from error


def _of_cielab(image: Image.Image) -> Image.Image:
    from PIL import ImageCms

    try:
        lab, srgb = ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB")
        converted = ImageCms.profileToProfile(image, lab, srgb, outputMode="RGB")
    except (ImportError, ImageCms.PyCMSError) as error:
        raise ValueError("no littlecms") from error
    assert converted is not None
    return converted


def _of_16_bits(image: Image.Image) -> Image.Image:
    values = np.asarray(image)
    low, high = int(values.min()), int(values.max())
    if low < 0 or high > 65535:
        raise UnusableError(
            f"a 32-bit image with values from {low} to {high}: convert it to 8 or 16 bits, {_KNOW_WHITE}"
        )
    transparent = image.info.get("transparency")
    grey = Image.new("L" if not isinstance(transparent, int) else "LA", image.size)
    rows = max(1, _BAND_PIXELS // image.width)
    for top in range(0, image.height, rows):
        some = values[top : top + rows]
        band = Image.fromarray(_to_8_bits(some))
        if isinstance(transparent, int):
            band.putalpha(Image.fromarray(np.where(some == transparent, 0, 255).astype(np.uint8)))
        grey.paste(band, (0, top))
    return grey
