import pypdfium2
import pytest


async def test_a_report_has_a_title_page_a_page_per_year_and_charts(run, samples):
    job = run("weather_report")

    result = await job.attempt(csv=str(samples / "seattle-weather.csv"))

    pdf = pypdfium2.PdfDocument(job.file("report.pdf"))
    texts = [page.get_textpage().get_text_range() for page in pdf]
    assert result["pages"] == len(pdf) == 9
    assert result["days"] == 1461
    assert "Seattle Weather" in texts[0]
    assert [year for year in range(2012, 2016) if str(year) in texts[year - 2008]] == [
        2012,
        2013,
        2014,
        2015,
    ]
    assert "35.6 °C" in texts[1]


async def test_no_page_is_blank(run, samples):
    job = run("weather_report")
    await job.attempt(csv=str(samples / "seattle-weather.csv"))

    pdf = pypdfium2.PdfDocument(job.file("report.pdf"))
    colours = [len(page.render(scale=0.3).to_pil().getcolors(100_000)) for page in pdf]

    assert min(colours) > 50


async def test_the_same_data_give_the_same_bytes(run, samples):
    first, second = run("weather_report"), run("weather_report")

    for job in (first, second):
        await job.attempt(csv=str(samples / "seattle-weather.csv"))

    assert first.file("report.pdf") == second.file("report.pdf")


async def test_a_bad_line_is_named(run, tmp_path):
    head = "date,precipitation,temp_max,temp_min,wind,weather\n"
    (tmp_path / "bad.csv").write_text(head + "2012/01/01,0,1,2,3,sun\n2012/01/02,wet,1,2,3,rain\n")

    with pytest.raises(ValueError, match=r"bad.csv, line 3: could not convert .*'wet'"):
        await run("weather_report").attempt(csv=str(tmp_path / "bad.csv"))


async def test_a_single_warm_month_fits_on_the_axes(run, tmp_path):
    head = "date,precipitation,temp_max,temp_min,wind,weather\n"
    days = "".join(
        f"2020/07/{day:02},0.0,{20 + day % 9},{10 + day % 4},2,sun\n" for day in range(1, 31)
    )
    (tmp_path / "july.csv").write_text(head + days)

    result = await run("weather_report").attempt(csv=str(tmp_path / "july.csv"))

    assert result["pages"] == 6
