"""`python -m layerzoo`, and where the command `zoo` starts."""

from __future__ import annotations

import sys


def main() -> None:
    """Run the command line and exit. Ctrl-C is no error, not even while the command line itself is being imported."""
    try:
        from layerzoo.cli import main as run

        run()
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()
