"""`denoise`, also as `python -m denoise_cli`."""


def main() -> None:
    """Run the command line."""
    from denoise_cli.cli import exit_codes

    exit_codes.run()


if __name__ == "__main__":
    main()
