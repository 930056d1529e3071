"""Two models over one data set: whose answers changed, and whose evidence moved."""
