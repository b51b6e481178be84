"""`python -m muniment.verifier`."""

import sys

from muniment.verifier.main import main

sys.exit(main())
