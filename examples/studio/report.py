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
    from report_pages import Book
    from weather import read_days

    days = read_days(csv)
    job.log("read the observations", days=len(days), source=csv.name)
    book = Book(title, days, source=csv.name)
    pages = book.pages()
    for done, (name, draw) in enumerate(pages):
        job.progress(done, len(pages), f"drawing {name}")
        draw()
    pdf = book.finish()
    artifact = job.save(REPORT_NAME, pdf)
    job.progress(len(pages), len(pages), "saved")
    return WeatherReport(file=artifact.name, pages=len(pages), days=len(days), size=artifact.size)
