"""`python -m leadline` is the command line."""

import sys

from leadline.cli import main

sys.exit(main())
