"""The report: what is on the page, that it stands alone, and that nothing of a stranger's is markup on it."""

import base64
import io
import json
import re
from html.parser import HTMLParser

import numpy as np
import pytest
from hypothesis import strategies as st
from PIL import Image, PngImagePlugin

import kgan
from kgan import TrainConfig
from kgan.errors import UserError
from kgan.images import write_png
from kgan.reports import facts, listing, overview, page, pictures
from kgan.reports.curves import curves
from kgan.reports.scores import score_rows
from kgan.runs.rundir import RunDir
from tests.fuzzing import changed, damaged, fuzz, only_user_errors
from tests.making import AUDIT, CARD, EVALUATION, make_run

EVIL = "<script>alert('x')</script>\"&\x00\u202e"
VOID = {"meta", "img", "input", "br", "wbr"}
DASH = "\N{EN DASH}"


class Reader(HTMLParser):
    """Checks that tags nest, and collects elements and text."""

    def __init__(self, text: str):
        super().__init__()
        self.stack, self.tags, self.text = [], [], []
        self.feed(text)
        self.close()
        assert self.stack == []

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.stack.append(tag)

    def handle_endtag(self, tag):
        assert self.stack.pop() == tag

    def handle_data(self, data):
        if self.stack and self.stack[-1] not in ("style", "script"):
            self.text.append(data)

    def words(self) -> str:
        return " ".join(" ".join(self.text).split())

    def all(self, tag: str) -> list[dict]:
        return [attributes for name, attributes in self.tags if name == tag]


def render(*runs: RunDir) -> Reader:
    return Reader(page.render([facts.read_run(run, 12, 100_000) for run in runs]))


def test_a_run_with_nothing_more_says_what_to_type(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    read = render(make_run("run", loss="hinge"))
    words = read.words()
    for expected in (
        "Type kgan evaluate run , then",
        "Type kgan audit run , then",
        "Licence CC-BY-SA-3.0",
        "Used for training 4,500",
        "loss hinge rpgan",
        "epochs 2 50",
        "Images a second (median of log lines) 100",
        "git checkout abc123 # and changes of its own",
        "kgan train --dataset=mnist5k --loss=hinge --epochs=2",
        "Contains AI-generated images.",
    ):
        assert expected in words, expected
    assert str(tmp_path) not in words
    alts = [img["alt"] for img in read.all("img")]
    assert alts[0] == "The first AI-generated samples of run, not picked"
    assert alts[1:4] == [f"AI-generated samples of run at step {n}00" for n in "123"]


def test_what_a_run_started_from_and_what_held_out_images_were_rated_are_shown(tmp_path):
    run = make_run(tmp_path / "run", init_from="/home/ann/runs/first", freeze_d=2)
    ancestor = {"run_id": "0abc", "checkpoint_sha256": "c" * 64, "step": 5154, "dataset": CARD | {"name": "digits"}}
    run.update_record(ancestors=[ancestor])
    values = run.read_metrics()[-1]
    for step, rated in ((300, 0.75), (310, -0.25)):
        run.append_metrics(values | {"step": step, "d_heldout": rated})
    read = render(run)
    words = read.words()
    assert "Weights started from run 0abc at step 5,154, trained on digits (CC-BY-SA-3.0)" in words
    assert "--init_from=RUN --freeze_d=2" in words and "/home/ann" not in words
    charts = [chart["aria-label"] for chart in read.all("svg") if "mean logit" in chart.get("aria-label", "")]
    assert charts == [
        "Discriminator's mean logit of run over 310 steps: real from 1.00 to 1.00; generated from 1.00 to 1.00; "
        "held-out from 0.750 to -0.250"
    ]


def test_scores_and_audit_are_shown_with_their_floor_and_limits(tmp_path):
    run = make_run(tmp_path / "run")
    (run.path / "evaluation.json").write_text(json.dumps(EVALUATION))
    (run.path / "audit.json").write_text(json.dumps(AUDIT))
    write_png(run.path / "audit-pairs.png", np.zeros((8, 8, 3), np.uint8))
    read = render(run)
    words = read.words()
    for expected in (
        "4.25 classifier FD, lower is better real images have 0.0400 No copying detected 1 of 1,000 samples flagged",
        "exact copies would have shown from a share of 1.25%",
        "classifier FD lower is better 4.25 0.0400",
        f"kernel distance lower is better 0.0200 sd 0.00300 {DASH}",
        "precision higher is better, up to the baseline 0.700 0.900",
        "no copying detected : at this sensitivity",
        "exact 1.25% 100% mirrored not even all not recorded",
        "swap, pixels 0.250 not recorded",
        "17 4,321 0.250 pixels",
        "(alpha) 0.100% Share of held-out images that were 0.200%",
        "Latent recovery p_ value 0.500",
        "It does not judge whether an image infringes a right.",
    ):
        assert expected in words, expected
    assert any("beside the training images" in img["alt"] for img in read.all("img"))


def test_scores_of_an_earlier_checkpoint_are_marked(tmp_path):
    run = make_run(tmp_path / "run")
    (run.checkpoints / "step-0000280.npz").touch()
    for step, is_old in ((280, False), (100, True)):
        report = EVALUATION | {"protocol": {"run_id": run.read_record()["id"], "step": step}}
        (run.path / "evaluation.json").write_text(json.dumps(report))
        words = render(run).words()
        warning = "Stale: measured at step 100, not of the weights that samples are drawn from now."
        assert (words.count(warning), words.count("stale: step 100")) == ((2, 1) if is_old else (0, 0))


def test_a_warning_of_the_evaluation_stands_beside_its_score(tmp_path):
    run = make_run(tmp_path / "run")
    report = EVALUATION | {"protocol": EVALUATION["protocol"] | {"warning": "random pixels score as well"}}
    (run.path / "evaluation.json").write_text(json.dumps(report))
    assert render(run).words().count("These scores say little: random pixels score as well.") == 2


def test_an_audit_of_another_version_is_shown_as_far_as_it_goes(tmp_path):
    run = make_run(tmp_path / "run")
    (run.path / "audit.json").write_text('{"verdict": "cannot tell"}')
    (run.path / "evaluation.json").write_text("{}")
    assert "cannot tell : not recorded" in render(run).words()


def test_the_page_stands_alone(tmp_path):
    run = make_run(tmp_path / "run")
    text = page.render([facts.read_run(run, 12, 100_000)])
    read = Reader(text)
    assert text.startswith("<!DOCTYPE html>") and read.all("html") == [{"lang": "en"}]
    assert all(img["src"].startswith("data:image/") and img["alt"] for img in read.all("img"))
    assert not re.search(r"(src|href)=\"(?!data:|#)", text) and not read.all("link")
    policy = next(meta["content"] for meta in read.all("meta") if "http-equiv" in meta)
    assert "default-src 'none'" in policy and "unsafe" not in policy
    ids = [attributes["id"] for _, attributes in read.tags if "id" in attributes]
    assert len(set(ids)) == len(ids)
    assert {label["for"] for label in read.all("label")} <= set(ids)


def test_the_policy_allows_just_the_pages_own_script_and_style(tmp_path):
    text = page.render([facts.read_run(make_run(tmp_path / "run"), 12, 100_000)])
    for tag in ("style", "script"):
        (content,) = re.findall(f"<{tag}>(.*?)</{tag}>", text, re.DOTALL)
        assert f"{tag}-src '{page._csp_hash(content)}'" in text


def test_strangers_text_is_only_text(tmp_path):
    card = {"name": EVIL, "classes": {EVIL: 1, "</td><img src=x>": 2}, "holder": "a\nb" + EVIL, "license": EVIL}
    run = make_run(tmp_path / "<b>run&", card=card)
    evil = json.loads(json.dumps(AUDIT)) | {"verdict": EVIL, "reason": EVIL, "p_values": {EVIL: {EVIL: 1}}}
    evil |= {"detection_limit": {EVIL: 1.0}, "flagged": [{"sample": EVIL}], "protocol": {EVIL: EVIL}}
    (run.path / "audit.json").write_text(json.dumps(evil))
    evaluation = {"scores": {"precision": 1}, "protocol": {"features": EVIL, "x": {EVIL: [EVIL]}}}
    (run.path / "evaluation.json").write_text(json.dumps(evaluation))
    text = page.render([facts.read_run(run, 12, 100_000)] * 2)
    read = Reader(text)
    assert len(read.all("script")) == 1 and not read.all("b")
    assert all("src" not in img or img["src"].startswith("data:") for img in read.all("img"))
    assert "alert('x')" in read.words() and "<b>run&" in read.words()
    assert "\x00" not in text and "\u202e" not in text


def test_several_runs_begin_with_what_differs(tmp_path):
    runs = [make_run(tmp_path / "a", loss="ns"), make_run(tmp_path / "b", loss="hinge", g_lr=1e-3)]
    (runs[1].path / "evaluation.json").write_text(json.dumps(EVALUATION))
    read = [facts.read_run(run, 12, 100_000) for run in runs]
    assert overview.differing_settings(read) == {"loss": ["ns", "hinge"], "g_lr": [0.0002, 0.001]}
    words = render(*runs).words()
    assert words.index("Settings that differ setting a b loss ns hinge g_ lr 0.0002 0.001") < words.index("Samples")
    assert f"classifier FD lower is better {DASH} 4.25 0.0400" in words and "4.25 better" not in words


def test_a_run_without_its_real_images_is_shown_beside_others(tmp_path):
    runs = [make_run(tmp_path / name) for name in "ab"]
    assert len(render(*runs).all("img")) == 2 * 4 + 1
    runs[0].reals_file.unlink()
    assert len(render(*runs).all("img")) == len(render(*reversed(runs)).all("img")) == 2 * 4 + 1


def test_a_resumed_run_says_what_changed_and_not_that_it_can_be_repeated_bit_for_bit(tmp_path):
    run = make_run(tmp_path / "run")
    assert "equal bit for bit" in render(run).words()
    changes = {"epochs": [1, 2], "git_revision": ["aaa", "abc123+"]}
    run.update_record(resumed=[{"step": 1400, "changes": changes}, {"step": 2000, "changes": {}}])
    words = render(run).words()
    said = "Resumed at step 1,400; epochs: 1 -> 2; git_revision: aaa -> abc123+, at step 2,000"
    assert said in words and "It was resumed" in words and "bit for bit" not in words


def test_a_score_of_training_stands_where_there_is_no_evaluation(tmp_path):
    run = make_run(tmp_path / "run")
    assert "While it trained" not in render(run).words()
    values = run.read_metrics()[-1]
    for step, score in ((270, 8.0), (280, 9.0)):
        run.append_metrics(values | {"step": step, "frechet_distance": score})
    run.update_record(evaluation={"protocol": {"distance_name": "classifier FD"}, "floor": {}})
    assert "No score While it trained, the lowest classifier FD was 8.00." in render(run).words()


def test_minutes_are_of_all_steps(tmp_path):
    run = make_run(tmp_path / "run", lines=3, batch_size=20)  # 100 images a second
    assert facts.read_run(run, 1, 1000).speed["Minutes of training"] == pytest.approx(30 * 20 / 100 / 60)


def test_runs_in_folders_of_one_name_are_told_apart(tmp_path):
    runs = [make_run(tmp_path / folder / "seed=0").path for folder in "ab"]
    words = Reader(kgan.report(runs, out=tmp_path / "page.html").path.read_text()).words()
    assert "a/seed=0" in words and "b/seed=0" in words


def test_a_run_that_has_only_begun_has_a_page(tmp_path):
    run = RunDir.create(tmp_path / "run", TrainConfig())
    words = render(run).words()
    assert "No samples were drawn yet." in words and "Nothing was logged yet." in words
    assert "running at step" in words and "Go on with" not in words


def test_a_run_that_can_be_resumed_says_how_and_one_that_diverged_does_not(tmp_path):
    run = make_run(tmp_path / "run")
    for recorded, shown, resumable in (
        ("running", "interrupted at step 280 of 280", True),  # nobody holds the lock: it was killed
        ("failed", "failed at step 280", True),
        ("non-finite", "non-finite at step 280", False),
        ("finished", "finished at step 280", False),
    ):
        run.update_record(status=recorded)
        words = render(run).words()
        assert shown in words and ("Go on with kgan train --resume=" in words) == resumable, recorded


def test_a_damaged_file_is_named(tmp_path):
    run = make_run(tmp_path / "run")
    (run.path / "evaluation.json").write_text("{")
    with pytest.raises(UserError, match="evaluation.json: not readable"):
        facts.read_run(run, 12, 100_000)
    (run.path / "evaluation.json").unlink()
    run.sample_file(100).write_bytes(b"no picture")
    with pytest.raises(UserError, match="step-0000100.png: not a readable PNG"):
        facts.read_run(run, 12, 100_000)


@pytest.mark.parametrize(
    "name, content, words",
    [
        ("evaluation.json", {"scores": [1]}, "scores"),
        ("evaluation.json", {"scores": {"precision": "high"}}, "scores.precision"),
        ("evaluation.json", {"scores": {}, "floor": 3}, "floor"),
        ("evaluation.json", {"scores": {}, "protocol": "mine"}, "protocol"),
        ("evaluation.json", [], ""),
        ("audit.json", {"verdict": 3}, "verdict"),
        ("audit.json", {"flagged": [3]}, "flagged"),
        ("audit.json", {"p_values": {"pixels": 0.5}}, "p_values.pixels"),
        ("audit.json", {"adjusted_p_values": [0.5]}, "adjusted_p_values"),
        ("audit.json", {"detection_limit": {"exact": "1%"}}, "detection_limit.exact"),
        ("audit.json", {"planted_flagged": 1}, "planted_flagged"),
        ("audit.json", {"latent_recovery": True}, "latent_recovery"),
    ],
)
def test_a_result_of_the_wrong_type_is_one_line_that_names_it(tmp_path, name, content, words):
    run = make_run(tmp_path / "run")
    (run.path / name).write_text(json.dumps(content))
    with pytest.raises(UserError, match=f"{name}: not readable .*{words}") as error:
        kgan.report(run.path)
    assert "\n" not in str(error.value)


def test_large_pictures_get_smaller_and_keep_their_statement(tmp_path):
    noise = np.random.default_rng(0).integers(0, 256, (2000, 1500, 3), np.uint8)
    info = PngImagePlugin.PngInfo()
    info.add_itxt("XML:com.adobe.xmp", "<x:xmpmeta>trainedAlgorithmicMedia</x:xmpmeta>")
    write_png(tmp_path / "large.png", noise, info)
    picture = pictures.from_file(tmp_path / "large.png", "noise", 10_000)
    assert (picture.width, picture.height) == (750, 1000)
    kind, content = picture.uri.split(",")
    assert kind == "data:image/webp;base64"
    with Image.open(io.BytesIO(base64.b64decode(content))) as image:
        assert b"trainedAlgorithmicMedia" in image.info["xmp"]


def test_the_strip_ends_between_two_rows(tmp_path):
    grid = np.full((60, 20, 1), 255, np.uint8)
    grid[2:20, 2:18] = grid[22:40, 2:18] = grid[42:58, 2:18] = 0
    write_png(tmp_path / "grid.png", grid)
    assert [pictures.top_of(tmp_path / "grid.png", "", height).height for height in (42, 50, 41, 1000)] == [
        42,
        42,
        41,
        60,
    ]


def test_frames_are_spread_over_the_run():
    assert pictures.spread(list(range(100)), 4) == [0, 33, 66, 99]
    assert pictures.spread([1, 2], 4) == [1, 2] and pictures.spread([1, 2], 1) == [2]


def test_the_better_figure_is_marked_where_runs_were_measured_alike(tmp_path):
    runs = [make_run(tmp_path / name) for name in "ab"]
    for number, run in enumerate(runs):
        scores = {"frechet_distance": 4.0 + number, "precision": 0.5 + 0.1 * number, "recall": 0.25}
        report = EVALUATION | {"scores": scores, "protocol": EVALUATION["protocol"] | {"run_id": None}}
        (run.path / "evaluation.json").write_text(json.dumps(report))
    rows = {row.title: row for row in score_rows([facts.read_run(run, 2, 100_000) for run in runs])}
    marks = {title: [score.is_best for score in row.scores] for title, row in rows.items()}
    assert marks == {"classifier FD": [True, False], "precision": [False, True], "recall": [False, False]}
    unlike = {"features": "pca", "features_sha256": "f" * 64, "num_samples": 99, "num_reference": 99}
    unlike |= {"reference": "test", "reference_sha256": "e" * 64, "reference_images": 99, "num_heldout": 99}
    for name, value in unlike.items():
        other = report | {"protocol": report["protocol"] | {name: value}}
        (runs[1].path / "evaluation.json").write_text(json.dumps(other))
        read = [facts.read_run(run, 2, 100_000) for run in runs]
        assert not any(score.is_best for row in score_rows(read) for score in row.scores), name
        assert "These scores were not measured alike" in Reader(page.render(read)).words(), name


def test_what_cannot_be_better_is_not_marked_so(tmp_path):
    """What is above the real-data baseline is worth no more than that, and what random pixels reach says nothing."""
    first = {"frechet_distance": 4.0, "precision": 0.97, "recall": 0.5, "density": 1.25, "coverage": 0.5}
    second = {"frechet_distance": 5.0, "precision": 0.93, "recall": 0.95, "density": 0.5, "coverage": 0.75}
    floor = dict.fromkeys(first, 0.9) | {"density": 1.0}
    how = EVALUATION["protocol"] | {"unreliable_scores": ["coverage"]}
    for name, scores in (("a", first), ("b", second)):
        run = make_run(tmp_path / name)
        run.evaluation_file.write_text(json.dumps({"scores": scores, "floor": floor, "protocol": how}))
    read = [facts.read_run(RunDir(tmp_path / name), 2, 100_000) for name in "ab"]
    assert {row.title: [score.is_best for score in row.scores] for row in score_rows(read)} == {
        "classifier FD": [True, False],
        "precision": [False, False],
        "recall": [False, True],
        "density": [True, False],
        "coverage": [False, False],
    }


def test_runs_share_the_axes_of_their_curves(tmp_path):
    runs = [make_run(tmp_path / "a", lines=3), make_run(tmp_path / "b", lines=9), make_run(tmp_path / "c", lines=1)]
    short, long, begun = curves([facts.read_run(run, 2, 100_000) for run in runs])
    ticks = [[re.findall(r'<text class="tick"[^>]*>([^<]*)', chart) for chart in column] for column in (short, long)]
    assert ticks[0] == ticks[1] and len(ticks[0]) == 3 and "80" in ticks[0][0]
    assert begun == []
    words = Reader(page.render([facts.read_run(runs[2], 2, 100_000)])).words()
    assert "One log line so far, of step 10: Loss, discriminator 1.00" in words


def test_one_sample_grid_needs_no_slider(tmp_path):
    assert not render(make_run(tmp_path / "a", frames=1)).all("input")
    assert len(render(make_run(tmp_path / "b", frames=2)).all("input")) == 1


def test_a_folder_of_runs_has_all_of_them_in_a_table(tmp_path):
    for seed in range(5):
        run = make_run(tmp_path / f"seed={seed}", seed=seed)
        scores = {"frechet_distance": 10.0 - seed}
        (run.path / "evaluation.json").write_text(json.dumps(EVALUATION | {"scores": scores}))
    (tmp_path / "seed=0/run.json").write_text("{")
    written = kgan.report(tmp_path)
    assert written.path == tmp_path / "report.html" and [path.name for path in written.runs] == [
        "seed=4",
        "seed=3",
        "seed=2",
    ]
    words = Reader(written.path.read_text()).words()
    assert "5 runs" in words and "run seed status classifier FD lower is better audit seed=4 4 finished 6.00" in words
    assert f"seed=0 0 unreadable {DASH} {DASH} " in words
    with pytest.raises(UserError, match="nothing here: not a run folder"):
        kgan.report(tmp_path / "nothing here")
    for path in tmp_path.glob("*/run.json"):
        path.write_text("{")
    with pytest.raises(UserError, match="none of its runs can be read"):
        kgan.report(tmp_path)


def test_the_table_of_a_folder_has_settings_that_the_data_would_decide_where_they_were_chosen(tmp_path):
    for weight in (0.0, 0.5):
        make_run(tmp_path / f"r1_weight={weight}", r1_weight=weight, log_every=None)
    words = Reader(kgan.report(tmp_path).path.read_text()).words()
    assert "run r1_ weight status" in words and f"r1_ weight=0.5 0.5 finished {DASH}" in words


def test_a_run_of_a_folder_that_is_damaged_does_not_stand_in_the_way_of_the_others(tmp_path):
    for seed in range(6):
        run = make_run(tmp_path / f"seed={seed}", seed=seed)
        run.evaluation_file.write_text(json.dumps(EVALUATION | {"scores": {"frechet_distance": 1.0 + seed}}))
    (tmp_path / "seed=0/config.json").write_text("{")
    RunDir(tmp_path / "seed=1").sample_file(100).write_bytes(b"no picture")
    written = kgan.report(tmp_path)
    assert [path.name for path in written.runs] == ["seed=2", "seed=3", "seed=4"]
    words = Reader(written.path.read_text()).words()
    assert "run seed status" in words and f"seed=0 {DASH} unreadable" in words and "seed=1 1 unreadable" in words


def test_a_folder_of_runs_that_were_not_measured_alike_is_not_ranked(tmp_path):
    for seed, count in enumerate((2250, 100, 2250)):
        run = make_run(tmp_path / f"seed={seed}", seed=seed)
        how = EVALUATION["protocol"] | {"num_samples": count}
        run.evaluation_file.write_text(json.dumps({"scores": {"frechet_distance": 9.0 - seed}, "protocol": how}))
    written = kgan.report(tmp_path)
    assert [path.name for path in written.runs] == ["seed=0", "seed=1", "seed=2"]
    words = Reader(written.path.read_text()).words()
    assert "Not ranked: the scores are not comparable, for not all have the same number of samples." in words
    (tmp_path / "seed=1/evaluation.json").unlink()
    written = kgan.report(tmp_path)
    assert [path.name for path in written.runs] == ["seed=2", "seed=0", "seed=1"]
    assert "Not ranked" not in Reader(written.path.read_text()).words()


@pytest.fixture(scope="module")
def some_run(tmp_path_factory) -> RunDir:
    """A run with everything, and what its files hold."""
    run = make_run(tmp_path_factory.mktemp("runs") / "run")
    (run.checkpoints / "step-0000280.npz").touch()
    (run.checkpoints / "best.json").write_text(json.dumps({"step": 280, "score": 4.25}))
    run.evaluation_file.write_text(json.dumps(EVALUATION))
    run.audit_file.write_text(json.dumps(AUDIT))
    write_png(run.audit_pairs_file, np.zeros((8, 8, 3), np.uint8))
    return run


@fuzz(st.data())
def test_a_run_of_any_content_is_shown_or_refused_in_one_line(some_run, data):
    files = [some_run.config_file, some_run.record_file, some_run.evaluation_file, some_run.audit_file]
    files.append(some_run.checkpoints / "best.json")
    whole = {path: path.read_bytes() for path in [*files, some_run.metrics_file, some_run.sample_file(100)]}
    try:
        for path in data.draw(st.sets(st.sampled_from(files), min_size=1, max_size=3)):
            path.write_text(json.dumps(data.draw(changed(json.loads(whole[path])))))
        lines = [json.loads(line) for line in whole[some_run.metrics_file].splitlines()]
        written = [
            json.dumps(data.draw(changed(line) if data.draw(st.booleans()) else st.just(line))) for line in lines
        ]
        some_run.metrics_file.write_text("".join(line + "\n" for line in written))
        some_run.sample_file(100).write_bytes(data.draw(damaged(whole[some_run.sample_file(100)])))
        assert listing.table(listing.list_runs(some_run.path.parent)).count("\n") == 1
        with only_user_errors():
            render(some_run)
    finally:
        for path, content in whole.items():
            path.write_bytes(content)
