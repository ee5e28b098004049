"""Predicted and actual times in the report."""

from ddbench.reporting.leaderboard import load
from ddbench.reporting.markdown.document import Document
from ddbench.reporting.markdown.forecasts import forecast_section, median_error
from ddbench.store.records import Manifest, Planned


def test_the_error_is_of_the_actual_time():
    assert median_error([(5.0, 10.0), (20.0, 10.0), (11.0, 10.0)]) == 0.5


def test_what_was_predicted_stands_beside_what_it_took(made):
    times = {"started": "2026-01-01T00:00:00+00:00", "ended": "2026-01-01T00:00:10+00:00"}
    id = made.condensation("dm", **times)
    made.evaluation(id)
    board = load(made.folder)
    document = Document("run", "files")
    forecast_section(document, board)
    assert not document.blocks
    plan = Planned(expected={id: 8.0})
    board.records.manifests = [Manifest(started="2026-01-01T00:00:00+00:00", plan=plan)]
    forecast_section(document, board)
    table, note = document.blocks
    assert "condense dm" in table and "8.00" in table and "10.0" in table
    assert "is 20% of the actual" in " ".join(note.split())
