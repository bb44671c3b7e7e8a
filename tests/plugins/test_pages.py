"""The pages for authors of plugins are correct: their files, commands and programs give the outputs that they show."""

from __future__ import annotations

from pathlib import Path

from tests.distributions import ROOT
from tests.page_session import Step, run_session, session, steps

FOLDER = ROOT / "docs/plugins"

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
    run_session(FOLDER / "tutorial.md", session(tmp_path, index))


def test_a_block_after_a_path_is_a_file() -> None:
    assert list(steps(PAGE)) == [
        Step(4, "text", "x\n", "a.txt"),
        Step(8, "console", "$ cat a.txt\nx\n", None),
    ]
