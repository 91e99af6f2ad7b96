"""Tells the people in a room what just happened."""
