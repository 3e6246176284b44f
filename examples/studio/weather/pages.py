"""The pages of the weather report."""

from collections.abc import Callable
from datetime import date
from functools import partial

from reportlab.lib.colors import Color, HexColor

from weather.book import FULL, GUTTER, HEIGHT, INNER, LEFT, RIGHT, WIDTH, Book, ceiling, degrees, on
from weather.charts import (
    AMBER,
    COOL,
    INK,
    MONTHS,
    MUTED,
    NAVY,
    RAIN,
    WARM,
    WEATHER,
    Plot,
    card,
    table,
    temperature_colour,
    text,
    tint,
)
from weather.days import Day, Summary, summarise

WHITE = HexColor("#FFFFFF")
PALE = HexColor("#B9CBDA")
GREY = HexColor("#CFD8E0")
SKY = HexColor("#9CC3E4")
NOTES = (
    "A wet day has at least 1 mm of precipitation. A day's mean temperature is halfway between its",
    "high and its low. Averages over months weigh each year alike. Temperatures are in °C.",
)


def pages(book: Book) -> list[tuple[str, Callable[[], None]]]:
    """Return each page's name and the call that draws it, in order."""
    draw: dict[str, Callable[[Book], None]] = {
        "the title page": _cover,
        "the summary": _summary,
        "temperature": _temperature,
        "precipitation": _precipitation,
        **{str(year): partial(_year, year=year) for year in book.years},
        "records": _records,
    }
    return [(name, partial(page, book)) for name, page in draw.items()]


def _cover(book: Book) -> None:
    canvas, total = book.canvas, book.total
    canvas.setFillColor(NAVY)
    canvas.rect(0, 0, WIDTH, HEIGHT, stroke=0, fill=1)
    bottom, height, step = 300.0, 250.0, WIDTH / len(book.days)
    for index, day in enumerate(book.days):
        canvas.setFillColor(temperature_colour(day.mean))
        # Wider than the step, so that viewers show no seams between the stripes.
        canvas.rect(index * step, bottom, step + 0.6, height, stroke=0, fill=1)
    for index, year in enumerate(book.years):
        left = index * WIDTH / len(book.years)
        text(canvas, left + 12, bottom - 18, str(year), size=9, colour=PALE)
    text(canvas, LEFT, HEIGHT - 150, book.title, size=46, colour=WHITE, bold=True)
    text(
        canvas,
        LEFT,
        HEIGHT - 182,
        f"Daily observations, {on(book.days[0].date)} to {on(book.days[-1].date)}",
        size=14,
        colour=PALE,
    )
    canvas.setFillColor(AMBER)
    canvas.rect(LEFT, HEIGHT - 90, 44, 4, stroke=0, fill=1)
    facts = [
        (f"{total.days:,}", "days observed"),
        (degrees(total.mean), "mean temperature"),
        (f"{total.precipitation / len(book.years):,.0f} mm", "precipitation a year"),
        (f"{total.wet_days / total.days:.0%}", "wet days"),
    ]
    for index, (value, label) in enumerate(facts):
        left = LEFT + index * (INNER + 40) / 4
        text(canvas, left, 190, value, size=19, colour=WHITE, bold=True)
        text(canvas, left, 172, label, size=9, colour=PALE)
    text(
        canvas,
        LEFT,
        92,
        "Each stripe is one day, coloured by its mean temperature.",
        size=9,
        colour=PALE,
    )
    text(
        canvas,
        LEFT,
        60,
        f"Drawn from {book.source} (NOAA, public domain) by the Outlast studio example.",
        size=9,
        colour=PALE,
    )
    book.turn()


def _summary(book: Book) -> None:
    canvas, total = book.canvas, book.total
    top = book.heading(
        "Summary",
        "Four years at a glance" if len(book.years) == 4 else "At a glance",
        "The extremes, the years side by side, and what the sky did.",
    )
    cards = [
        ("Warmest day", degrees(total.warmest.high), on(total.warmest.date), WARM),
        ("Coldest night", degrees(total.coldest.low), on(total.coldest.date), COOL),
        ("Wettest day", f"{total.wettest.precipitation:.1f} mm", on(total.wettest.date), RAIN),
    ]
    width = (INNER - 24) / 3
    for index, (label, value, note, accent) in enumerate(cards):
        card(canvas, LEFT + index * (width + 12), top - 74, width, 74, (label, value, note), accent)
    book.caption(top - 116, "Year by year")
    end = table(
        canvas,
        LEFT,
        top - 124,
        [66, 70, 70, 70, 77, 60, 70.3],
        _year_rows(book),
        row_height=24,
        total=True,
    )
    book.caption(
        end - 50,
        "Days by weather",
        [(name.capitalize(), colour) for name, colour in WEATHER.items()],
    )
    y = end - 104
    for year, days in book.years.items():
        _weather_bar(book, y, str(year), summarise(days))
        y -= 46
    book.turn()


def _year_rows(book: Book) -> list[list[str]]:
    rows = [["Year", "Mean high", "Mean low", "Warmest", "Precipitation", "Wet days", "Mean wind"]]
    groups = [(str(year), summarise(days)) for year, days in book.years.items()]
    for name, one in [*groups, ("All", book.total)]:
        rows.append(
            [
                name,
                degrees(one.high),
                degrees(one.low),
                degrees(one.warmest.high),
                f"{one.precipitation:,.0f} mm",
                str(one.wet_days),
                f"{one.wind:.1f} m/s",
            ]
        )
    return rows


def _weather_bar(book: Book, y: float, label: str, one: Summary) -> None:
    canvas, left, full = book.canvas, LEFT + 40, INNER - 40
    text(canvas, LEFT, y + 10, label, size=9, bold=True)
    for name, colour in WEATHER.items():
        width = one.weather[name] / one.days * full
        canvas.setFillColor(colour)
        canvas.rect(left, y, width, 28, stroke=0, fill=1)
        if width > 22:
            ink = WHITE if name in ("rain", "snow") else INK
            text(
                canvas,
                left + width / 2,
                y + 11,
                str(one.weather[name]),
                size=8,
                colour=ink,
                bold=True,
                align="centre",
            )
        left += width


def _temperature(book: Book) -> None:
    normal = {
        month: sum(one.mean for one in ones) / len(ones)
        for month, ones in enumerate(book.normals())
        if ones
    }
    warm, cold = max(normal, key=normal.__getitem__), min(normal, key=normal.__getitem__)
    lead = (
        f"{FULL[warm]} is the warmest month ({degrees(normal[warm])}), "
        f"{FULL[cold]} the coldest ({degrees(normal[cold])})."
    )
    top = book.heading("Temperature", "Temperature", lead)
    book.caption(
        top - 8,
        "The average year, month by month",
        [("Mean low to mean high", AMBER), ("Extremes", GREY)],
    )
    plot = Plot(book.canvas, GUTTER, top - 248, RIGHT - GUTTER, 216, (0.4, 12.6), book.extent)
    plot.y_axis(book.ticks, " °C")
    for month, ones in enumerate(book.normals(), start=1):
        if not ones:
            continue
        plot.bar(
            month,
            min(o.coldest.low for o in ones),
            max(o.warmest.high for o in ones),
            0.16,
            GREY,
            radius=2,
        )
        low, high = sum(o.low for o in ones) / len(ones), sum(o.high for o in ones) / len(ones)
        plot.bar(month, low, high, 0.5, temperature_colour((low + high) / 2, 0, 24), radius=4)
        text(
            book.canvas,
            plot.at_x(month),
            plot.at_y(high) + 4,
            f"{high:.0f}",
            size=7.5,
            bold=True,
            align="centre",
        )
    plot.x_labels([(month, name) for month, name in enumerate(MONTHS, start=1)])
    book.caption(top - 316, "Monthly mean high and low", [("Mean high", WARM), ("Mean low", COOL)])
    ones = list(book.months.values())
    xs = [index + 0.5 for index in range(len(ones))]
    plot = Plot(book.canvas, GUTTER, top - 556, RIGHT - GUTTER, 216, (0, len(ones)), book.extent)
    book.year_axis(plot)
    plot.y_axis(book.ticks, " °C")
    plot.band(xs, [o.low for o in ones], [o.high for o in ones], tint(AMBER, 0.22))
    plot.line(xs, [o.high for o in ones], WARM, 1.8)
    plot.line(xs, [o.low for o in ones], COOL, 1.8)
    peak = max(range(len(ones)), key=lambda index: ones[index].high)
    plot.mark(xs[peak], ones[peak].high, degrees(ones[peak].high), WARM)
    dip = min(range(len(ones)), key=lambda index: ones[index].low)
    plot.mark(xs[dip], ones[dip].low, degrees(ones[dip].low), COOL, above=False)
    book.turn()


def _precipitation(book: Book) -> None:
    rain = {
        month: sum(one.precipitation for one in ones)
        for month, ones in enumerate(book.normals())
        if ones
    }
    wet, dry = max(rain, key=rain.__getitem__), min(rain, key=rain.__getitem__)
    total = book.total.precipitation or 1.0  # a dry record: each month's share of nothing is 0
    lead = (
        f"{FULL[wet]} brings {rain[wet] / total:.0%} of a year's precipitation, "
        f"{FULL[dry]} {rain[dry] / total:.0%}."
    )
    top = book.heading("Precipitation", "Precipitation", lead)
    highest = ceiling(max(one.precipitation for one in book.months.values()), 50)
    book.caption(
        top - 8,
        "The average year, month by month",
        [("Mean", RAIN), ("Driest to wettest", INK)],
    )
    plot = Plot(book.canvas, GUTTER, top - 248, RIGHT - GUTTER, 216, (0.4, 12.6), (0, highest))
    plot.y_axis(range(0, highest + 1, 50), " mm")
    for month, ones in enumerate(book.normals(), start=1):
        if not ones:
            continue
        sums = [one.precipitation for one in ones]
        mean = sum(sums) / len(sums)
        plot.bar(month, 0, mean, 0.56, tint(RAIN, 0.85))
        plot.bar(month, min(sums), max(sums), 0.05, INK)
        for end in (min(sums), max(sums)):
            plot.line([month - 0.1, month + 0.1], [end, end], INK, 1.1)
    plot.x_labels([(month, name) for month, name in enumerate(MONTHS, start=1)])
    book.caption(top - 316, "Monthly total", [("Above 150 mm", RAIN), ("Below", SKY)])
    ones = list(book.months.values())
    plot = Plot(book.canvas, GUTTER, top - 556, RIGHT - GUTTER, 216, (0, len(ones)), (0, highest))
    book.year_axis(plot)
    plot.y_axis(range(0, highest + 1, 50), " mm")
    for index, one in enumerate(ones):
        plot.bar(
            index + 0.5,
            0,
            one.precipitation,
            0.74,
            RAIN if one.precipitation > 150 else SKY,
        )
    book.turn()


def _year(book: Book, year: int) -> None:
    days, one = book.years[year], summarise(book.years[year])
    top = book.heading(
        str(year),
        str(year),
        f"{degrees(one.mean)} on average, {one.precipitation:,.0f} mm of precipitation, "
        f"{one.wet_days} wet days.",
    )
    xs = [day.date.timetuple().tm_yday - 0.5 for day in days]
    starts = [date(year, month, 1).timetuple().tm_yday - 1 for month in range(1, 13)]
    book.caption(top - 8, "Daily high and low", [("High", WARM), ("Low", COOL)])
    plot = Plot(book.canvas, GUTTER, top - 170, RIGHT - GUTTER, 145, (0, 366), book.extent)
    plot.rules(starts)
    plot.y_axis(book.ticks, " °C")
    plot.band(xs, [day.low for day in days], [day.high for day in days], tint(AMBER, 0.25))
    plot.line(xs, [day.high for day in days], WARM, 0.9)
    plot.line(xs, [day.low for day in days], COOL, 0.9)
    book.caption(top - 206, "Daily precipitation")
    highest = ceiling(book.total.wettest.precipitation, 20)
    rain = Plot(book.canvas, GUTTER, top - 295, RIGHT - GUTTER, 72, (0, 366), (0, highest))
    rain.rules(starts)
    rain.y_axis(range(0, highest + 1, 20), " mm")
    for x, day in zip(xs, days, strict=True):
        if day.precipitation:
            rain.bar(x, 0, day.precipitation, 1.1, RAIN)
    rain.x_labels([(start + 15, name) for start, name in zip(starts, MONTHS, strict=True)])
    rows, heat = _month_rows(book, year)
    table(
        book.canvas,
        LEFT,
        top - 332,
        [84, 80, 80, 80, 89, 70.3],
        rows,
        row_height=20,
        total=True,
        fill=lambda row, column: heat[row - 1] if column == 1 else None,
    )
    book.turn()


def _month_rows(book: Book, year: int) -> tuple[list[list[str]], list[Color]]:
    rows, heat = (
        [["Month", "Mean high", "Mean low", "Warmest", "Precipitation", "Wet days"]],
        [],
    )
    groups = [(MONTHS[month - 1], one) for (of, month), one in book.months.items() if of == year]
    for name, one in [*groups, ("Year", summarise(book.years[year]))]:
        rows.append(
            [
                name,
                degrees(one.high),
                degrees(one.low),
                degrees(one.warmest.high),
                f"{one.precipitation:,.0f} mm",
                str(one.wet_days),
            ]
        )
        heat.append(tint(temperature_colour(one.mean, 0, 24), 0.55))
    return rows, heat


def _records(book: Book) -> None:
    top = book.heading("Records", "Records", "The ten most remarkable days of each kind.")
    kinds: list[tuple[str, Color, list[Day], Callable[[Day], str]]] = [
        (
            "Warmest days",
            WARM,
            sorted(book.days, key=lambda day: -day.high),
            lambda day: degrees(day.high),
        ),
        (
            "Coldest nights",
            COOL,
            sorted(book.days, key=lambda day: day.low),
            lambda day: degrees(day.low),
        ),
        (
            "Wettest days",
            RAIN,
            sorted(book.days, key=lambda day: -day.precipitation),
            lambda day: f"{day.precipitation:.1f} mm",
        ),
        (
            "Windiest days",
            AMBER,
            sorted(book.days, key=lambda day: -day.wind),
            lambda day: f"{day.wind:.1f} m/s",
        ),
    ]
    width = (INNER - 28) / 2
    for index, (heading, accent, days, show) in enumerate(kinds):
        left, y = LEFT + index % 2 * (width + 28), top - 8 - index // 2 * 272
        book.canvas.setFillColor(accent)
        book.canvas.roundRect(left, y - 1, 9, 9, 2, stroke=0, fill=1)
        text(book.canvas, left + 16, y, heading, size=11, bold=True)
        rows = [
            ["Day", "Weather", "Value"],
            *([on(day.date), day.weather, show(day)] for day in days[:10]),
        ]
        table(
            book.canvas,
            left,
            y - 8,
            [width * 0.42, width * 0.27, width * 0.31],
            rows,
            row_height=19,
        )
    y = top - 566
    text(book.canvas, LEFT, y, "How to read this report", size=11, bold=True)
    for index, line in enumerate(NOTES):
        text(book.canvas, LEFT, y - 18 - index * 13, line, size=8.5, colour=MUTED)
    book.turn()
