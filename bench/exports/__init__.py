"""Records in the formats that other programs read: one file a format, found by discovery."""
