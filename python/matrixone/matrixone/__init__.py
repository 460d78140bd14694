"""The package `strandline` under the import name `matrixone`: names only."""

from strandline import *  # noqa: F403
from strandline import __all__  # noqa: F401
