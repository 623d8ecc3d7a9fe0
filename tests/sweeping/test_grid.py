"""The syntax of --grid, and the cells it makes."""

import pytest

from kgan.config import flag_value
from kgan.errors import UserError
from kgan.sweeping import grid
from kgan.sweeping.grid import cells

KINDS = {"loss": str, "g_lr": float, "seed": int, "flip": lambda text: {"true": True, "false": False}[text]}


def parse_value(name: str, text: str):
    if name not in KINDS:
        raise UserError(f"there is no setting {name!r}")
    return KINDS[name](text)


def parse(*texts: str):
    return grid.parse(texts, parse_value)


def test_values_keep_their_order_and_kind():
    axes = parse("loss=ns,hinge", "g_lr = 1e-4, 2e-4", "seed=2,0", "flip=true,false")
    assert axes == {"loss": ["ns", "hinge"], "g_lr": [1e-4, 2e-4], "seed": [2, 0], "flip": [True, False]}
    assert [flag_value(value) for value in axes["flip"] + axes["g_lr"]] == ["true", "false", "0.0001", "0.0002"]


def test_a_range_has_equal_ratios_and_exact_ends():
    assert parse("g_lr=log:1e-5:1e-3:5")["g_lr"] == [1e-5, 3.162e-5, 1e-4, 3.162e-4, 1e-3]
    assert parse("seed=log:1:100:3,7")["seed"] == [1, 10, 100, 7]


def test_settings_that_change_together_share_an_axis():
    axes = parse("g_lr/seed=1e-4/0, 2e-4 / 1", "loss=ns,hinge")
    assert axes == {("g_lr", "seed"): [(1e-4, 0), (2e-4, 1)], "loss": ["ns", "hinge"]}
    assert cells(axes) == [
        {"g_lr": g_lr, "seed": seed, "loss": loss} for g_lr, seed in [(1e-4, 0), (2e-4, 1)] for loss in ("ns", "hinge")
    ]


def test_a_single_setting_may_have_slashes_in_its_values():
    assert grid.parse(["data_dir=a/b,c/d"], lambda name, text: text) == {"data_dir": ["a/b", "c/d"]}


@pytest.mark.parametrize(
    "texts, words",
    [
        ([], "give at least one --grid"),
        ([""], "must be NAME=V1,V2"),
        (["loss"], "--grid=loss: must be NAME=V1,V2"),
        (["=ns"], "must be NAME=V1,V2"),
        (["loss="], "a value is missing"),
        (["loss=ns,"], "a value is missing"),
        (["loss=ns,,hinge"], "a value is missing"),
        (["g_lr=1e-4,0.0001"], "--grid=g_lr=1e-4,0.0001: 0.0001 comes twice"),
        (["seed=0", "seed=1"], "seed is swept twice"),
        (["g_lr/seed=1/2", "seed=0"], "--grid=seed=0: seed is swept twice"),
        (["seed/seed=1/2"], "seed is swept twice"),
        (["g_lr/=1/2"], "must be NAME=V1,V2"),
        (["g_lr/seed=1/2,3"], "3 must be 2 values with / between them, of g_lr and seed"),
        (["g_lr/seed=1/2/3"], "1/2/3 must be 2 values"),
        (["g_lr/seed=1/"], "1/ must be 2 values"),
        (["g_lr/seed=1/2,1.0/2"], "1.0/2 comes twice"),
        (["g_lr/lr=1/2"], "there is no setting 'lr'"),
        (["lr=1"], "there is no setting 'lr'"),
        (["g_lr=log:1:10"], "a range is log:LOW:HIGH:COUNT"),
        (["g_lr=log:0:1:5"], "a range is log:LOW:HIGH:COUNT"),
        (["g_lr=log:1:10:1"], "a range is log:LOW:HIGH:COUNT"),
        (["g_lr=log:1:10:3:4"], "a range is log:LOW:HIGH:COUNT"),
        (["g_lr=log:nan:10:3"], "a range is log:LOW:HIGH:COUNT"),
        (["seed=log:1:2:4"], "comes twice"),
    ],
)
def test_mistakes_quote_the_text(texts, words):
    with pytest.raises(UserError) as error:
        parse(*texts)
    assert words in str(error.value)


def test_cells_are_the_product_with_the_last_axis_fastest():
    cells = grid.cells(parse("loss=ns,hinge", "seed=0,1"))
    assert cells[:2] == [{"loss": "ns", "seed": 0}, {"loss": "ns", "seed": 1}]
    assert len(cells) == 4


def test_a_greater_draw_keeps_the_cells_of_a_smaller_one():
    axes = parse("g_lr=log:1e-5:1e-3:20", "seed=" + ",".join(map(str, range(20))))
    few, more = grid.cells(axes, 10), grid.cells(axes, 30)
    assert few == grid.cells(axes, 10) and len({str(cell) for cell in more}) == 30
    assert all(cell in more for cell in few)
    assert [cell for cell in grid.cells(axes) if cell in few] == few
    with pytest.raises(UserError, match="--random=401: the grid has only 400 cells"):
        grid.cells(axes, 401)


def test_a_huge_grid_is_drawn_from_and_never_laid_out():
    names = ("seed", "steps", "batch_size", "latent_dim", "d_steps", "save_every", "log_every", "sample_every")
    axes = {name: tuple(range(1000)) for name in names}
    with pytest.raises(UserError, match="draw some with --random"):
        grid.cells(axes)
    assert len(grid.cells(axes, 5)) == 5
    with pytest.raises(UserError, match="--random=20000: at most 10,000 cells"):
        grid.cells(axes, 20_000)


@pytest.mark.parametrize(
    "grid, words",
    [
        ({}, "the grid is empty"),
        ({"los": ["ns"]}, "there is no setting 'los': did you mean loss?"),
        ({"loss": "ns"}, "values of loss must be a list"),
        ({"seed": 3}, "values of seed must be a list"),
        ({"seed": []}, "values of seed must be a list of at least one"),
        ({"seed": [1, 2, 1]}, "the grid's seed: 1 comes twice"),
        ({("seed", "g_lr"): [1, 2]}, "the grid's seed/g_lr: each must be a tuple of 2 values, not 1"),
        ({("seed", "g_lr"): [(1, 2, 3)]}, "each must be a tuple of 2 values, not (1, 2, 3)"),
        ({("seed", "g_lr"): [(1, 2), [1, 2]]}, "the grid's seed/g_lr: 1/2 comes twice"),
        ({("seed", "g_lr"): [(1, 2)], "g_lr": [1]}, "the grid: g_lr is swept twice"),
    ],
)
def test_mistakes_in_a_mapping_name_the_setting(grid, words):
    with pytest.raises(UserError) as error:
        cells(grid)
    assert words in str(error.value)
