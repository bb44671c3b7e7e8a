"""The pages for authors of plugins are correct: their files, commands and programs give the outputs that they show."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.distributions import ROOT
from tests.page_session import Step, run_session, session, steps
from tests.readme import write_files

FOLDER = ROOT / "docs/plugins"
PAGES = sorted(FOLDER.glob("*.md"))

PAGE = """\
Create `a.txt`:

```text
x
```

```console
$ cat a.txt
x
```

An illustration:

```yaml
a: 1
```
"""


def test_the_tutorial_can_be_followed(tmp_path: Path, index: Path) -> None:
    slow = ("zoo layers", "zoo plugin check", "python -m build")
    run_session(FOLDER / "tutorial.md", session(tmp_path, index), without=slow)


@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_each_page_can_be_followed(page: Path, tmp_path: Path, index: Path, samples: Path) -> None:
    installation = session(tmp_path, index)
    write_files(installation.home, samples)
    run_session(page, installation)


def test_a_block_after_a_path_is_a_file() -> None:
    assert list(steps(PAGE)) == [
        Step(4, "text", "x\n", "a.txt"),
        Step(8, "console", "$ cat a.txt\nx\n", None),
    ]
