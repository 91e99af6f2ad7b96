"""The pictures of the documentation, taken of running nodes: `python -m tools.pictures [gallery pulse state …]`."""
