"""The CAM family: what a rule is, the rules, and the table METHODS."""
