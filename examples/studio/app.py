"""The studio: one task for each kind of work that is too slow for a web request."""

from smtplib import SMTPAuthenticationError

from imports import import_airports
from mailing import mailing
from photos import photo_gallery, thumbnail
from report import weather_report
from slow_api import distances
from transcode import transcode

from outlast import GIVE_UP, Backoff, Outlast

app = Outlast()

# Seconds long: a user is looking at a spinner.
app.task(queue="fast", timeout="2m")(weather_report)
app.task(queue="fast", timeout="2m")(photo_gallery)
app.task(queue="fast", timeout="2m")(import_airports)
# An upload that is still on its way is there a moment later: come back soon, then give up.
soon = Backoff(base_us=200_000, cap_us=1_000_000)
app.task(queue="fast", timeout="30s", backoff=soon)(thumbnail)

# Minutes to hours long, resumed after the last finished step. Slow is fine; stuck is not.
app.task(queue="slow", timeout="6h", stall_after="10m")(transcode)
# An API that is away, or asks to wait, costs no attempt; so the job as a whole has a bound.
app.task(queue="slow", timeout="1h", deadline="1d")(distances)

# In a queue of its own, so that the mail server decides how many run at once.
app.task(queue="mail", timeout="1h", on_error={SMTPAuthenticationError: GIVE_UP})(mailing)
