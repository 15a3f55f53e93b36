"""Files that stand where another one should be: what a download leaves that did not download."""

from __future__ import annotations

import re
from pathlib import Path

from skywork_rt.errors import CheckpointError

__all__ = ["refuse_stand_in"]

_HEAD = 512
_LFS = b"version https://git-lfs"
_WEB_PAGE = re.compile(
    rb"\s*(<\?xml[^>]*>\s*)?(<!--.*?-->\s*)*<(!doctype html|html|head|body)\b", re.IGNORECASE | re.DOTALL
)


def refuse_stand_in(path: Path) -> None:
    """Raises CheckpointError for an empty file, a pointer of Git LFS and a web page; a missing file is left alone."""
    try:
        with path.open("rb") as file:
            head = file.read(_HEAD)
    except OSError:
        return  # whoever reads it says what is wrong
    if not head:
        raise CheckpointError(f"{path.name} is empty; its download did not finish: fetch the file again")
    if head.startswith(_LFS):
        raise CheckpointError(
            f"{path.name} is a pointer of Git LFS, not the file itself; run 'git lfs install' and 'git lfs pull' where "
            "it was cloned"
        )
    if _WEB_PAGE.match(head.removeprefix(b"\xef\xbb\xbf")):
        raise CheckpointError(
            f"{path.name} is a web page: the address was that of the page which shows the file, or asked for a login; "
            "download the file itself (on model hubs the address with /resolve/ or /raw/ instead of /blob/)"
        )
