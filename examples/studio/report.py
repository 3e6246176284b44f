"""Draw a multi-page PDF weather report from a CSV file of daily observations."""

from dataclasses import dataclass
from pathlib import Path

from outlast import SyncJob

REPORT_NAME = "report.pdf"


@dataclass(frozen=True, slots=True)
class WeatherReport:
    """The finished report."""

    file: str
    pages: int
    days: int
    size: int


def weather_report(job: SyncJob, csv: Path, title: str = "Seattle Weather") -> WeatherReport:
    """Draw the report and save it as an artifact."""
    # A worker that never draws a report should not carry the PDF library.
    from weather.book import Book  # noqa: PLC0415 - see above
    from weather.days import read_days  # noqa: PLC0415
    from weather.pages import pages  # noqa: PLC0415

    days = read_days(csv)
    job.log("read the observations", days=len(days), source=csv.name)
    book = Book(title, days, source=csv.name)
    drawings = pages(book)
    for name, draw in job.track(drawings, "drawing"):
        draw()
        job.log(f"drew {name}")
    artifact = job.save(REPORT_NAME, book.finish())
    return WeatherReport(artifact.name, pages=len(drawings), days=len(days), size=artifact.size)
