"""Workers on AWS Lambda: SQS events that carry tickets become jobs that are done."""

from outlast.aws.handler import Handler, handler

__all__ = ["Handler", "handler"]
