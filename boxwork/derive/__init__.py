"""Computes bytes from bytes, once per distinct input (the cache)."""
