"""The processes of one fit: what started them, what they tell each other, how they end."""
