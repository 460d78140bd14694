"""`strandline.config`."""

from strandline.config import *  # noqa: F403
