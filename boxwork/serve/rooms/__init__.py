"""Rooms over WebSocket, and over server-sent events where there is none."""
