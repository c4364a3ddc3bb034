"""What is wrong with preference pairs, found before a run learns it; the command `audit`."""
