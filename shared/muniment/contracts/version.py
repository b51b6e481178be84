"""The version of this program; the package's metadata takes it from here.

Asking the installed metadata instead takes longer than a request does.
"""

from typing import Final

VERSION: Final = "0.1.0"
