"""The CAM family: the contract of a rule, the rules, and the table METHODS."""
