"""Render one photo of one made-up person: geometry, light, camera.

Head, shoulders, hair and eyes are rasterised at twice the photo's size, lit (a main light with shadows, light from all
around with occlusion, sheen), laid over each other by depth, and reduced.

Convention:
    Model and camera frame as everywhere in the project: x right, y down, z away; +yaw turns the nose to the image's
    left.
"""

from dataclasses import dataclass, replace

import cv2
import numpy as np
from scipy.spatial.transform import Rotation

from augmentor.head.head_model import HeadModel
from augmentor.made_up.ears import EarPlaces
from augmentor.made_up.hair import HairSurface, Scalp, grow
from augmentor.made_up.person import Person, Shot
from augmentor.made_up.raster import (
    Fragments,
    ShadowMap,
    Surface,
    rasterise,
    sample_texture,
    shadow_map,
    vertex_normals,
)
from augmentor.made_up.scene import background, dress, frame_curves, shoulders
from augmentor.made_up.skin import (
    beard_region,
    chart,
    cover,
    noise,
    paint_skin,
    skin_colour,
    smooth_curve,
)

SUPERSAMPLING = 2
HEAD_WIDTH_MM = 155.0
HAIR_SINKS_MM = 1.0  # hair stays visible down to this depth below the skin
EYEBALL_MM = 12.0
# How far light reaches around the edge of a shadow in skin, per colour channel.
WRAP = np.array([0.32, 0.18, 0.12], np.float32)


@dataclass(frozen=True)
class Photo:
    """A rendered photo and the truth about it.

    Attributes:
        image: (size, size, 3) uint8 RGB, before JPEG.
        landmarks: (68, 2) float32 in (x, y) pixels of the photo, dlib's order.
        yaw, pitch, roll: degrees.
    """

    image: np.ndarray
    landmarks: np.ndarray
    yaw: float
    pitch: float
    roll: float


@dataclass(frozen=True)
class Looks:
    """Textures that all photos of one person share."""

    skin: np.ndarray
    moustache: np.ndarray
    beard: np.ndarray


@dataclass
class Layer:
    """One rasterised surface, with everything that lighting needs at every pixel."""

    fragments: Fragments
    points: np.ndarray
    normals: np.ndarray
    uv: np.ndarray


class Studio:
    """A head model, and what is derived from it once: texture coordinates, occlusion, scalp."""

    def __init__(self, head: HeadModel) -> None:
        self.head = head
        mean_landmarks = head.mean[head.landmarks68]
        self.ears = EarPlaces(head)
        smooth = self.ears.smooth(head.mean)
        self.uv = chart(smooth)
        self.scalp = Scalp(smooth, mean_landmarks)
        self.openness = _openness(smooth, head.triangles)
        moustache, beard = beard_region(mean_landmarks)
        self.moustache_region, self.beard_region = moustache, beard
        self._beard_at_vertices = sample_texture((moustache + beard).clip(0, 1), self.uv)[:, 0]
        self._beard_at_vertices *= head.mean[:, 2] < mean_landmarks[0, 2] + 25
        self.mouth = head.mouth_triangles
        rows = np.arange(len(head.mean)) // head.grid_shape[1]
        inside = np.unique(head.triangles[self.mouth])
        self._slit_rows = (int(rows[inside].min()), int(rows[inside].max()))

    def looks(self, person: Person) -> Looks:
        """Paint the textures of one person."""
        rng = np.random.default_rng([person.skin.seed, 7])
        landmarks = self.head.mean[self.head.landmarks68]
        strands = noise(rng, 1.3, 6) * 0.5 + noise(rng, 5, 2) * 0.2
        shade = np.clip(0.85 + 0.35 * strands, 0.3, 1.3)
        moustache = np.clip(self.moustache_region * 1.25 * shade, 0, 1).astype(np.float32)
        patchy = np.clip(self.beard_region * (1.15 + 0.2 * noise(rng, 30)) * shade, 0, 1).astype(np.float32)
        return Looks(paint_skin(person.skin, landmarks), moustache, patchy)

    def vertices(self, person: Person, shot: Shot) -> np.ndarray:
        """Return the head with this photo's expression, in the head's frame, (V, 3) mm."""
        names = self.head.expression_names
        known = {n.removesuffix("_L").removesuffix("_R") for n in names}
        wanted = {name: value for name, value in shot.expression.items() if name in known}
        modes = len(self.head.identity_modes)
        vertices = self.head.vertices(person.shape[:modes], self.head.expression_weights(wanted))
        return self.ears.smooth(vertices)

    def take(self, person: Person, looks: Looks, shot: Shot, size: int) -> Photo:
        """Render one photo.

        Args:
            person: the person.
            looks: the person's textures, from `looks`.
            shot: how the photo is taken.
            size: width and height of the photo, pixels.
        """
        return _Exposure(self, person, looks, shot, size).photo()

    def slit(self, vertices: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return, for every vertex, 0 on the upper lip's edge and 1 on the lower's, and the opening there in mm."""
        columns = self.head.grid_shape[1]
        upper, lower = self._slit_rows
        grid = vertices.reshape(*self.head.grid_shape, 3)
        gap = np.linalg.norm(grid[lower] - grid[upper], axis=-1)
        rows = np.arange(len(vertices)) // columns
        return (rows == lower).astype(np.float32), np.tile(gap, self.head.grid_shape[0]).astype(np.float32)

    def thicken_beard(self, vertices: np.ndarray, normals: np.ndarray, millimetres: float) -> np.ndarray:
        """Push the skin outwards where the beard grows."""
        return vertices + normals * (self._beard_at_vertices * millimetres)[:, None]


def _openness(mean: np.ndarray, triangles: np.ndarray) -> np.ndarray:
    """Return how much of its surroundings each vertex is open to, (V,), from shadows of 48 lights around the head."""
    rng = np.random.default_rng(0)
    directions = rng.standard_normal((48, 3)).astype(np.float32)
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    normals = vertex_normals(mean, triangles)
    head = Surface(mean, normals, np.zeros((len(mean), 2), np.float32), triangles)
    open_to, possible = np.zeros(len(mean), np.float32), np.zeros(len(mean), np.float32)
    for direction in directions:
        facing = np.clip(normals @ direction, 0, 1)
        open_to += facing * shadow_map([head], direction, 96).lit(mean)
        possible += facing
    return np.clip(open_to / np.maximum(possible, 1e-3), 0.25, 1) ** 1.2


class _Exposure:
    """The working state while one photo is rendered."""

    def __init__(self, studio: Studio, person: Person, looks: Looks, shot: Shot, size: int) -> None:
        self.studio, self.person, self.looks, self.shot, self.size = studio, person, looks, shot, size
        self.fine = size * SUPERSAMPLING
        self.rotation = Rotation.from_euler(
            "xyz", [shot.pitch, shot.yaw, shot.roll], degrees=True
        ).as_matrix()
        self.rotation = self.rotation.astype(np.float32)
        self.vertices = studio.vertices(person, shot)
        self.landmarks = self.vertices[studio.head.landmarks68]
        self.lit_texture, self.gloss = self.skin_texture()
        self.focal = shot.face_share * self.fine * shot.distance / HEAD_WIDTH_MM
        self.translation = np.array([0, 0, shot.distance], np.float32)
        centre = self.project(self.turn(self.landmarks)).mean(axis=0)
        wanted = self.fine * (0.5 + np.array(shot.shift))
        self.translation[:2] = (wanted - centre) * shot.distance / self.focal
        self.depth = np.full(self.fine * self.fine, 1e6, np.float32)
        self.colour = np.empty((self.fine * self.fine, 3), np.float32)

    # -- geometry -----------------------------------------------------------------------------------------------

    def turn(self, points: np.ndarray) -> np.ndarray:
        """Convert points from the head's frame to the camera's frame."""
        return points @ self.rotation.T + self.translation

    def project(self, points: np.ndarray) -> np.ndarray:
        """Project points from the camera's frame to fine pixels; pixel (0, 0) covers 0..1."""
        return (points[:, :2] * (self.focal / points[:, 2:3]) + self.fine / 2).astype(np.float32)

    def layer(self, surface: Surface, side: int = 1) -> Layer:
        """Rasterise a surface given in the camera's frame."""
        fragments = rasterise(
            self.project(surface.points),
            surface.points[:, 2],
            surface.triangles,
            (self.fine, self.fine),
            side=side,
        )
        depth = fragments.interpolate(surface.points[:, 2:3], surface.triangles)[:, 0]
        fragments = fragments.only(depth < self.depth[fragments.pixel] + HAIR_SINKS_MM)
        stacked = np.concatenate([surface.points, surface.normals, surface.uv], axis=1)
        values = fragments.interpolate(stacked, surface.triangles)
        normals = values[:, 3:6]
        normals /= np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-6)
        return Layer(fragments, values[:, :3], normals * side, values[:, 6:8])

    def head_surface(self) -> Surface:
        """Return the head with its beard, in the camera's frame."""
        head = self.studio.head
        normals = vertex_normals(self.vertices, head.triangles)
        vertices = self.studio.thicken_beard(self.vertices, normals, 5.0 * self.shot.beard)
        return Surface(self.turn(vertices), normals @ self.rotation.T, self.studio.uv, head.triangles)

    def ear_surface(self) -> tuple[Surface, np.ndarray]:
        """Return both ears in the camera's frame, and how open to light their points are."""
        ears, openness = self.studio.ears.attach(self.person.ears, self.vertices)
        turned = Surface(self.turn(ears.points), ears.normals @ self.rotation.T, ears.uv, ears.triangles)
        return turned, openness

    def body_surface(self) -> Surface:
        """Return neck and shoulders, which turn less than the head."""
        share = self.shot.body_turn
        angles = [0.2 * self.shot.pitch, share * self.shot.yaw, 0.3 * self.shot.roll]
        turned = Rotation.from_euler("xyz", angles, degrees=True).as_matrix().astype(np.float32)
        neck = self.vertices.reshape(*self.studio.head.grid_shape, 3)[-1]
        body = shoulders(self.shot.clothes, neck, self.rotation, turned)
        return Surface(body.points + self.translation, body.normals, body.uv, body.triangles)

    def hair_surface(self) -> HairSurface | None:
        """Return the hair in the camera's frame."""
        if self.shot.hair is None:
            return None
        hair = grow(self.shot.hair, self.studio.scalp, self.vertices)
        surface = Surface(
            self.turn(hair.surface.points),
            hair.surface.normals @ self.rotation.T,
            hair.surface.uv,
            hair.surface.triangles,
        )
        return HairSurface(surface, hair.casting, hair.texture, hair.tangents @ self.rotation.T)

    # -- light --------------------------------------------------------------------------------------------------

    def ambient(self, normals: np.ndarray) -> np.ndarray:
        """Return the light from above, from below and from the camera, (N, 3)."""
        light = self.shot.light
        upwards = (0.5 - 0.5 * normals[:, 1:2]).astype(np.float32)
        sky, ground = np.asarray(light.sky, np.float32), np.asarray(light.ground, np.float32)
        fill = np.clip(-normals[:, 2:3], 0, 1) * light.fill
        return ground + upwards * (sky - ground) + fill

    def lit_skin(
        self, layer: Layer, albedo: np.ndarray, shadow: np.ndarray, open_: np.ndarray, gloss: np.ndarray
    ) -> np.ndarray:
        """Light skin: soft edges of shadows, redder than their surroundings, and a sheen."""
        light = self.shot.light
        to_light = np.asarray(light.to_light, np.float32)
        facing = layer.normals @ to_light
        wrapped = np.clip((facing[:, None] + WRAP) / (1 + WRAP), 0, 1) ** 1.2
        # Where the shadow is half deep, more red than blue comes through.
        reached = shadow[:, None] ** np.array([0.75, 1.0, 1.1], np.float32)
        key = np.asarray(light.colour, np.float32)
        occluded = open_[:, None] ** np.array([0.85, 1.0, 1.05], np.float32)
        result = albedo * (wrapped * reached * key + self.ambient(layer.normals) * occluded)
        halfway = to_light + np.array([0, 0, -1], np.float32)
        halfway /= np.linalg.norm(halfway)
        shine = np.clip(layer.normals @ halfway, 0, 1)
        sheen = 0.10 * shine**12 + 0.16 * shine**45
        frontal = np.clip(-layer.normals[:, 2], 0, 1)
        rim = 0.05 * (1 - frontal) ** 3
        return (
            result
            + ((sheen * shadow * gloss)[:, None] * key)
            + (rim * open_)[:, None] * self.ambient(layer.normals)
        )

    def lit_cloth(self, layer: Layer, albedo: np.ndarray, shadow: np.ndarray) -> np.ndarray:
        """Light matt cloth."""
        to_light = np.asarray(self.shot.light.to_light, np.float32)
        facing = np.clip(layer.normals @ to_light, 0, 1) * shadow
        return albedo * (
            facing[:, None] * np.asarray(self.shot.light.colour, np.float32)
            + 0.9 * self.ambient(layer.normals)
        )

    def lit_hair(
        self, layer: Layer, texture: np.ndarray, tangents: np.ndarray, shadow: np.ndarray
    ) -> np.ndarray:
        """Light strands, which are bright where light and line of sight lie across them."""
        to_light = np.asarray(self.shot.light.to_light, np.float32)
        halfway = to_light + np.array([0, 0, -1], np.float32)
        halfway /= np.linalg.norm(halfway)
        jitter = texture[:, :3].mean(axis=1) / max(
            float(np.mean(self.shot.hair.colour if self.shot.hair else (1,))), 1e-4
        )
        shifted = tangents + layer.normals * (0.25 * np.log(np.maximum(jitter, 0.05)))[:, None]
        shifted /= np.maximum(np.linalg.norm(shifted, axis=1, keepdims=True), 1e-6)
        across = np.sqrt(np.clip(1 - (shifted @ halfway) ** 2, 0, 1))
        facing = np.clip((layer.normals @ to_light + 0.35) / 1.35, 0, 1) * shadow
        key = np.asarray(self.shot.light.colour, np.float32)
        result = texture[:, :3] * (1.1 * facing[:, None] * key + 0.8 * self.ambient(layer.normals))
        gleam = facing * (0.045 * across**60 + 0.03 * across**16)
        own = np.sqrt(np.maximum(texture[:, :3], 0))
        return result + gleam[:, None] * key * (0.4 + own)

    # -- layers -------------------------------------------------------------------------------------------------

    def paint(
        self, layer: Layer, colour: np.ndarray, alpha: np.ndarray | None = None, tolerance: float = 0.0
    ) -> None:
        """Lay a layer over everything that is farther away."""
        pixel, depth = layer.fragments.pixel, layer.points[:, 2]
        nearer = depth < self.depth[pixel] + tolerance
        if alpha is None:
            self.colour[pixel[nearer]] = colour[nearer]
            self.depth[pixel[nearer]] = depth[nearer]
        else:
            kept, share = pixel[nearer], alpha[nearer, None]
            self.colour[kept] += share * (colour[nearer] - self.colour[kept])
            solid = alpha[nearer] > 0.5
            self.depth[kept[solid]] = depth[nearer][solid]

    def skin_texture(self) -> tuple[np.ndarray, np.ndarray]:
        """Return this photo's skin, with stubble and beard over the person's own, and how glossy it is."""
        person, shot = self.person, self.shot
        texture = self.looks.skin
        hair = np.asarray(person.beard_colour, np.float32)
        amounts = (
            (self.looks.moustache, max(shot.moustache, 0.0)),
            (self.looks.beard, shot.beard),
            (np.maximum(self.looks.moustache, self.looks.beard), 0.33 * shot.stubble * (shot.beard == 0)),
        )
        covered = np.zeros(texture.shape[:2], np.float32)
        for mask, amount in amounts:
            if amount > 0:
                if texture is self.looks.skin:
                    texture = texture.copy()
                strength = min(0.35 + 0.65 * amount, 1.0) if amount > 0.34 else amount
                cover(texture, mask, hair, strength)
                covered = np.maximum(covered, mask * strength)
        return texture, 1 - 0.85 * covered

    def paint_head(self, surface: Surface, shadows: ShadowMap) -> None:
        """Paint skin, and the inside of the mouth."""
        layer = self.layer(surface)
        albedo = sample_texture(self.lit_texture, layer.uv)
        head = self.studio.head
        lower, gap = self.studio.slit(self.vertices)
        extras = np.stack([self.studio.openness, lower, gap, self.vertices[:, 0]], axis=1)
        values = layer.fragments.interpolate(extras.astype(np.float32), head.triangles)
        inside = np.flatnonzero(self.studio.mouth[layer.fragments.triangle])
        open_ = values[:, 0].copy()
        shine = sample_texture(self.gloss, layer.uv)[:, 0] * open_
        if len(inside):
            albedo[inside] = self._mouth_colour(values[inside, 1], values[inside, 2], values[inside, 3])
            open_[inside], shine[inside] = 0.75, 0.25
        shadow = self.soft_shadow(layer, shadows)
        shadow[inside] *= 0.6
        self.paint(layer, self.lit_skin(layer, albedo, shadow, open_, shine))

    def paint_ears(self, surface: Surface, openness: np.ndarray, shadows: ShadowMap) -> None:
        """Paint ears: skin, a little redder."""
        layer = self.layer(surface)
        if len(layer.points) == 0:
            return
        albedo = sample_texture(self.lit_texture, layer.uv) * np.array([1.0, 0.90, 0.89], np.float32)
        open_ = layer.fragments.interpolate(openness[:, None], surface.triangles)[:, 0]
        shadow = self.soft_shadow(layer, shadows) * open_**0.5
        self.paint(layer, self.lit_skin(layer, albedo, shadow, open_, 0.6 * open_))

    def _mouth_colour(self, lower: np.ndarray, gap: np.ndarray, x: np.ndarray) -> np.ndarray:
        """Return the colours of teeth below the upper lip, of the dark mouth under them, and a hint of a tongue."""
        below = lower * gap
        dark = np.array([0.055, 0.012, 0.012], np.float32)
        colour = np.broadcast_to(dark, (len(x), 3)).copy()
        tongue = (
            np.clip((gap - below) / 3, 0, 1)
            * np.clip((gap - 9) / 6, 0, 1)
            * np.clip((gap - below - 8) / -4, 0, 1)
        )
        colour += tongue[:, None] * (np.array([0.30, 0.09, 0.09], np.float32) - colour)
        width = 7.4 + 0.5 * np.cos(x / 10)
        joint = np.abs(x / width % 1 - 0.5)
        middle = np.clip(np.minimum(x / width % 1, 1 - x / width % 1) * width / 0.45, 0, 1)
        length = 7.5 - 1.2 * np.clip(joint * 2 - 0.6, 0, 1) - 0.02 * np.abs(x)
        shown = np.clip((length - below) / 0.9, 0, 1) * np.clip((25 - np.abs(x)) / 5, 0, 1)
        shown = shown * np.clip((gap - 1.2) / 1.0, 0, 1)
        tooth = np.array([0.74, 0.70, 0.60], np.float32) * (0.62 + 0.38 * middle)[:, None]
        tooth = (
            tooth
            * np.clip(1 - np.abs(x) / 40, 0.3, 1)[:, None]
            * (0.70 + 0.30 * np.clip(below / 2.5, 0, 1))[:, None]
        )
        return (colour + shown[:, None] * (tooth - colour)).astype(np.float32)

    def soft_shadow(self, layer: Layer, shadows: ShadowMap) -> np.ndarray:
        """Return shadows with edges that are softened in the image."""
        lit = shadows.lit(layer.points + layer.normals * 1.5)
        image = np.zeros((self.fine, self.fine, 2), np.float32)
        flat = image.reshape(-1, 2)
        flat[layer.fragments.pixel, 0] = lit
        flat[layer.fragments.pixel, 1] = 1
        soft = cv2.GaussianBlur(image, (0, 0), self.fine / 170)
        blurred = soft.reshape(-1, 2)[layer.fragments.pixel]
        return blurred[:, 0] / np.maximum(blurred[:, 1], 1e-3)

    def paint_hair(self, hair: HairSurface, shadows: ShadowMap) -> None:
        """Paint the hair in front of the head."""
        layer = self.layer(hair.surface)
        texture = sample_texture(hair.texture, layer.uv)
        tangents = layer.fragments.interpolate(hair.tangents, hair.surface.triangles)
        shadow = self.soft_shadow(layer, shadows) * 0.8 + 0.2
        self.paint(layer, self.lit_hair(layer, texture, tangents, shadow), texture[:, 3], HAIR_SINKS_MM)

    def paint_back_hair(self, hair: HairSurface) -> None:
        """Paint the dark inside of hair that is visible behind neck and face."""
        layer = self.layer(hair.surface, side=-1)
        texture = sample_texture(hair.texture, layer.uv)
        shade = texture[:, :3] * (0.6 * self.ambient(layer.normals))
        self.paint(layer, shade, np.clip(texture[:, 3] * 1.2, 0, 1))

    def paint_body(self, surface: Surface, shadows: ShadowMap) -> None:
        """Paint neck and clothes."""
        layer = self.layer(surface)
        flat = np.stack([layer.points[:, 0] - self.translation[0], layer.uv[:, 1]], axis=1)
        cloth, worn = dress(self.shot.clothes, layer.uv, flat)
        skin = np.broadcast_to(
            skin_colour(self.person.skin) * np.array([1.0, 0.97, 0.96], np.float32), cloth.shape
        )
        shadow = self.soft_shadow(layer, shadows)
        open_ = np.full(len(skin), self.studio.openness[-self.studio.head.grid_shape[1] :].mean(), np.float32)
        bare = self.lit_skin(layer, skin, shadow, open_, 0.4 * open_)
        self.paint(layer, bare + worn[:, None] * (self.lit_cloth(layer, cloth, shadow) - bare))

    # -- eyes ---------------------------------------------------------------------------------------------------

    def paint_eyes(self) -> None:
        """Paint eyeballs as spheres behind the opening between the lids."""
        for first in (36, 42):
            lids = self.landmarks[first : first + 6]
            centre = self.turn((lids.mean(axis=0) + np.array([0, 0, EYEBALL_MM - 1.5], np.float32))[None])[0]
            upper = smooth_curve(lids[:4], 24)
            lower = smooth_curve(np.concatenate([lids[3:], lids[:1]]), 24)
            outline = self.project(self.turn(np.concatenate([upper, lower[1:-1]])))
            self._paint_eye(centre, outline, self.project(self.turn(upper)))

    def _paint_eye(self, centre: np.ndarray, outline: np.ndarray, upper: np.ndarray) -> None:
        low = np.floor(outline.min(axis=0)).astype(int) - 4
        high = np.ceil(outline.max(axis=0)).astype(int) + 4
        low, high = np.maximum(low, 0), np.minimum(high, self.fine)
        if (high - low < 6).any():
            return
        width, height = (high - low).tolist()
        mask = np.zeros((height, width), np.uint8)
        cv2.fillPoly(mask, [np.round((outline - low - 0.5) * 16).astype(np.int32)], 255, cv2.LINE_AA, 4)
        x, y = np.meshgrid(np.arange(low[0], high[0]) + 0.5, np.arange(low[1], high[1]) + 0.5)
        ray = np.stack(
            [(x - self.fine / 2) / self.focal, (y - self.fine / 2) / self.focal, np.ones_like(x)], axis=-1
        )
        ray = (ray / np.linalg.norm(ray, axis=-1, keepdims=True)).astype(np.float32)
        along = ray @ centre
        discriminant = along**2 - (centre @ centre - EYEBALL_MM**2)
        hit = ray * (along - np.sqrt(np.maximum(discriminant, 0)))[..., None]
        normal = (hit - centre) / EYEBALL_MM
        normal /= np.maximum(np.linalg.norm(normal, axis=-1, keepdims=True), 1e-6)
        colour = self._eyeball_colour(normal, hit, centre)
        # Lids and lashes cast a shadow on the upper part of the eye.
        lid = np.zeros((height, width), np.uint8)
        thickness = max(int(self.focal / centre[2] * 3.0), 1)
        cv2.polylines(
            lid, [np.round((upper - low) * 16).astype(np.int32)], False, 255, thickness, cv2.LINE_AA, 4
        )
        shade = cv2.GaussianBlur(lid, (0, 0), thickness * 0.7).astype(np.float32) / 255
        colour *= (1 - 0.75 * np.clip(shade * 1.2, 0, 1))[..., None]
        window = self.depth.reshape(self.fine, self.fine)[low[1] : high[1], low[0] : high[0]]
        alpha = mask.astype(np.float32) / 255 * (window > hit[..., 2] - 9)
        target = self.colour.reshape(self.fine, self.fine, 3)[low[1] : high[1], low[0] : high[0]]
        target += alpha[..., None] * (colour - target)
        self._paint_lashes(target, upper - low, window > centre[2] - EYEBALL_MM - 14)

    def _eyeball_colour(self, normal: np.ndarray, hit: np.ndarray, centre: np.ndarray) -> np.ndarray:
        shot = self.shot
        forward = self.rotation @ np.array([0, 0, -1], np.float32)
        to_camera = -centre / np.linalg.norm(centre)
        # Eyes follow the camera up to about 25 degrees; beyond that they would need the head to turn.
        angle = np.degrees(np.arccos(np.clip(forward @ to_camera, -1, 1)))
        gaze = forward + min(1.0, 25 / max(angle, 1e-3)) * (to_camera - forward)
        gaze = gaze + np.array(
            [np.tan(np.deg2rad(shot.gaze[0])), np.tan(np.deg2rad(shot.gaze[1])), 0], np.float32
        )
        gaze /= np.linalg.norm(gaze)
        cosine = np.clip(normal @ gaze, -1, 1)
        radius = np.sqrt(np.maximum(1 - cosine**2, 0)) * EYEBALL_MM
        radius = np.where(cosine > 0, radius, 99)
        iris = self.person.iris_radius
        sclera = (
            np.array([0.68, 0.60, 0.56], np.float32) * (1 - 0.018 * np.clip(radius - iris, 0, 8))[..., None]
        )
        right = np.cross(np.array([0, 1, 0], np.float32), gaze)
        turn = np.arctan2(normal @ np.cross(gaze, right), normal @ right)
        fibres = 1 + 0.14 * np.sin(turn * 23 + 2 * np.sin(turn * 5)) + 0.10 * np.sin(turn * 41)
        profile = np.interp(radius, [2.0, 2.8, iris * 0.8, iris], [1.25, 1.1, 0.95, 0.45])
        colour = np.asarray(self.person.eye_colour, np.float32) * (fibres * profile)[..., None]
        pupil = np.clip((radius - 2.1) / 0.5, 0, 1)[..., None]
        colour = colour * pupil + 0.003
        edge = np.clip((iris - radius) / 0.6 + 0.5, 0, 1)[..., None]
        albedo = sclera + edge * (colour - sclera)
        to_light = np.asarray(shot.light.to_light, np.float32)
        facing = np.clip((normal @ to_light + 0.3) / 1.3, 0, 1)[..., None]
        flat = normal.reshape(-1, 3)
        light = 0.75 * facing * np.asarray(shot.light.colour, np.float32) + 0.8 * self.ambient(flat).reshape(
            normal.shape
        )
        cornea = hit - (centre + gaze * 5.0)
        cornea /= np.maximum(np.linalg.norm(cornea, axis=-1, keepdims=True), 1e-6)
        halfway = to_light + np.array([0, 0, -1], np.float32)
        halfway /= np.linalg.norm(halfway)
        glint = np.clip(cornea @ halfway, 0, 1) ** 260 * (radius < iris + 1)
        window = np.clip(cornea @ np.array([0.25, -0.45, -0.857], np.float32), 0, 1) ** 120 * (radius < iris)
        return (albedo * light + (0.9 * glint + 0.05 * window)[..., None]).astype(np.float32)

    def _paint_lashes(self, target: np.ndarray, upper: np.ndarray, visible: np.ndarray) -> None:
        scale = self.focal / self.shot.distance
        mask = np.zeros(target.shape[:2], np.uint8)
        thickness = max(round(scale * (0.8 + 0.7 * self.person.skin.lash_strength)), 1)
        cv2.polylines(
            mask, [np.round((upper - 0.5) * 16).astype(np.int32)], False, 255, thickness, cv2.LINE_AA, 4
        )
        strength = 0.55 + 0.4 * self.person.skin.lash_strength
        alpha = cv2.GaussianBlur(mask, (0, 0), 0.7).astype(np.float32) / 255 * strength * visible
        target += alpha[..., None] * (np.array([0.012, 0.009, 0.008], np.float32) - target)

    # -- glasses ------------------------------------------------------------------------------------------------

    def paint_glasses(self) -> None:
        """Paint frames where nothing hides them, their shadow, and a faint reflection."""
        glasses = self.shot.glasses
        if glasses is None:
            return
        lenses, others = frame_curves(glasses, self.landmarks)
        image = self.colour.reshape(self.fine, self.fine, 3)
        mask = np.zeros((self.fine, self.fine), np.uint8)
        glass = np.zeros((self.fine, self.fine), np.uint8)
        thickness = max(round(glasses.thickness * self.focal / self.shot.distance), 1)
        for curve in lenses:
            placed = self.project(self.turn(curve))
            cv2.fillPoly(glass, [np.round((placed - 0.5) * 16).astype(np.int32)], 255, cv2.LINE_AA, 4)
        for curve in lenses:  # a frame may touch brow and cheek; only the nose can hide it
            self._draw_visible(mask, self.turn(curve), thickness, 22)
        for curve in others:
            self._draw_visible(mask, self.turn(curve), thickness, 5)
        shift = np.array([[1, 0, -5 * self.shot.light.to_light[0]], [0, 1, 4 * SUPERSAMPLING]], np.float32)
        fallen = (
            cv2.GaussianBlur(cv2.warpAffine(mask, shift, mask.shape[::-1]), (0, 0), 2.5).astype(np.float32)
            / 255
        )
        on_head = (self.depth.reshape(self.fine, self.fine) < 1e5).astype(np.float32)
        image *= (1 - 0.35 * fallen * on_head)[..., None]
        lens = glass.astype(np.float32)[..., None] / 255
        y, x = np.mgrid[: self.fine, : self.fine].astype(np.float32) / self.fine
        streak = np.clip(np.sin((x - 0.6 * y) * 30 + self.shot.seed % 7) * 4 - 3, 0, 1)[..., None]
        image *= 1 - lens * glasses.tint
        image += lens * (0.012 + 0.035 * streak)
        alpha = mask.astype(np.float32)[..., None] / 255
        shaded = np.asarray(glasses.colour, np.float32) * (0.5 + np.asarray(self.shot.light.sky, np.float32))
        gleam = (
            np.clip(noise(np.random.default_rng(self.shot.seed), 40, 1, mask.shape), 0, 1)[..., None] * 0.05
        )
        image += alpha * (shaded + gleam - image)

    def _draw_visible(self, mask: np.ndarray, curve: np.ndarray, thickness: int, slack: float) -> None:
        placed = self.project(curve)
        index = np.clip(placed.astype(int), 0, self.fine - 1)
        shown = curve[:, 2] < self.depth.reshape(self.fine, self.fine)[index[:, 1], index[:, 0]] + slack
        fixed = np.round((placed - 0.5) * 16).astype(int)
        for k in np.flatnonzero(shown[:-1] & shown[1:]):
            cv2.line(mask, fixed[k].tolist(), fixed[k + 1].tolist(), 255, thickness, cv2.LINE_AA, 4)

    # -- camera -------------------------------------------------------------------------------------------------

    def photo(self) -> Photo:
        """Render, expose and reduce the photo."""
        shot, rng = self.shot, np.random.default_rng(self.shot.seed)
        behind = background(rng, self.size // 2)
        brightness = float(np.mean(shot.light.sky)) + 0.4 * float(np.mean(shot.light.colour))
        behind = cv2.resize(behind, (self.fine, self.fine), interpolation=cv2.INTER_CUBIC) * brightness
        self.colour[:] = behind.reshape(-1, 3)
        head, body, hair = self.head_surface(), self.body_surface(), self.hair_surface()
        ears, ear_openness = self.ear_surface()
        casting = [head, body, ears] + ([replace(hair.surface, triangles=hair.casting)] if hair else [])
        shadows = shadow_map(casting, np.asarray(shot.light.to_light, np.float32))
        self.paint_head(head, shadows)
        self.paint_ears(ears, ear_openness, shadows)
        self.paint_body(body, shadows)
        self.paint_eyes()
        if hair:
            self.paint_back_hair(hair)
            self.paint_hair(hair, shadows)
        self.paint_glasses()
        landmarks = self.project(self.turn(self.landmarks)) / SUPERSAMPLING - 0.5
        image = self._develop(rng, landmarks)
        return Photo(image, landmarks.astype(np.float32), shot.yaw, shot.pitch, shot.roll)

    def _develop(self, rng: np.random.Generator, landmarks: np.ndarray) -> np.ndarray:
        """Convert linear light to 8 bits, with a camera's exposure, blur and noise."""
        shot = self.shot
        image = self.colour.reshape(self.fine, self.fine, 3)
        image = cv2.resize(image, (self.size, self.size), interpolation=cv2.INTER_AREA)
        low = np.clip(landmarks[17:].min(axis=0).astype(int), 0, self.size - 8)
        high = np.clip(landmarks[17:].max(axis=0).astype(int), low + 4, self.size)
        metered = 0.65 * float(np.median(image[low[1] : high[1], low[0] : high[0]])) + 0.35 * 0.30
        image = image * (0.30 / metered) ** 0.8 * shot.exposure * np.asarray(shot.white_balance, np.float32)
        if shot.blur > 0.2:
            image = cv2.GaussianBlur(image, (0, 0), shot.blur * self.size / 256)
        image = np.where(image > 0.7, 0.7 + 0.3 * np.tanh((image - 0.7) / 0.3), image)
        coded = np.clip(image, 0, 1) ** np.float32(1 / 2.2)
        coded = np.clip(0.5 + (coded - 0.5) * shot.contrast, 0, 1) * 255
        if shot.grey:
            coded[:] = (coded @ np.array([0.299, 0.587, 0.114], np.float32))[..., None]
        grain = rng.standard_normal(coded.shape[:2] + (1,)) * 0.7 + rng.standard_normal(coded.shape) * 0.5
        return np.clip(np.round(coded + shot.sensor_noise * grain), 0, 255).astype(np.uint8)
