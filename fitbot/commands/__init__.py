"""The commands: argv → settings → one call into the package. No command holds logic of its own.

Each module's `main` takes the command and its options, as typed, and returns the exit status: 0
where it says nothing else.
"""
