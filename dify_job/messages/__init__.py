"""Text for people: errors, translation, sanitising."""
