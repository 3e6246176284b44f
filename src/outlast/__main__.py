"""`python -m outlast` is the same as `outlast`."""

import sys

from outlast.cli import main

sys.exit(main())
