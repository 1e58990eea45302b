"""The work: a mapper and a reducer around one transactional loop and one commit."""
