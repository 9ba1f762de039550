"""The table of all flags in docs/volume.md 2.2, held against the flags that there are."""

import re
from pathlib import Path

from less_sync.bins.volume.flags import FLAGS, usage

PAGE = (Path(__file__).parents[3] / "docs" / "volume.md").read_text()


def test_the_table_lists_every_flag_as_it_is_and_no_other() -> None:
    section = PAGE.partition("### 2.2 All flags\n")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| `-(\S+)`( \*)? \| (\w+) \| (?:`(.*?)`)? \| (.*) \|$", section, flags=re.MULTILINE)
    expected = [
        (
            flag.name,
            " *" if flag.top else "",
            flag.kind,
            flag.default,
            ("accepted, without effect: " if flag.ignored else "") + flag.meaning,
        )
        for flag in FLAGS
    ]
    assert rows == expected


def test_the_usage_lists_every_flag() -> None:
    listed = re.findall(r"^  -(\S+)", usage("less-sync-volume"), flags=re.MULTILINE)
    assert listed == [flag.name for flag in FLAGS]
