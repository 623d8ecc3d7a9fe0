"""The figures: which panels there are."""

from kgan import plots


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
