"""The JSON Schemas of what goes in and comes out, as `/openapi.json` shows them."""

from typing import Any, Final

from outlast.core.confinement import COUNT_MAX, COUNT_MIN
from outlast.core.limits import (
    ATTEMPTS_MAX,
    BATCH_MAX,
    CRON_CHARS_MAX,
    KEY_CHARS_MAX,
    NAME_CHARS_MAX,
    NOTIFY_MAX,
    PREVIEW_MAX,
    PRIORITY_MAX,
    PRIORITY_MIN,
    TAGS_MAX,
)
from outlast.core.queue import ISOLATIONS
from outlast.core.status import Status
from outlast.core.timing import MISSED
from outlast.sdk.schedules import SPEC

Schema = dict[str, Any]

_TEXT: Final[Schema] = {"type": "string"}
_NAME: Final[Schema] = {"type": "string", "minLength": 1, "maxLength": NAME_CHARS_MAX}
_TIME: Final[Schema] = {"type": "string", "format": "date-time"}
_ID: Final[Schema] = {"type": "string", "format": "uuid"}
_WHOLE: Final[Schema] = {"type": "integer"}
_NUMBER: Final[Schema] = {"type": "number"}
_FLAG: Final[Schema] = {"type": "boolean"}
_OBJECT: Final[Schema] = {"type": "object"}
_DURATION: Final[Schema] = {
    "description": 'a number of seconds, or "90s", "5m", "6h", "1d"',
    "anyOf": [{"type": "string"}, {"type": "number", "minimum": 0}],
}
_PRIORITY: Final[Schema] = {"type": "integer", "minimum": PRIORITY_MIN, "maximum": PRIORITY_MAX}
_ATTEMPTS: Final[Schema] = {"type": "integer", "minimum": 1, "maximum": ATTEMPTS_MAX}


def ref(name: str) -> Schema:
    """Refer to a schema of this document."""
    return {"$ref": f"#/components/schemas/{name}"}


def _maybe(schema: Schema) -> Schema:
    return {"anyOf": [schema, {"type": "null"}]}


def _list(schema: Schema, most: int | None = None) -> Schema:
    return {"type": "array", "items": schema, **({"maxItems": most} if most else {})}


def _record(required: dict[str, Schema], **optional: Schema) -> Schema:
    return {
        "type": "object",
        "properties": {**required, **optional},
        "required": list(required),
    }


def _closed(required: dict[str, Schema], **optional: Schema) -> Schema:
    """Describe an object that takes no other fields."""
    return {**_record(required, **optional), "additionalProperties": False}


def _page(name: str, schema: Schema) -> Schema:
    return _record({name: _list(schema), "next": _maybe(_TEXT)})


_STATUS: Final[Schema] = {"type": "string", "enum": [str(status) for status in Status]}
_ERROR: Final[Schema] = _record(
    {"type": _TEXT, "message": _TEXT, "attempt": _WHOLE, "at": _TIME, "retryable": _FLAG},
    fingerprint=_TEXT,
    traceback={**_TEXT, "description": "for scope admin only"},
    hint={**_TEXT, "description": "what to do about it"},
    reason={**_TEXT, "description": "crashed or lost, where the job's process or worker died"},
    facts={"type": "object", "description": "of a process: signal, exit_code, peak_bytes, …"},
)
_PROGRESS: Final[Schema] = _record(
    {
        "done": _NUMBER,
        "total": _maybe(_NUMBER),
        "percent": _maybe(_NUMBER),
        "message": _maybe(_TEXT),
        "rate": {**_maybe(_NUMBER), "description": "units a second, smoothed"},
        "eta": {**_maybe(_NUMBER), "description": "seconds that the rest will take"},
    }
)
_ARTIFACT: Final[Schema] = _record(
    {"name": _TEXT, "size": _WHOLE, "sha256": _TEXT, "media_type": _TEXT, "href": _TEXT},
    expires_at=_TIME,
)
_FILTER: Final[dict[str, Schema]] = {
    "queue": _NAME,
    "task": _NAME,
    "tag": _NAME,
    "submitted_after": _TIME,
    "submitted_before": _TIME,
    "q": {**_NAME, "description": "a part of the id, the task, the arguments or the error"},
}
_OPTIONS: Final[dict[str, Schema]] = {
    "queue": _NAME,
    "priority": {**_PRIORITY, "description": "higher runs sooner"},
    "delay": _DURATION,
    "run_at": _TIME,
    "max_attempts": _ATTEMPTS,
    "timeout": {**_DURATION, "title": "of one attempt"},
    "expires_in": {**_DURATION, "title": "a job not started by then is cancelled"},
    "concurrency_key": {"type": "string", "minLength": 1, "maxLength": KEY_CHARS_MAX},
    "tags": _list(_NAME, TAGS_MAX),
    "notify": _list(_OBJECT, NOTIFY_MAX),
    "idempotency_key": {"type": "string", "minLength": 1, "maxLength": KEY_CHARS_MAX},
    "unique": {
        "description": "which jobs are the same intention, and what a further submit gets",
        "anyOf": [
            _FLAG,
            _closed(
                {},
                by=_list(_NAME, 20),
                within=_DURATION,
                states=_list(_STATUS),
                on={"type": "string", "enum": ["existing", "reject", "replace"]},
                wait=_DURATION,
                at_most=_DURATION,
            ),
        ],
    },
}
_QUANTILES: Final[Schema] = _record({"p50": _maybe(_NUMBER), "p95": _maybe(_NUMBER)})
_JOB: Final[Schema] = _record(
    {
        "id": _ID, "task": _TEXT, "queue": _TEXT, "status": _STATUS, "done": _FLAG,
        "cancel_requested_at": _maybe(_TIME), "attempt": _WHOLE, "max_attempts": _WHOLE,
        "priority": _WHOLE, "tags": _list(_TEXT), "progress": _maybe(_PROGRESS),
        "position": _maybe(_WHOLE), "estimated_start_at": _maybe(_TIME),
        "estimated_finish_at": _maybe(_TIME), "submitted_at": _TIME, "run_at": _TIME,
        "started_at": _maybe(_TIME), "finished_at": _maybe(_TIME),
        "result": {"description": "null when `links.result` has it, because it is large"},
        "error": _maybe(_ERROR), "artifacts": _list(_ARTIFACT), "workflow_id": _maybe(_TEXT),
        "parent_id": _maybe(_TEXT), "step": _maybe(_TEXT), "links": _OBJECT,
    },
    args={
        **_maybe(_OBJECT),
        "description": "in the answer about one job, not in lists; null when `links.args` has them",
    },
)  # fmt: skip
_QUEUE: Final[Schema] = _record(
    {
        "name": _TEXT, "paused": _FLAG,
        "depth": _record(dict.fromkeys(("scheduled", "pending", "processing", "waiting"), _WHOLE)),
        "oldest_pending_seconds": _maybe(_NUMBER), "arrivals_per_second": _NUMBER,
        "completions_per_second": _NUMBER, "wait_seconds": _QUANTILES, "run_seconds": _QUANTILES,
        "max_depth": _maybe(_WHOLE), "max_duration": _maybe(_NUMBER), "draining": _FLAG,
        "worker_count": _maybe(_WHOLE), "processes": _WHOLE, "instance_type": _maybe(_TEXT),
        "concurrency": _maybe(_WHOLE), "rate_limit": _maybe(_TEXT), "workers": _WHOLE,
        "isolation": {"enum": [*ISOLATIONS, None]},
        "memory": {**_maybe(_WHOLE), "description": "bytes"}, "cpu_time": _maybe(_NUMBER),
        "max_processes": _maybe(_WHOLE), "max_files": _maybe(_WHOLE),
        "broker": {**_maybe(_TEXT), "examples": ["ledger", "redis", "sqs"]},
    }
)  # fmt: skip
_LIMIT: Final[dict[str, Schema]] = {
    "concurrency": {**_maybe(_WHOLE), "description": "how many may hold a lease at once"},
    "rate": {**_maybe(_TEXT), "examples": ["10/s", "100/m", "5/30s"]},
    "burst": {**_maybe(_WHOLE), "description": "how many of the rate may start at once"},
    "weight": {**_maybe(_WHOLE), "description": "its share beside others, 1 unless given"},
    "max_depth": {**_maybe(_WHOLE), "description": "of a tenant: how many of its jobs may wait"},
}
_WORKER: Final[Schema] = _record(
    {
        "id": _ID, "host": _TEXT, "pid": _WHOLE, "queues": _list(_TEXT), "concurrency": _WHOLE,
        "started_at": _TIME, "last_heartbeat_at": _TIME, "processing": _list(_ID),
        "version": _TEXT,
    }
)  # fmt: skip
_EVENT: Final[Schema] = _record(
    {"seq": _WHOLE, "job_id": _ID, "type": _TEXT, "at": _TIME, "data": _OBJECT}, position=_WHOLE
)
_ATTEMPT: Final[Schema] = _record(
    {
        "attempt": _WHOLE, "run": _WHOLE, "token": _WHOLE, "worker": _maybe(_ID),
        "started_at": _TIME, "ended_at": _maybe(_TIME), "outcome": _maybe(_TEXT),
        "error": _maybe(_ERROR),
    }
)  # fmt: skip
_GROUP: Final[Schema] = _record(
    {
        "fingerprint": _TEXT, "count": _WHOLE, "error": _maybe(_ERROR), "task": _maybe(_TEXT),
        "newest_id": _maybe(_ID), "newest_at": _maybe(_TIME), "oldest_at": _maybe(_TIME),
    }
)  # fmt: skip
_TASK: Final[Schema] = _record(
    {
        "name": _TEXT, "queue": _TEXT, "max_attempts": _WHOLE,
        "timeout_seconds": _maybe(_NUMBER), "priority": _WHOLE, "description": _maybe(_TEXT),
        "args": _OBJECT, "result": _OBJECT,
    }
)  # fmt: skip

_TIMES: Final[dict[str, Schema]] = {
    "cron": {**_TEXT, "maxLength": CRON_CHARS_MAX, "description": "five fields, or @daily …"},
    "every": {**_DURATION, "title": "in place of cron: counted from start_at, or from 1970"},
    "zone": {**_TEXT, "description": "an IANA time zone for cron; UTC unless given"},
    "start_at": _TIME,
    "end_at": _TIME,
    "jitter": {**_DURATION, "title": "each job waits for a part of it, which its tick decides"},
    "missed": {"enum": list(MISSED), "description": "what becomes of ticks nobody noticed"},
    "missed_after": {**_DURATION, "title": "how late a tick is not missed yet; 1m unless given"},
}
_SPEC: Final[dict[str, Schema]] = {
    name: schema for name, schema in {**_OPTIONS, **_TIMES}.items() if name in SPEC
}
_SCHEDULE: Final[Schema] = _record(
    {
        "name": _TEXT, "tenant": _maybe(_TEXT), "spec": _OBJECT, "paused": _FLAG,
        "source": {"enum": ["code", "person"]},
        "edited": {**_FLAG, "description": "a person has changed what the code declares"},
        "version": {**_WHOLE, "description": "for If-Match; also the ETag"},
        "changed_at": _maybe(_TIME), "next_at": _maybe(_TIME), "last_at": _maybe(_TIME),
        "last_job_id": _maybe(_ID),
        "skipped_at": {**_maybe(_TIME), "description": "the newest missed tick without a job"},
        "error": _maybe(_record({"message": _TEXT, "at": _maybe(_TIME)}, stops=_FLAG)),
        "links": _OBJECT,
    }
)  # fmt: skip

SCHEMAS: Final[dict[str, Schema]] = {
    "Any": {},
    "Job": _JOB,
    "Jobs": _page("jobs", ref("Job")),
    "Submit": _closed({"task": _NAME}, args=_OBJECT, **_OPTIONS),
    "Batch": _closed({"jobs": _list(ref("Submit"), BATCH_MAX)}, atomic=_FLAG),
    "BatchAnswer": _record(
        {
            "jobs": _list(
                {
                    "oneOf": [
                        _record({"id": _ID}, replayed=_FLAG, unique=_TEXT),
                        _record({"problem": ref("Problem")}),
                    ]
                }
            )
        }
    ),
    "Change": _closed(
        {}, priority=_PRIORITY, run_at=_maybe(_TIME), queue=_NAME, max_attempts=_ATTEMPTS
    ),
    "Filter": {**_closed({}, status=_STATUS, **_FILTER), "minProperties": 1},
    "DeadFilter": {
        **_closed(
            {},
            ids=_list(_ID, BATCH_MAX),
            fingerprint=_TEXT,
            rate={"type": "number", "exclusiveMinimum": 0, "description": "jobs a second"},
            reason=_TEXT,
            **_FILTER,
        ),
        "minProperties": 1,
    },
    "Retry": _closed({}, args={"type": "object", "description": "in place of the job's own"}),
    "Count": {"type": "object", "additionalProperties": _WHOLE, "minProperties": 1},
    "Event": _EVENT,
    "Events": _page("events", ref("Event")),
    "Logs": _page("logs", ref("Event")),
    "Attempts": _page("attempts", _ATTEMPT),
    "DeadLetterGroup": _GROUP,
    "DeadLetters": _page("dead_letters", {"anyOf": [ref("Job"), ref("DeadLetterGroup")]}),
    "Queue": _QUEUE,
    "Queues": _page("queues", ref("Queue")),
    "QueueChange": _closed(
        {},
        paused=_FLAG,
        draining={**_FLAG, "description": "take in nothing new, and finish what is there"},
        max_depth=_maybe({"type": "integer", "minimum": 0}),
        max_duration=_maybe(_DURATION),
        worker_count=_maybe({"type": "integer", "minimum": 1}),
        processes={"type": "integer", "minimum": 1},
        instance_type=_maybe(_NAME),
        concurrency=_maybe({"type": "integer", "minimum": 0}),
        rate_limit=_maybe({**_TEXT, "examples": ["10/s", "100/m", "5/30s"]}),
        isolation={"enum": [*ISOLATIONS, None]},
        memory={"type": ["string", "integer", "null"], "examples": ["512MB", "2GB"]},
        cpu_time=_maybe(_DURATION),
        max_processes=_maybe({"type": "integer", "minimum": COUNT_MIN, "maximum": COUNT_MAX}),
        max_files=_maybe({"type": "integer", "minimum": COUNT_MIN, "maximum": COUNT_MAX}),
    ),
    "Limit": _record({"subject": _TEXT, **_LIMIT, "source": {"enum": ["live", "declared"]}}),
    "Limits": _page("limits", ref("Limit")),
    "LimitChange": _closed({}, **_LIMIT),
    "Scaling": _record({"desired_workers": _WHOLE, "depth": _WHOLE, "oldest_seconds": _NUMBER}),
    "Schedule": _SCHEDULE,
    "Schedules": _page("schedules", ref("Schedule")),
    "ScheduleSpec": _closed({"task": _NAME}, args=_OBJECT, **_SPEC),
    "Ticks": _page("ticks", _record({"at": _TIME, "local": _TIME, "run_at": _TIME})),
    "Upload": _record({"blob": _ID, "size": _WHOLE, "sha256": _TEXT, "expires_at": _TIME}),
    "Worker": _WORKER,
    "Workers": _page("workers", ref("Worker")),
    "Tasks": _page("tasks", _TASK),
    "Problem": _record(
        {"type": _TEXT, "title": _TEXT, "status": _WHOLE, "detail": _TEXT, "code": _TEXT},
        instance=_TEXT,
        errors=_list(_record({"path": _TEXT, "message": _TEXT})),
        retry_after=_WHOLE,
    ),
}

PARAMETERS: Final[dict[str, Schema]] = {
    **_FILTER,
    "status": _STATUS,
    "limit": {"type": "integer", "minimum": 1},
    "cursor": {**_TEXT, "description": "the `next` of the page before"},
    "sort": {"type": "string", "enum": ["submitted_at", "-submitted_at"]},
    "after": {"type": "integer", "minimum": 0},
    "type": _NAME,
    "redirect": {"type": "string", "enum": ["no"], "description": "answer with the bytes"},
    "group": {"type": "string", "enum": ["error"]},
    "fingerprint": _NAME,
    "n": {"type": "integer", "minimum": 1, "maximum": PREVIEW_MAX},
    "tenant": {**_TEXT, "description": "whose, for a key that is no tenant's; nobody's if empty"},
    "If-Match": {**_TEXT, "description": "the ETag that was read: 412 if it is another by now"},
    "Idempotency-Key": {"type": "string", "minLength": 1, "maxLength": KEY_CHARS_MAX},
    "Prefer": {**_TEXT, "description": "`wait=N`: answer when it has ended, or after N ≤ 60 s"},
    "If-None-Match": _TEXT,
    "If-Range": _TEXT,
    "Range": _TEXT,
    "Last-Event-ID": {"type": "integer", "minimum": 0},
}
