"""The user's model, read and never written. What is private to Keras is used in two modules here alone."""
