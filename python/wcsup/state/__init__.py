"""What stays on this host: the state directory, a RocksDB store for each partition, and its restore."""
