"""The pages of the weather report."""

import io
import math
from collections.abc import Callable
from datetime import date
from functools import partial

from reportlab.lib.colors import Color, HexColor
from reportlab.lib.pagesizes import A4
from reportlab.pdfgen.canvas import Canvas

from report_charts import AMBER, COOL, HAIRLINE, INK, MONTHS, MUTED, NAVY, RAIN, WARM, WEATHER
from report_charts import Plot, card, legend, table, temperature_colour, text, tint
from weather import Day, Summary, by_month, by_year, summarise

WIDTH, HEIGHT = A4
LEFT, RIGHT = 56.0, WIDTH - 56.0
INNER = RIGHT - LEFT
GUTTER = LEFT + 32  # where the plots begin, right of their axis labels
FULL = tuple(date(2000, month, 1).strftime("%B") for month in range(1, 13))
WHITE = HexColor("#FFFFFF")
PALE = HexColor("#B9CBDA")


def degrees(value: float) -> str:
    return f"{value:.1f} °C".replace("-", "–")


def ceiling(value: float, step: int) -> int:
    """Round up to a whole number of steps, for the top of an axis."""
    return max(1, math.ceil(value / step)) * step


def on(day: date) -> str:
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
        self._extent, self._ticks = (bottom, peak), range(bottom, peak + 1, 10)
        self._file = io.BytesIO()
        # `invariant` leaves the time of day out, so that the same data give the same bytes.
        self._canvas = Canvas(self._file, pagesize=A4, invariant=1)
        self._canvas.setTitle(f"{title} {self.span}")
        self._canvas.setAuthor("Outlast studio example")
        self._page = 1

    def pages(self) -> list[tuple[str, Callable[[], None]]]:
        """Return each page's name and the call that draws it, in order."""
        fixed = [
            ("the title page", self._cover),
            ("the summary", self._summary),
            ("temperature", self._temperature),
            ("precipitation", self._precipitation),
        ]
        years = [(str(year), partial(self._year, year)) for year in self.years]
        return [*fixed, *years, ("records", self._records)]

    def finish(self) -> bytes:
        """Return the PDF."""
        self._canvas.save()
        return self._file.getvalue()

    def _turn(self) -> None:
        self._canvas.showPage()
        self._page += 1

    def _heading(self, kicker: str, heading: str, lead: str) -> float:
        canvas = self._canvas
        text(canvas, LEFT, HEIGHT - 40, f"{self.title}  ·  {self.span}", size=8, colour=MUTED)
        text(canvas, RIGHT, HEIGHT - 40, kicker.upper(), size=8, colour=MUTED, align="right")
        canvas.setStrokeColor(HAIRLINE)
        canvas.setLineWidth(0.6)
        canvas.line(LEFT, HEIGHT - 50, RIGHT, HEIGHT - 50)
        text(canvas, LEFT, HEIGHT - 92, heading, size=24, bold=True)
        text(canvas, LEFT, HEIGHT - 112, lead, size=10, colour=MUTED)
        canvas.line(LEFT, 48, RIGHT, 48)
        text(canvas, LEFT, 34, f"Source: {self.source}, NOAA daily observations", size=7.5, colour=MUTED)
        text(canvas, RIGHT, 34, str(self._page), size=8, bold=True, align="right")
        return HEIGHT - 140

    def _caption(self, y: float, heading: str, entries: list[tuple[str, Color]] | None = None) -> None:
        text(self._canvas, LEFT, y, heading, size=11, bold=True)
        if entries:
            legend(self._canvas, RIGHT, y, entries)

    def _cover(self) -> None:
        canvas, total = self._canvas, self.total
        canvas.setFillColor(NAVY)
        canvas.rect(0, 0, WIDTH, HEIGHT, stroke=0, fill=1)
        bottom, height, step = 300.0, 250.0, WIDTH / len(self.days)
        for index, day in enumerate(self.days):
            canvas.setFillColor(temperature_colour(day.mean))
            # Wider than the step, so that viewers show no seams between the stripes.
            canvas.rect(index * step, bottom, step + 0.6, height, stroke=0, fill=1)
        for index, year in enumerate(self.years):
            left = index * WIDTH / len(self.years)
            text(canvas, left + 12, bottom - 18, str(year), size=9, colour=PALE)
        text(canvas, LEFT, HEIGHT - 150, self.title, size=46, colour=WHITE, bold=True)
        text(canvas, LEFT, HEIGHT - 182, f"Daily observations, {on(self.days[0].date)} to {on(self.days[-1].date)}", size=14, colour=PALE)
        canvas.setFillColor(AMBER)
        canvas.rect(LEFT, HEIGHT - 90, 44, 4, stroke=0, fill=1)
        facts = [
            (f"{total.days:,}", "days observed"),
            (degrees(total.mean), "mean temperature"),
            (f"{total.precipitation / len(self.years):,.0f} mm", "precipitation a year"),
            (f"{total.wet_days / total.days:.0%}", "wet days"),
        ]
        for index, (value, label) in enumerate(facts):
            left = LEFT + index * (INNER + 40) / 4
            text(canvas, left, 190, value, size=19, colour=WHITE, bold=True)
            text(canvas, left, 172, label, size=9, colour=PALE)
        text(canvas, LEFT, 92, "Each stripe is one day, coloured by its mean temperature.", size=9, colour=PALE)
        text(canvas, LEFT, 60, f"Drawn from {self.source} (NOAA, public domain) by the Outlast studio example.", size=9, colour=PALE)
        self._turn()

    def _summary(self) -> None:
        canvas, total = self._canvas, self.total
        top = self._heading("Summary", "Four years at a glance" if len(self.years) == 4 else "At a glance", "The extremes, the years side by side, and what the sky did.")
        cards = [
            ("Warmest day", degrees(total.warmest.high), on(total.warmest.date), WARM),
            ("Coldest night", degrees(total.coldest.low), on(total.coldest.date), COOL),
            ("Wettest day", f"{total.wettest.precipitation:.1f} mm", on(total.wettest.date), RAIN),
        ]
        width = (INNER - 24) / 3
        for index, (label, value, note, accent) in enumerate(cards):
            card(canvas, LEFT + index * (width + 12), top - 74, width, 74, label, value, note, accent)
        self._caption(top - 116, "Year by year")
        end = table(canvas, LEFT, top - 124, [66, 70, 70, 70, 77, 60, 70.3], self._year_rows(), row_height=24, total=True)
        self._caption(end - 50, "Days by weather", [(name.capitalize(), colour) for name, colour in WEATHER.items()])
        y = end - 104
        for year, days in self.years.items():
            self._weather_bar(y, str(year), summarise(days))
            y -= 46
        self._turn()

    def _year_rows(self) -> list[list[str]]:
        rows = [["Year", "Mean high", "Mean low", "Warmest", "Precipitation", "Wet days", "Mean wind"]]
        groups = [(str(year), summarise(days)) for year, days in self.years.items()]
        for name, one in [*groups, ("All", self.total)]:
            rows.append(
                [name, degrees(one.high), degrees(one.low), degrees(one.warmest.high), f"{one.precipitation:,.0f} mm", str(one.wet_days), f"{one.wind:.1f} m/s"]
            )
        return rows

    def _weather_bar(self, y: float, label: str, one: Summary) -> None:
        canvas, left, full = self._canvas, LEFT + 40, INNER - 40
        text(canvas, LEFT, y + 10, label, size=9, bold=True)
        for name, colour in WEATHER.items():
            width = one.weather[name] / one.days * full
            canvas.setFillColor(colour)
            canvas.rect(left, y, width, 28, stroke=0, fill=1)
            if width > 22:
                ink = WHITE if name in ("rain", "snow") else INK
                text(canvas, left + width / 2, y + 11, str(one.weather[name]), size=8, colour=ink, bold=True, align="centre")
            left += width

    def _normals(self) -> list[list[Summary]]:
        return [[one for (_, month), one in self.months.items() if month == wanted] for wanted in range(1, 13)]

    def _temperature(self) -> None:
        normal = [sum(one.mean for one in ones) / len(ones) if ones else math.nan for ones in self._normals()]
        warm, cold = normal.index(max(normal)), normal.index(min(normal))
        lead = f"{FULL[warm]} is the warmest month ({degrees(normal[warm])}), {FULL[cold]} the coldest ({degrees(normal[cold])})."
        top = self._heading("Temperature", "Temperature", lead)
        self._caption(top - 8, "The average year, month by month", [("Mean low to mean high", AMBER), ("Extremes", HAIRLINE)])
        plot = Plot(self._canvas, GUTTER, top - 248, RIGHT - GUTTER, 216, (0.4, 12.6), self._extent)
        plot.y_axis(self._ticks, " °C")
        for month, ones in enumerate(self._normals(), start=1):
            if not ones:
                continue
            plot.bar(month, min(o.coldest.low for o in ones), max(o.warmest.high for o in ones), 0.16, HexColor("#CFD8E0"), radius=2)
            low, high = sum(o.low for o in ones) / len(ones), sum(o.high for o in ones) / len(ones)
            plot.bar(month, low, high, 0.5, temperature_colour((low + high) / 2, 0, 24), radius=4)
            text(self._canvas, plot.at_x(month), plot.at_y(high) + 4, f"{high:.0f}", size=7.5, bold=True, align="centre")
        plot.x_labels([(month, name) for month, name in enumerate(MONTHS, start=1)])
        self._caption(top - 316, "Monthly mean high and low", [("Mean high", WARM), ("Mean low", COOL)])
        ones = list(self.months.values())
        xs = [index + 0.5 for index in range(len(ones))]
        plot = Plot(self._canvas, GUTTER, top - 556, RIGHT - GUTTER, 216, (0, len(ones)), self._extent)
        self._year_axis(plot)
        plot.y_axis(self._ticks, " °C")
        plot.band(xs, [o.low for o in ones], [o.high for o in ones], tint(AMBER, 0.22))
        plot.line(xs, [o.high for o in ones], WARM, 1.8)
        plot.line(xs, [o.low for o in ones], COOL, 1.8)
        peak = max(range(len(ones)), key=lambda index: ones[index].high)
        plot.mark(xs[peak], ones[peak].high, degrees(ones[peak].high), WARM)
        dip = min(range(len(ones)), key=lambda index: ones[index].low)
        plot.mark(xs[dip], ones[dip].low, degrees(ones[dip].low), COOL, above=False)
        self._turn()

    def _year_axis(self, plot: Plot) -> None:
        starts = [index for index, (_, month) in enumerate(self.months) if month == 1 or index == 0]
        plot.rules(starts)
        ends = [*starts[1:], len(self.months)]
        labels = [(start + end) / 2 for start, end in zip(starts, ends, strict=True)]
        plot.x_labels([(x, str(year)) for x, year in zip(labels, self.years, strict=True)], bold=True)

    def _precipitation(self) -> None:
        share = [sum(one.precipitation for one in ones) / self.total.precipitation for ones in self._normals()]
        wet, dry = share.index(max(share)), share.index(min(share))
        lead = f"{FULL[wet]} brings {share[wet]:.0%} of a year's precipitation, {FULL[dry]} {share[dry]:.0%}."
        top = self._heading("Precipitation", "Precipitation", lead)
        highest = ceiling(max(one.precipitation for one in self.months.values()), 50)
        self._caption(top - 8, "The average year, month by month", [("Mean", RAIN), ("Driest to wettest", INK)])
        plot = Plot(self._canvas, GUTTER, top - 248, RIGHT - GUTTER, 216, (0.4, 12.6), (0, highest))
        plot.y_axis(range(0, highest + 1, 50), " mm")
        for month, ones in enumerate(self._normals(), start=1):
            if not ones:
                continue
            sums = [one.precipitation for one in ones]
            mean = sum(sums) / len(sums)
            plot.bar(month, 0, mean, 0.56, tint(RAIN, 0.85))
            plot.bar(month, min(sums), max(sums), 0.05, INK)
            for end in (min(sums), max(sums)):
                plot.line([month - 0.1, month + 0.1], [end, end], INK, 1.1)
        plot.x_labels([(month, name) for month, name in enumerate(MONTHS, start=1)])
        self._caption(top - 316, "Monthly total", [("Above 150 mm", RAIN), ("Below", HexColor("#9CC3E4"))])
        ones = list(self.months.values())
        plot = Plot(self._canvas, GUTTER, top - 556, RIGHT - GUTTER, 216, (0, len(ones)), (0, highest))
        self._year_axis(plot)
        plot.y_axis(range(0, highest + 1, 50), " mm")
        for index, one in enumerate(ones):
            plot.bar(index + 0.5, 0, one.precipitation, 0.74, RAIN if one.precipitation > 150 else HexColor("#9CC3E4"))
        self._turn()

    def _year(self, year: int) -> None:
        days, one = self.years[year], summarise(self.years[year])
        top = self._heading(str(year), str(year), f"{degrees(one.mean)} on average, {one.precipitation:,.0f} mm of precipitation, {one.wet_days} wet days.")
        xs = [day.date.timetuple().tm_yday - 0.5 for day in days]
        starts = [date(year, month, 1).timetuple().tm_yday - 1 for month in range(1, 13)]
        self._caption(top - 8, "Daily high and low", [("High", WARM), ("Low", COOL)])
        plot = Plot(self._canvas, GUTTER, top - 170, RIGHT - GUTTER, 145, (0, 366), self._extent)
        plot.rules(starts)
        plot.y_axis(self._ticks, " °C")
        plot.band(xs, [day.low for day in days], [day.high for day in days], tint(AMBER, 0.25))
        plot.line(xs, [day.high for day in days], WARM, 0.9)
        plot.line(xs, [day.low for day in days], COOL, 0.9)
        self._caption(top - 206, "Daily precipitation")
        highest = ceiling(self.total.wettest.precipitation, 20)
        rain = Plot(self._canvas, GUTTER, top - 295, RIGHT - GUTTER, 72, (0, 366), (0, highest))
        rain.rules(starts)
        rain.y_axis(range(0, highest + 1, 20), " mm")
        for x, day in zip(xs, days, strict=True):
            if day.precipitation:
                rain.bar(x, 0, day.precipitation, 1.1, RAIN)
        rain.x_labels([(start + 15, name) for start, name in zip(starts, MONTHS, strict=True)])
        rows, heat = self._month_rows(year)
        table(
            self._canvas, LEFT, top - 332, [84, 80, 80, 80, 89, 70.3], rows, row_height=20, total=True,
            fill=lambda row, column: heat[row - 1] if column == 1 else None,
        )
        self._turn()

    def _month_rows(self, year: int) -> tuple[list[list[str]], list[Color]]:
        rows, heat = [["Month", "Mean high", "Mean low", "Warmest", "Precipitation", "Wet days"]], []
        groups = [(MONTHS[month - 1], one) for (of, month), one in self.months.items() if of == year]
        for name, one in [*groups, ("Year", summarise(self.years[year]))]:
            rows.append([name, degrees(one.high), degrees(one.low), degrees(one.warmest.high), f"{one.precipitation:,.0f} mm", str(one.wet_days)])
            heat.append(tint(temperature_colour(one.mean, 0, 24), 0.55))
        return rows, heat

    def _records(self) -> None:
        top = self._heading("Records", "Records", "The ten most remarkable days of each kind.")
        kinds = [
            ("Warmest days", WARM, sorted(self.days, key=lambda day: -day.high), lambda day: degrees(day.high)),
            ("Coldest nights", COOL, sorted(self.days, key=lambda day: day.low), lambda day: degrees(day.low)),
            ("Wettest days", RAIN, sorted(self.days, key=lambda day: -day.precipitation), lambda day: f"{day.precipitation:.1f} mm"),
            ("Windiest days", AMBER, sorted(self.days, key=lambda day: -day.wind), lambda day: f"{day.wind:.1f} m/s"),
        ]
        width = (INNER - 28) / 2
        for index, (heading, accent, days, show) in enumerate(kinds):
            left, y = LEFT + index % 2 * (width + 28), top - 8 - index // 2 * 272
            self._canvas.setFillColor(accent)
            self._canvas.roundRect(left, y - 1, 9, 9, 2, stroke=0, fill=1)
            text(self._canvas, left + 16, y, heading, size=11, bold=True)
            rows = [["Day", "Weather", "Value"], *([on(day.date), day.weather, show(day)] for day in days[:10])]
            table(self._canvas, left, y - 8, [width * 0.42, width * 0.27, width * 0.31], rows, row_height=19)
        y = top - 566
        text(self._canvas, LEFT, y, "How to read this report", size=11, bold=True)
        for index, line in enumerate(
            (
                "A wet day has at least 1 mm of precipitation. Means of high and low are of the daily values; a day's mean is halfway",
                "between its high and its low. Averages over months weigh each year alike. Temperatures are in degrees Celsius.",
            )
        ):
            text(self._canvas, LEFT, y - 18 - index * 13, line, size=8.5, colour=MUTED)
        self._turn()
