"""What tells people: webhooks, e-mail, web push and the live stream."""
