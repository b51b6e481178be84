"""`python -m muniment.cli`: the `muniment` command where no script was installed for it."""

import sys

from muniment.cli.main import main

sys.exit(main())
