"""Write a package in a lock file without hashes and without a local version such as `+cpu`.

For torch: whichever CPU build a machine gets, the version is pinned and the file is not.
"""

import re
import sys
from pathlib import Path


def unhash(text: str, package: str) -> str:
    """The lock with a package's line reduced to `package==1.2.3`."""
    pattern = rf"^({re.escape(package)}==[^\s+]+)(\+\S+)?( \\\n(    --hash=\S+( \\)?\n)+)"
    changed, count = re.subn(pattern, r"\1\n", text, flags=re.MULTILINE)
    if count != 1:
        sys.exit(f"{package} stands {count} times in the lock with hashes; expected once")
    return changed


if __name__ == "__main__":
    lock = Path(sys.argv[1])
    lock.write_text(unhash(lock.read_text(encoding="utf-8"), sys.argv[2]), encoding="utf-8")
