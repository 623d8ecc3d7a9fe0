"""The figures: which panels there are, and that each can be drawn."""

import subprocess
import sys

import numpy as np
import pytest
from matplotlib.text import Text

from kgan import plots
from kgan.auditing.statistics import histograms


def line(step, **more):
    names = ("d_loss", "g_loss", "d_real", "d_fake", "d_grad_norm", "g_grad_norm")
    return {"step": step, **dict.fromkeys(names, 1.0), **more}


def test_curves_have_a_panel_of_scores_only_if_there_are_some():
    assert len(plots.curves([line(1), line(2)]).axes) == 3
    figure = plots.curves([line(1), line(2, frechet_distance=9.0), line(3, frechet_distance=4.0)], "classifier FD", 0.5)
    assert len(figure.axes) == 4
    axis = figure.axes[-1]
    assert axis.get_ylabel() == "classifier FD" and axis.get_yscale() == "log"
    assert axis.lines[0].get_xydata().tolist() == [[2.0, 9.0], [3.0, 4.0]]
    assert axis.lines[1].get_ydata()[0] == 0.5
    assert plots.to_png(figure).startswith(b"\x89PNG")
    assert len(plots.curves([]).axes) == 3


def test_held_out_images_have_a_line_where_they_were_rated():
    rated = [line(1, d_heldout=0.5), line(2), line(3, d_heldout=-0.5)]
    axis = plots.curves(rated).axes[1]
    np.testing.assert_array_equal(axis.lines[2].get_ydata(), [0.5, np.nan, -0.5])
    assert {text.get_text() for text in axis.texts} == {"held-out", "real", "generated"}
    assert [text.get_text() for text in plots.curves([line(1), line(2)]).axes[1].texts] == ["generated", "real"]


GREY = np.arange(12 * 28 * 28, dtype=np.uint8).reshape(12, 28, 28, 1)
COLOUR = np.zeros((4, 32, 32, 3), np.uint8)


def test_pictures_show_every_image_and_say_which_are_generated():
    drawn = plots.sample_grid(GREY, columns=8)
    assert sum(len(axis.images) for axis in drawn.axes) == 12
    assert plots.to_png(drawn, dpi=40).startswith(b"\x89PNG")
    words = [text.get_text() for text in drawn.findobj(Text)]
    assert "AI-generated" in words


def test_colours_and_greys_are_drawn_as_they_are():
    axis = plots.sample_grid(GREY).axes[0]
    assert axis.images[0].get_clim() == (0, 255) and axis.images[0].get_array().shape == (28, 28)
    assert plots.sample_grid(COLOUR).axes[0].images[0].get_array().shape == (32, 32, 3)


def test_the_sweep_has_a_panel_for_each_setting_but_the_seed():
    cells = [{"loss": loss, "g_lr": g_lr, "seed": seed} for loss in ("ns", "$x") for g_lr in (2, 1) for seed in (0, 1)]
    figure = plots.sweep(cells, range(1, 9), "classifier FD", 0.5)
    assert [axis.get_xlabel() for axis in figure.axes] == ["loss", "g_lr"]
    assert [label.get_text() for label in figure.axes[1].get_xticklabels()] == ["1", "2"]
    points = [line for line in figure.axes[0].lines if line.get_marker() == "o"]
    assert [len(line.get_xdata()) for line in points] == [4, 4]
    assert plots.to_png(figure, dpi=40).startswith(b"\x89PNG")
    assert [axis.get_xlabel() for axis in plots.sweep([{"seed": 0}, {"seed": 1}], [0.0, 1.0]).axes] == ["seed"]
    assert len(plots.sweep([{"loss": "ns"}], [1.0]).axes) == 1


def test_labels_of_values_that_have_no_room_side_by_side_are_slanted_and_short():
    rates = [1e-5, 3.1622776601683795e-05, 1e-4, 3.1622776601683794e-4, 1e-3]
    for values, slant in ((rates, 40), ([0.5, 1.0], 0)):
        axis = plots.sweep([{"g_lr": rate} for rate in values], [1.0] * len(values)).axes[0]
        labels = axis.get_xticklabels()
        assert [label.get_text() for label in labels] == [f"{value:.3g}" for value in values]
        assert {label.get_rotation() for label in labels} == {slant}


def test_settings_that_change_together_share_a_panel():
    rates = [(1e-4, 2e-4), (2e-4, 4e-4), (1e-4, 4e-4)]
    cells = [{"g_lr": g, "d_lr": d, "loss": loss, "seed": 0} for g, d in rates for loss in ("ns", "hinge")]
    axes = plots.sweep(cells, range(1, 7), together=[("g_lr", "d_lr")]).axes
    assert [axis.get_xlabel() for axis in axes] == ["g_lr\nd_lr", "loss"]
    assert [label.get_text() for label in axes[0].get_xticklabels()] == [
        "0.0001\n0.0002",
        "0.0002\n0.0004",
        "0.0001\n0.0004",
    ]


def test_a_floor_far_below_every_cell_is_a_note_that_leaves_the_axis_to_the_cells():
    cells = [{"loss": "ns"}, {"loss": "hinge"}]
    near, far = (plots.sweep(cells, [100.0, 200.0], "FD", floor) for floor in (30.0, 0.1))
    assert near.axes[0].get_ylim()[0] < 30 and "real images" not in near.get_supxlabel()
    assert far.axes[0].get_ylim()[0] > 50 and "real images have 0.1, below the axis" in far.get_supxlabel()


def test_nothing_of_pyplot_is_touched():
    code = (
        "import sys; from kgan import plots; plots.to_png(plots.curves([])); print('matplotlib.pyplot' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "False\n"


def test_closest_pairs_show_both_images_and_how_they_differ():
    images = np.zeros((2, 6, 6, 3), np.uint8)
    neighbours = images.copy()
    neighbours[1, 2, 3] = (255, 0, 0)
    figure = plots.closest_pairs({"AI-generated": (images, neighbours, ["a", "b"])}, "training image", "what it says")
    titles = [" ".join(axis.get_title().split()) for axis in figure.axes[:3]]
    assert titles == ["AI-generated", "training image", "difference"]
    shown = [axis.images[0].get_array() for axis in figure.axes]
    assert (shown[2] == 255).all()
    assert shown[5][2, 3] == 255 - 85 and (np.delete(shown[5].ravel(), 15) == 255).all()
    assert {"a", "b"} <= {text.get_text() for text in figure.texts}


def test_ratio_histograms_are_shares_of_images_with_the_threshold():
    spaces = {
        "pixels": histograms(np.array([0.1, 0.9, 0.9]), np.array([0.5, 0.6])),
        "pca": histograms(np.array([0.3]), np.empty(0)),
    }
    pixels, pca = plots.ratio_histograms(spaces, {"pixels": 0.2}).axes
    assert [patch.get_data().values.max() for patch in pixels.patches] == pytest.approx([2 / 3, 1 / 2])
    assert pixels.patches[0].get_data().edges[-1] == 0.9
    assert len(pixels.lines) == 1 and pixels.lines[0].get_xdata()[0] == 0.2
    assert len(pca.patches) == 1 and not pca.lines
