"""The curve of `vqe inspect`, drawn by hand here."""

from vqe_cli.cli.qp_curve import ASCII, qp_curve


def test_a_small_curve_is_as_drawn_by_hand() -> None:
    assert qp_curve([30, 33, 32, None, 31], [True, False, False, False, True], 80, ASCII) == [
        "  33 | .",
        "  32 |  .",
        "  31 |    ^",
        "  30 |^",
        "      0   4",
        "      QP by frame; ^ peak quality frame",
    ]


def test_many_frames_share_columns_and_keep_the_width() -> None:
    qps = [36 if t % 8 == 0 else 44.5 for t in range(1000)]
    lines = qp_curve(qps, [t % 8 == 0 for t in range(1000)], 80, ASCII)
    assert all(len(line) <= 80 for line in lines)
    assert lines[-1].endswith("14 in a column; ^ peak quality frame")
    lowest = next(line for line in lines if line.startswith("  36"))
    assert lowest.count("^") == len(lowest) - len("  36 |")


def test_many_levels_share_rows() -> None:
    lines = qp_curve([-10, 51], [True, False], 80, ASCII)
    assert len(lines) <= 16
    assert lines[-3] == " -10 |^"


def test_nothing_known_is_no_curve() -> None:
    assert qp_curve([None, None], [True, False], 80) == []
    assert qp_curve([], [], 80) == []
