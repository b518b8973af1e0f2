"""Waiting until names in a folder are on disk, where its filesystem can do that."""

import errno
import os
from pathlib import Path
from typing import Final

# Some network shares sync files but not folders; there a rename is as safe as the share makes it.
_CANNOT: Final = (errno.EINVAL, errno.ENOTSUP, errno.ENOSYS)


def sync_folder(folder: Path) -> None:
    """A new name is on disk only when its folder is. Raises OSError when the disk fails."""
    number = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(number)
    except OSError as error:
        if error.errno not in _CANNOT:
            raise
    finally:
        os.close(number)
