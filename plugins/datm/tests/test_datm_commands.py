"""`ddbench experts`: what it lists, builds, verifies and removes, on toy data."""

import json
import subprocess
import sys

import pytest
from click.testing import CliRunner
from ddbench import testing
from ddbench.cli import main
from ddbench.contract.artifacts import ArtifactStore
from ddbench_datm import library
from ddbench_datm.method import MTTConfig

REGISTRY = """
[protocols.short]
epochs = 2
networks = 1

[presets.quick]
datasets = ["toy"]
architectures = ["convnet-w8-d1"]
evaluate_on = ["convnet-w8-d1"]
ipc = [1]
seeds = [0, 1]
protocol = "short"
rows = ["random", "mtt"]
"""
TINY = [
    word
    for option in ("experts=2", "expert_epochs=2", "expert_batch=40", "max_start_epoch=1")
    for word in ("--set", f"mtt.{option}")
]


def experts(cache, *words, code=0):
    """Run `ddbench experts` in this process; return standard output and error."""
    result = CliRunner().invoke(main, ["experts", *map(str, words), "--cache", str(cache)])
    assert result.exit_code == code, result.output
    return result.stdout, result.stderr


@pytest.fixture
def filled(tmp_path):
    """A cache that holds two experts, and the one's ids."""
    config = MTTConfig(experts=2, expert_epochs=2, expert_batch=16, max_start_epoch=1)
    library.build(testing.toy_task(store=tmp_path / "artifacts"), config)
    return tmp_path, [one.id for one in library.listing(ArtifactStore(tmp_path / "artifacts"))]


def test_an_empty_cache_lists_nothing_and_is_whole(tmp_path):
    assert experts(tmp_path / "none", "list")[0] == "nothing to show\n"
    assert json.loads(experts(tmp_path / "none", "list", "--json")[0]) == []
    assert "are whole" in experts(tmp_path / "none", "verify")[0]
    assert not (tmp_path / "none").exists()


def test_experts_are_listed_with_their_costs(filled):
    cache, ids = filled
    (cache / "artifacts" / "experts-begun").mkdir()
    rows = json.loads(experts(cache, "list", "--json")[0])
    assert [row["id"] for row in rows] == [*ids, "experts-begun"]
    assert [row["state"] for row in rows] == ["finished", "finished", "at epoch 0"]
    assert rows[0]["dataset"] == "toy" and rows[0]["architecture"] == "convnet-w8-d1"
    assert rows[0]["epochs"] == 2 and rows[0]["seconds"] >= 0 and rows[2]["seconds"] == ""
    out, _ = experts(cache, "list")
    assert all(id in out for id in ids)


def test_build_trains_what_a_run_would_ask_for_once(tmp_path):
    (tmp_path / "registry.toml").write_text(REGISTRY)
    build = ("build", "--registry", tmp_path / "registry.toml", *TINY)
    out, _ = experts(tmp_path, *build, "--method", "mtt")
    built = [line.split(":")[0] for line in out.splitlines()]
    listed = json.loads(experts(tmp_path, "list", "--json")[0])
    assert len(built) == 2  # the two seeds share them
    assert sorted(built) == sorted(row["id"] for row in listed)
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "artifacts").rglob("*.npy")}
    assert experts(tmp_path, *build, "--method", "mtt")[0] == out
    assert {path: path.stat().st_mtime_ns for path in before} == before


def test_build_says_that_no_row_matches_trajectories(tmp_path):
    (tmp_path / "registry.toml").write_text(REGISTRY)
    build = ("build", "--registry", tmp_path / "registry.toml", "--method", "random")
    assert "try --method datm" in experts(tmp_path, *build, code=2)[1]


def test_verify_names_a_damaged_file(filled):
    cache, ids = filled
    assert "are whole" in experts(cache, "verify")[0]
    file = next((cache / "artifacts" / ids[1]).glob("*.npy"))
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    out, _ = experts(cache, "verify", code=1)
    assert f"{file}: its content has changed" in out and ids[0] not in out


def test_remove_shows_first_and_does_it_when_told(filled):
    cache, (first, second) = filled
    out, err = experts(cache, "remove", first)
    assert out == f"{first}\n" and "1 artifact of experts" in err and "add --yes" in err
    assert (cache / "artifacts" / first).is_dir()
    _, err = experts(cache, "remove", first, "--yes")
    assert err.endswith("removed\n")
    assert not (cache / "artifacts" / first).exists()
    assert (cache / "artifacts" / second).is_dir()


def test_remove_of_an_unknown_id_removes_nothing(filled):
    cache, (first, second) = filled
    _, err = experts(cache, "remove", first, "experts-none", "--yes", code=2)
    assert f"no experts experts-none; there are: {first}, {second}" in err
    assert (cache / "artifacts" / first).is_dir()


def test_help_imports_no_torch():
    code = (
        "import sys\nfrom ddbench.cli import main\n"
        "for words in ([], ['list'], ['build'], ['verify'], ['remove']):\n"
        "    main(['experts', *words, '--help'], standalone_mode=False)\n"
        "    assert 'torch' not in sys.modules, words\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, timeout=60)
