"""Draw the weather report's charts, tables and cards on a PDF canvas."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from reportlab.lib.colors import Color, HexColor
from reportlab.pdfgen.canvas import Canvas

INK, MUTED, HAIRLINE, PANEL = (HexColor(c) for c in ("#14283C", "#667685", "#DDE4EA", "#F4F7F9"))
NAVY, WARM, COOL, RAIN, AMBER = (
    HexColor(c) for c in ("#0C2238", "#E0603F", "#3F86B5", "#2F6DB0", "#F0A93B")
)
WEATHER = {
    "sun": HexColor("#F0B64A"),
    "fog": HexColor("#A9B8C4"),
    "drizzle": HexColor("#84B9D8"),
    "rain": RAIN,
    "snow": HexColor("#7F7FB8"),
}
MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
# Blue through cream to red, as in the climate stripes.
_SCALE = tuple(
    HexColor(c)
    for c in ("#1D4E89", "#4F93C4", "#A9D2E6", "#F6E9C9", "#F3A95F", "#DB5A3C", "#9C2430")
)


def temperature_colour(celsius: float, coldest: float = -4.0, warmest: float = 27.0) -> Color:
    """Return the colour of a temperature on the scale from blue to red."""
    place = min(max((celsius - coldest) / (warmest - coldest), 0.0), 0.999) * (len(_SCALE) - 1)
    left, right, part = _SCALE[int(place)], _SCALE[int(place) + 1], place % 1
    mix = (a + (b - a) * part for a, b in zip(left.rgb(), right.rgb(), strict=True))
    return Color(*mix)


def tint(colour: Color, alpha: float) -> Color:
    """Return the colour, made transparent."""
    return Color(colour.red, colour.green, colour.blue, alpha=alpha)


def text(
    canvas: Canvas,
    x: float,
    y: float,
    words: str,
    *,
    size: float = 9,
    colour: Color = INK,
    bold: bool = False,
    align: str = "left",
) -> None:
    """Write one line of text whose baseline is at y."""
    canvas.setFont("Helvetica-Bold" if bold else "Helvetica", size)
    canvas.setFillColor(colour)
    draw = {
        "left": canvas.drawString,
        "right": canvas.drawRightString,
        "centre": canvas.drawCentredString,
    }[align]
    draw(x, y, words)


@dataclass(frozen=True, slots=True)
class Plot:
    """A rectangle of the page with a scale on each axis."""

    canvas: Canvas
    x: float
    y: float
    width: float
    height: float
    x_range: tuple[float, float]
    y_range: tuple[float, float]

    def at_x(self, value: float) -> float:
        low, high = self.x_range
        return self.x + (value - low) / (high - low) * self.width

    def at_y(self, value: float) -> float:
        low, high = self.y_range
        return self.y + (value - low) / (high - low) * self.height

    def y_axis(self, ticks: Sequence[float], unit: str = "") -> None:
        """Draw horizontal grid lines with their values at the left."""
        for index, tick in enumerate(ticks):
            level = self.at_y(tick)
            self.canvas.setStrokeColor(MUTED if tick == 0 else HAIRLINE)
            self.canvas.setLineWidth(0.6)
            self.canvas.line(self.x, level, self.x + self.width, level)
            label = f"{tick:g}{unit}" if index == len(ticks) - 1 else f"{tick:g}"
            text(
                self.canvas,
                self.x - 6,
                level - 2.6,
                label.replace("-", "–"),
                size=7.5,
                colour=MUTED,
                align="right",
            )

    def x_labels(
        self, labels: Sequence[tuple[float, str]], *, bold: bool = False, drop: float = 12
    ) -> None:
        for value, label in labels:
            text(
                self.canvas,
                self.at_x(value),
                self.y - drop,
                label,
                size=7.5,
                colour=INK if bold else MUTED,
                bold=bold,
                align="centre",
            )

    def rules(self, values: Sequence[float]) -> None:
        """Draw vertical hairlines, such as the borders of years."""
        self.canvas.setStrokeColor(HAIRLINE)
        self.canvas.setLineWidth(0.6)
        for value in values:
            self.canvas.line(self.at_x(value), self.y, self.at_x(value), self.y + self.height)

    def band(
        self, xs: Sequence[float], lows: Sequence[float], highs: Sequence[float], colour: Color
    ) -> None:
        """Fill the area between two curves."""
        path = self.canvas.beginPath()
        path.moveTo(self.at_x(xs[0]), self.at_y(lows[0]))
        for x, low in zip(xs[1:], lows[1:], strict=True):
            path.lineTo(self.at_x(x), self.at_y(low))
        for x, high in zip(reversed(xs), reversed(highs), strict=True):
            path.lineTo(self.at_x(x), self.at_y(high))
        path.close()
        self.canvas.setFillColor(colour)
        self.canvas.drawPath(path, stroke=0, fill=1)

    def line(
        self, xs: Sequence[float], ys: Sequence[float], colour: Color, width: float = 1.4
    ) -> None:
        path = self.canvas.beginPath()
        path.moveTo(self.at_x(xs[0]), self.at_y(ys[0]))
        for x, y in zip(xs[1:], ys[1:], strict=True):
            path.lineTo(self.at_x(x), self.at_y(y))
        self.canvas.setStrokeColor(colour)
        self.canvas.setLineWidth(width)
        self.canvas.setLineJoin(1)
        self.canvas.drawPath(path, stroke=1, fill=0)

    def bar(
        self, centre: float, low: float, high: float, width: float, colour: Color, radius: float = 0
    ) -> None:
        """Draw an upright bar; the width is in units of the x axis."""
        left, right = self.at_x(centre - width / 2), self.at_x(centre + width / 2)
        bottom, top = self.at_y(low), self.at_y(high)
        self.canvas.setFillColor(colour)
        if radius and top - bottom > 2 * radius:
            self.canvas.roundRect(
                left, bottom, right - left, top - bottom, radius, stroke=0, fill=1
            )
        else:
            self.canvas.rect(left, bottom, right - left, top - bottom, stroke=0, fill=1)

    def mark(self, x: float, y: float, words: str, colour: Color, *, above: bool = True) -> None:
        """Draw a dot with a label, kept inside the plot."""
        left, level = self.at_x(x), self.at_y(y)
        self.canvas.setFillColor(colour)
        self.canvas.setStrokeColor(HexColor("#FFFFFF"))
        self.canvas.setLineWidth(1)
        self.canvas.circle(left, level, 3, stroke=1, fill=1)
        half = self.canvas.stringWidth(words, "Helvetica-Bold", 7.5) / 2
        middle = min(max(left, self.x + half), self.x + self.width - half)
        text(
            self.canvas,
            middle,
            level + (6 if above else -12),
            words,
            size=7.5,
            colour=colour,
            bold=True,
            align="centre",
        )


def legend(canvas: Canvas, right: float, y: float, entries: Sequence[tuple[str, Color]]) -> None:
    """Write a legend that ends at the right edge."""
    for label, colour in reversed(entries):
        text(canvas, right, y, label, size=8, colour=MUTED, align="right")
        right -= canvas.stringWidth(label, "Helvetica", 8) + 12
        canvas.setFillColor(colour)
        canvas.roundRect(right, y - 0.8, 8, 8, 2, stroke=0, fill=1)
        right -= 14


def card(
    canvas: Canvas,
    x: float,
    y: float,
    width: float,
    height: float,
    words: tuple[str, str, str],
    accent: Color,
) -> None:
    """Draw a key figure on a panel; the words are its label, its value and a note."""
    label, value, note = words
    canvas.setFillColor(PANEL)
    canvas.roundRect(x, y, width, height, 5, stroke=0, fill=1)
    canvas.setFillColor(accent)
    canvas.roundRect(x, y, 3.5, height, 1.7, stroke=0, fill=1)
    text(canvas, x + 15, y + height - 20, label, size=8, colour=MUTED)
    text(canvas, x + 15, y + height - 45, value, size=21, bold=True)
    text(canvas, x + 15, y + 12, note, size=8, colour=MUTED)


def table(
    canvas: Canvas,
    x: float,
    y: float,
    widths: Sequence[float],
    rows: Sequence[Sequence[str]],
    *,
    row_height: float = 17,
    total: bool = False,
    fill: Callable[[int, int], Color | None] | None = None,
) -> float:
    """Draw a table downwards from y and return where it ended.

    The first row is the head; `total` sets off the last.
    """
    full = sum(widths)
    for row, cells in enumerate(rows):
        y -= row_height
        head, last = row == 0, total and row == len(rows) - 1
        if last:
            canvas.setFillColor(PANEL)
            canvas.rect(x, y, full, row_height, stroke=0, fill=1)
        left = x
        for column, (cell, width) in enumerate(zip(cells, widths, strict=True)):
            colour = None if head or last or fill is None else fill(row, column)
            if colour is not None:
                canvas.setFillColor(colour)
                canvas.roundRect(left + width - 50, y + 2, 50, row_height - 4, 3, stroke=0, fill=1)
            align, at = ("left", left + 6) if column == 0 else ("right", left + width - 8)
            text(
                canvas,
                at,
                y + row_height / 2 - 3,
                cell,
                size=8.2,
                colour=MUTED if head else INK,
                bold=head or last or column == 0,
                align=align,
            )
            left += width
        canvas.setStrokeColor(INK if head else HAIRLINE)
        canvas.setLineWidth(0.9 if head else 0.5)
        canvas.line(x, y, x + full, y)
    return y
