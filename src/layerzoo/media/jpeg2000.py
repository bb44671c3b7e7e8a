"""Read JPEG 2000 images of more than 8 bits in several channels, whose brightest values Pillow turns into 0."""

from __future__ import annotations

from typing import BinaryIO

from PIL import Image

from layerzoo.media.container import FFmpegFile
from layerzoo.media.sample import UnusableError

_START_AND_SIZE = b"\xff\x4f\xff\x51"
_SEARCH_BYTES = 1 << 20


def bits(file: BinaryIO) -> int:
    """Return the largest bit depth of a component; 0 if it is not found. Source: ISO/IEC 15444-1, A.5.1."""
    file.seek(0)
    head = file.read(_SEARCH_BYTES)
    file.seek(0)
    at = head.find(_START_AND_SIZE)
    count = int.from_bytes(head[at + 40 : at + 42], "big")
    return max(((depth & 0x7F) + 1 for depth in head[at + 42 : at + 42 + 3 * count : 3]), default=0) if at >= 0 else 0


def read(file: BinaryIO) -> Image.Image:
    """Decode with FFmpeg, to RGB or RGBA of 8 bits.

    Raises: UnusableError where PyAV is not installed, or FFmpeg takes the channels for something else than RGB.
    """
    description = "a JPEG 2000 image of more than 8 bits a channel, which Pillow reads wrongly"
    try:
        import av
    except ModuleNotFoundError as error:
        raise UnusableError(f"{description}. Next: pip install av, or convert it to 8 bits") from error
    file.seek(0)
    try:
        options = {"format_whitelist": "j2k_pipe,mov,mp4,m4a,3gp,3g2,mj2"}
        with av.open(FFmpegFile(file), "r", container_options=options) as container:
            frame = next(container.decode(video=0))
            if not frame.format.is_rgb and not frame.format.name.startswith(("gray", "ya")):
                raise UnusableError(f"{description}, and FFmpeg as {frame.format.name}: convert it to 8 bits")
            has_alpha = any(component.is_alpha for component in frame.format.components)
            return Image.fromarray(frame.to_ndarray(format="rgba" if has_alpha else "rgb24"))
    except (av.error.FFmpegError, StopIteration) as error:
        raise UnusableError(f"damaged: {error}") from error
