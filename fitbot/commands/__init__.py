"""The commands: argv → settings → one call into the package. No command holds logic of its own."""
