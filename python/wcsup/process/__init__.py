"""What all processes of wcsup share: logging, memory settings, crash points, deferred imports, lasting files."""
