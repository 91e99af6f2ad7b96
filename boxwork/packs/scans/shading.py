"""Materials and pictures: USD's preview surface as glTF's metallic-roughness one, and vertex colours.

A picture keeps its bytes where glTF takes the format (PNG, JPEG); other formats that Pillow reads become PNG.  What
glTF has in one picture and USD in several (roughness in green, metal in blue) is packed.
"""

from __future__ import annotations

import io
import math
from typing import Any

from boxwork.packs.scans.package import Opened
from boxwork.packs.scans.scene import Material, Scene, Texture

# Unit: pixels of one picture that has to be decoded, for packing or because glTF does not take its format.
PICTURE_PIXELS_MAX = 80_000_000
CHANNELS = "rgba"
WRAPS = (("repeat", "repeat"), ("mirror", "mirror"), ("clamp", "clamp"), ("black", "clamp"), ("useMetadata", "repeat"))
INPUTS_KNOWN = (
    "diffuseColor", "emissiveColor", "metallic", "roughness", "opacity", "opacityThreshold", "normal", "occlusion",
    "ior", "clearcoat", "clearcoatRoughness", "useSpecularWorkflow", "specularColor", "displacement", "opacityMode",
)  # fmt: skip


class Source:
    """Where one input of a surface comes from: a plain value, or a channel of a picture."""

    def __init__(self, value: Any, path: str = "", channel: str = "", texture: Any = None) -> None:
        self.value = value
        self.path = path  # of the picture, as USD resolved it; empty for a plain value
        self.channel = channel
        self.texture = texture  # the shader that reads it


class Shading:
    """The materials of one scene; the first use of one reads it."""

    def __init__(self, opened: Opened, scene: Scene) -> None:
        self.opened = opened
        self.scene = scene
        self.known: dict[Any, int] = {}
        self.uv_names: dict[int, list[str]] = {}  # of a material: the primvars its pictures are laid out by
        self.pictures: dict[Any, int | None] = {}

    def material(self, prim: Any, colour: Any, double_sided: bool, has_colours: bool) -> int:
        """The index of the material bound to `prim`; of one made of `colour` (r, g, b, a) where none is."""
        from pxr import UsdShade

        bound, _ = UsdShade.MaterialBindingAPI(prim).ComputeBoundMaterial()
        if bound:
            key: Any = (str(bound.GetPath()), double_sided)
        else:
            key = (None, None if has_colours else colour, double_sided)
        index = self.known.get(key)
        if index is None:
            if bound:
                made, names = self._read(bound)
            else:
                made, names = Material("plain", (1, 1, 1, 1) if has_colours or colour is None else colour), []
                if not has_colours and colour is not None and colour[3] < 1:
                    made.alpha = "BLEND"
            made.double_sided = double_sided
            index = self.known[key] = len(self.scene.materials)
            self.scene.materials.append(made)
            self.uv_names[index] = names
        return index

    def _read(self, bound: Any) -> tuple[Material, list[str]]:
        path, report = str(bound.GetPath()), self.scene.report
        made, names = Material(bound.GetPrim().GetName()), list[str]()
        shader, _, _ = bound.ComputeSurfaceSource()
        kind = shader.GetIdAttr().Get() if shader else None
        if kind != "UsdPreviewSurface":
            other = [str(output.GetBaseName()) for output in bound.GetSurfaceOutputs()]
            why = f"its surface is {kind or 'not a shader that USD knows by a name'}, not a UsdPreviewSurface"
            report.lose("material", path, why if shader else f"it has no surface to read (outputs: {other})")
            return made, names
        for given in shader.GetInputs():
            if given.GetBaseName() not in INPUTS_KNOWN:
                report.lose("material input", f"{path}:{given.GetBaseName()}", "glTF has no such input")
        self._surface(made, shader, path, names)
        return made, names

    def _surface(self, made: Material, shader: Any, path: str, names: list[str]) -> None:
        report = self.scene.report

        def source(name: str, default: Any) -> Source:
            return self._source(shader, name, default, path)

        diffuse, opacity = source("diffuseColor", (0.18, 0.18, 0.18)), source("opacity", 1.0)
        threshold = float(_number(source("opacityThreshold", 0.0).value, 0.0))
        colour, alpha = _colour(diffuse.value), float(_number(opacity.value, 1.0))
        if diffuse.path or opacity.path:
            made.colour_texture = self._colour(diffuse, opacity, path, names)
            gain, bias = _gain(diffuse)
            if any(abs(one) > 1e-6 for one in bias[:3]):
                report.lose("texture bias", path, "glTF multiplies a colour picture, and adds nothing to it")
            colour = _colour(gain[:3]) if diffuse.path else colour
            if opacity.path:  # in the picture's own alpha its scale is left to do; elsewhere it went in with it
                own = opacity.path == diffuse.path and opacity.channel == "a"
                alpha = max(0.0, min(1.0, _gain(opacity)[0][CHANNELS.index(opacity.channel)])) if own else 1.0
        made.colour = (*colour, alpha)
        if threshold > 0:
            made.alpha, made.cutoff = "MASK", min(1.0, threshold)
        elif opacity.path or alpha < 1:
            made.alpha = "BLEND"
        emissive = source("emissiveColor", (0.0, 0.0, 0.0))
        made.emissive = _colour(emissive.value)
        if emissive.path:
            made.emissive_texture = self._texture(emissive, self._picture(emissive.path, path), path, names)
            made.emissive = _colour(_gain(emissive)[0][:3])
        self._metal(made, source("metallic", 0.0), source("roughness", 0.5), path, names)
        normal = source("normal", (0.0, 0.0, 1.0))
        if normal.path:
            gain, bias = _gain(normal)
            if [round(one, 3) for one in (*gain[:3], *bias[:3])] != [2, 2, 2, -1, -1, -1]:
                report.change("normal picture", path, "its scale and bias are not 2 and -1; it is read as usual")
            made.normal_texture = self._texture(normal, self._picture(normal.path, path), path, names)
        occlusion = source("occlusion", 1.0)
        if occlusion.path:
            image = self._packed((occlusion, None, None), path)
            made.occlusion_texture = self._texture(occlusion, image, path, names)
        made.ior = max(1.0, float(_number(source("ior", 1.5).value, 1.5)))
        clearcoat, rough = source("clearcoat", 0.0), source("clearcoatRoughness", 0.01)
        made.clearcoat = min(1.0, max(0.0, float(_number(clearcoat.value, 0.0))))
        made.clearcoat_roughness = min(1.0, max(0.0, float(_number(rough.value, 0.01))))
        for name, one in (("clearcoat", clearcoat), ("clearcoatRoughness", rough)):
            if one.path:
                report.lose("texture", f"{path}:{name}", "a picture of the clear coat is not carried over")
        if _number(source("useSpecularWorkflow", 0).value, 0):
            report.lose("material input", f"{path}:specularColor", "the specular workflow has no place in core glTF")
        displacement = source("displacement", 0.0)
        if displacement.path or _number(displacement.value, 0.0):
            report.lose("material input", f"{path}:displacement", "glTF has no displacement")

    def _source(self, shader: Any, name: str, default: Any, path: str) -> Source:
        from pxr import UsdShade

        given = shader.GetInput(name)
        if not given:
            return Source(default)
        for attribute in given.GetValueProducingAttributes():
            if UsdShade.Utils.GetType(attribute.GetName()) != UsdShade.AttributeType.Output:
                value = attribute.Get()
                return Source(default if value is None else value)
            reader = UsdShade.Shader(attribute.GetPrim())
            kind = reader.GetIdAttr().Get() if reader.GetIdAttr() else None
            if kind == "UsdUVTexture":
                return self._picture_source(reader, attribute.GetName().split(":")[-1], name, default, path)
            self.scene.report.lose("shader", str(attribute.GetPrim().GetPath()), f"{kind} has no counterpart in glTF")
            return Source(default)
        value = given.Get()
        return Source(default if value is None else value)

    def _picture_source(self, reader: Any, output: str, name: str, default: Any, path: str) -> Source:
        where = self._plain(reader, "file")
        resolved = getattr(where, "resolvedPath", "") or ""
        data = self.opened.bytes_of(resolved) if resolved else None
        if data is None:
            named = getattr(where, "path", "") or "nothing"
            why = f"the picture {_short(named)} is not in the file"
            self.scene.report.lose("texture", f"{path}:{name}", why)
            fallback = self._plain(reader, "fallback")
            return Source(default if fallback is None else _of_channel(fallback, output))
        channel = output if output in CHANNELS else "r"
        return Source(default, resolved, channel, reader)

    def _plain(self, shader: Any, name: str) -> Any:
        """The value of an input, followed through node graphs."""
        given = shader.GetInput(name)
        if not given:
            return None
        for attribute in given.GetValueProducingAttributes():
            return attribute.Get()
        return given.Get()

    # --- pictures

    def _texture(self, source: Source, image: int | None, path: str, names: list[str]) -> Texture | None:
        if image is None:
            return None
        reader = source.texture
        wraps = [self._plain(reader, name) for name in ("wrapS", "wrapT")]
        if "black" in wraps:
            self.scene.report.change("texture wrap", path, "glTF has no black border; the edge is repeated instead")
        chosen = [dict(WRAPS).get(str(wrap), "repeat" if wrap is None else "clamp") for wrap in wraps]
        # without an opinion USD takes the metadata of the picture, which PNG and JPEG do not have: repeat
        offset, rotation, scale, name = self._layout(reader, path)
        if name not in names:
            names.append(name)
        uv = names.index(name)
        if uv > 1:
            self.scene.report.lose("texture", path, "it is laid out by a third set of coordinates")
            return None
        return Texture(image, uv, chosen[0], chosen[1], offset, rotation, scale)

    def _layout(self, reader: Any, path: str) -> tuple[tuple[float, float], float, tuple[float, float], str]:
        """(offset, rotation, scale) as KHR_texture_transform has them, and the name of the coordinates."""
        from pxr import UsdShade

        shift, turn, stretch = (0.0, 0.0), 0.0, (1.0, 1.0)
        current, moved = reader.GetInput("st"), False
        for _ in range(8):  # a chain of shaders: reader ← transform ← coordinates
            found = current.GetValueProducingAttributes() if current else []
            if not found or UsdShade.Utils.GetType(found[0].GetName()) != UsdShade.AttributeType.Output:
                return shift, turn, stretch, "st"
            shader = UsdShade.Shader(found[0].GetPrim())
            kind = str(shader.GetIdAttr().Get() or "")
            if kind.startswith("UsdPrimvarReader"):
                name = self._plain(shader, "varname")
                return shift, turn, stretch, str(name or "st")
            if kind != "UsdTransform2d":
                self.scene.report.lose("shader", str(shader.GetPath()), f"{kind} between picture and coordinates")
                return shift, turn, stretch, "st"
            if moved:
                self.scene.report.lose("shader", str(shader.GetPath()), "a second UsdTransform2d on one picture")
            else:
                degrees = float(self._plain(shader, "rotation") or 0.0)
                sx, sy = (float(one) for one in (self._plain(shader, "scale") or (1.0, 1.0)))
                tx, ty = (float(one) for one in (self._plain(shader, "translation") or (0.0, 0.0)))
                turn, stretch = math.radians(degrees), (sx, sy)
                # USD turns around the lower left, glTF around the upper left; V is 1 - t on both sides
                shift = (tx - sy * math.sin(turn), 1 - ty - sy * math.cos(turn))
            current, moved = shader.GetInput("in"), True
        return shift, turn, stretch, "st"

    def _picture(self, resolved: str, path: str) -> int | None:
        """The index of the picture as it is, or as PNG where glTF does not take its format."""
        if resolved not in self.pictures:
            data = self.opened.bytes_of(resolved) or b""
            name = self.opened.entry_of(resolved)
            media = "image/png" if data.startswith(b"\x89PNG\r\n\x1a\n") else ""
            media = "image/jpeg" if data.startswith(b"\xff\xd8\xff") else media
            if not media:
                decoded = self._decoded(resolved, path)
                if decoded is not None:
                    self.scene.report.change("texture", name, "glTF takes PNG and JPEG only; it is a PNG now")
                    data, media = (
                        _png(decoded if decoded.mode in ("L", "RGB", "RGBA") else decoded.convert("RGBA")),
                        ("image/png"),
                    )
            elif self._decoded(resolved, path, only_head=True) is None:
                media = ""
            self.pictures[resolved] = self._keep(name, media, data) if media else None
        return self.pictures[resolved]

    def _keep(self, name: str, media: str, data: bytes) -> int:
        self.scene.images.append((name, media, data))
        return len(self.scene.images) - 1

    def _decoded(self, resolved: str, path: str, *, only_head: bool = False) -> Any:
        from PIL import Image

        name = self.opened.entry_of(resolved)
        try:
            picture = Image.open(io.BytesIO(self.opened.bytes_of(resolved) or b""))
            if picture.width * picture.height > PICTURE_PIXELS_MAX:
                raise ValueError(f"it has {picture.width} x {picture.height} pixels")
            if not only_head:
                picture.load()
        except (OSError, SyntaxError, ValueError, Image.DecompressionBombError, Image.DecompressionBombWarning) as why:
            said = str(why).split(" <")[0]
            self.scene.report.lose("texture", name or path, f"the picture cannot be read: {said[:160]}")
            return None
        return picture

    def _channel(self, source: Source | None, path: str) -> Any:
        """One channel of a picture, in grey, with scale and bias in it."""
        if source is None or not source.path:
            return None
        picture = self._decoded(source.path, path)
        if picture is None:
            return None
        whole = picture.convert("RGBA")
        at = CHANNELS.index(source.channel)
        gain, bias = (row[at] for row in _gain(source))
        grey = whole.getchannel(at)
        if abs(gain - 1) > 1e-6 or abs(bias) > 1e-6:
            grey = grey.point([max(0, min(255, round(255 * (gain * one / 255 + bias)))) for one in range(256)])
        return grey

    def _packed(self, sources: tuple[Source | None, Source | None, Source | None], path: str) -> int | None:
        """A picture whose red, green and blue are these; one that has them there already stays as it is."""
        wanted = [(at, one) for at, one in enumerate(sources) if one is not None and one.path]
        paths = {one.path for _, one in wanted}
        straight = all(one.channel == CHANNELS[at] and _is_plain(one) for at, one in wanted)
        if len(paths) == 1 and straight:
            return self._picture(paths.pop(), path)
        key = tuple((one.path, one.channel, str(_gain(one))) if one and one.path else None for one in sources)
        if key not in self.pictures:
            channels = [self._channel(one, path) for one in sources]
            sizes = [one.size for one in channels if one is not None]
            if not sizes:
                return None
            from PIL import Image

            size = max(sizes)
            filled = [Image.new("L", size, 255) if one is None else one.resize(size) for one in channels]
            name = "+".join(sorted(self.opened.entry_of(one) for one in paths))
            self.pictures[key] = self._keep(name, "image/png", _png(Image.merge("RGB", filled)))
            self.scene.report.change("texture", path, "channels of pictures were packed into one, as glTF wants them")
        return self.pictures[key]

    def _metal(self, made: Material, metal: Source, rough: Source, path: str, names: list[str]) -> None:
        made.metallic = min(1.0, max(0.0, float(_number(metal.value, 0.0))))
        made.roughness = min(1.0, max(0.0, float(_number(rough.value, 0.5))))
        if not (metal.path or rough.path):
            return
        image = self._packed((None, rough, metal), path)
        first = rough if rough.path else metal
        made.metallic_roughness_texture = self._texture(first, image, path, names)
        if made.metallic_roughness_texture is not None:
            made.metallic = 1.0 if metal.path else made.metallic
            made.roughness = 1.0 if rough.path else made.roughness

    def _colour(self, diffuse: Source, opacity: Source, path: str, names: list[str]) -> Texture | None:
        first = diffuse if diffuse.path else opacity
        alone = not opacity.path or (opacity.path == diffuse.path and opacity.channel == "a")
        if alone:
            return self._texture(first, self._picture(first.path, path), path, names)
        key = ("colour", diffuse.path, opacity.path, opacity.channel, str(_gain(opacity)))
        if key not in self.pictures:
            from PIL import Image

            alpha = self._channel(opacity, path)
            colours = self._decoded(diffuse.path, path) if diffuse.path else None
            if alpha is None or (diffuse.path and colours is None):
                return None
            whole = Image.new("RGB", alpha.size, "white") if colours is None else colours.convert("RGB")
            whole.putalpha(alpha.resize(whole.size))
            self.pictures[key] = self._keep(f"{self.opened.entry_of(first.path)}+opacity", "image/png", _png(whole))
            self.scene.report.change("texture", path, "opacity was put into the alpha of the colour, as glTF wants it")
        return self._texture(first, self.pictures[key], path, names)


def _gain(source: Source) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Scale and bias of a picture, four numbers each."""
    if source.texture is None:
        return (1.0,) * 4, (0.0,) * 4
    rows = []
    for name, default in (("scale", 1.0), ("bias", 0.0)):
        given = source.texture.GetInput(name)
        value = given.Get() if given else None
        rows.append((default,) * 4 if value is None else tuple(float(one) for one in value))
    return rows[0], rows[1]


def _is_plain(source: Source) -> bool:
    return _gain(source) == ((1.0,) * 4, (0.0,) * 4)


def _colour(value: Any) -> tuple[float, float, float]:
    """Three numbers of 0 to 1; of one number three that are equal."""
    try:
        plain = [float(one) for one in value][:3]
    except TypeError:
        plain = [float(value)] * 3
    red, green, blue = (min(1.0, max(0.0, one if math.isfinite(one) else 0.0)) for one in plain)
    return red, green, blue


def _number(value: Any, default: float) -> float:
    try:
        made = float(value)
    except (TypeError, ValueError):
        return default
    return made if math.isfinite(made) else default


def _of_channel(value: Any, output: str) -> Any:
    plain = tuple(float(one) for one in value)
    return plain[CHANNELS.index(output)] if output in CHANNELS else plain[:3]


def _short(path: str) -> str:
    return repr(path.rsplit("/", 1)[-1][:80])


def _png(picture: Any) -> bytes:
    out = io.BytesIO()
    picture.save(out, "PNG")
    return out.getvalue()
