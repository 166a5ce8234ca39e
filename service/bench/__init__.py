"""`candor bench serve`: the service, measured over HTTP against what it is built on."""
