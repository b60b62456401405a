"""The version of this distribution, in the one place that the package and its builder both read.

Here:   `__version__`.
Never:  anything that imports something.
"""

from typing import Final

__version__: Final = "0.1.0"
