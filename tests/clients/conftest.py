"""What the clients ask runs in an environment of their own; here it is only started."""

collect_ignore = ["programs"]
