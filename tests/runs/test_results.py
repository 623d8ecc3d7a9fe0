"""What was found out about a run is read back, and damage is named."""

from dataclasses import dataclass, field

import pytest

from kgan import TrainConfig
from kgan.errors import UserError
from kgan.runs import results
from kgan.runs.rundir import RunDir


def test_damaged_results_are_named(tmp_path):
    run = RunDir(tmp_path)
    assert results.read(run, results.AUDIT) is None
    for text, words in (
        ("[", "audit.json: not readable"),
        ("[]", "audit.json: not readable .it is a list, not a JSON object"),
    ):
        (tmp_path / "audit.json").write_text(text)
        with pytest.raises(UserError, match=words):
            results.read(run, results.AUDIT)
    (tmp_path / "audit.json").write_text('{"verdict": "cannot tell"}')
    assert results.read(run, results.AUDIT) == {"verdict": "cannot tell"}


@pytest.mark.parametrize("ema_decay", [0.999, 0.0])
def test_a_result_is_current_if_it_is_of_the_weights_that_samples_are_drawn_from(tmp_path, ema_decay):
    run = RunDir.create(tmp_path / "run", TrainConfig(ema_decay=ema_decay))
    run.unlock()
    for step in (4, 8):
        (run.checkpoints / f"step-{step:07}.npz").touch()
    mine = {"run_id": run.read_record()["id"], "step": 8, "ema": ema_decay > 0}
    assert results.is_current(run, {"protocol": mine})
    for name, other in {"run_id": "another", "step": 4, "ema": not mine["ema"]}.items():
        assert not results.is_current(run, {"protocol": mine | {name: other}}), name
    assert results.is_current(run, {}) and results.is_current(run, {"protocol": {"step": 8}})  # as far as it says


def test_a_result_on_other_samples_or_works_is_not_the_run_s_own():
    mine = {"protocol": {"checkpoint_sha256": "c" * 64, "sha256": {"samples": "5" * 64}}}
    assert results.is_of(mine)
    assert not results.is_of({"protocol": mine["protocol"] | {"against": "works"}})
    assert not results.is_of({"protocol": {"sha256": {"samples": "5" * 64}}})
    assert not results.is_of({"protocol": {"samples_sha256": ["5" * 64]}})


@dataclass(frozen=True)
class Row:
    score: float | None
    protocol: dict = field(default_factory=dict)


def test_scores_are_ranked_if_they_were_measured_alike():
    how = {"features": "classifier", "num_samples": 500}
    rows = [Row(None), Row(3.0, how), Row(0.0, how), Row(2.0, how)]
    assert [row.score for row in results.ranked(rows)] == [0.0, 2.0, 3.0, None] and results.objection(rows) == ""
    rows[3] = Row(2.0, {"features": "pca", "num_samples": 100})
    assert [row.score for row in results.ranked(rows)] == [3.0, 0.0, 2.0, None]
    assert results.objection(rows).endswith("not all have the same features, number of samples")
    assert results.objection([]) == results.objection(rows[:2]) == "" and results.ranked([]) == []
