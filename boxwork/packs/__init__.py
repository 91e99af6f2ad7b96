"""Ready-made boxes, one folder each."""
