"""XMP packets: the parts of them that remain true of a result.

Source: Adobe, "XMP Specification" parts 1 and 2 (2012, 2016).
"""

import re
from collections.abc import Callable
from xml.dom.minidom import Attr, Document, Element, parseString
from xml.parsers.expat import ExpatError

XMP_PREFIX = b"http://ns.adobe.com/xap/1.0/\x00"  # of the segment of a JPEG that holds a packet
MAX_PACKET = 4_000_000  # bytes; as a document, a packet takes a hundred times the memory
CAMERA_RAW = "http://ns.adobe.com/camera-raw-settings/1.0/"
SAVED_SETTINGS = "http://ns.adobe.com/camera-raw-saved-settings/1.0/"
DARKTABLE = "http://darktable.sf.net/"
# Those of darktable's properties that are not about development.
LABELS = {"xmp_version", "colorlabels", *(f"{what}_timestamp" for what in ("import", "change", "export", "print"))}
DECLARATION = b'<?xml version="1.0" encoding="utf-8"?>'
SIDECAR_FOR = re.compile(rb"(photoshop:SidecarForExtension(?:=[\"']|>))([^\"'<]*)")
RAW_NAME = re.compile(rb"(crs:RawFileName(?:=[\"']|>))[^\"'<]*")

EMPTY_XMP = (
    b'<?xpacket begin="\xef\xbb\xbf" id="W5M0MpCehiHzreSzNTczkc9d"?><x:xmpmeta xmlns:x="adobe:ns:meta/">'
    b'<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"></rdf:RDF></x:xmpmeta><?xpacket end="w"?>'
)
DENOISED = 'xmlns:darktable="http://darktable.sf.net/" darktable:neural_restore="raw-denoise"'


def mark_denoised(xmp: bytes | None) -> bytes:
    """An XMP packet with the note that darktable leaves in a RAW file that a neural network has denoised.

    Versions of darktable that know it do not denoise such a file by themselves again (darktable-org/darktable, pull
    request 21940).

    Args:
        xmp: the packet; None to begin one. One that is not UTF-8, or that has the note, is returned as it is.
    """
    packet = xmp or EMPTY_XMP
    end = packet.rfind(b"</rdf:RDF>")
    if end < 0 or b"neural_restore" in packet:
        return packet
    subject = re.search(rb"rdf:about\s*=\s*([\"'])(.*?)\1", packet)  # the same in all descriptions of a packet
    about = subject[2].decode(errors="replace") if subject else ""
    note = f'<rdf:Description rdf:about="{about}" {DENOISED}/>'.encode()
    return packet[:end] + note + packet[end:]


def without_raw_settings(xmp: bytes) -> bytes:
    """An XMP packet without the settings for developing a RAW file: editors would apply them to the picture again.

    A packet without such settings, or one that is damaged, is returned as it is.
    """
    if b"camera-raw-" not in xmp and b"darktable" not in xmp:
        return xmp
    return edited(xmp, lambda document: remove(document, _is_setting))


def parsed(xmp: bytes) -> Document | None:
    """An XMP packet as a document; None if it is damaged, or larger than `MAX_PACKET`."""
    # XMP has no document type, and so none of the entities that make parsers of XML dangerous.
    if b"<!DOCTYPE" in xmp or len(xmp) > MAX_PACKET:
        return None
    try:
        return parseString(xmp)  # noqa: S318
    except (ExpatError, ValueError, RecursionError):
        return None


def edited(xmp: bytes, edit: Callable[[Document], bool]) -> bytes:
    """An XMP packet after an edit, which returns whether it has changed anything; one that is damaged is left alone."""
    document = parsed(xmp)
    try:
        if document is None or not edit(document):
            return xmp
        whole = document.toxml(encoding="utf-8")
    except RecursionError:
        return xmp
    return whole if xmp.lstrip(b"\xef\xbb\xbf").startswith(b"<?xml ") else whole.removeprefix(DECLARATION)


def remove(tree: Document | Element, is_unwanted: Callable[[Attr | Element], bool]) -> bool:
    """Remove elements and attributes below a part of a packet; returns whether there were any."""
    removed = 0
    for element in tree.getElementsByTagName("*"):
        attributes = [attribute for attribute in element.attributes.values() if is_unwanted(attribute)]
        for attribute in attributes:
            element.removeAttributeNode(attribute)
        removed += len(attributes)
        if is_unwanted(element) and element.parentNode is not None:
            element.parentNode.removeChild(element)
            removed += 1
    return removed > 0


def sidecar_extension(xmp: bytes) -> str | None:
    """The extension, without dot, of the files that a sidecar by an Adobe program is for; None if it does not say."""
    found = SIDECAR_FOR.search(xmp)
    return found[2].decode(errors="replace") if found else None


def renamed_sidecar(xmp: bytes, name: str, extension: str) -> bytes:
    """A sidecar for a file of this name and extension, without dot."""
    xmp = SIDECAR_FOR.sub(lambda found: found[1] + extension.encode(), xmp)
    return RAW_NAME.sub(lambda found: found[1] + _escaped(name), xmp)


def _escaped(text: str) -> bytes:
    for character, entity in (("&", "&amp;"), ("<", "&lt;"), ('"', "&quot;"), ("'", "&apos;")):
        text = text.replace(character, entity)
    return text.encode(errors="surrogateescape")


def _is_setting(node: Attr | Element) -> bool:
    if node.namespaceURI == DARKTABLE:
        return node.localName not in LABELS
    return node.namespaceURI in (CAMERA_RAW, SAVED_SETTINGS)
