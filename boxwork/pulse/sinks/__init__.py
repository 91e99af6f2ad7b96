"""Where finished intervals go: memory, the embedded database, Redis, Prometheus, OTLP."""
