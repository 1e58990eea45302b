"""State on this host: the state directory, a RocksDB store for each partition, and the restore of stores."""
