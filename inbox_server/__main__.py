"""`python -m inbox_server` is the `inbox-server` command."""

import sys

from inbox_server.cli import main

sys.exit(main())
