"""``python -m archiver``: the command line without an installed script."""

import sys

from archiver.cli import main

if __name__ == "__main__":
    sys.exit(main())
