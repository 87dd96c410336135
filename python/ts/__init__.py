"""TorchServe's ``ts``, for unit tests of handlers; every module below it is tserve's own.

Workers do not need this package: they answer the name themselves, even where the old
``torchserve`` is installed over it.
"""

from tserve_worker import __version__
from tserve_worker._ts_names import install

install()
# Nothing lies beside this file, and nothing of an old installation that does may be found.
__path__[:] = []

__all__ = ["__version__"]
