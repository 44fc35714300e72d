"""`python -m leadline` is the command line."""

import sys

from leadline.cli.main import main

sys.exit(main())
