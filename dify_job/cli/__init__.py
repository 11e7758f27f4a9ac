"""The commands; the single place that prints, exits and turns errors into exit codes.

What stands here comes before the imports of every command, `run` among them.
"""

import gc
import sys
import warnings

from ..system.lazy_import import lazy_import

# Nothing made while importing is garbage: without collections 0.06 of the CPU time of `import requests` less.
gc.disable()

# What click, requests and what they stand on import, and no run asks: 0.05 of `import requests` less.
lazy_import(
    *("csv", "difflib", "hmac", "idna", "linecache", "mimetypes", "selectors", "shlex"),
    *("shutil", "stringprep", "subprocess", "tokenize", "traceback", "zipfile"),
)

# requests does without a detector of charsets, which Response.text alone asks and nobody reads, but warns:
# 0.1 of `import requests` and 3 MiB less.
sys.modules |= dict.fromkeys(("chardet", "charset_normalizer"))  # type: ignore[arg-type] # None: not installed
warnings.filterwarnings("ignore", "Unable to find acceptable character detection")
