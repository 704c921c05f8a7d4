"""Tables, figures, claims and the page: pure functions of records. Nothing here imports torch."""
