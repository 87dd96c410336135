"""Command line of the archiver: ``tserve-archiver``, also as ``torch-model-archiver``."""

from __future__ import annotations

import argparse
import logging
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from types import FrameType

from archiver.config import ARCHIVE_SUFFIXES, RUNTIMES, ModelArchiverConfig
from archiver.errors import ModelArchiverError
from archiver.handler import BUILT_IN
from archiver.package import generate_model_archive

logger = logging.getLogger("archiver")

EPILOG = """\
examples:
  pack a TorchScript model for a built-in handler into ./cat.mar:
    tserve-archiver --model-name cat --version 1.0 --handler image_classifier \\
        --serialized-file cat.pt --extra-files index_to_name.json
  pack an own handler with its helpers, and replace the archive in the model store:
    tserve-archiver --model-name cat --version 1.1 --handler src/handler.py \\
        --extra-files src/helpers,labels.txt --export-path model_store --force

exit status: 0 written, 1 not written (the reason is on stderr), 2 wrong usage.
Set SOURCE_DATE_EPOCH for an archive that comes out the same, byte for byte, every time.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the archiver and return its exit status; errors go to stderr, success is silent."""
    options = build_parser().parse_args(arguments)
    _report_on_stderr()
    for number in (signal.SIGTERM, signal.SIGINT):
        # A shell that starts a command in the background makes it ignore the interrupt.
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _exit_on_signal)
    try:
        generate_model_archive(ModelArchiverConfig.from_args(options))
    except ModelArchiverError as exc:
        logger.error("%s", exc)
        return 1
    except KeyboardInterrupt:
        logger.error("Interrupted; nothing was written.")
        return 128 + signal.SIGINT
    return 0


def build_parser() -> argparse.ArgumentParser:
    """Describe the command line; flags and defaults as those of torch-model-archiver 0.12."""
    name = Path(sys.argv[0]).name
    parser = argparse.ArgumentParser(
        prog="python -m archiver" if name == "__main__.py" else name,
        description="Pack a model, its handler and what they need into one archive for tserve.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    what = parser.add_argument_group("what to pack")
    what.add_argument(
        "--model-name",
        required=True,
        metavar="NAME",
        help="name of the model and, with .mar or .tar.gz, of the archive",
    )
    what.add_argument(
        "-v",
        "--version",
        required=True,
        metavar="VERSION",
        help="version of the model, such as 1.0",
    )
    what.add_argument(
        "--handler",
        required=True,
        metavar="HANDLER",
        help="your handler as path/file.py or path/file.py:function, or the name of a built-in "
        "one: " + ", ".join(sorted(BUILT_IN)),
    )
    what.add_argument(
        "--serialized-file",
        metavar="FILE",
        help="the weights: a state_dict or TorchScript (.pt, .pth), .onnx or .so",
    )
    what.add_argument(
        "--model-file",
        metavar="FILE",
        help="Python file with the one class of the model; needed when the weights are a "
        "state_dict and the handler is built in",
    )
    what.add_argument(
        "--extra-files",
        metavar="LIST",
        help="more files, directories and glob patterns, separated by commas; all land at the "
        "root of the archive, of a directory its children",
    )
    what.add_argument(
        "-r",
        "--requirements-file",
        metavar="FILE",
        help="pip requirements of this model",
    )
    what.add_argument(
        "-c",
        "--config-file",
        metavar="FILE",
        help="YAML file with the model's configuration, such as batchSize",
    )
    what.add_argument(
        "--runtime",
        default="python",
        choices=RUNTIMES,
        help="what runs the handler (default: python)",
    )
    how = parser.add_argument_group("how to write it")
    how.add_argument(
        "--export-path",
        default=os.getcwd(),
        metavar="DIRECTORY",
        help="existing directory that gets the archive (default: the current one)",
    )
    how.add_argument(
        "--archive-format",
        default="default",
        choices=tuple(ARCHIVE_SUFFIXES),
        help="default: compressed .mar; zip-store: .mar without compression; tgz: .tar.gz; "
        "no-archive: a directory of plain files",
    )
    how.add_argument(
        "-f", "--force", action="store_true", help="replace an archive that exists already"
    )
    return parser


def _report_on_stderr() -> None:
    """Send warnings and errors of the archiver to stderr, one line each."""
    if not logger.handlers:
        output = logging.StreamHandler()
        output.setFormatter(logging.Formatter("%(levelname)s - %(message)s"))
        logger.addHandler(output)
        logger.propagate = False


def _exit_on_signal(number: int, _frame: FrameType | None) -> None:
    """End by an exception, so that a partly written archive is cleaned away."""
    # An archive object that was just being made complains when it is collected; its file is gone
    # on purpose.
    sys.unraisablehook = lambda _unraisable: None
    if number == signal.SIGINT:
        raise KeyboardInterrupt
    raise SystemExit(128 + number)
