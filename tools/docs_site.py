"""A hook of mkdocs: links of the pages that leave docs/ for the repository, which the site does not have.

They become the path of the file, and are checked as mkdocs checks the others: with --strict a file that is
not there ends the build.
"""

import logging
import re
from pathlib import Path
from typing import Any

OUTWARD = re.compile(r"(?<!!)\[([^\]]*)\]\((\.\./[^)#]+)(?:#[^)]*)?\)")
warnings = logging.getLogger("mkdocs.hooks.docs_site")


def on_page_markdown(markdown: str, *, page: Any, config: Any, files: Any) -> str:
    """The page's text with those links as plain paths."""
    folder = Path(page.file.abs_src_path).parent

    def as_path(found: re.Match[str]) -> str:
        target = folder / found[2]
        if not target.exists():
            warnings.warning("%s links to %s, which is not there", page.file.src_uri, found[2])
        return f"`{found[2].removeprefix('../')}`"

    return OUTWARD.sub(as_path, markdown)
