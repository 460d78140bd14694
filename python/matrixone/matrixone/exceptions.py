"""`strandline.exceptions`."""

from strandline.exceptions import *  # noqa: F403
