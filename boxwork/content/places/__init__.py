"""Places: stores that hold the bytes themselves: memory, a disk, a bucket."""
