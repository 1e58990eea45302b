"""Kafka as a client sees it: clients, topics, groups, transactions, and the table of Kafka's errors."""
