"""The work that outlasts a request."""

from outlast.django import OutlastContext

try:
    from django.tasks import task
except ModuleNotFoundError:
    from django_tasks import task


@task(queue_name="slow", takes_context=True, timeout="10m")
def report(context: OutlastContext, pages: int) -> dict[str, int]:
    """Render a report, one page in each step: a killed worker's successor goes on after it."""
    job = context.job
    for page in job.track(range(pages), "rendering"):
        job.step(f"page {page}", len, "a page" * page)
    return {"pages": pages, "attempt": context.attempt}
