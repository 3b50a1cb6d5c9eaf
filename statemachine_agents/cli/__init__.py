"""The command line `sma`."""
