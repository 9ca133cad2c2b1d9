"""`python -m foreframe` is the command."""

import sys

from foreframe.cli import main

sys.exit(main())
