"""Algorithm boxes of the plugins: pseudocode on the left, on the right the code that does it."""

import io
import re
import tokenize
from pathlib import Path

import pytest

PLUGINS = Path(__file__).parents[1] / "plugins"
BOX = re.compile(r"(?:^ *#.*\n)+", re.MULTILINE)
DOES_NOTHING = "selection.py"  # the step of selections, whose boxes stand above their rules


def boxes(path):
    """Yield (rows, the lines below) of each comment whose lines have a bar: a box."""
    text = path.read_text()
    for match in BOX.finditer(text):
        lines = [line.strip().removeprefix("#") for line in match[0].splitlines()]
        bars = [i for i, line in enumerate(lines) if " | " in line]
        if len(bars) > 1:
            rows = lines[bars[0] : bars[-1] + 1]
            yield (
                [tuple(part.strip() for part in row.partition(" | ")[::2]) for row in rows],
                (text[match.end() :]),
            )


def code_of(package):
    """Return the code of a package without its comments, on one line."""
    words = []
    for path in sorted(package.rglob("*.py")):
        for token in tokenize.generate_tokens(io.StringIO(path.read_text()).readline):
            if token.type != tokenize.COMMENT:
                words.append(token.string)
    return squeezed("".join(words))


def squeezed(code):
    return re.sub(r"\s|,(?=\s*[)\]])", "", code)


FILES = sorted(path for path in PLUGINS.glob("*/ddbench_*/**/*.py") if list(boxes(path)))
STEPS = sorted(
    path
    for path in PLUGINS.glob("*/ddbench_*/**/*.py")
    if re.search(r"^ *def condense_step\(", path.read_text(), re.MULTILINE)
    and path.name != DOES_NOTHING
)


@pytest.mark.parametrize("path", STEPS, ids=lambda path: str(path.relative_to(PLUGINS)))
def test_every_step_stands_below_its_box(path):
    below = [rest for _, rest in boxes(path)]
    assert any(re.match(r" *@hookimpl\n *def condense_step\(", rest) for rest in below)


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PLUGINS)))
def test_a_box_is_short_and_its_code_is_the_code(path):
    package = next(part for part in path.parents if part.name.startswith("ddbench_"))
    code = code_of(package)
    for rows, _ in boxes(path):
        assert 6 <= len(rows) <= 12
        for pseudocode, line in rows:
            assert pseudocode
            assert squeezed(line) in code, line


def test_the_selections_have_boxes_too():
    names = {path.stem for path in FILES}
    assert {"herding", "kcenter", "kmeans"} < names and len(STEPS) >= 4


def test_a_line_that_is_not_in_the_code_is_noticed(tmp_path):
    box = "# a | x = 1\n# b | y = 2\nx = 1  # y = 2\n"
    (tmp_path / "ddbench_mine").mkdir()
    (tmp_path / "ddbench_mine" / "a.py").write_text(box)
    ((rows, _),) = boxes(tmp_path / "ddbench_mine" / "a.py")
    found = [squeezed(line) in code_of(tmp_path / "ddbench_mine") for _, line in rows]
    assert found == [True, False]
