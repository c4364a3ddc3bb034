"""What a notebook shows of one adapter's margins: extremes, calibration, tokens, answers."""
