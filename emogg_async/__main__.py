"""`python -m emogg_async` is the `emogg` command."""

import sys

from emogg_async._cli import main

sys.exit(main())
