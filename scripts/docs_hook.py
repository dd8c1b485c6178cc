"""Links of the docs to files of the repository that are not pages become the names of those files."""

import re
from typing import Any


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Replaces `[`configs/x.json`](../../configs/x.json)` by the text of the link."""
    return re.sub(
        r"\[([^\]]+)\]\((?:\.\./)+(?:configs|examples|pixpro_tf|benchmarks)/[^)]*\)",
        r"\1",
        markdown,
    )
