"""Paints landscapes that behave like photos: no two alike, with soft gradients, texture, and a sensor's grain.

Belongs here: pixels out of a seed. Does not belong here: file formats and metadata (`sample_files.py`), and which
pictures a library has (`sample.py`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

Plane = NDArray[np.float32]
Colour = tuple[int, int, int]
Ground = Literal["hills", "peaks", "sea", "dunes", "city", "forest"]
Hour = Literal["noon", "morning", "sunset", "dusk", "night", "overcast"]


@dataclass(frozen=True)
class _Light:
    """The colours of one time of day: zenith, horizon, haze over what is far, what is near, and the sun."""

    zenith: Colour
    horizon: Colour
    haze: Colour
    near: Colour
    sun: Colour
    sun_height: float


_LIGHTS: dict[Hour, _Light] = {
    "noon": _Light((58, 118, 200), (186, 214, 236), (150, 178, 200), (58, 96, 40), (255, 252, 235), 0.78),
    "morning": _Light((112, 158, 206), (250, 222, 190), (206, 190, 190), (84, 92, 58), (255, 240, 205), 0.36),
    "sunset": _Light((66, 60, 122), (248, 140, 66), (190, 104, 92), (46, 32, 40), (255, 226, 150), 0.14),
    "dusk": _Light((24, 32, 78), (196, 116, 128), (92, 72, 112), (22, 24, 40), (255, 190, 160), 0.04),
    "night": _Light((6, 9, 26), (30, 42, 74), (20, 28, 52), (7, 9, 16), (238, 238, 224), 0.7),
    "overcast": _Light((148, 156, 164), (206, 208, 208), (168, 174, 176), (72, 82, 62), (226, 226, 222), 0.6),
}
_GROUND_TINTS: dict[Ground, Colour] = {
    "hills": (0, 0, 0),
    "peaks": (14, 2, 26),
    "sea": (0, 0, 0),
    "dunes": (110, 52, -6),
    "city": (4, -14, 10),
    "forest": (-18, -4, -12),
}


def landscape(seed: int, number: int, width: int, height: int, ground: Ground, hour: Hour) -> Image.Image:
    """Paints one landscape.

    Args:
        seed: The library's seed.
        number: The picture's number; another one gives another place in the same light.
        width: Width in pixels.
        height: Height in pixels.
        ground: What stands on the horizon.
        hour: The light.
    """
    rng = np.random.default_rng([seed, number])
    light = _LIGHTS[hour]
    horizon = float(rng.uniform(0.42, 0.66)) * height
    picture = _sky(rng, width, height, horizon, light, hour)
    if ground == "sea":
        _paint_sea(rng, picture, horizon, light)
    elif ground == "city":
        _paint_city(rng, picture, horizon, light, hour)
    else:
        _paint_ridges(rng, picture, horizon, light, ground)
    grain = rng.standard_normal((height, width), dtype=np.float32) * (5.0 if hour in ("night", "dusk") else 2.6)
    picture += grain[..., None]
    return Image.fromarray(np.clip(picture, 0, 255).astype(np.uint8))


def screenshot(width: int, height: int) -> Image.Image:
    """Draws the screen of a phone: flat areas and text, which compress in another way than photos."""
    picture = Image.new("RGB", (width, height), (242, 242, 247))
    draw = ImageDraw.Draw(picture)
    lines = (
        "Where are you?",
        "At the lake, come over",
        "The light is great just now",
        "On my way!",
        "Bring the camera",
        ":-)",
    )
    for index, text in enumerate(lines):
        mine, top = index % 2 == 1, height // 9 * (index + 1)
        left = width // 3 if mine else width // 20
        box = (left, top, left + width * 3 // 5, top + height // 13)
        draw.rounded_rectangle(box, radius=height // 40, fill=(0, 122, 255) if mine else (255, 255, 255))
        draw.text((left + 24, top + height // 50), text, fill="white" if mine else "black", font_size=height // 52)
    draw.text((width // 20, height // 60), "9:41", fill="black", font_size=height // 40)
    return picture


def badge(seed: int, size: int) -> Image.Image:
    """Draws a round badge on a transparent ground, with soft edges in the alpha channel."""
    rng = np.random.default_rng([seed, size])
    row, column = np.mgrid[0:size, 0:size].astype(np.float32) / size - 0.5
    radius, angle = np.hypot(row, column), np.arctan2(row, column)
    petals = 0.30 + 0.14 * np.cos(7 * angle + float(rng.uniform(0, 6)))
    colour = np.stack([200 + 55 * np.cos(angle + shift) for shift in (0.0, 2.1, 4.2)], axis=-1)
    alpha = 255 * np.clip((petals - radius) * size / 8, 0, 1)
    return Image.fromarray(np.dstack([np.clip(colour, 0, 255), alpha]).astype(np.uint8))


def _sky(rng: np.random.Generator, width: int, height: int, horizon: float, light: _Light, hour: Hour) -> Plane:
    down = np.clip(np.arange(height, dtype=np.float32) / horizon, 0, 1)[:, None, None] ** np.float32(1.4)
    sky = _mixed(light.zenith, light.horizon, np.broadcast_to(down, (height, width, 1)))
    row, column = np.ogrid[0:height, 0:width]
    sun_x, sun_y = (
        float(rng.uniform(0.12, 0.88)) * width,
        horizon * (1 - light.sun_height * float(rng.uniform(0.7, 1.1))),
    )
    distance = np.hypot(row - sun_y, column - sun_x).astype(np.float32) / max(width, height)
    if hour == "night":
        _scatter_stars(rng, sky, int(horizon))
    if hour != "overcast":
        disc = np.clip((0.02 - distance) * 400, 0, 1)
        glow = 0.85 * np.exp(-distance * (30 if hour == "night" else 8))
        sky = _mixed(sky, light.sun, np.maximum(disc, glow)[..., None])
    clouds = _fractal(rng, width, height, 4, stretch=3) - float(rng.uniform(0.38, 0.62))
    cover = np.clip(clouds * 3.2, 0, 0.75 if hour != "night" else 0.25)
    return _mixed(sky, tuple((c + 255) // 2 for c in light.horizon), cover[..., None])


def _scatter_stars(rng: np.random.Generator, sky: Plane, horizon: int) -> None:
    rows, columns = rng.integers(0, horizon, 260), rng.integers(0, sky.shape[1] - 1, 260)
    brightness = rng.uniform(60, 230, 260).astype(np.float32)[:, None]
    for step_down, step_right in ((0, 0), (0, 1), (1, 0), (1, 1)):
        sky[rows + step_down, columns + step_right] += brightness


def _paint_ridges(rng: np.random.Generator, picture: Plane, horizon: float, light: _Light, ground: Ground) -> None:
    height, width, _ = picture.shape
    texture = _fractal(rng, width, height, 6) - 0.5
    blades = rng.standard_normal((height // 2 + 1, width // 2 + 1), dtype=np.float32).repeat(2, 0).repeat(2, 1)
    texture += blades[:height, :width] * 0.09  # grass and stones: what makes a photo hard to compress
    layers = int(rng.integers(3, 6))
    for layer in range(layers):
        depth = (layer + 1) / layers
        top = horizon + (height - horizon) * 0.8 * (depth - 1 / layers)
        ridge = top - _ridge(rng, width, ground, depth) * height
        colour = np.array(light.near) + np.array(_GROUND_TINTS[ground]) * (1 if light.sun_height > 0.1 else 0.3)
        tone = _mixed(light.haze, tuple(int(c) for c in colour), np.full((1, 1, 1), depth**0.7, np.float32))
        start = max(0, int(ridge.min()) - 1)
        rows = np.arange(start, height, dtype=np.float32)[:, None]
        mask = np.clip(rows - ridge[None, :] + 0.5, 0, 1)[..., None]
        shade = (texture[start:] * (30 + 70 * depth))[..., None] + ((rows - top) / height * -26)[..., None]
        face = tone + shade * (0.35 + 0.65 * float(np.mean(light.near)) / 80)
        if ground == "peaks" and layer < layers - 1:
            face = _snow(face, rows - ridge[None, :], texture[start:], height)
        picture[start:] += (face - picture[start:]) * mask


def _snow(face: Plane, below: Plane, texture: Plane, height: int) -> Plane:
    cover = np.clip(1.1 - below / height * 26 + texture * 4, 0, 0.9).astype(np.float32)[..., None]
    return _mixed(face, (236, 240, 248), cover)


def _ridge(rng: np.random.Generator, width: int, ground: Ground, depth: float) -> Plane:
    along = np.linspace(0, 1, width, dtype=np.float32)
    roughness = {"peaks": 1.0, "dunes": 2.6, "forest": 1.5}.get(ground, 1.9)
    waves = 4 if ground == "dunes" else 9
    ridge = np.zeros(width, np.float32)
    for octave in range(waves):
        frequency = 1.3 * 1.75**octave
        wave = np.sin(2 * np.pi * (along * frequency + float(rng.uniform())))
        ridge += (
            (1 - 2 * np.abs(wave) if ground == "peaks" else wave) / frequency**roughness * float(rng.uniform(0.5, 1.3))
        )
    ridge *= {"peaks": 0.11, "dunes": 0.05, "forest": 0.06}.get(ground, 0.06)
    if ground == "forest":
        trees = 40 + int(60 * (1 - depth))
        saw = np.abs((along * trees + float(rng.uniform())) % 1 - 0.5)
        tallness = np.interp(along * trees, np.arange(trees + 1), rng.uniform(0.3, 1, trees + 1)).astype(np.float32)
        ridge += np.clip(0.5 - saw * 1.6, 0, 1) * tallness * (0.06 + 0.12 * depth)
    return ridge


def _paint_sea(rng: np.random.Generator, picture: Plane, horizon: float, light: _Light) -> None:
    height, width, _ = picture.shape
    start = int(horizon)
    mirrored = picture[start - 1 :: -1][: height - start]
    reflection = np.concatenate([mirrored, np.repeat(mirrored[-1:], height - start - len(mirrored), axis=0)])
    # Waves grow towards the viewer: the same noise, squeezed at the horizon.
    waves = _fractal(rng, width, height - start, 6, stretch=9) - 0.5
    near = np.linspace(0.15, 1, height - start, dtype=np.float32)[:, None, None]
    water = _mixed(reflection, tuple(int(c * 0.4) for c in light.zenith), 0.35 + 0.3 * near)
    picture[start:] = water + waves[..., None] * 150 * near * (0.25 + float(np.mean(light.horizon)) / 255)


def _paint_city(rng: np.random.Generator, picture: Plane, horizon: float, light: _Light, hour: Hour) -> None:
    height, width, _ = picture.shape
    lit = hour in ("night", "dusk", "sunset")
    for depth in (0.3, 0.65, 1.0):
        left = 0
        while left < width:
            breadth = int(width * float(rng.uniform(0.03, 0.10)))
            top = int(horizon - height * float(rng.uniform(-0.05, 0.34)) * (1.2 - 0.6 * depth) + height * 0.14 * depth)
            block = picture[top:, left : left + breadth]
            concrete = np.mean(light.near) * 0.9 + np.array([6, 4, 10])
            tone = np.array(light.haze) * (1 - depth) + concrete * depth + float(rng.uniform(-14, 14))
            fade = np.linspace(10, -16, len(block), dtype=np.float32)[:, None, None]
            block[:] = tone.astype(np.float32) + fade
            _light_windows(rng, block, depth, lit)
            left += breadth + int(width * 0.004)


def _light_windows(rng: np.random.Generator, block: Plane, depth: float, lit: bool) -> None:
    step = max(6, int(18 * depth))
    rows, columns = (max(0, side // step - 1) for side in block.shape[:2])
    glow = np.array([120, 96, 40] if lit else [34, 36, 40], np.float32)
    for row, column in zip(*np.nonzero(rng.random((rows, columns)) < 0.42), strict=True):
        top, left = step // 2 + row * step, step // 2 + column * step
        block[top : top + step * 3 // 5, left : left + step // 2] += glow * float(rng.uniform(0.4, 1.2))


def _fractal(rng: np.random.Generator, width: int, height: int, octaves: int, stretch: int = 1) -> Plane:
    """Returns noise between about 0 and 1 whose every octave is twice as fine and half as strong."""
    # Soft octaves need no full resolution; enlarging their sum once is a quarter of the work.
    half = (max(2, width // 2), max(2, height // 2))
    total = np.zeros((half[1], half[0]), np.float32)
    for octave in range(octaves):
        cells = 4 * 2**octave
        noise = rng.random((min(half[1], cells * stretch), min(half[0], cells + 1)), dtype=np.float32)
        total += np.asarray(Image.fromarray(noise).resize(half, Image.Resampling.BICUBIC)) / 2**octave
    total /= 2 - 2 ** (1 - octaves)
    return np.asarray(Image.fromarray(total).resize((width, height), Image.Resampling.BILINEAR))


def _mixed(below: Plane | Colour | tuple[int, ...], above: Colour | tuple[int, ...], share: Plane) -> Plane:
    first = np.asarray(below, np.float32)
    return first + (np.asarray(above, np.float32) - first) * share
