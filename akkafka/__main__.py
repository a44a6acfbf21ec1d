"""`python -m akkafka` is the command line, also where no script was installed."""

from akkafka.cli.main import main

if __name__ == "__main__":
    main()
