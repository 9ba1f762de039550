"""The programs that the client's README shows, as they stand there."""

import re

from tests.node import CLIENT

README = CLIENT / "README.md"
LINES_MAX = 40


def shown(name: str) -> str:
    """The block below the comment `<!-- app: NAME -->`, which readers do not see."""
    (found,) = re.findall(
        rf"^<!-- app: {name} -->\n```\w+\n(.*?)^```$", README.read_text(), re.MULTILINE | re.DOTALL
    )
    return str(found)
