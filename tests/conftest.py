"""For all tests: homes of their own, and property tests without a deadline.

A busy machine is not a fault, and no test may find or leave anything in the user's folders.
"""

import atexit
import contextlib
import os
import shutil
import sys
import tempfile
from pathlib import Path

from hypothesis import settings

# Here and not in a fixture: Prefect reads its home when it is imported.
_homes = Path(tempfile.mkdtemp(prefix="slipway-tests-"))
atexit.register(shutil.rmtree, _homes, ignore_errors=True)
for _variable in ("SLIPWAY_HOME", "PREFECT_HOME"):
    home = _homes / _variable.lower()
    home.mkdir()
    os.environ[_variable] = str(home)

settings.register_profile("unhurried", deadline=None)
settings.load_profile("unhurried")

# absl, which Keras and TensorFlow log with, keeps the stderr that it finds when it is imported,
# here a file of pytest's, and closes it under pytest when Prefect sets logging up anew.
with contextlib.suppress(ImportError):
    from absl import logging as absl_logging

    absl_logging.get_absl_handler().python_handler.stream = sys.__stderr__
