"""The errors that leadline raises, at the place where programs look for them; they are made in `core.errors`."""

from leadline.core.errors import *  # noqa: F403 (all of them)
