"""Find the layer at which to cut: read all layers in one pass, and measure what each predicts.

:func:`layerzoo.sweep` returns a :class:`Sweep`. It requires scikit-learn: ``pip install "layerzoo[sweep]"``.
"""

from __future__ import annotations

from layerzoo.extras import needs

with needs("sweep"):
    from layerzoo.sweeps.result import Sweep, SweepRow
    from layerzoo.sweeps.run import sweep

__all__ = ["Sweep", "SweepRow", "sweep"]
