"""Names of results: templates with the name of the source, its folder and so on in them."""

import os
import time
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from string import Formatter

from denoise_cli.errors import UsageError

FIELDS = ("stem", "ext", "folder", "date", "model")
EXTENSION = "{ext}"


@dataclass(frozen=True)
class Template:
    """How the names of results are made from those of their sources; a `/` in it makes folders.

    Attributes:
        text: such as `{stem}-clean{ext}`, with any of `FIELDS`.
        model: the name or the weight file for `{model}`; None if that is chosen for each source.

    Raises:
        UsageError: the text is not such a template, or it needs a model and there is none.
    """

    text: str
    model: str | None = None

    def __post_init__(self) -> None:
        given = f"--name {self.text}"
        try:
            parsed = [field for field in Formatter().parse(self.text) if field[1] is not None]
        except ValueError as error:
            reason = "a single { or }: write {{ or }} for the character itself, as in '{stem}-{{1}}{ext}'"
            raise UsageError(f"{given}: {reason}") from error
        for _, field, format_spec, conversion in parsed:
            if field not in FIELDS:
                known = ", ".join(f"{{{name}}}" for name in FIELDS)
                raise UsageError(f"{given}: {{{field}}} stands for nothing: choose from {known}")
            if format_spec or conversion:
                reason = f"nothing can follow {field} in its braces: write {{{field}}}, as in '{{stem}}-clean{{ext}}'"
                raise UsageError(f"{given}: {reason}")
        path = Path(self.text)
        if path.is_absolute() or ".." in path.parts:
            reason = "leads out of the output folder: name that by --output, as in -o out/ --name '{stem}{ext}'"
            raise UsageError(f"{given}: {reason}")
        if not path.name or self.text.endswith(("/", os.sep)):
            raise UsageError(f"{given}: names no file: end it with one, as in 'clean/{{stem}}{{ext}}'")
        if "model" in self.fields and self.model is None:
            raise UsageError(f"{given}: {{model}} is not known before each file is read: add --model")

    @cached_property
    def fields(self) -> set[str]:
        """The fields that are in it."""
        return {field for _, field, _, _ in Formatter().parse(self.text) if field is not None}

    @property
    def ends_in_extension(self) -> bool:
        """Whether names end in the extension that a result gets by itself."""
        return self.text.endswith(EXTENSION)

    @property
    def makes_folders(self) -> bool:
        """Whether names have folders in them."""
        return len(Path(self.text).parts) > 1

    def fill(self, source: Path, extension: str, stem: str | None = None) -> Path:
        """The name of a result.

        Args:
            source: the file that it is made from.
            extension: of the result, with the dot.
            stem: what stands for the source's name; None for that name without its extension.

        Raises:
            OSError: `{date}` cannot be found out.
        """
        values = {"stem": source.stem if stem is None else stem, "ext": extension}
        if "folder" in self.fields:
            values["folder"] = Path(os.path.abspath(source)).parent.name  # noqa: PTH100 - takes `..` out of it
        if "date" in self.fields:
            values["date"] = time.strftime("%Y-%m-%d", time.localtime(source.stat().st_mtime))
        if self.model is not None:
            values["model"] = Path(self.model).name.removesuffix(".safetensors")
        return Path(self.text.format(**values))
