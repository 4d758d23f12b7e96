"""One run of everything that a new GPU host is asked for, within nine minutes, into one folder: `make gpu`."""
