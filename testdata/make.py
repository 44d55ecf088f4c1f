#!/usr/bin/env python3
r"""Makes every file below testdata/: clean/, refused/ and expected.tsv.

Needs (Debian 12, as root):

    apt-get install --no-install-recommends libreoffice-writer-nogui libimage-exiftool-perl qpdf \
        imagemagick webp gifsicle faketime fonts-dejavu-core fonts-liberation2
    pip install numpy==2.4.6 pillow==13.0.0 piexif==1.1.3 python-docx==1.2.0 reportlab==5.1.0 \
        img2pdf==0.6.3 pikepdf==10.18.0 msoffcrypto-tool==6.1.0

Run:

    python3 testdata/make.py            makes everything, in place; about half a minute
    python3 testdata/make.py --out DIR  makes everything in DIR instead, to compare

Every picture is drawn here, every sentence is written here; nothing is taken from elsewhere. Seeds and dates
are fixed, LibreOffice runs under faketime, random salts come from a seeded source: with the versions above,
a second run writes the same bytes. README.md says more.
"""

import argparse
import base64
import hashlib
import html
import io
import os
import random
import struct
import subprocess
import sys
import tempfile
import zipfile
import zlib
from datetime import datetime, timezone
from pathlib import Path
from unittest import mock

import img2pdf
import msoffcrypto.format.ooxml
import numpy as np
import olefile
import piexif
import pikepdf
from docx import Document
from docx.shared import Cm
from PIL import Image, ImageDraw, ImageFont, PngImagePlugin
from reportlab.lib import colors
from reportlab.lib.pagesizes import A4
from reportlab.lib.utils import ImageReader
from reportlab.pdfgen import canvas

WHEN = datetime(2024, 3, 15, 10, 0, 0, tzinfo=timezone.utc)
EXIF_DATE = "2024:03:15 10:00:00"
PDF_DATE = "D:20240315100000Z"
ENV = {**os.environ, "TZ": "UTC", "LC_ALL": "C.UTF-8", "SOURCE_DATE_EPOCH": str(int(WHEN.timestamp()))}
FONTS = Path("/usr/share/fonts/truetype/dejavu")
XOR_KEY = 0x5A

JPEG, PNG, GIF, WEBP = "image/jpeg", "image/png", "image/gif", "image/webp"
PDF, DOC = "application/pdf", "application/msword"
DOCX = "application/vnd.openxmlformats-officedocument.wordprocessingml.document"

OUT: Path  # where the files go
TMP: Path  # scratch, removed at the end
ROWS: list[tuple[str, str, str, str, str]] = []


# ---------------------------------------------------------------------------------------------- plumbing


def run(*command, **kwargs):
    """Runs a tool; its output is shown only when it fails. qpdf's 3 means success with warnings."""
    done = subprocess.run([str(c) for c in command], env=ENV, capture_output=True, **kwargs)
    if done.returncode not in ((0, 3) if command[0] == "qpdf" else (0,)):
        sys.exit(f"{command}: {done.returncode}\n{done.stdout.decode()}{done.stderr.decode()}")
    return done.stdout


def keep(path, declared, reasons, what, content):
    """Writes one file of the set and its row of expected.tsv. No reasons: the verdict is clean."""
    target = OUT / path
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(content.read_bytes() if isinstance(content, Path) else content)
    ROWS.append((path, declared, "rejected" if reasons else "clean", reasons, what))
    return target


def clean(name, declared, what, content):
    return keep(f"clean/{name}", declared, "", what, content)


def refused(name, declared, reasons, what, content):
    return keep(f"refused/{name}", declared, reasons, what, content)


def noise_bytes(seed, count):
    return np.random.default_rng(seed).integers(0, 256, count, dtype=np.uint8).tobytes()


def seeded(seed):
    """A stand-in for os.urandom that repeats itself from run to run."""
    source = random.Random(seed)
    return lambda count: source.randbytes(count)


class StillClock(datetime):
    """A stand-in for datetime whose now is always the same."""

    @classmethod
    def now(cls, tz=None):
        return WHEN if tz else WHEN.replace(tzinfo=None)


def zip_bytes(members, stored=()):
    """A ZIP of (name, content) pairs with fixed dates, deflated except for the names in `stored`."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in members:
            info = zipfile.ZipInfo(name, (2024, 3, 15, 10, 0, 0))
            info.compress_type = zipfile.ZIP_STORED if name in stored else zipfile.ZIP_DEFLATED
            info.external_attr = 0o644 << 16
            archive.writestr(info, content, compresslevel=9)
    return buffer.getvalue()


def unzip(content):
    """The members of a ZIP, in order, as an editable dict."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        return {info.filename: archive.read(info) for info in archive.infolist()}


# ----------------------------------------------------------------------------------------------- pictures


def waves(x, seed, octaves, rough):
    """A ridge line: sines of growing frequency and falling height with random phases, about -1 to 1."""
    rng = np.random.default_rng(seed)
    total = np.zeros_like(x)
    for octave in range(octaves):
        total += np.sin(x * 2 * np.pi * 1.9**octave + rng.uniform(0, 2 * np.pi)) * rough**octave
    return total / sum(rough**o for o in range(octaves))


def landscape(width, height, seed=1, grain=1.5, hour="evening"):
    """Sky, sun, four ridges in the haze and a lake, as float32 in 0..255, shape (height, width, 3)."""
    rng = np.random.default_rng(seed)
    top, low, sun, near = {
        "evening": ((44, 62, 120), (250, 176, 110), (255, 236, 180), (24, 38, 44)),
        "noon": ((56, 120, 200), (208, 230, 244), (255, 255, 236), (34, 84, 46)),
        "dawn": ((92, 84, 150), (246, 198, 206), (255, 240, 226), (44, 40, 78)),
    }[hour]
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    u, v = x / width, y / height
    horizon, side = 0.66, min(width, height)
    blend = np.clip(v / horizon, 0, 1)[..., None] ** 1.3
    sky = np.asarray(top, np.float32) * (1 - blend) + np.asarray(low, np.float32) * blend
    distance = np.hypot(x - 0.68 * width, y - 0.40 * height) / side
    glow = np.clip(np.exp(-distance * 6) * 0.75 + (distance < 0.06), 0, 1)[..., None]
    picture = sky * (1 - glow) + np.asarray(sun, np.float32) * glow
    for layer in range(4):
        line = horizon - 0.17 + layer * 0.042 + 0.075 * waves(u[0], seed * 10 + layer, 6 + layer, 0.52)
        inside = np.clip((v - line) * side / 1.5, 0, 1)[..., None]
        depth = (layer + 1) / 4.4
        colour = np.asarray(low, np.float32) * (1 - depth) * 0.82 + np.asarray(near, np.float32) * depth
        picture = picture * (1 - inside) + colour * inside
    # The lake mirrors what is above it, darker and rippled.
    first = int(horizon * height)
    rows = np.arange(first, height)
    ripple = np.round(waves((rows - first) / 23.0 / (height / 480), seed + 5, 4, 0.6) * side * 0.006).astype(int)
    for row, shift in zip(rows, ripple, strict=True):
        mirrored = max(0, 2 * first - row - 1)
        picture[row] = np.roll(picture[mirrored], int(shift), axis=0) * 0.72 + np.asarray(top, np.float32) * 0.16
    picture += rng.standard_normal((height, width, 1), np.float32) * grain
    return np.clip(picture, 0, 255)


def image(array):
    return Image.fromarray(np.asarray(np.round(array), np.uint8))


def font(size, name="DejaVuSans.ttf"):
    return ImageFont.truetype(str(FONTS / name), size, layout_engine=ImageFont.Layout.BASIC)


def cat(width=360, height=300):
    """A cat on a cushion, in shapes over a gradient."""
    big = 3
    y, x = np.mgrid[0 : height * big, 0 : width * big].astype(np.float32)
    wall = np.stack([214 - y * 0.05, 196 + x * 0.02, 176 + y * 0.03], axis=-1)
    picture = image(np.clip(wall + np.random.default_rng(7).standard_normal(wall.shape) * 2, 0, 255))
    draw = ImageDraw.Draw(picture)

    def at(*points):
        return [(px * big, py * big) for px, py in points]

    draw.ellipse(at((50, 210), (310, 292)), fill=(146, 60, 72))
    draw.ellipse(at((110, 120), (250, 270)), fill=(92, 92, 104))
    draw.polygon(at((128, 78), (138, 20), (172, 58)), fill=(82, 82, 94))
    draw.polygon(at((232, 78), (222, 20), (188, 58)), fill=(82, 82, 94))
    draw.ellipse(at((120, 48), (240, 150)), fill=(104, 104, 116))
    for eye in (150, 190):
        draw.ellipse(at((eye, 84), (eye + 22, 108)), fill=(206, 222, 110))
        draw.ellipse(at((eye + 8, 85), (eye + 14, 107)), fill=(16, 16, 20))
    draw.polygon(at((173, 112), (187, 112), (180, 121)), fill=(222, 140, 150))
    for side in (-1, 1):
        for dy in (-6, 2, 10):
            draw.line(at((180 + side * 12, 122), (180 + side * 70, 120 + dy)), fill=(236, 236, 240), width=2)
    draw.arc(at((220, 150), (320, 270)), 40, 200, fill=(82, 82, 94), width=14 * big)
    return picture.resize((width, height), Image.Resampling.LANCZOS)


def badge(size, text):
    """A round badge on nothing: RGBA with soft edges."""
    big = size * 4
    picture = Image.new("RGBA", (big, big))
    draw = ImageDraw.Draw(picture)
    for step in range(60):
        inset = big * (0.04 + step * 0.004)
        shade = (30 + step * 2, 90 + step * 2, 140 + step, 255)
        draw.ellipse((inset, inset, big - inset, big - inset), fill=shade)
    draw.ellipse((big * 0.3, big * 0.3, big * 0.7, big * 0.7), fill=(250, 250, 244, 150))
    draw.text((big / 2, big / 2), text, font=font(big // 4, "DejaVuSans-Bold.ttf"), fill=(14, 40, 70, 255), anchor="mm")
    return picture.resize((size, size), Image.Resampling.LANCZOS)


def balloon_frames(width, height, count, alpha=False):
    """A hot-air balloon that floats over a landscape, or over nothing."""
    ground = image(landscape(width, height, seed=9, grain=0, hour="noon")).convert("RGBA")
    frames = []
    for index in range(count):
        layer = Image.new("RGBA", (width * 4, height * 4))
        draw = ImageDraw.Draw(layer)
        phase = 2 * np.pi * index / count
        cx, cy = width * 4 * (0.5 + 0.28 * np.sin(phase)), height * 4 * (0.36 + 0.1 * np.cos(phase))
        r = height * 4 * 0.2
        draw.line((cx - r * 0.5, cy + r * 0.8, cx - r * 0.15, cy + r * 1.5), fill=(60, 40, 30, 255), width=4)
        draw.line((cx + r * 0.5, cy + r * 0.8, cx + r * 0.15, cy + r * 1.5), fill=(60, 40, 30, 255), width=4)
        for stripe, colour in enumerate([(204, 54, 46), (246, 190, 60), (204, 54, 46), (246, 190, 60)]):
            half = r * (1 - stripe * 0.26)
            draw.ellipse((cx - half, cy - r, cx + half, cy + r), fill=colour + (255,))
        draw.rectangle((cx - r * 0.2, cy + r * 1.45, cx + r * 0.2, cy + r * 1.75), fill=(110, 72, 40, 255))
        layer = layer.resize((width, height), Image.Resampling.LANCZOS)
        frames.append(layer if alpha else Image.alpha_composite(ground, layer).convert("RGB"))
    return frames


def page_scan(number, lines):
    """A page as a flatbed scanner sees it: grey paper, a slight turn, soft letters, a punch hole, dust."""
    width, height = 1240, 1754
    page = Image.new("L", (width, height), 244)
    draw = ImageDraw.Draw(page)
    draw.text((150, 140), lines[0], font=font(44, "DejaVuSerif-Bold.ttf"), fill=40)
    for index, line in enumerate(lines[1:]):
        draw.text((150, 260 + index * 46), line, font=font(25, "DejaVuSerif.ttf"), fill=52)
    draw.line([(760 + t * 4, 1500 + 36 * np.sin(t / 5) - t * 0.4) for t in range(70)], fill=70, width=5)
    draw.text((width / 2, 1660), f"- {number} -", font=font(22), fill=60, anchor="mm")
    page = page.rotate(0.7 if number % 2 else -0.5, Image.Resampling.BICUBIC, fillcolor=238)
    ImageDraw.Draw(page).ellipse((36, 860, 76, 900), fill=120)
    pixels = np.asarray(page, np.float32)
    shade = np.linspace(4, -8, width, dtype=np.float32)[None, :]
    dust = np.random.default_rng(number).standard_normal(pixels.shape, np.float32) * 1.6
    picture = image(np.clip(pixels + shade + dust, 0, 255))
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=58, dpi=(150, 150))
    return buffer.getvalue()


def jpeg_bytes(picture, **options):
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", **options)
    return buffer.getvalue()


def png_bytes(picture, **options):
    buffer = io.BytesIO()
    picture.save(buffer, "PNG", **options)
    return buffer.getvalue()


# ----------------------------------------------------------------------------------------------- metadata


def icc_profile(name, primaries, gamma):
    """A version 2 matrix profile, computed from the primaries with D65 white adapted to D50 (Bradford)."""
    white = np.array([0.3127 / 0.3290, 1.0, (1 - 0.3127 - 0.3290) / 0.3290])
    d50 = np.array([0.9642, 1.0, 0.8249])
    xyz = np.array([[x / y, 1.0, (1 - x - y) / y] for x, y in primaries]).T
    xyz = xyz * np.linalg.solve(xyz, white)
    cone = np.array([[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]])
    adapted = np.linalg.inv(cone) @ np.diag((cone @ d50) / (cone @ white)) @ cone @ xyz

    def numbers(values):
        return b"XYZ \0\0\0\0" + b"".join(struct.pack(">i", round(float(v) * 65536)) for v in values)

    title = name.encode() + b"\0"
    desc = b"desc\0\0\0\0" + struct.pack(">I", len(title)) + title + bytes(4 + 4 + 2 + 1 + 67)
    curve = b"curv\0\0\0\0" + struct.pack(">IH", 1, round(gamma * 256))
    tags = [
        (b"desc", desc),
        (b"cprt", b"text\0\0\0\0CC0, computed by testdata/make.py\0"),
        (b"wtpt", numbers(d50)),
        (b"rXYZ", numbers(adapted[:, 0])),
        (b"gXYZ", numbers(adapted[:, 1])),
        (b"bXYZ", numbers(adapted[:, 2])),
        (b"rTRC", curve),
        (b"gTRC", curve),
        (b"bTRC", curve),
    ]
    table, data, offset = struct.pack(">I", len(tags)), b"", 128 + 4 + 12 * len(tags)
    for tag, content in tags:
        table += tag + struct.pack(">II", offset + len(data), len(content))
        data += content + bytes(-len(content) % 4)
    date = struct.pack(">6H", 2024, 3, 15, 10, 0, 0)
    head = struct.pack(">I4sI4s4s4s", 128 + len(table) + len(data), b"\0" * 4, 0x02400000, b"mntr", b"RGB ", b"XYZ ")
    head += date + b"acsp" + bytes(28) + b"".join(struct.pack(">i", round(v * 65536)) for v in d50)
    return head.ljust(128, b"\0") + table + data


def wide_profile():
    return icc_profile("Airlock wide display", [(0.680, 0.320), (0.265, 0.690), (0.150, 0.060)], 2.2)


def print_profile():
    return icc_profile("Airlock camera RGB", [(0.640, 0.330), (0.210, 0.710), (0.150, 0.060)], 2.19921875)


def exif_bytes(orientation=1, gps=True, thumbnail=None, text="Seen from the north bank"):
    """EXIF as a telephone writes it; the position is a public viewpoint in Athens."""
    blocks = {
        "0th": {
            piexif.ImageIFD.Make: b"Airlock",
            piexif.ImageIFD.Model: b"Test Phone 7",
            piexif.ImageIFD.Software: b"make.py 1.0",
            piexif.ImageIFD.Artist: b"Erika Mustermann",
            piexif.ImageIFD.Copyright: b"Erika Mustermann, CC0",
            piexif.ImageIFD.ImageDescription: text.encode(),
            piexif.ImageIFD.Orientation: orientation,
            piexif.ImageIFD.XResolution: (72, 1),
            piexif.ImageIFD.YResolution: (72, 1),
            piexif.ImageIFD.ResolutionUnit: 2,
            piexif.ImageIFD.DateTime: EXIF_DATE.encode(),
        },
        "Exif": {
            piexif.ExifIFD.ExifVersion: b"0232",
            piexif.ExifIFD.DateTimeOriginal: EXIF_DATE.encode(),
            piexif.ExifIFD.OffsetTimeOriginal: b"+02:00",
            piexif.ExifIFD.ExposureTime: (1, 250),
            piexif.ExifIFD.FNumber: (18, 10),
            piexif.ExifIFD.ISOSpeedRatings: 64,
            piexif.ExifIFD.FocalLength: (69, 10),
            piexif.ExifIFD.LensModel: b"Test Phone 7 back camera 6.9mm f/1.8",
            piexif.ExifIFD.BodySerialNumber: b"AL-000-4711",
            piexif.ExifIFD.MakerNote: b"AIRLOCK\0" + noise_bytes(41, 120),
            piexif.ExifIFD.UserComment: b"ASCII\0\0\0Do not publish where this was taken",
        },
        "GPS": {},
        "1st": {},
        "thumbnail": thumbnail,
    }
    if gps:
        blocks["GPS"] = {
            piexif.GPSIFD.GPSVersionID: (2, 3, 0, 0),
            piexif.GPSIFD.GPSLatitudeRef: b"N",
            piexif.GPSIFD.GPSLatitude: ((37, 1), (58, 1), (1764, 100)),
            piexif.GPSIFD.GPSLongitudeRef: b"E",
            piexif.GPSIFD.GPSLongitude: ((23, 1), (43, 1), (3612, 100)),
            piexif.GPSIFD.GPSAltitudeRef: 0,
            piexif.GPSIFD.GPSAltitude: (1472, 10),
            piexif.GPSIFD.GPSTimeStamp: ((8, 1), (0, 1), (0, 1)),
            piexif.GPSIFD.GPSDateStamp: b"2024:03:15",
        }
    if thumbnail:
        blocks["1st"] = {
            piexif.ImageIFD.Compression: 6,
            piexif.ImageIFD.XResolution: (72, 1),
            piexif.ImageIFD.YResolution: (72, 1),
            piexif.ImageIFD.ResolutionUnit: 2,
        }
    return piexif.dump(blocks)


XMP = (
    '<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>'
    '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
    '<rdf:Description rdf:about="" xmlns:dc="http://purl.org/dc/elements/1.1/"'
    ' xmlns:xmp="http://ns.adobe.com/xap/1.0/" xmlns:exif="http://ns.adobe.com/exif/1.0/"'
    ' xmp:CreatorTool="make.py" xmp:CreateDate="2024-03-15T10:00:00Z"'
    ' exif:GPSLatitude="37,58.294N" exif:GPSLongitude="23,43.602E">'
    "<dc:creator><rdf:Seq><rdf:li>Erika Mustermann</rdf:li></rdf:Seq></dc:creator>"
    '</rdf:Description></rdf:RDF></x:xmpmeta><?xpacket end="w"?>'
).encode()


def png_chunk(kind, content):
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"


# ----------------------------------------------------------------------------------------- clean pictures


def clean_jpegs():
    upright = image(landscape(3000, 4000, seed=1, grain=1.2))
    stored = upright.transpose(Image.Transpose.ROTATE_90)  # as the sensor sees it; orientation 6 puts it upright
    small = stored.resize((160, 120), Image.Resampling.LANCZOS)
    exif = exif_bytes(orientation=6, thumbnail=jpeg_bytes(small, quality=70))
    phone = TMP / "phone.jpg"
    phone.write_bytes(jpeg_bytes(stored, quality=74, exif=exif, icc_profile=wide_profile()))
    run(
        "exiftool", "-q", "-overwrite_original", "-codedcharacterset=utf8",
        "-XMP-dc:Creator=Erika Mustermann", "-XMP-dc:Rights=CC0", "-XMP-xmp:Rating=5",
        "-XMP-photoshop:City=Αθήνα", "-XMP-exif:GPSLatitude=37.9716", "-XMP-exif:GPSLongitude=23.7267",
        "-IPTC:By-line=Erika Mustermann", "-IPTC:Caption-Abstract=Abend über dem See",
        "-IPTC:City=Athens", "-IPTC:Keywords=lake", "-IPTC:Keywords=evening", phone,
    )  # fmt: skip
    clean(
        "holiday-photo.jpg",
        JPEG,
        "12 Mpx phone photo: EXIF with GPS, orientation 6 and thumbnail, XMP, IPTC, wide-gamut ICC",
        phone,
    )

    ppm = TMP / "web.ppm"
    image(landscape(1600, 1066, seed=2, grain=1.5, hour="noon")).save(ppm)
    plain, icc = TMP / "web.jpg", TMP / "camera.icc"
    icc.write_bytes(print_profile())
    run(
        "/usr/bin/convert",
        ppm,
        "-profile",
        icc,
        "-sampling-factor",
        "2x1",
        "-quality",
        "80",
        "-interlace",
        "JPEG",
        plain,
    )
    clean(
        "lake at noon (web).jpeg",
        JPEG,
        "progressive JPEG by ImageMagick, 4:2:2, camera-like ICC; a name with spaces and parentheses",
        plain,
    )

    rgb = landscape(720, 480, seed=3, grain=2, hour="dawn") / 255
    cmy = 1 - rgb
    black = cmy.min(axis=-1, keepdims=True) * 0.8
    inks = np.concatenate([(cmy - black) / (1 - black), black], axis=-1) * 255
    cmyk = Image.frombytes("CMYK", (720, 480), np.round(inks).astype(np.uint8).tobytes())
    clean(
        "flyer-print.jpg",
        JPEG,
        "CMYK JPEG with an Adobe marker, inks inverted as print shops store them",
        jpeg_bytes(cmyk, quality=82, dpi=(300, 300)),
    )

    grey = image(landscape(320, 240, seed=4, grain=3)).convert("L")
    clean(
        "skizze.jpg",
        JPEG,
        "small grey JPEG with a comment",
        jpeg_bytes(grey, quality=85, comment="Erste Fassung, nicht weitergeben; E. Mustermann".encode()),
    )

    poster = jpeg_bytes(image(landscape(400, 300, seed=5, grain=1, hour="noon")), quality=82)
    clean(
        "poster-generated.jpg",
        JPEG,
        "JPEG with an (unsigned) C2PA manifest store in APP11",
        poster[:2] + c2pa_segment() + poster[2:],
    )

    camera = jpeg_bytes(
        image(landscape(480, 360, seed=14, grain=1.5)),
        quality=82,
        exif=exif_bytes(orientation=3, gps=False, text="Upside down"),
    )
    trailer = b"ALTRAILER\0" + b"camera settings, serial AL-000-4711, owner Erika Mustermann\n" * 8
    clean(
        "camera-trailer.jpg", JPEG, "JPEG with a camera's own notes behind its end, and orientation 3", camera + trailer
    )


def c2pa_segment():
    """APP11 with a JUMBF superbox of the type c2pa; no signature, only the envelope and a note."""

    def box(name, content):
        return struct.pack(">I4s", len(content) + 8, name) + content

    def kind(start):
        return start + bytes.fromhex("00110010800000aa00389b71")

    note = box(
        b"jumb", box(b"jumd", kind(b"json") + b"\x03airlock.note\0") + box(b"json", b'{"made_by":"testdata/make.py"}')
    )
    store = box(b"jumb", box(b"jumd", kind(b"c2pa") + b"\x03c2pa\0") + note)
    payload = b"JP" + struct.pack(">HI", 1, 1) + store
    return b"\xff\xeb" + struct.pack(">H", len(payload) + 2) + payload


def clean_pngs():
    info = PngImagePlugin.PngInfo()
    info.add_text("Title", "The neighbour's cat")
    info.add_text("Author", "Erika Mustermann")
    info.add_text("Comment", "Taken through the kitchen window. " * 20, zip=True)
    info.add_itxt("Description", "Η γάτα της γειτόνισσας", "el", "Περιγραφή")
    info.add_itxt("XML:com.adobe.xmp", XMP.decode())
    content = png_bytes(
        cat(), pnginfo=info, exif=exif_bytes(text="Cat"), icc_profile=wide_profile(), dpi=(144, 144), optimize=True
    )
    stamp = png_chunk(b"tIME", struct.pack(">H5B", 2024, 3, 15, 10, 0, 0))
    content = content.replace(png_chunk(b"IEND", b""), stamp + png_chunk(b"IEND", b""))
    clean("cat.png", PNG, "RGB PNG with tEXt, zTXt, iTXt, XMP, eXIf with GPS, iCCP, tIME", content)

    palette = badge(256, "A7").quantize(96, method=Image.Quantize.FASTOCTREE)
    clean("logo-small.png", PNG, "palette PNG, transparent through tRNS", png_bytes(palette, optimize=True))

    deep = landscape(240, 160, seed=6, grain=0.02, hour="dawn") / 255 * 65535
    ppm, png = TMP / "deep.ppm", TMP / "deep.png"
    ppm.write_bytes(b"P6\n240 160\n65535\n" + np.round(deep).astype(">u2").tobytes())
    run("/usr/bin/convert", ppm, "-define", "png:exclude-chunks=date,tIME,bKGD", f"PNG48:{png}")
    clean("Messung 16 bit.png", PNG, "RGB PNG of 16 bits per sample, by ImageMagick", png)

    frames = balloon_frames(160, 120, 8, alpha=True)
    clean(
        "loading-balloon.png",
        PNG,
        "animated PNG, 8 frames, transparent, endless",
        png_bytes(
            frames[0], save_all=True, append_images=frames[1:], duration=90, loop=0, disposal=1, blend=0, optimize=True
        ),
    )


def clean_gifs():
    still = TMP / "still.gif"
    image(landscape(320, 200, seed=8, grain=0, hour="noon")).quantize(64, dither=Image.Dither.NONE).save(
        still, comment="Made on Erika's machine, C:\\Users\\erika\\pictures".encode(), optimize=True
    )
    clean("banner.gif", GIF, "still GIF with a comment", still)

    loop, small = TMP / "loop.gif", TMP / "small.gif"
    frames = balloon_frames(200, 150, 12)
    table = frames[0].quantize(64)
    frames = [f.quantize(palette=table, dither=Image.Dither.NONE) for f in frames]
    frames[0].save(loop, save_all=True, append_images=frames[1:], duration=80, loop=0, optimize=False)
    run("gifsicle", "-O3", "--loopcount=forever", "--no-warnings", loop, "-o", small)
    clean("balloon.gif", GIF, "animated GIF, 12 frames, partial frames by gifsicle -O3, endless", small)


def clean_webps():
    lossy = io.BytesIO()
    image(landscape(1200, 800, seed=11, grain=1)).save(
        lossy,
        "WEBP",
        quality=78,
        method=4,
        exif=exif_bytes(orientation=1, text="Evening"),
        xmp=XMP,
        icc_profile=wide_profile(),
    )
    clean("evening.webp", WEBP, "lossy WebP with EXIF and GPS, XMP, ICC", lossy.getvalue())

    png, webp = TMP / "badge.png", TMP / "badge.webp"
    badge(300, "OK").save(png)
    run("cwebp", "-quiet", "-lossless", "-z", "6", "-exact", png, "-o", webp)
    clean("sticker.webp", WEBP, "lossless WebP with transparency, by cwebp", webp)

    names = []
    for index, frame in enumerate(balloon_frames(180, 120, 10)):
        names.append(TMP / f"frame{index}.png")
        frame.save(names[-1])
    moving, xmp, done = TMP / "moving.webp", TMP / "moving.xmp", TMP / "moving2.webp"
    run("img2webp", "-loop", "0", "-d", "90", "-lossy", "-q", "70", *names, "-o", moving)
    xmp.write_bytes(XMP)
    run("webpmux", "-set", "xmp", xmp, moving, "-o", done)
    clean("balloon animated.webp", WEBP, "animated lossy WebP with XMP, by img2webp and webpmux", done)


# ------------------------------------------------------------------------------------------ office writing

FODT = """<?xml version="1.0" encoding="UTF-8"?>
<office:document xmlns:office="urn:oasis:names:tc:opendocument:xmlns:office:1.0"
 xmlns:style="urn:oasis:names:tc:opendocument:xmlns:style:1.0" xmlns:text="urn:oasis:names:tc:opendocument:xmlns:text:1.0"
 xmlns:table="urn:oasis:names:tc:opendocument:xmlns:table:1.0" xmlns:draw="urn:oasis:names:tc:opendocument:xmlns:drawing:1.0"
 xmlns:fo="urn:oasis:names:tc:opendocument:xmlns:xsl-fo-compatible:1.0" xmlns:xlink="http://www.w3.org/1999/xlink"
 xmlns:svg="urn:oasis:names:tc:opendocument:xmlns:svg-compatible:1.0" xmlns:dc="http://purl.org/dc/elements/1.1/"
 xmlns:meta="urn:oasis:names:tc:opendocument:xmlns:meta:1.0" office:version="1.3"
 office:mimetype="application/vnd.oasis.opendocument.text">
<office:meta><dc:title>{title}</dc:title><dc:creator>Erika Mustermann</dc:creator><dc:date>2024-03-15T10:00:00</dc:date>
<meta:initial-creator>Erika Mustermann</meta:initial-creator><meta:creation-date>2024-03-15T09:00:00</meta:creation-date>
<meta:keyword>internal</meta:keyword></office:meta>
<office:font-face-decls><style:font-face style:name="F" svg:font-family="'{font}'"/></office:font-face-decls>
<office:styles>
<style:default-style style:family="paragraph"><style:text-properties style:font-name="F" fo:font-size="11pt" fo:language="{language}" fo:country="{country}"/></style:default-style>
<style:style style:name="Standard" style:family="paragraph"><style:paragraph-properties fo:margin-bottom="0.25cm"/></style:style>
<style:style style:name="Heading_20_1" style:display-name="Heading 1" style:family="paragraph" style:parent-style-name="Standard" style:default-outline-level="1"><style:paragraph-properties fo:margin-top="0.5cm" fo:keep-with-next="always"/><style:text-properties fo:font-size="18pt" fo:font-weight="bold" fo:color="#1f4e79"/></style:style>
<style:style style:name="Heading_20_2" style:display-name="Heading 2" style:family="paragraph" style:parent-style-name="Standard" style:default-outline-level="2"><style:text-properties fo:font-size="14pt" fo:font-weight="bold"/></style:style>
<text:list-style style:name="L"><text:list-level-style-bullet text:level="1" text:bullet-char="&#8226;"><style:list-level-properties text:list-level-position-and-space-mode="label-alignment"><style:list-level-label-alignment text:label-followed-by="listtab" fo:text-indent="-0.6cm" fo:margin-left="1.2cm"/></style:list-level-properties></text:list-level-style-bullet></text:list-style>
</office:styles>
<office:automatic-styles>
<style:style style:name="B" style:family="text"><style:text-properties fo:font-weight="bold"/></style:style>
<style:style style:name="C" style:family="table-cell"><style:table-cell-properties fo:border="0.5pt solid #808080" fo:padding="0.1cm"/></style:style>
<style:page-layout style:name="P"><style:page-layout-properties fo:page-width="21cm" fo:page-height="29.7cm" fo:margin="2cm"/><style:header-style/><style:footer-style/></style:page-layout>
</office:automatic-styles>
<office:master-styles><style:master-page style:name="Standard" style:page-layout-name="P"><style:header><text:p>{title}</text:p></style:header><style:footer><text:p>Page <text:page-number/></text:p></style:footer></style:master-page></office:master-styles>
<office:body><office:text>{body}</office:text></office:body></office:document>
"""


def h(text, level=1):
    return f'<text:h text:style-name="Heading_20_{level}" text:outline-level="{level}">{html.escape(text)}</text:h>'


def p(markup):
    return f'<text:p text:style-name="Standard">{markup}</text:p>'


def bullets(*items):
    return (
        '<text:list text:style-name="L">'
        + "".join(f"<text:list-item>{p(i)}</text:list-item>" for i in items)
        + "</text:list>"
    )


def table(*rows):
    def cells(row):
        return "".join(f'<table:table-cell table:style-name="C">{p(c)}</table:table-cell>' for c in row)

    body = "".join(f"<table:table-row>{cells(row)}</table:table-row>" for row in rows)
    return f'<table:table table:name="T"><table:table-column table:number-columns-repeated="{len(rows[0])}"/>{body}</table:table>'


def link(address, text):
    return f'<text:a xlink:type="simple" xlink:href="{address}">{text}</text:a>'


def footnote(text):
    return f'<text:note text:id="n1" text:note-class="footnote"><text:note-citation>1</text:note-citation><text:note-body>{p(text)}</text:note-body></text:note>'


def figure(content, width, height):
    data = base64.b64encode(content).decode()
    return f'<text:p><draw:frame draw:name="Figure" text:anchor-type="as-char" svg:width="{width}cm" svg:height="{height}cm"><draw:image><office:binary-data>{data}</office:binary-data></draw:image></draw:frame></text:p>'


FILTERS = {
    "pdf": "pdf:writer_pdf_Export",
    "doc": "doc:MS Word 97",
    "docx": "docx:MS Word 2007 XML",
    "rtf": "rtf:Rich Text Format",
}


def writer(kind, title, body, language=("en", "GB"), face="Liberation Sans"):
    """What LibreOffice Writer makes of this text. The clock stands still, so that its dates repeat."""
    source = TMP / "writer.fodt"
    source.write_text(
        FODT.format(title=title, body=body, language=language[0], country=language[1], font=face), "utf-8"
    )
    run(
        "env", "FAKETIME_DONT_FAKE_MONOTONIC=1", "faketime", "-f", "2024-03-15 10:00:00",
        "soffice", f"-env:UserInstallation=file://{TMP}/profile", "--headless", "--convert-to", FILTERS[kind],
        "--outdir", TMP, source, timeout=180,
    )  # fmt: skip
    return (TMP / f"writer.{kind}").read_bytes()


REPORT = (
    h("Quarterly report")
    + p("The quarter closed with <text:span text:style-name=\"B\">1 284 uploads</text:span>, a little fewer than the one before."
        + footnote("Counted at the gate, not at the desk."))
    + h("Figures", 2)
    + table(("Month", "Uploads", "Refused"), ("January", "402", "7"), ("February", "391", "3"), ("March", "491", "12"))
    + h("What comes next", 2)
    + bullets("A second reader for the night shift", "Shorter paths from the gate to the shelf", "A list of what was refused, and why")
    + p("Nothing else of note happened. " * 12)
)  # fmt: skip


def clean_documents():
    picture = jpeg_bytes(image(landscape(640, 400, seed=12, grain=1.5)), quality=80, exif=exif_bytes(text="Figure"))

    clean(
        "quarterly-report.pdf",
        PDF,
        "LibreOffice text: headings, table, list, footnote; subset fonts",
        writer("pdf", "Quarterly report", REPORT),
    )
    scan = [
        page_scan(
            1,
            [
                "Meeting of the allotment club",
                "",
                "Present: eleven members and one dog.",
                "",
                "1. The water pump is repaired; the bill is shared.",
                "2. Apples may be taken from the trees by the gate.",
                "3. The shed gets a new lock. Keys from the treasurer.",
                "",
                "The next meeting is on the second Friday in May.",
            ],
        ),
        page_scan(
            2,
            [
                "Annex: keys",
                "",
                "Shed: treasurer, gardener",
                "Gate: every member",
                "Pump house: nobody until the inspection",
                "",
                "Signed",
            ],
        ),
    ]
    clean(
        "scan0042.pdf",
        PDF,
        "image-only scan of two pages, by img2pdf",
        img2pdf.convert(
            scan, creationdate=WHEN, moddate=WHEN, producer="img2pdf", title="scan0042", engine=img2pdf.Engine.internal
        ),
    )
    clean(
        "registration form.pdf",
        PDF,
        "reportlab: outline, internal and https links, AcroForm text field and check box",
        form_pdf(),
    )
    source, web = TMP / "web.pdf", TMP / "web-linear.pdf"
    source.write_bytes(
        writer(
            "pdf",
            "Spring walks",
            h("Spring walks")
            + figure(picture, 14, 8.75)
            + p(
                "Every walk starts at the bridge, at nine. More at "
                + link("https://example.com/walks", "the club's page")
                + "."
            ),
            face="DejaVu Serif",
        )
    )
    run("qpdf", "--linearize", "--object-streams=generate", "--deterministic-id", source, web)
    clean(
        "spring-walks.pdf", PDF, "LibreOffice text with a photo, linearized by qpdf with object and xref streams", web
    )

    clean(
        "Quarterly Report (old Word).doc",
        DOC,
        "Writer as Word 97: headings, table, list, footnote",
        writer("doc", "Quarterly report", REPORT),
    )
    greek = (
        h("Größenangaben für Türen") + p("Übergröße heißt: höher als zwei Meter zehn. Die Maße stehen im Anhang.")
        + h("Οδηγίες", 2) + p("Μετρήστε πρώτα το πλάτος και μετά το ύψος. Οι πόρτες ανοίγουν προς τα έξω.")
        + figure(picture, 10, 6.25) + bullets("Äußere Türen", "Εσωτερικές πόρτες")
    )  # fmt: skip
    clean(
        "Türen und Πόρτες.doc",
        DOC,
        "Writer as Word 97: umlauts, Greek, a photo with EXIF inside",
        writer("doc", "Türen", greek, ("de", "DE"), "DejaVu Sans"),
    )

    overview = (
        h("Überblick für März") + p("Straßenfest, Frühjahrsputz und die Prüfung der Öfen fallen in eine Woche." + footnote("Änderungen vorbehalten."))
        + table(("Tag", "Was", "Wer"), ("4.", "Straßenfest", "Jürgen"), ("6.", "Öfen prüfen", "Schornsteinfeger"))
        + bullets("Bänke streichen", "Schlüssel zurückgeben")
    )  # fmt: skip
    clean(
        "Überblick für März.docx",
        DOCX,
        "LibreOffice DOCX; umlauts in the name and the text",
        writer("docx", "Überblick für März", overview, ("de", "DE")),
    )
    clean(
        "project-plan.docx",
        DOCX,
        "python-docx: styles, table, list, core properties, a docProps thumbnail",
        plan_docx(),
    )
    letter = (
        h("Newsletter") + figure(picture, 14, 8.75)
        + p("The programme is on " + link("https://example.com/programme?month=3&amp;lang=en", "our page") + ", the pictures are on " + link("https://pictures.example.org/", "the other one") + ".")
        + p("Questions? Write to " + link("mailto:desk@example.com", "the desk") + ".")
    )  # fmt: skip
    clean(
        "newsletter spring.docx",
        DOCX,
        "LibreOffice DOCX with a photo inside, https and mailto links",
        writer("docx", "Newsletter", letter),
    )


def form_pdf():
    buffer = io.BytesIO()
    page = canvas.Canvas(buffer, pagesize=A4, invariant=1)
    page.setTitle("Registration form")
    page.setAuthor("Erika Mustermann")
    page.setFont("Helvetica-Bold", 20)
    page.drawString(60, 780, "Registration form")
    page.bookmarkPage("form")
    page.addOutlineEntry("Form", "form", 0)
    page.setFont("Helvetica", 12)
    page.drawString(60, 740, "Name")
    page.acroForm.textfield(
        name="name",
        tooltip="Your name",
        x=120,
        y=732,
        width=240,
        height=22,
        borderColor=colors.grey,
        fillColor=colors.white,
    )
    page.drawString(60, 700, "I have read the rules")
    page.acroForm.checkbox(
        name="rules", tooltip="Rules", x=190, y=696, size=16, borderColor=colors.grey, fillColor=colors.white
    )
    page.setFillColor(colors.blue)
    page.drawString(60, 660, "The rules are at https://example.com/rules")
    page.linkURL("https://example.com/rules", (60, 656, 320, 674))
    page.drawString(60, 636, "Directions: next page")
    page.linkRect("", "way", (60, 632, 200, 650))
    page.drawImage(ImageReader(badge(120, "R")), 400, 690, 120, 120, mask="auto")
    page.showPage()
    page.bookmarkPage("way")
    page.addOutlineEntry("Directions", "way", 0)
    page.addOutlineEntry("On foot", "way", 1)
    page.setFont("Helvetica", 12)
    for index, line in enumerate(["Cross the bridge.", "Turn left at the mill.", "Ring twice."]):
        page.drawString(60, 780 - index * 20, line)
    page.showOutline()
    page.save()
    return buffer.getvalue()


def plan_docx():
    document = Document()
    core = document.core_properties
    core.author, core.last_modified_by, core.title, core.comments = (
        "Erika Mustermann",
        "Erika Mustermann",
        "Project plan",
        "",
    )
    core.created = core.modified = WHEN.replace(tzinfo=None)
    document.add_heading("Project plan", 0)
    document.add_paragraph("Three rooms, two weeks, one ladder.")
    for item in ("Move the shelves", "Paint the ceiling", "Paint the walls"):
        document.add_paragraph(item, style="List Bullet")
    grid = document.add_table(rows=1, cols=3, style="Light Grid Accent 1")
    for cell, text in zip(grid.rows[0].cells, ("Room", "Days", "Colour"), strict=True):
        cell.text = text
    for row in (("Hall", "4", "white"), ("Study", "3", "sand"), ("Kitchen", "5", "pale green")):
        for cell, text in zip(grid.add_row().cells, row, strict=True):
            cell.text = text
    document.add_picture(io.BytesIO(png_bytes(badge(160, "1"))), width=Cm(3))
    document.add_page_break()
    document.add_paragraph("Notes", style="Intense Quote")
    buffer = io.BytesIO()
    document.save(buffer)
    parts = unzip(buffer.getvalue())
    # The library's template brings a thumbnail of its own; ours takes its place.
    parts["docProps/thumbnail.jpeg"] = jpeg_bytes(image(landscape(96, 128, seed=13, grain=1)), quality=70)
    return zip_bytes(parts.items())


# ------------------------------------------------------------------------------------------ compound files

FREE, END, NOSTREAM = 0xFFFFFFFF, 0xFFFFFFFE, 0xFFFFFFFF


def compound_file(streams, clsid=bytes(16)):
    """An OLE compound file (version 3) of {"path/of/stream": bytes}. Small: no DIFAT sectors."""
    entries = [{"name": "Root Entry", "kind": 5, "children": {}, "data": b""}]

    def place(path, data):
        node = 0
        *folders, name = path.split("/")
        for folder in folders:
            node = entries[node]["children"].get(folder) or add(node, folder, 1, b"")
        add(node, name, 2, data)

    def add(parent, name, kind, data):
        entries.append({"name": name, "kind": kind, "children": {}, "data": data})
        entries[parent]["children"][name] = len(entries) - 1
        return len(entries) - 1

    def tree(part, below):
        if not part:
            return NOSTREAM
        middle = len(part) // 2
        node = entries[part[middle]]
        node["black"] = int(below > 0)
        node["left"], node["right"] = tree(part[:middle], below - 1), tree(part[middle + 1 :], below - 1)
        return part[middle]

    for path, data in streams.items():
        place(path, data)
    for entry in entries:
        entry.update(left=NOSTREAM, right=NOSTREAM, black=1)
    for entry in entries:
        # Siblings form a search tree by length, then by upper-case name; the deepest level is red.
        order = [entry["children"][n] for n in sorted(entry["children"], key=lambda n: (len(n), n.upper()))]
        entry["child"] = tree(order, len(order).bit_length() - 1)
        if entry["child"] != NOSTREAM:
            entries[entry["child"]]["black"] = 1

    sectors, fat, mini, minifat = [], [], b"", []

    def chain(data, size, table, base):
        count = -(-len(data) // size)
        table.extend([base + i + 1 for i in range(count - 1)] + [END] * (count > 0))
        return data.ljust(count * size, b"\0")

    def store(data):
        start = len(sectors)
        padded = chain(data, 512, fat, start)
        sectors.extend(padded[i : i + 512] for i in range(0, len(padded), 512))
        return start if data else END

    for entry in entries[1:]:
        entry["start"] = 0 if entry["kind"] == 1 else END
        if entry["kind"] == 2 and entry["data"]:
            if len(entry["data"]) < 4096:
                entry["start"] = len(minifat)
                mini += chain(entry["data"], 64, minifat, len(minifat))
            else:
                entry["start"] = store(entry["data"])
    entries[0]["start"], entries[0]["data"] = store(mini), mini
    minifat_start = store(struct.pack(f"<{len(minifat)}I", *minifat).ljust(-(-len(minifat) // 128) * 512, b"\xff"))
    listing = b""
    for index, entry in enumerate(entries):
        name = entry["name"].encode("utf-16-le") + b"\0\0"
        listing += name.ljust(64, b"\0") + struct.pack(
            "<HBBIII", len(name), entry["kind"], entry["black"], entry["left"], entry["right"], entry["child"]
        )
        listing += (
            (clsid if index == 0 else bytes(16))
            + bytes(4 + 16)
            + struct.pack("<IQ", entry["start"], len(entry["data"]))
        )
    while len(listing) % 512:
        listing += bytes(68) + struct.pack("<III", NOSTREAM, NOSTREAM, NOSTREAM) + bytes(48)
    directory_start = store(listing)
    fat_count = next(n for n in range(1, 110) if n * 128 >= len(fat) + n)
    fat_at = len(sectors)
    fat.extend([0xFFFFFFFD] * fat_count)
    fat.extend([FREE] * (fat_count * 128 - len(fat)))
    head = bytes.fromhex("d0cf11e0a1b11ae1") + bytes(16) + struct.pack("<5H6x", 0x3E, 3, 0xFFFE, 9, 6)
    head += struct.pack(
        "<9I",
        0,
        fat_count,
        directory_start,
        0,
        4096,
        minifat_start if minifat else END,
        -(-len(minifat) // 128),
        END,
        0,
    )
    head += b"".join(struct.pack("<I", fat_at + i if i < fat_count else FREE) for i in range(109))
    return head + b"".join(sectors) + struct.pack(f"<{len(fat)}I", *fat)


def ovba(data):
    """The compressed container of MS-OVBA with literal tokens only; one chunk holds up to 3600 bytes."""
    tokens = b"".join(b"\0" + data[i : i + 8] for i in range(0, len(data), 8))
    assert len(data) <= 3600
    return b"\x01" + struct.pack("<H", (len(tokens) + 2 - 3) | 0x3000 | 0x8000) + tokens


def vba_streams(prefix=""):
    """A VBA project that says hello when the document opens; it does nothing else."""
    source = (
        'Attribute VB_Name = "ThisDocument"\r\nAttribute VB_Base = "1Normal.ThisDocument"\r\n'
        "Attribute VB_GlobalNameSpace = False\r\nAttribute VB_Creatable = False\r\n"
        "Attribute VB_PredeclaredId = True\r\nAttribute VB_Exposed = True\r\n"
        'Sub AutoOpen()\r\n    MsgBox "Hello from the Airlock test data"\r\nEnd Sub\r\n'
    ).encode()
    name, wide = b"ThisDocument", "ThisDocument".encode("utf-16-le")

    def record(kind, data=b""):
        return struct.pack("<HI", kind, len(data)) + data

    directory = (
        record(0x01, struct.pack("<I", 1)) + record(0x02, struct.pack("<I", 0x409)) + record(0x14, struct.pack("<I", 0x409))
        + record(0x03, struct.pack("<H", 1252)) + record(0x04, b"Project") + record(0x05) + record(0x40) + record(0x06) + record(0x3D)
        + record(0x07, bytes(4)) + record(0x08, bytes(4)) + struct.pack("<HIIH", 0x09, 4, 1, 1) + record(0x0C) + record(0x3C)
        + record(0x0F, struct.pack("<H", 1)) + record(0x13, b"\xff\xff")
        + record(0x19, name) + record(0x47, wide) + record(0x1A, name) + record(0x32, wide) + record(0x1C) + record(0x48)
        + record(0x31, bytes(4)) + record(0x1E, bytes(4)) + record(0x2C, b"\xff\xff") + record(0x22) + record(0x2B) + record(0x10)
    )  # fmt: skip
    project = (
        'ID="{6F1D7A52-3B0C-5C0E-9B57-41A170C40001}"\r\nDocument=ThisDocument/&H00000000\r\nName="Project"\r\nHelpContextID="0"\r\n'
        'VersionCompatible32="393222000"\r\n\r\n[Host Extender Info]\r\n&H00000001={3832D640-CF90-11CF-8E43-00A0C911005A};VBE;&H00000000\r\n'
        "\r\n[Workspace]\r\nThisDocument=0, 0, 0, 0, C\r\n"
    ).encode()
    return {
        f"{prefix}PROJECT": project,
        f"{prefix}PROJECTwm": name + b"\0" + wide + b"\0\0\0\0",
        f"{prefix}VBA/_VBA_PROJECT": bytes.fromhex("cc61ffff000000"),
        f"{prefix}VBA/dir": ovba(directory),
        f"{prefix}VBA/ThisDocument": ovba(source),
    }


# ----------------------------------------------------------------------------------------------- refusals


def small_docx(text="A short letter."):
    return writer("docx", "Letter", h("Letter") + p(text))


def edited(content, changes=(), added=(), stored=(), removed=()):
    """A DOCX with text replaced in some parts, as (part, old, new), and parts added, as (part, content)."""
    parts = unzip(content)
    for part, old, new in changes:
        assert old.encode() in parts[part], (part, old)
        parts[part] = parts[part].replace(old.encode(), new.encode(), 1)
    parts.update(added)
    for part in removed:
        del parts[part]
    return zip_bytes(parts.items(), stored)


RELATION = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
RELS = "word/_rels/document.xml.rels"


def relation(id_, kind, target, external=False):
    mode = ' TargetMode="External"' if external else ""
    return f'<Relationship Id="{id_}" Type="{kind}" Target="{target}"{mode}/></Relationships>'


def edit_pdf(content, change):
    """A PDF after `change` on the opened pikepdf object."""
    buffer = io.BytesIO()
    with pikepdf.open(io.BytesIO(content)) as pdf:
        change(pdf)
        pdf.save(buffer, deterministic_id=True)
    return buffer.getvalue()


def letter_pdf(text="A short letter."):
    buffer = io.BytesIO()
    page = canvas.Canvas(buffer, pagesize=A4, invariant=1)
    page.setTitle("Letter")
    page.setFont("Helvetica", 14)
    page.drawString(60, 760, text)
    page.save()
    return buffer.getvalue()


def refused_pictures():
    photo = jpeg_bytes(image(landscape(480, 320, seed=21, grain=1.5, hour="noon")), quality=82)
    hidden = zip_bytes(
        [("notes/readme.txt", b"This archive travels behind a picture.\n"), ("notes/list.csv", b"a,b\n1,2\n" * 40)]
    )
    refused(
        "photo-with-archive.jpg",
        JPEG,
        "polyglot",
        "a JPEG with a ZIP behind its end: both readers accept the file",
        photo + hidden,
    )

    head = b"%PDF-1.4\n% a reader of documents finds its magic here\n"
    behind = photo[:2] + b"\xff\xfe" + struct.pack(">H", len(head) + 2) + head + photo[2:]
    refused(
        "two-faces.jpg",
        JPEG,
        "polyglot",
        "a JPEG whose comment begins a PDF, and whose tail completes it",
        behind + letter_pdf()[9:],
    )

    refused(
        "cut-off.jpg", JPEG, "truncated", "a JPEG that ends in the middle of its scan", photo[: len(photo) * 2 // 3]
    )
    refused(
        "half-sent.gif",
        GIF,
        "truncated",
        "an animated GIF that ends inside a frame",
        (OUT / "clean/balloon.gif").read_bytes()[:9000],
    )
    webp = (OUT / "clean/sticker.webp").read_bytes()
    refused("sticker.png", "", "extension_mismatch", "a WebP named .png, nothing declared", webp)
    refused(
        "cat-declared-jpeg.png",
        JPEG,
        "type_mismatch",
        "a PNG by name and content, declared as image/jpeg",
        png_bytes(cat(180, 150), optimize=True),
    )
    refused(
        "statement.png",
        "",
        "extension_mismatch",
        "a PDF named .png, nothing declared",
        letter_pdf("Statement of account"),
    )

    header = struct.pack(">IIBBBBB", 50_000, 50_000, 8, 2, 0, 0, 0)
    data = zlib.compress(bytes(3 * 64 + 1), 9)
    flood = PNG_SIGNATURE + png_chunk(b"IHDR", header) + png_chunk(b"IDAT", data) + png_chunk(b"IEND", b"")
    refused(
        "pixel-flood.png",
        PNG,
        "image_too_large",
        "a PNG of 50000 by 50000 pixels by its header, with right checksums and next to no data",
        flood,
    )

    good = png_bytes(badge(96, "!"), optimize=True)
    at = good.index(b"IDAT") + 40
    refused(
        "bit-rot.png",
        PNG,
        "malformed|undecodable",
        "a PNG with one flipped bit in IDAT: the checksum fails",
        good[:at] + bytes([good[at] ^ 4]) + good[at + 1 :],
    )

    frames = [Image.new("P", (8, 8), index % 7) for index in range(501)]
    for frame in frames:
        frame.putpalette([v for i in range(8) for v in (i * 30, 255 - i * 30, 128)])
    many = io.BytesIO()
    frames[0].save(many, "GIF", save_all=True, append_images=frames[1:], duration=20, loop=0)
    refused("flicker.gif", GIF, "too_many_frames", "a GIF of 501 frames", many.getvalue())


def refused_pdfs():
    letter = letter_pdf()
    source, locked = TMP / "letter.pdf", TMP / "locked.pdf"
    source.write_bytes(writer("pdf", "Payslip", h("Payslip") + p("March. For your eyes only."), face="DejaVu Sans"))
    run(
        "qpdf",
        "--static-id",
        "--static-aes-iv",
        "--encrypt",
        "user",
        "owner",
        "128",
        "--use-aes=y",
        "--",
        source,
        locked,
    )
    refused(
        "payslip-protected.pdf",
        PDF,
        "encrypted",
        "a PDF that opens with the password `user` only (AES-128, by qpdf)",
        locked,
    )

    def script(pdf):
        pdf.Root.OpenAction = pikepdf.Dictionary(
            S=pikepdf.Name.JavaScript, JS=pikepdf.String('app.alert("Hello from the Airlock test data");')
        )

    refused(
        "greeting.pdf", PDF, "active_content", "a PDF that runs JavaScript when it is opened", edit_pdf(letter, script)
    )

    def launch(pdf):
        action = pikepdf.Dictionary(S=pikepdf.Name.Launch, F=pikepdf.String("readme.txt"))
        box = pikepdf.Dictionary(Type=pikepdf.Name.Annot, Subtype=pikepdf.Name.Link, Rect=[60, 700, 200, 720], A=action)
        pdf.pages[0].Annots = pikepdf.Array([pdf.make_indirect(box)])

    refused("press-here.pdf", PDF, "active_content", "a PDF with a link that launches a file", edit_pdf(letter, launch))

    table_file, attached = TMP / "table.csv", TMP / "attached.pdf"
    table_file.write_bytes(b"room,days\nhall,4\nstudy,3\n")
    run(
        "qpdf",
        "--deterministic-id",
        source,
        "--add-attachment",
        table_file,
        "--mimetype=text/csv",
        f"--creationdate={PDF_DATE}",
        f"--moddate={PDF_DATE}",
        "--",
        attached,
    )
    refused("with-attachment.pdf", PDF, "embedded_file", "a PDF with a CSV file attached, by qpdf", attached)

    refused(
        "long-tail.pdf",
        PDF,
        "trailing_data|polyglot",
        "a PDF with 4 KiB of noise behind %%EOF",
        letter + noise_bytes(51, 4096),
    )
    refused(
        "invoice.pdf.exe",
        PDF,
        "unsafe_name|extension_mismatch",
        "a PDF with the name of a program",
        letter_pdf("Invoice 2024-117"),
    )


def refused_office():
    letter = small_docx()
    vba = edited(
        letter,
        [
            (
                RELS,
                "</Relationships>",
                relation("rIdV", "http://schemas.microsoft.com/office/2006/relationships/vbaProject", "vbaProject.bin"),
            ),
            (
                "[Content_Types].xml",
                "</Types>",
                '<Default Extension="bin" ContentType="application/vnd.ms-office.vbaProject"/></Types>',
            ),
            (
                "[Content_Types].xml",
                "application/vnd.openxmlformats-officedocument.wordprocessingml.document.main+xml",
                "application/vnd.ms-word.document.macroEnabled.main+xml",
            ),
        ],
        [("word/vbaProject.bin", compound_file(vba_streams()))],
    )
    refused("order-form.docx", DOCX, "macro", "a DOCM (VBA project with AutoOpen) renamed to .docx", vba)

    with olefile.OleFileIO(
        io.BytesIO(writer("doc", "Order form", h("Order form") + p("Please enable the content.")))
    ) as old:
        streams = {"/".join(path): old.openstream(path).read() for path in old.listdir()}
    clsid = bytes.fromhex("0609020000000000c000000000000046")
    refused(
        "order-form-97.doc",
        DOC,
        "macro",
        "a Word 97 document with a VBA project in Macros",
        compound_file({**streams, **vba_streams("Macros/")}, clsid),
    )

    template = '<?xml version="1.0" encoding="UTF-8" standalone="yes"?>\n<Relationships xmlns="http://schemas.openxmlformats.org/package/2006/relationships">'
    parts = unzip(letter)
    assert "word/_rels/settings.xml.rels" not in parts
    settings = parts["word/settings.xml"].decode()
    start = settings.index(">", settings.index("<w:settings")) + 1
    opening = settings[settings.index("<w:settings") : start]
    changes = [
        (
            "word/settings.xml",
            opening,
            opening[:-1] + f' xmlns:r="{RELATION}">' if "xmlns:r=" not in opening else opening,
        )
    ]
    after = next(tag for tag in ("<w:zoom", "<w:view") if tag in settings)
    piece = settings[settings.rindex(after) :]
    piece = piece[: piece.index("/>") + 2]
    changes.append(("word/settings.xml", piece, piece + '<w:attachedTemplate r:id="rIdT"/>'))
    remote = edited(
        letter,
        changes,
        [
            (
                "word/_rels/settings.xml.rels",
                template
                + relation("rIdT", f"{RELATION}/attachedTemplate", "https://templates.example.com/letter.dotm", True),
            )
        ],
    )
    refused(
        "remote-template.docx",
        DOCX,
        "external_reference",
        "a DOCX whose template is fetched from https when it opens",
        remote,
    )

    beacon = edited(
        writer("docx", "Picture", h("Picture") + figure(png_bytes(badge(64, "P")), 2, 2)),
        [
            (RELS, 'Target="media/image1.png"', 'Target="https://pictures.example.com/seen.png" TargetMode="External"'),
            ("word/document.xml", "r:embed=", "r:link="),
        ],
        removed=("word/media/image1.png",),
    )
    refused(
        "remote-picture.docx",
        DOCX,
        "external_reference",
        "a DOCX whose picture is fetched from https when it opens",
        beacon,
    )

    note, path = b"A note inside a letter.\r\n", b"C:\\notes\\notes.txt\0"
    native = (
        b"\x02\0notes.txt\0"
        + path
        + b"\0\0\x03\0"
        + struct.pack("<I", len(path))
        + path
        + struct.pack("<I", len(note))
        + note
    )
    native = struct.pack("<I", len(native)) + native
    package = compound_file({"\x01Ole10Native": native}, bytes.fromhex("0c00030000000000c000000000000046"))
    shown = (
        '<w:p><w:r><w:object><v:shape id="o1" style="width:60pt;height:40pt"/>'
        '<o:OLEObject Type="Embed" ProgID="Package" ShapeID="o1" DrawAspect="Icon" ObjectID="_1" r:id="rIdO"/></w:object></w:r></w:p>'
    )
    embedded = edited(
        letter,
        [
            (RELS, "</Relationships>", relation("rIdO", f"{RELATION}/oleObject", "embeddings/oleObject1.bin")),
            (
                "[Content_Types].xml",
                "</Types>",
                '<Default Extension="bin" ContentType="application/vnd.openxmlformats-officedocument.oleObject"/></Types>',
            ),
            ("word/document.xml", "<w:body>", "<w:body>" + shown),
        ],
        [("word/embeddings/oleObject1.bin", package)],
    )
    refused("packed-lunch.docx", DOCX, "embedded_file", "a DOCX with an OLE package in word/embeddings", embedded)

    # 112 MiB of one picture element's worth of nothing in about as many KiB.
    bitmap = (
        b"BM"
        + struct.pack("<IHHI", 112 << 20, 0, 0, 54)
        + struct.pack("<IiiHHIIiiII", 40, 8192, 4778, 1, 24, 0, 0, 0, 0, 0, 0)
    )
    bomb = edited(
        letter,
        [
            (RELS, "</Relationships>", relation("rIdB", f"{RELATION}/image", "media/image1.bmp")),
            ("[Content_Types].xml", "</Types>", '<Default Extension="bmp" ContentType="image/bmp"/></Types>'),
        ],
        [("word/media/image1.bmp", bitmap.ljust(112 << 20, b"\0"))],
    )
    refused("heavy-picture.docx", DOCX, "archive_bomb", "a DOCX with one part that inflates to 112 MiB", bomb)

    # The encryption asks the system for salts and keys and for the time; here it gets the same answers always.
    buffer = io.BytesIO()
    with (
        mock.patch("secrets.token_bytes", seeded("airlock")),
        mock.patch("os.urandom", seeded("system")),
        mock.patch("msoffcrypto.method.container.ecma376_encrypted.datetime", StillClock),
    ):
        msoffcrypto.format.ooxml.OOXMLFile(io.BytesIO(letter)).encrypt("airlock", buffer)
    refused(
        "contract-protected.docx",
        DOCX,
        "encrypted",
        "a DOCX under the password `airlock` (agile encryption, by msoffcrypto-tool)",
        buffer.getvalue(),
    )

    refused(
        "rich-text.doc",
        DOC,
        "type_not_allowed|extension_mismatch|type_mismatch",
        "an RTF named .doc, as some programs do",
        writer("rtf", "Letter", h("Letter") + p("This is rich text.")),
    )


def refused_strangers():
    refused("random.jpg", JPEG, "unrecognized", "noise with the name of a picture", b"\x93" + noise_bytes(61, 4095))
    refused("empty.pdf", PDF, "empty", "no bytes at all", b"")
    refused(
        "backup.zip",
        "application/zip",
        "type_not_allowed",
        "a plain ZIP",
        zip_bytes([("a.txt", b"one\n" * 50), ("b/c.txt", b"two\n" * 50)]),
    )
    svg = '<?xml version="1.0" encoding="UTF-8"?>\n<svg xmlns="http://www.w3.org/2000/svg" width="120" height="120" viewBox="0 0 120 120">\n  <circle cx="60" cy="60" r="50" fill="#2b6cb0"/>\n  <path d="M30 62l20 22 42-46" fill="none" stroke="#fff" stroke-width="10"/>\n</svg>\n'
    refused("logo.svg", "image/svg+xml", "type_not_allowed", "an SVG", svg.encode())
    # mov edi,0; mov eax,60; syscall: a 64-bit program that ends at once with 0.
    code = bytes.fromhex("bf00000000b83c0000000f05")
    elf = (
        b"\x7fELF\x02\x01\x01"
        + bytes(9)
        + struct.pack("<HHIQQQIHHHHHH", 2, 62, 1, 0x400078, 64, 0, 0, 64, 56, 1, 0, 0, 0)
    )
    elf += struct.pack("<IIQQQQQQ", 1, 5, 0, 0x400000, 0x400000, 0x78 + len(code), 0x78 + len(code), 0x1000) + code
    refused(
        "update-tool", "application/octet-stream", "type_not_allowed", "a Linux program (ELF) that ends at once", elf
    )
    page = b"<!DOCTYPE html>\n<html><head><title>Photo</title></head><body><p>This is a page, not a picture.</p></body></html>\n"
    refused(
        "photo.jpg",
        JPEG,
        "type_not_allowed|unrecognized|type_mismatch|extension_mismatch",
        "an HTML page named .jpg",
        page,
    )


def eicar():
    """The EICAR test file (68 bytes), put together here so that no file of this repository holds it."""
    pieces = ["X5O!P%@AP[4\\PZX54", "(P^)7CC)7}$EIC", "AR-STANDARD-ANTI", "VIRUS-TEST-F", "ILE!$H+H*"]
    text = "".join(pieces).encode()
    assert len(text) == 68 and hashlib.md5(text).hexdigest() == "44d88612fea8a8f36de82e1278abb02f"
    return text


def refused_malware():
    def encode(content):
        return bytes(byte ^ XOR_KEY for byte in content)

    document = edited(
        small_docx("The picture of this letter is none."),
        [(RELS, "</Relationships>", relation("rIdE", f"{RELATION}/image", "media/image1.png"))],
        [("word/media/image1.png", eicar())],
        stored=("word/media/image1.png",),
    )  # fmt: skip
    refused(
        "eicar.docx.enc",
        DOCX,
        "malware",
        "XOR 0x5A of a DOCX with the EICAR test file stored as word/media/image1.png",
        encode(document),
    )

    def hide(pdf):
        private = pikepdf.Stream(pdf, eicar())
        pdf.pages[0].PieceInfo = pikepdf.Dictionary(
            Airlock=pikepdf.Dictionary(LastModified=pikepdf.String(PDF_DATE), Private=pdf.make_indirect(private))
        )

    buffer = io.BytesIO()
    with pikepdf.open(io.BytesIO(letter_pdf("This letter carries something."))) as pdf:
        hide(pdf)
        pdf.save(buffer, deterministic_id=True, compress_streams=True, recompress_flate=True)
    refused(
        "eicar.pdf.enc",
        PDF,
        "malware",
        "XOR 0x5A of a PDF with the EICAR test file in a Flate stream",
        encode(buffer.getvalue()),
    )


# --------------------------------------------------------------------------------------------------- main


def main():
    global OUT, TMP
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--out",
        type=Path,
        default=Path(__file__).resolve().parent,
        help="where to write (default: next to this program)",
    )
    OUT = parser.parse_args().out.resolve()
    with tempfile.TemporaryDirectory(prefix="airlock-testdata-") as scratch:
        TMP = Path(scratch)
        for step in (
            clean_jpegs,
            clean_pngs,
            clean_gifs,
            clean_webps,
            clean_documents,
            refused_pictures,
            refused_pdfs,
            refused_office,
            refused_strangers,
            refused_malware,
        ):
            step()
    lines = ["# path\tdeclared_type\tverdict\treasons\twhat"]
    lines += ["\t".join(row) for row in ROWS]
    assert all(line.count("\t") == 4 for line in lines)
    (OUT / "expected.tsv").write_text("\n".join(lines) + "\n", "utf-8")
    made = {row[0] for row in ROWS}
    for file in sorted(f for folder in ("clean", "refused") for f in (OUT / folder).iterdir()):
        if f"{file.parent.name}/{file.name}" not in made:
            print(f"not made here, not in expected.tsv: {file}")
    total = sum(f.stat().st_size for f in OUT.rglob("*") if f.is_file())
    print(f"{len(ROWS)} files, {total / 1e6:.2f} MB in {OUT}")


if __name__ == "__main__":
    main()
