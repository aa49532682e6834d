"""Keys: whatever is encrypted with an older key is encrypted anew with the first one, while everybody works on."""
