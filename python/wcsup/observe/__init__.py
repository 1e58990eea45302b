"""How people and other programs observe a running application: live view, HTTP, metrics, reading of totals."""
