"""For all tests: homes of their own, and property tests without a deadline.

A busy machine is not a fault, and no test may find or leave anything in the user's folders.
"""

import atexit
import os
import shutil
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
