"""Where ``napari-unet`` and ``python -m napari_unet`` begin."""

from __future__ import annotations

import contextlib
import sys


def main() -> int:
    """Run the command line; Ctrl-C is one line also while that is being loaded.

    Returns
    -------
    int
        Exit status, see `napari_unet.cli.main.main`.
    """
    try:
        from napari_unet.cli.main import main as run

        return run()
    except KeyboardInterrupt:
        with contextlib.suppress(OSError):  # the terminal is closed
            sys.stderr.write("napari-unet: Interrupted.\n")
        return 130


if __name__ == "__main__":
    sys.exit(main())
