"""What an adapter is worth: its figures on pairs, what it changed, what it says."""
