"""Tasks as a Django project has them."""

from asgiref.sync import sync_to_async
from django.db import connection
from django.utils.timezone import now

from outlast.core.signals import GiveUp
from outlast.django.framework import TaskContext, task


@task
def add(a, b=0):
    return a + b


@task()
async def add_later(a, b=0):
    return a + b


@task
def other():
    return None


@task(priority=7, queue_name="slow")
def heavy():
    return "done"


@task(retries=0)
def fail(why):
    raise ValueError(f"failed for {why}")


@task(retries=0)
async def fail_later(why):
    raise ValueError(f"failed for {why}")


@task(retries=0)
def leave():
    raise SystemExit("left")


@task(retries=0)
def moment():
    return now()


@task(takes_context=True, retries=2)
def second_time_lucky(context):
    if context.attempt < 2:
        raise RuntimeError("not yet")
    return context.attempt


@task(retries=2)
def hopeless():
    raise GiveUp("for good")


@task(takes_context=True)
def about(context, word):
    assert isinstance(context, TaskContext)
    context.job.progress(1, 2, word)
    return [context.task_result.id, context.task_result.status, context.attempt, word]


@task
def tables():
    return connection.introspection.table_names()


@task
async def tables_later():
    return await sync_to_async(tables.func)()


def plain():
    return None


hidden = task(plain)  # its function's name leads to no task
