"""Keeps bytes that never change, named by their hash."""
