"""The style of the report's figures, and how estimates are drawn: as bars, dots or heat maps."""

from collections.abc import Mapping, Sequence
from typing import Any

import seaborn
from matplotlib.axes import Axes
from matplotlib.figure import Figure

PALETTE = seaborn.color_palette("colorblind")
BLUES = seaborn.light_palette(PALETTE[0], as_cmap=True)
INK, GRID = "#22313f", "#d5dce2"
STYLE: dict[Any, Any] = {
    "font.family": ["DejaVu Sans", "sans-serif"],
    "font.size": 9,
    "axes.edgecolor": GRID,
    "axes.labelcolor": INK,
    "axes.titlesize": 10,
    "axes.titleweight": "bold",
    "axes.titlecolor": INK,
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": GRID,
    "grid.linewidth": 0.6,
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "legend.frameon": False,
    "svg.fonttype": "none",
    "svg.hashsalt": "oamface",
}
Estimates = Sequence[Mapping[str, float] | None]


def panels(height: float, columns: int = 1, rows: int = 1, **named: Any) -> tuple[Figure, list[Axes]]:
    """A figure of the report's width, and its axes row by row. height: inches. named: of Figure.subplots."""
    figure = Figure(figsize=(7.5, height), layout="constrained")
    return figure, list(figure.subplots(rows, columns, squeeze=False, **named).ravel())


def bars(
    axes: Axes,
    labels: Sequence[str],
    estimates: Estimates,
    colors: Sequence[Any],
    *,
    scale: float = 100,
    values: bool = True,
) -> None:
    """Horizontal bars, the first on top, with intervals and, beside them, the values; no bar where None."""
    for place, (estimate, color) in enumerate(zip(estimates, colors, strict=True)):
        if estimate is None:
            continue
        axes.barh(place, scale * estimate["value"], color=color, alpha=0.8, height=0.68)
        axes.plot([scale * estimate["low"], scale * estimate["high"]], [place, place], color=INK, lw=1.4)
        if values:
            text = f" {scale * estimate['value']:.1f}"
            axes.text(scale * estimate["high"], place, text, va="center", fontsize=7.5)
    axes.set_yticks(range(len(labels)), labels)
    axes.set_ylim(len(labels) - 0.5, -0.5)
    axes.grid(visible=False, axis="y")


def dots(
    axes: Axes,
    places: Sequence[float],
    estimates: Estimates,
    color: Any,
    label: str = "",
    *,
    scale: float = 1,
    line: bool = False,
) -> None:
    """Dots with vertical intervals at places on the x axis; none where None. line: connect them."""
    present = [(place, estimate) for place, estimate in zip(places, estimates, strict=True) if estimate]
    for place, estimate in present:
        axes.plot([place, place], [scale * estimate["low"], scale * estimate["high"]], color=color, lw=1.6, alpha=0.7)
    if present:
        values = [scale * estimate["value"] for _, estimate in present]
        axes.plot([place for place, _ in present], values, "o-" if line else "o", color=color, ms=4, lw=1, label=label)


def horizontal_dots(
    axes: Axes, labels: Sequence[str], estimates: Estimates, colors: Sequence[Any], scale: float
) -> None:
    """Dots with horizontal intervals, the first on top; none where None."""
    for place, (estimate, color) in enumerate(zip(estimates, colors, strict=True)):
        if estimate is not None:
            axes.plot([scale * estimate["low"], scale * estimate["high"]], [place, place], color=color, lw=2)
            axes.plot(scale * estimate["value"], place, "o", color=color, ms=5)
    axes.set_yticks(range(len(labels)), labels, fontsize=8)
    axes.set_ylim(len(labels) - 0.5, -0.5)


def heatmap(axes: Axes, values: Any, notes: Any, columns: Sequence[str], rows: Sequence[str], **named: Any) -> None:
    """A table of coloured cells with a note in each. named: of seaborn.heatmap."""
    seaborn.heatmap(values, annot=notes, cmap=BLUES, cbar=False, ax=axes, linewidths=1, **named)
    axes.set_xticklabels(columns, fontsize=7.5)
    axes.set_yticklabels(rows, rotation=0, fontsize=7.5)


def hide_empty(axes: Sequence[Axes]) -> None:
    for item in axes:
        item.set_visible(item.has_data())
