import time
from xml.etree import ElementTree

import pytest

from denoise_cli.io.metadata import reset_xmp
from denoise_cli.io.xmp import (
    EMPTY_XMP,
    MAX_PACKET,
    edited,
    parsed,
    renamed_sidecar,
    sidecar_extension,
    without_raw_settings,
)

ADOBE = b"""<x:xmpmeta xmlns:x="adobe:ns:meta/">
 <rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
  <rdf:Description rdf:about="" xmlns:xmp="http://ns.adobe.com/xap/1.0/"
    xmlns:photoshop="http://ns.adobe.com/photoshop/1.0/" xmlns:dc="http://purl.org/dc/elements/1.1/"
    xmlns:crs="http://ns.adobe.com/camera-raw-settings/1.0/"
   xmp:Rating="4" photoshop:SidecarForExtension="CR2" crs:Exposure2012="+1.00" crs:RawFileName="IMG_1.CR2">
   <dc:subject><rdf:Bag><rdf:li>J\xc3\xb6rg</rdf:li></rdf:Bag></dc:subject>
   <crs:MaskGroup><rdf:Seq><rdf:li crs:Active="true"><crs:MaskGroup crs:Depth="2"/></rdf:li></rdf:Seq></crs:MaskGroup>
  </rdf:Description>
 </rdf:RDF>
</x:xmpmeta>"""
DARKTABLE = b"""<?xml version="1.0" encoding="UTF-8"?>
<x:xmpmeta xmlns:x="adobe:ns:meta/">
 <rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
  <rdf:Description xmlns:darktable="http://darktable.sf.net/" xmlns:xmp="http://ns.adobe.com/xap/1.0/"
   xmp:Rating="2" darktable:xmp_version="5" darktable:auto_presets_applied="1" darktable:history_end="1">
   <darktable:colorlabels><rdf:Seq><rdf:li>1</rdf:li></rdf:Seq></darktable:colorlabels>
   <darktable:history><rdf:Seq><rdf:li darktable:operation="exposure"/></rdf:Seq></darktable:history>
  </rdf:Description>
 </rdf:RDF>
</x:xmpmeta>
"""


def names(xmp: bytes) -> list[str]:
    """Elements and attributes, with their namespaces."""
    return [name for element in ElementTree.fromstring(xmp).iter() for name in (element.tag, *element.attrib)]


def test_settings_of_adobe_go_and_the_rest_stays() -> None:
    left = without_raw_settings(ADOBE)

    assert not [name for name in names(left) if "camera-raw" in name]
    assert names(left) == [name for name in names(ADOBE) if "camera-raw" not in name][: len(names(left))]
    assert "Jörg".encode() in left
    assert b'xmp:Rating="4"' in left
    assert left.startswith(b"<x:xmpmeta")


def test_the_history_of_darktable_goes_and_its_labels_stay() -> None:
    left = without_raw_settings(DARKTABLE)

    of_darktable = [name.split("}")[1] for name in names(left) if "darktable" in name]
    assert of_darktable == ["xmp_version", "colorlabels"]
    assert b'xmp:Rating="2"' in left
    assert left.startswith(b"<?xml ")


@pytest.mark.parametrize(
    "packet",
    [
        b"",
        b"<x:xmpmeta xmlns:x='adobe:ns:meta/'/>",
        b"<a xmlns:crs='http://ns.adobe.com/camera-raw-settings/1.0/'/>",
        ADOBE[:-40],
        ADOBE.replace(b"CR2", b"\xff\xfe"),
        b"<!DOCTYPE x [<!ENTITY a 'aa'>]>" + ADOBE,
        b"<a>" * 5000 + ADOBE + b"</a>" * 5000,
    ],
    ids=["empty", "plain", "declared only", "cut", "not UTF-8", "document type", "deep"],
)
def test_what_has_no_settings_or_is_damaged_is_left_alone(packet: bytes) -> None:
    assert without_raw_settings(packet) == packet


def test_a_packet_keeps_its_wrapper() -> None:
    start, end = b'<?xpacket begin="" id="W5M0MpCehiHzreSzNTczkc9d"?>\n', b'\n<?xpacket end="w"?>'

    left = without_raw_settings(start + ADOBE + end)

    assert left.startswith(start.strip())
    assert left.endswith(end.strip())


def test_a_sidecar_says_whose_it_is_and_is_renamed() -> None:
    assert sidecar_extension(ADOBE) == "CR2"
    assert sidecar_extension(DARKTABLE) is None

    renamed = renamed_sidecar(ADOBE, 'a "b" & c.dng', "dng")

    assert sidecar_extension(renamed) == "dng"
    description = ElementTree.fromstring(renamed)[0][0]
    assert description.attrib["{http://ns.adobe.com/camera-raw-settings/1.0/}RawFileName"] == 'a "b" & c.dng'
    assert renamed_sidecar(DARKTABLE, "a.dng", "dng") == DARKTABLE


def test_thumbnails_that_are_never_closed_take_no_time_to_speak_of() -> None:
    closed, unclosed = b"<xap:Thumbnails>old</xap:Thumbnails>", b"<xmp:Thumbnails>" * 60_000
    begun = time.process_time()
    assert reset_xmp(b"a" + closed + b"b" + closed + unclosed) == b"ab" + unclosed
    assert time.process_time() - begun < 1  # at quadratic time, minutes


def test_a_packet_beyond_the_limit_is_carried_over_as_it_is() -> None:
    packet = EMPTY_XMP.replace(b"</rdf:RDF>", b'<rdf:Description xmlns:a="b" a:c="d"/></rdf:RDF>')
    assert parsed(packet) is not None
    assert parsed(packet + b" " * MAX_PACKET) is None
    assert edited(packet + b" " * MAX_PACKET, lambda _: True) == packet + b" " * MAX_PACKET
