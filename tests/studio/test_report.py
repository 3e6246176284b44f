import re

import pypdfium2


async def test_a_report_has_a_title_page_a_page_per_year_and_charts(run, samples):
    job = await run("weather_report", csv=str(samples / "seattle-weather.csv"))

    result = job.result
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
    job = await run("weather_report", csv=str(samples / "seattle-weather.csv"))

    pdf = pypdfium2.PdfDocument(job.file("report.pdf"))
    colours = [len(page.render(scale=0.3).to_pil().getcolors(100_000)) for page in pdf]

    assert min(colours) > 50


async def test_the_same_data_give_the_same_bytes(run, samples):
    first, second = [
        await run("weather_report", csv=str(samples / "seattle-weather.csv")) for _ in range(2)
    ]

    assert first.file("report.pdf") == second.file("report.pdf")


async def test_a_bad_line_is_named(run, tmp_path):
    head = "date,precipitation,temp_max,temp_min,wind,weather\n"
    (tmp_path / "bad.csv").write_text(head + "2012/01/01,0,1,2,3,sun\n2012/01/02,wet,1,2,3,rain\n")

    job = await run("weather_report", csv=str(tmp_path / "bad.csv"))

    assert re.search(r"bad.csv, line 3: could not convert .*'wet'", job.error["message"])


async def test_a_single_warm_month_fits_on_the_axes(run, tmp_path):
    head = "date,precipitation,temp_max,temp_min,wind,weather\n"
    days = "".join(
        f"2020/07/{day:02},0.0,{20 + day % 9},{10 + day % 4},2,sun\n" for day in range(1, 31)
    )
    (tmp_path / "july.csv").write_text(head + days)

    job = await run("weather_report", csv=str(tmp_path / "july.csv"))

    assert job.result["pages"] == 6
