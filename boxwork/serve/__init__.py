"""Is the HTTP and WebSocket edge."""
