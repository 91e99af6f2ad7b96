"""Rooms over WebSocket."""
