"""Detect the scenes of a video with PySceneDetect."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

from numpy.typing import NDArray

from layerzoo.extras import needs
from layerzoo.frame_sampling import SCENE_THRESHOLD
from layerzoo.media import progress


class SceneDetector:
    """Finds cuts as ``scenedetect.detect(path, ContentDetector(threshold))`` does: a scene has at least 15 frames.

    Args:
        threshold: the change between two frames that is a cut; None for the default of the library.
    Raises: MissingLibraryError without PySceneDetect.
    """

    def __init__(self, threshold: Fraction | None) -> None:
        with needs("scenes"):
            import cv2
            from scenedetect import FrameTimecode
            from scenedetect.detectors import ContentDetector
            from scenedetect.scene_manager import compute_downscale_factor
        self._resize: Any = cv2.resize
        self._factor: Any = compute_downscale_factor
        self._time: Any = FrameTimecode
        self._detector: Any = ContentDetector(threshold=float(threshold or SCENE_THRESHOLD))
        self._cuts: set[int] = set()
        self._last: Any = None
        self._count = 0

    def add(self, pixels: NDArray[Any]) -> None:
        """Add the next frame: (height, width, 3) in the order blue, green, red."""
        height, width = pixels.shape[:2]
        if (factor := self._factor(width)) > 1:
            pixels = self._resize(pixels, (max(1, round(width / factor)), max(1, round(height / factor))))
        # The detector counts frames. The rate is required, and has no effect.
        self._last = self._time(self._count, fps=25.0)
        self._note(self._detector.process_frame(self._last, pixels))
        self._count += 1
        progress.beat()

    def cuts(self) -> list[int]:
        """Return the first frame of each scene but the first."""
        if self._last is not None:
            self._note(self._detector.post_process(self._last))
        return sorted(cut for cut in self._cuts if cut > 0)

    def _note(self, cuts: Any) -> None:
        self._cuts |= {int(cut.frame_num) for cut in cuts}
