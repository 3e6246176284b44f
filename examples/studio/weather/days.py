"""Read daily weather observations and sum them up by month and year."""

import csv
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Day:
    """One day: temperatures in °C, precipitation in mm, wind in m/s."""

    date: date
    precipitation: float
    high: float
    low: float
    wind: float
    weather: str

    @property
    def mean(self) -> float:
        return (self.high + self.low) / 2


@dataclass(frozen=True, slots=True)
class Summary:
    """What a stretch of days came to."""

    days: int
    high: float
    low: float
    mean: float
    precipitation: float
    wet_days: int
    wind: float
    warmest: Day
    coldest: Day
    wettest: Day
    weather: Counter[str]


def read_days(path: Path) -> list[Day]:
    """Return the days of a CSV file in date order, or raise ValueError naming the bad line."""
    days: list[Day] = []
    with path.open(newline="", encoding="utf-8") as file:
        for line, row in enumerate(csv.DictReader(file), start=2):
            try:
                days.append(
                    Day(
                        date=date.fromisoformat(row["date"].replace("/", "-")),
                        precipitation=float(row["precipitation"]),
                        high=float(row["temp_max"]),
                        low=float(row["temp_min"]),
                        wind=float(row["wind"]),
                        weather=row["weather"],
                    )
                )
            except (KeyError, TypeError, ValueError) as error:
                raise ValueError(f"{path.name}, line {line}: {error}") from error
    if not days:
        raise ValueError(f"{path.name}: expected at least one day, found none")
    return sorted(days, key=lambda day: day.date)


def summarise(days: Sequence[Day]) -> Summary:
    """Sum up a stretch of at least one day."""
    count = len(days)
    return Summary(
        days=count,
        high=sum(day.high for day in days) / count,
        low=sum(day.low for day in days) / count,
        mean=sum(day.mean for day in days) / count,
        precipitation=sum(day.precipitation for day in days),
        wet_days=sum(day.precipitation >= 1.0 for day in days),
        wind=sum(day.wind for day in days) / count,
        warmest=max(days, key=lambda day: day.high),
        coldest=min(days, key=lambda day: day.low),
        wettest=max(days, key=lambda day: day.precipitation),
        weather=Counter(day.weather for day in days),
    )


def by_year(days: Iterable[Day]) -> dict[int, list[Day]]:
    """Group days by year."""
    groups: dict[int, list[Day]] = {}
    for day in days:
        groups.setdefault(day.date.year, []).append(day)
    return groups


def by_month(days: Iterable[Day]) -> dict[tuple[int, int], list[Day]]:
    """Group days by (year, month)."""
    groups: dict[tuple[int, int], list[Day]] = {}
    for day in days:
        groups.setdefault((day.date.year, day.date.month), []).append(day)
    return groups
