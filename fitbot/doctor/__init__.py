"""What `fitbot doctor` finds out: the machine, ten steps, an answer, each command's engine."""
