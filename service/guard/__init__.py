"""What stands before every route: who may call, how often, how much; and the log line of each request."""
