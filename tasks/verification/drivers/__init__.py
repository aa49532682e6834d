"""Household drivers 2.7: a driver, the licence and the address, and who else lives there."""
