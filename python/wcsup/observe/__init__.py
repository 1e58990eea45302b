"""How people and other programs observe a running application: its screen, HTTP, metrics, reading of totals."""
