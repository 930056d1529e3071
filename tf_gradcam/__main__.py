"""`python -m tf_gradcam`: the command line."""

from tf_gradcam._cli.main import main

if __name__ == "__main__":
    main()
