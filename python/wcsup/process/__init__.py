"""What every process of the program does: its log, its memory, its crash points, its imports."""
