"""Totals moved as a whole: `backup` to a directory, `restore` from it, `repartition` to topics with more partitions."""
