"""Run `python -m layerzoo`, and the command `zoo`."""

from __future__ import annotations

import gc


def main() -> None:
    """Run the command line and exit. A signal ends it with one line, also while the command line is being imported.

    The garbage collector is off until a verb runs: what is imported before stays until the process ends, and searching
    it for garbage takes a fifth of the time of `zoo list`.
    """
    gc.disable()
    try:
        from layerzoo import stopping

        stopping.install()
        try:
            from layerzoo.cli import main as run

            run()
        finally:
            stopping.leave_quietly()
    except KeyboardInterrupt as stop:
        from layerzoo import stopping

        stopping.end(stop)


if __name__ == "__main__":
    main()
