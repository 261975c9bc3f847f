"""What an XMP packet says is in its file beside the picture: gain maps, clips, depth maps.

Sources: Google, "Ultra HDR Image Format" 1.1, "Motion Photo format" 1.0, "Dynamic Depth" 1.0 and "Depthmap Metadata";
Adobe, "Gain Map Specification" 1.0; Adobe, "XMP Specification" part 3 (2020), 1.1.3.1 (extended XMP).
"""

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from functools import partial
from xml.dom import XMLNS_NAMESPACE
from xml.dom.minidom import Attr, Document, Element

from denoise_cli.io.xmp import edited, parsed, remove

# What is claimed, in words for the user.
GAIN_MAP = "HDR gain map"
CLIP = "clip of a motion photo"
DEPTH_MAP = "depth map"
EXTENDED = "extended XMP"

NAMESPACES = {
    "http://ns.adobe.com/hdr-gain-map/1.0/": GAIN_MAP,
    "http://ns.apple.com/HDRGainMap/1.0/": GAIN_MAP,
    "http://ns.google.com/photos/1.0/depthmap/": DEPTH_MAP,
    "http://ns.google.com/photos/1.0/image/": DEPTH_MAP,  # the picture before it was blurred
    "http://ns.google.com/photos/dd/1.0/device/": DEPTH_MAP,
}
CAMERAS = {"http://ns.google.com/photos/1.0/camera/", "http://ns.oplus.com/photos/1.0/camera/"}
OF_CLIPS = ("MotionPhoto", "MicroVideo", "OLivePhoto", "VideoLength")  # beginnings of names in `CAMERAS`
SWITCHES = ("MotionPhoto", "MicroVideo")  # those of them that are 1 if there is a clip
SEMANTICS = {"GainMap": GAIN_MAP, "MotionPhoto": CLIP, "Depth": DEPTH_MAP, "Confidence": DEPTH_MAP}
CONTAINER = "http://ns.google.com/photos/1.0/container/"
ITEM = "http://ns.google.com/photos/1.0/container/item/"
RDF = "http://www.w3.org/1999/02/22-rdf-syntax-ns#"
TERMS = "http://purl.org/dc/terms/"
MANIFEST = "self#jumbf="  # the beginning of a pointer at a C2PA manifest in the same file
NOTE = "http://ns.adobe.com/xmp/note/"
XML_OF_CLAIMS = (b"photos/", b"gain-map", b"HDRGainMap", b"HasExtendedXMP")  # a packet without them makes no claim


@dataclass(frozen=True)
class Item:
    """An entry of the list of what follows the picture in its file, in this order.

    Attributes:
        what: in words for the user.
        length: bytes; 0 if it is not a number.
        padding: bytes behind it.
    """

    what: str
    length: int
    padding: int


@dataclass(frozen=True)
class Claims:
    """What a packet says is in the file.

    Attributes:
        what: all of it, in words for the user.
        items: that are listed.
        padding: bytes between the picture and the first item.
        clip_length: bytes from the beginning of a clip to the end of the file, by an older way of saying it; 0 without.
    """

    what: frozenset[str] = frozenset()
    items: tuple[Item, ...] = ()
    padding: int = 0
    clip_length: int = 0


def claims_of(xmp: bytes | None) -> Claims:
    """What a packet says is in the file; nothing if the packet is damaged."""
    document = parsed(xmp) if xmp and any(part in xmp for part in XML_OF_CLAIMS) else None
    try:
        return Claims() if document is None else _claims_in(document)
    except RecursionError:
        return Claims()


def without_claims(xmp: bytes, lost: Collection[str]) -> bytes:
    """A packet that no longer says that certain things are in the file, named as in `Claims.what`."""
    return edited(xmp, partial(_remove_claims, lost=lost)) if lost else xmp


def without_primary_length(xmp: bytes) -> bytes:
    """A packet whose list of items does not state the length of the picture itself, which readers can do without."""
    return edited(xmp, _remove_primary_length) if ITEM.encode() in xmp else xmp


def without_provenance(xmp: bytes) -> bytes:
    """A packet that does not point at a C2PA manifest inside its file."""
    return edited(xmp, lambda document: remove(document, _is_provenance)) if MANIFEST.encode() in xmp else xmp


def _claims_in(document: Document) -> Claims:
    whats, clip_length = set(), 0
    for element in document.getElementsByTagName("*"):
        for node in _nodes(element):
            what = _claim_of(node)
            if what != CLIP or (node.localName in SWITCHES and _text(node).strip() == "1"):
                whats.add(what)
            if node.localName == "MicroVideoOffset":
                clip_length = _number(_text(node).strip())
    items, padding = [], 0
    for entry in _entries(document):
        fields = _fields(entry)
        if _is_primary(fields):
            padding = _number(fields.get("Padding", ""))
            continue
        items.append(Item(_what(fields), _number(fields.get("Length", "")), _number(fields.get("Padding", ""))))
        whats.add(items[-1].what)
    return Claims(frozenset(what for what in whats if what), tuple(items), padding, clip_length)


def _remove_claims(document: Document, lost: Collection[str]) -> bool:
    entries = [(entry, _fields(entry)) for entry in _entries(document)]
    untrue = {entry for entry, fields in entries if not _is_primary(fields) and _what(fields) in lost}
    only_primary_left = bool(untrue) and all(entry in untrue or _is_primary(fields) for entry, fields in entries)
    return remove(
        document,
        lambda node: node in untrue or _claim_of(node) in lost or (only_primary_left and _is_directory(node)),
    )


def _remove_primary_length(document: Document) -> bool:
    changed = False
    for entry in _entries(document):
        if _is_primary(_fields(entry)):
            changed |= remove(entry, _is_length)
    return changed


def _claim_of(node: Attr | Element) -> str | None:
    """What an element or an attribute is about, in words for the user; None if about nothing beside the picture."""
    namespace = node.namespaceURI or ""
    if namespace == XMLNS_NAMESPACE:
        namespace = node.nodeValue or ""
        return NAMESPACES.get(namespace)
    if namespace in CAMERAS and (node.localName or "").startswith(OF_CLIPS):
        return CLIP
    if namespace == NOTE and node.localName == "HasExtendedXMP":
        return EXTENDED
    return NAMESPACES.get(namespace)


def _entries(document: Document) -> list[Element]:
    return [
        entry
        for directory in document.getElementsByTagNameNS(CONTAINER, "Directory")
        for sequence in directory.childNodes
        for entry in sequence.childNodes
        if isinstance(entry, Element) and entry.namespaceURI == RDF and entry.localName == "li"
    ]


def _fields(entry: Element) -> dict[str, str]:
    """The properties of an item, which are attributes or elements, of the entry or of one inside it."""
    return {
        node.localName or "": _text(node).strip()
        for element in (entry, *entry.getElementsByTagName("*"))
        for node in _nodes(element)
        if node.namespaceURI == ITEM
    }


def _nodes(element: Element) -> Iterator[Attr | Element]:
    """An element and its attributes."""
    yield element
    yield from element.attributes.values()


def _is_primary(fields: dict[str, str]) -> bool:
    return fields.get("Semantic") == "Primary"


def _what(fields: dict[str, str]) -> str:
    semantic = " ".join(fields.get("Semantic", "").split())[:40]
    return SEMANTICS.get(semantic) or (f"item {semantic}" if semantic else "item without a meaning")


def _is_length(node: Attr | Element) -> bool:
    return node.namespaceURI == ITEM and node.localName == "Length" and _number(_text(node).strip()) > 0


def _is_provenance(node: Attr | Element) -> bool:
    return node.namespaceURI == TERMS and node.localName == "provenance" and MANIFEST in _text(node)


def _is_directory(node: Attr | Element) -> bool:
    return node.namespaceURI == CONTAINER and node.localName == "Directory"


def _text(node: Attr | Element) -> str:
    if isinstance(node, Attr):
        return node.value
    return "".join(child.data for child in node.childNodes if child.nodeType == child.TEXT_NODE)


def _number(text: str) -> int:
    return int(text) if text.isascii() and text.isdigit() and len(text) < 16 else 0
