"""A leaderboard as CSV, markdown and LaTeX; rows chosen and sorted."""

import csv
import io
import re
import shutil
import subprocess

import pytest
from click.testing import CliRunner
from ddbench.cli import main
from ddbench.reporting.formats import ColumnError, Selection, as_csv, as_latex, as_markdown
from ddbench.reporting.leaderboard import load

MARKED = "70% & up_to {5} 数"  # a name that LaTeX would read otherwise


@pytest.fixture
def three(made):
    """Rows of three methods; the first two cannot be told apart."""
    made.row("dm", [[0.80, 0.82, 0.84]], costs={"condense_s": 9.0})
    made.row(MARKED, [[0.79, 0.83, 0.83]], costs={"condense_s": 4.0})
    made.row("random", [[0.40, 0.42, 0.44]], costs={"condense_s": 0.0})
    return load(made.folder)


def of(text):
    return list(csv.DictReader(io.StringIO(text)))


def test_csv_has_flat_columns_with_units_in_their_names(three):
    rows = of(as_csv(three, Selection(three)))
    assert [row["row"] for row in rows] == ["dm", MARKED, "random"]
    dm = rows[0]
    assert float(dm["accuracy"]) == pytest.approx(0.82)
    assert (dm["condense_s"], dm["use_s"], dm["bytes"]) == ("10.0", "13.0", "31440.0")
    assert "condensing" not in dm  # a list, one for each class of hardware


def test_rows_are_chosen_and_sorted_by_names_of_the_json(three):
    assert [r["row"] for r in of(as_csv(three, Selection(three, [("method", "dm")])))] == ["dm"]
    up = of(as_csv(three, Selection(three, sort="condense_s")))
    assert [row["row"] for row in up] == ["random", MARKED, "dm"]
    down = of(as_csv(three, Selection(three, sort="-condense_s")))
    assert [row["row"] for row in down] == ["dm", MARKED, "random"]


@pytest.mark.parametrize(("where", "sort"), [([("metod", "dm")], ""), ([], "-acuracy")])
def test_a_name_that_is_none_is_refused_with_the_nearest(three, where, sort):
    with pytest.raises(ColumnError, match="did you mean '(method|accuracy)'"):
        Selection(three, where, sort)


def test_markdown_is_the_first_table(three):
    text = as_markdown(three, Selection(three, sort="condense_s")).replace(
        "\N{NO-BREAK SPACE}", " "
    )
    rows = [line for line in text.splitlines() if line.startswith("| ")][2:]
    assert rows[0].startswith("| random (real)") and rows[2].startswith("| dm (real)")


def test_latex_marks_the_best_and_its_ties_and_escapes_names(three):
    text = as_latex(three, Selection(three))
    assert r"\textbf{82.0 (77.0--87.0)}" in text
    assert (
        r"70\% \& up\_to \{5\} \textbackslash{}u6570 (real) $\approx$$\star$ & \underline{81.7"
        in text
    )
    assert text.count(r"\toprule") == 1


TEX = next(filter(shutil.which, ("pdflatex", "lualatex", "xelatex", "tectonic")), "")
PREAMBLE = r"\documentclass{article}\usepackage{booktabs}\begin{document}"


@pytest.mark.skipif(not TEX, reason="no TeX is installed")
def test_latex_compiles(three, tmp_path):
    text = f"{PREAMBLE}\n{as_latex(three, Selection(three))}\n\\end{{document}}\n"
    (tmp_path / "t.tex").write_text(text)
    strict = [] if TEX == "tectonic" else ["-interaction=nonstopmode", "-halt-on-error"]
    subprocess.run([TEX, *strict, "t.tex"], cwd=tmp_path, check=True)


def test_the_source_of_latex_is_whole(three):
    """What TeX would stop at: braces and tables that do not close, cells too many, odd letters."""
    text = as_latex(three, Selection(three))
    bare = re.sub(r"\\[{}]", "", text)
    assert bare.count("{") == bare.count("}")
    assert text.count(r"\begin{") == text.count(r"\end{")
    body = text[text.index(r"\toprule") : text.index(r"\bottomrule")]
    cells = {len(re.findall(r"(?<!\\)&", line)) for line in body.splitlines() if "&" in line}
    columns = re.search(r"\\begin{tabular}{([lr]+)}", text)[1]
    assert cells == {len(columns) - 1}
    assert max(map(ord, text)) < 0x180  # what LaTeX reads without another font
    plain = re.sub(r"\\.", "", re.sub(r"(?m)^%.*$", "", body))
    assert not set("_^#~%") & set(plain)


def test_the_command_writes_each_format(made, three):
    for form, word in {"csv": "dataset,ipc,", "md": "| --- ", "latex": r"\toprule"}.items():
        done = CliRunner().invoke(main, ["leaderboard", str(made.folder.root), "--format", form])
        assert done.exit_code == 0 and word in done.output
    done = CliRunner().invoke(
        main, ["leaderboard", str(made.folder.root), "--where", "method=dm", "--where", "dm"]
    )
    assert done.exit_code == 2 and "expected NAME=VALUE" in done.output
