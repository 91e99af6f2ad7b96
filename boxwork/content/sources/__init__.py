"""Where the items of an inventory lie: folders, buckets, collections; they stay there and are only read."""
