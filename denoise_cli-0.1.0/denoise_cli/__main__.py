"""`denoise`, also as `python -m denoise_cli`."""


def main() -> None:
    """Run the command line."""
    import signal

    # While modules are imported there is nothing to clean up, and a traceback would tell nobody anything.
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # not ignored, as in the background of a script
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    from denoise_cli.cli import exit_codes

    exit_codes.run()


if __name__ == "__main__":
    main()
