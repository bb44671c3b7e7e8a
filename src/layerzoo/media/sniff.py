"""Detect the format of a file from its first bytes, else from its suffix."""

from __future__ import annotations

import codecs
import os
import re
from pathlib import PurePath
from typing import BinaryIO, NamedTuple

from layerzoo.media import container
from layerzoo.media.sample import UnusableError
from layerzoo.media.source import opened
from layerzoo.plugins.formats import format_of
from layerzoo.spec import Modality

HEAD_BYTES = 16_384


class Content(NamedTuple):
    """The content of a file, by its bytes: ``Content("audio", "wav")``."""

    modality: Modality
    format: str


def kind_of_file(path: str | os.PathLike[str]) -> Modality | None:
    """Return the modality of a file: that of a format which a plugin declares; that of its content; else that of its
    suffix; else text, where it reads as text.

    A file that cannot be read has the modality of its suffix. None: neither determines one.
    """
    if (declared := format_of(PurePath(path).name)) is not None and declared.kind != "weights":
        return declared.kind
    has_lines = PurePath(path).suffix.lower() != ".json"  # one document: its lines are not texts
    try:
        with opened(path) as file:
            if content := sniff(file):
                return content.modality
            return kind_of_suffix(path) or ("text" if has_lines and reads_as_text(file) else None)
    except UnusableError:
        return kind_of_suffix(path)


def is_animation_file(path: str | os.PathLike[str]) -> bool:
    """Return whether a file is an animation. A file that cannot be read is none."""
    try:
        with opened(path) as file:
            return is_animation(file, sniff(file))
    except UnusableError:
        return False


def kind_of_suffix(path: str | os.PathLike[str]) -> Modality | None:
    """Return the modality that a file's name promises, or None."""
    return _BY_SUFFIX.get(PurePath(path).suffix.lower().removeprefix("."))


def sniff(file: BinaryIO) -> Content | None:
    """Detect the content by its signature; None for plain text and for an unknown signature."""
    head = _head(file)
    if head[4:8] == b"ftyp":
        return _of_mp4(file, head[8:12])
    for pattern, modality, name in _SIGNATURES:
        if re.match(pattern, head, re.DOTALL):
            return _AMBIGUOUS[name](head) if name in _AMBIGUOUS else Content(modality, name)
    return None


def is_animation(file: BinaryIO, content: Content | None) -> bool:
    """Return whether an image file is an animation, which is a video for a video model. A GIF always is.

    Args:
        file: an open file, which is left at its first byte.
        content: from :func:`sniff`.
    Source: PNG specification, section 11.3.2 (acTL); WebP Container Specification, section "Extended File Format".
    """
    if content is None or content.modality != "vision":
        return False
    head = _head(file)
    if content.format == "png":
        return _has_animation_chunk(file)
    if content.format == "webp":
        return head[12:16] == b"VP8X" and bool(head[20:21]) and bool(head[20] & 2)
    return content.format == "gif" or (
        content.format == "avif" and b"avis" in head[8 : int.from_bytes(head[:4], "big")]
    )


_MOST_PNG_CHUNKS = 100


def _has_animation_chunk(file: BinaryIO) -> bool:
    """Return whether a PNG has the chunk acTL before its image data."""
    file.seek(8)
    try:
        for _ in range(_MOST_PNG_CHUNKS):
            head = file.read(8)
            if head[4:] == b"acTL":
                return True
            if len(head) < 8 or head[4:] == b"IDAT":
                return False
            file.seek(int.from_bytes(head[:4], "big") + 4, os.SEEK_CUR)
    finally:
        file.seek(0)
    return False


def reads_as_text(file: BinaryIO) -> bool:
    """Return whether the beginning is UTF-8 without control characters, and of no other format."""
    if other_format(file) is not None:
        return False
    try:
        text = codecs.getincrementaldecoder("utf-8")().decode(_head(file))
    except UnicodeDecodeError:
        return False
    return bool(text) and not _CONTROL.search(text)


def looks_like(file: BinaryIO) -> str:
    """Describe the content of a file of the wrong kind, as the second half of a reason."""
    if content := sniff(file):
        return f"looks like {_ONE[content.modality]} ({content.format})"
    if reads_as_text(file):
        return "looks like text"
    noun = other_format(file)
    return f"looks like {noun}" if noun else "its content is of no kind that is known here"


def other_format(file: BinaryIO) -> str | None:
    """Return the name of a format that no model reads, such as ``a PDF document``, by its signature; None for others.

    Args:
        file: an open file, which is left at its first byte.
    """
    file.seek(0)
    head = file.read(_OTHER_BYTES)
    file.seek(0)
    return next((noun for signature, noun in _OTHER_FORMATS.items() if head.startswith(signature)), None)


_OTHER_BYTES = 16
_OTHER_FORMATS = {
    b"%PDF-": "a PDF document",
    b"PK\x03\x04": "a ZIP archive, or an Office document",
    b"\x1f\x8b": "a gzip archive",
    b"\x93NUMPY": "a numpy array",
    b"SQLite format 3": "a SQLite database",
    b"\x7fELF": "a program",
}
"""Formats that are none of the modalities."""


NOUNS: dict[Modality, str] = {"text": "texts", "vision": "images", "audio": "audio clips", "video": "videos"}

_ONE: dict[Modality, str] = {"text": "text", "vision": "an image", "audio": "audio", "video": "a video"}
_CONTROL = re.compile(r"[\x00-\x07\x0b\x0e-\x1a\x1c-\x1f]")
_SUFFIXES_OF: dict[Modality, str] = {
    "text": "txt text csv tsv jsonl ndjson parquet",
    "vision": "jpg jpeg jpe jfif png apng gif webp bmp dib tif tiff ppm pgm pbm pnm avif heic heif jp2 j2k ico tga qoi",
    "audio": (
        "wav wave flac ogg oga opus spx mp3 aif aiff aifc au snd caf w64 rf64 "
        "voc m4a m4b aac ac3 eac3 wma amr wv tta ape mka weba"
    ),
    # Not `ts`, which is TypeScript as often as a transport stream: there the content decides.
    "video": "mp4 m4v mov mkv webm avi mpg mpeg m2ts mts ogv flv wmv 3gp 3g2",
}
_BY_SUFFIX = {suffix: modality for modality, suffixes in _SUFFIXES_OF.items() for suffix in suffixes.split()}

_SIGNATURES: tuple[tuple[bytes, Modality, str], ...] = (
    (rb"\xff\xd8\xff", "vision", "jpeg"),
    (rb"\x89PNG\r\n\x1a\n", "vision", "png"),
    (rb"GIF8[79]a", "vision", "gif"),
    (rb"RIFF.{4}WEBP", "vision", "webp"),
    # "BM" alone begins many a text: the reserved zeros and the size of the second header belong to it.
    (rb"BM.{4}\0{4}.{4}[\x0c\x28\x34\x38\x40\x6c\x7c]\0\0\0", "vision", "bmp"),
    (rb"II[*+]\0|MM\0[*+]", "vision", "tiff"),
    (rb"P[1-6]\s+(#[^\n]*\n\s*)*\d+\s+\d+\s|P7\nWIDTH", "vision", "ppm"),
    (rb"\0\0\0\x0cjP  |\xff\x4f\xff\x51", "vision", "jpeg2000"),
    (rb"\0\0\x01\0.\0", "vision", "ico"),
    (rb"qoif", "vision", "qoi"),
    (rb"8BPS\0\x01", "vision", "psd"),
    (rb"RIF[FX].{4}WAVE|RF64.{4}WAVE", "audio", "wav"),
    (rb"fLaC", "audio", "flac"),
    (rb"OggS", "audio", "ogg"),
    (rb"ID3[\x02-\x04]", "audio", "mp3"),
    # Frame syncs of MPEG layers II and III; layer I would match a UTF-16 byte order mark.
    (rb"\xff[\xe2-\xe5\xf2-\xf5\xfa-\xfd][\x10-\xef]", "audio", "mp3"),
    (rb"\xff[\xf0\xf1\xf8\xf9][\x40-\x7f\x80-\xbf]", "audio", "aac"),
    (rb"FORM.{4}AIF[FC]", "audio", "aiff"),
    (rb"\.snd\0|dns\.", "audio", "au"),
    (rb"caff\0\x01", "audio", "caf"),
    (rb"riff\x2e\x91\xcf\x11", "audio", "w64"),
    (rb"Creative Voice File", "audio", "voc"),
    (rb"#!AMR", "audio", "amr"),
    # The sync word of AC-3 and E-AC-3, twice: two frames are better evidence than 16 bits.
    (rb"\x0b\x77.{2,4094}?\x0b\x77", "audio", "ac3"),
    (rb"\x7f\xfe\x80\x01|\xfe\x7f\x01\x80", "audio", "dts"),
    (rb"wvpk", "audio", "wavpack"),
    (rb"TTA[12]", "audio", "tta"),
    (rb"MAC .[\x0b-\x10]", "audio", "ape"),
    (rb"MPCK|MP\+[\x07\x17]", "audio", "musepack"),
    (rb"tBaK", "audio", "tak"),
    (rb"DSD \x1c\0\0\0", "audio", "dsf"),
    (rb"qoaf", "audio", "qoa"),
    (rb"NIST_1A\n", "audio", "nist"),
    (rb"FORM.{4}(8SVX|16SV)", "audio", "svx"),
    (rb"\x30\x26\xb2\x75\x8e\x66\xcf\x11", "video", "asf"),
    (rb"\0.{3}(moov|mdat|wide|free|skip|pnot)", "video", "mov"),
    (rb"\x1a\x45\xdf\xa3", "video", "matroska"),
    (rb"RIFF.{4}AVI ", "video", "avi"),
    (rb"\0\0\x01[\xba\xb3]", "video", "mpeg"),
    (rb"\x47.{187}\x47.{187}\x47|.{4}\x47.{191}\x47.{191}\x47", "video", "mpeg-ts"),
    (rb"FLV\x01", "video", "flv"),
    (rb"PAR1", "text", "parquet"),
)
_PICTURE_BRANDS = {b"avif": "avif", b"avis": "avif", b"heic": "heic", b"heix": "heic", b"mif1": "heic", b"msf1": "heic"}


def _head(file: BinaryIO) -> bytes:
    file.seek(0)
    head = file.read(HEAD_BYTES)
    file.seek(0)
    return head


def _of_mp4(file: BinaryIO, brand: bytes) -> Content:
    if brand in _PICTURE_BRANDS:
        return Content("vision", _PICTURE_BRANDS[brand])
    tracks = container.mp4_tracks(file)
    return Content("audio", "m4a") if b"soun" in tracks and b"vide" not in tracks else Content("video", "mp4")


def _of_ogg(head: bytes) -> Content:
    """Detect audio or video by the first packets of the streams: Theora, VP8, Dirac, or OGM."""
    is_video = re.search(rb"\x80theora|OVP80|BBCD|\x01video\0", head)
    return Content("video" if is_video else "audio", "ogg")


def _of_matroska(head: bytes) -> Content:
    """Detect audio or video: a track's codec is named V_… or A_… in the element 0x86."""
    codecs_named = re.findall(rb"\x86[\x80-\xff]([VA])_", head)
    return Content("audio" if codecs_named and b"V" not in codecs_named else "video", "matroska")


def _of_asf(head: bytes) -> Content:
    video_stream = bytes.fromhex("c0ef19bc4d5bcf11a8fd00805f5c442b")
    return Content("video" if video_stream in head else "audio", "asf")


_AMBIGUOUS = {"ogg": _of_ogg, "matroska": _of_matroska, "asf": _of_asf}
