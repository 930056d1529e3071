"""The user's model, read and never written. Only two modules here use Keras internals: graph and keras_internals."""
