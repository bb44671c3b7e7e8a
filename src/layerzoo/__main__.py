"""`python -m layerzoo`, and where the command `zoo` starts."""

from __future__ import annotations


def main() -> None:
    """Run the command line and exit. A signal ends it with one line, also while the command line is being imported."""
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
