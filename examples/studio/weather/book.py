"""A weather report being drawn: its data, and the frame that every page shares."""

import io
import math
from collections.abc import Sequence
from datetime import date

from reportlab.lib.colors import Color
from reportlab.lib.pagesizes import A4
from reportlab.pdfgen.canvas import Canvas

from weather.charts import HAIRLINE, MONTHS, MUTED, Plot, legend, text
from weather.days import Day, Summary, by_month, by_year, summarise

WIDTH, HEIGHT = A4
LEFT, RIGHT = 56.0, WIDTH - 56.0
INNER = RIGHT - LEFT
GUTTER = LEFT + 32  # where the plots begin, right of their axis labels
FULL = tuple(date(2000, month, 1).strftime("%B") for month in range(1, 13))


def degrees(value: float) -> str:
    """Write a temperature."""
    return f"{value:.1f} °C".replace("-", "–")


def ceiling(value: float, step: int) -> int:
    """Round up to a whole number of steps, for the top of an axis."""
    return max(1, math.ceil(value / step)) * step


def on(day: date) -> str:
    """Write a date."""
    return f"{day.day} {MONTHS[day.month - 1]} {day.year}"


class Book:
    """A report being drawn, page by page, in memory."""

    def __init__(self, title: str, days: list[Day], source: str) -> None:
        self.title, self.days, self.source = title, days, source
        self.years = by_year(days)
        self.months = {key: summarise(group) for key, group in by_month(days).items()}
        self.total = summarise(days)
        self.span = f"{days[0].date.year}–{days[-1].date.year}"
        bottom, peak = -ceiling(-self.total.coldest.low, 10), ceiling(self.total.warmest.high, 10)
        self.extent, self.ticks = (bottom, peak), range(bottom, peak + 1, 10)
        self._file = io.BytesIO()
        # `invariant` leaves the time of day out, so that the same data give the same bytes.
        self.canvas = Canvas(self._file, pagesize=A4, invariant=1)
        self.canvas.setTitle(f"{title} {self.span}")
        self.canvas.setAuthor("Outlast studio example")
        self._page = 1

    def heading(self, kicker: str, heading: str, lead: str) -> float:
        canvas = self.canvas
        text(canvas, LEFT, HEIGHT - 40, f"{self.title}  ·  {self.span}", size=8, colour=MUTED)
        text(canvas, RIGHT, HEIGHT - 40, kicker.upper(), size=8, colour=MUTED, align="right")
        canvas.setStrokeColor(HAIRLINE)
        canvas.setLineWidth(0.6)
        canvas.line(LEFT, HEIGHT - 50, RIGHT, HEIGHT - 50)
        text(canvas, LEFT, HEIGHT - 92, heading, size=24, bold=True)
        text(canvas, LEFT, HEIGHT - 112, lead, size=10, colour=MUTED)
        canvas.line(LEFT, 48, RIGHT, 48)
        text(
            canvas,
            LEFT,
            34,
            f"Source: {self.source}, NOAA daily observations",
            size=7.5,
            colour=MUTED,
        )
        text(canvas, RIGHT, 34, str(self._page), size=8, bold=True, align="right")
        return HEIGHT - 140

    def caption(self, y: float, heading: str, entries: Sequence[tuple[str, Color]] = ()) -> None:
        text(self.canvas, LEFT, y, heading, size=11, bold=True)
        if entries:
            legend(self.canvas, RIGHT, y, entries)

    def turn(self) -> None:
        self.canvas.showPage()
        self._page += 1

    def normals(self) -> list[list[Summary]]:
        return [
            [one for (_, month), one in self.months.items() if month == wanted]
            for wanted in range(1, 13)
        ]

    def year_axis(self, plot: Plot) -> None:
        starts = [index for index, (_, month) in enumerate(self.months) if month == 1 or index == 0]
        plot.rules(starts)
        ends = [*starts[1:], len(self.months)]
        labels = [(start + end) / 2 for start, end in zip(starts, ends, strict=True)]
        plot.x_labels(
            [(x, str(year)) for x, year in zip(labels, self.years, strict=True)], bold=True
        )

    def finish(self) -> bytes:
        """Return the PDF."""
        self.canvas.save()
        return self._file.getvalue()
