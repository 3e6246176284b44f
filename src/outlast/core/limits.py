"""Every bound in one place: nothing that a client or a job can send is without one."""

from typing import Final

MICROSECOND: Final = 1
MILLISECOND: Final = 1_000
SECOND: Final = 1_000_000
MINUTE: Final = 60 * SECOND
HOUR: Final = 60 * MINUTE
DAY: Final = 24 * HOUR

ATTEMPTS_DEFAULT: Final = 4
ATTEMPTS_MAX: Final = 1_000
LOST_MAX: Final = 3  # a job that kills this many workers is dead-lettered, whatever its attempts
MISSING_MAX: Final = 78  # how often a job may meet workers that lack its task: about an hour

PROCESSES_DEFAULT: Final = 512  # of one isolated job, with their threads
FILES_DEFAULT: Final = 4_096  # open ones, of each process of an isolated job

HEARTBEAT_US: Final = 10 * SECOND
LEASE_US: Final = 30 * SECOND
SWEEP_US: Final = 1 * SECOND  # how stale a missed wake-up can leave anyone
BROKER_SWEEP_US: Final = 5 * SECOND  # the same where a broker wakes, which is asked rarely
DEATH_POLL_US: Final = 250 * MILLISECOND  # how often a node tries the file locks of the others

PRIORITY_MIN: Final = -100
PRIORITY_MAX: Final = 100
DURATION_MAX_US: Final = 3_660 * DAY

BODY_BYTES_MAX: Final = 256 * 1024
PAYLOAD_INLINE_MAX: Final = 64 * 1024  # arguments and results over this move to the blobs
ROW_ARGS_MAX: Final = 256 * 1024  # of arguments that can't move
PAYLOAD_BYTES_MAX: Final = 64 * 1024 * 1024  # a payload is read whole into memory; a file is not
JSON_DEPTH_MAX: Final = 64
JSON_DIGITS_MAX: Final = 1_000

NAME_CHARS_MAX: Final = 200
KEY_CHARS_MAX: Final = 255
TAGS_MAX: Final = 20
BATCH_MAX: Final = 1_000
PAGE_MAX: Final = 500
PAGE_DEFAULT: Final = 50
WAIT_SECONDS_MAX: Final = 60
HELD_MAX: Final = 1_000  # streams and waiting calls of one key, in one process of the API
NOTIFY_MAX: Final = 10

ANY_TIME: Final = 2**62  # later than any instant
TOMBSTONE_TTL_US: Final = 30 * DAY  # how long a pruned job is answered with "gone"
UPLOAD_TTL_US: Final = DAY  # how long an upload waits for its job
LINK_SECONDS: Final = 600  # how long a signed URL is good
ORPHAN_AGE_US: Final = DAY  # a blob that nothing refers to by then is garbage
KEY_TTL_US: Final = 7 * DAY  # how long an idempotency key is remembered

CRON_CHARS_MAX: Final = 200
CRON_DAYS_MAX: Final = 366 * 40  # how far a tick is looked for: a 29 February on a given weekday
SCHEDULES_MAX: Final = 10_000  # of one ledger
SCHEDULE_NAME_CHARS_MAX: Final = 100
EVERY_MIN_US: Final = SECOND
JITTER_MAX_US: Final = DAY
MISSED_AFTER_US: Final = MINUTE  # a tick that is noticed later than this was missed
CATCH_UP_MAX: Final = 1_000  # missed ticks of a schedule that are made up for
TICKS_AT_ONCE_MAX: Final = 100  # of one schedule, before the others have their turn
PREVIEW_MAX: Final = 100

PROGRESS_EVERY_US: Final = 250 * MILLISECOND
PROGRESS_IDLE_US: Final = 5 * SECOND
LOG_LINES_MAX: Final = 10_000  # per attempt
LOG_LINE_CHARS_MAX: Final = 8_192
ARTIFACTS_MAX: Final = 1_000
CURSOR_BYTES_MAX: Final = 64 * 1024
ERROR_MESSAGE_CHARS_MAX: Final = 4_096
TRACEBACK_CHARS_MAX: Final = 32_768
