"""USD files with one difficult thing each, and what is true of them; made with USD itself."""

from __future__ import annotations

import io
import math
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from pxr import Gf, Sdf, Usd, UsdGeom, UsdLux, UsdShade, UsdUtils, Vt

L_SHAPE = ((0, 0), (4, 0), (4, 1), (1, 1), (1, 3), (0, 3))  # 6 m²


def stage(up: str = "Y", metres: float = 1.0) -> Any:
    made = Usd.Stage.CreateInMemory()
    UsdGeom.SetStageUpAxis(made, up)
    UsdGeom.SetStageMetersPerUnit(made, metres)
    return made


def packed(made: Any, files: dict[str, bytes] | None = None) -> bytes:
    """The stage as USDZ, with files beside it."""
    with tempfile.TemporaryDirectory() as folder:
        for name, data in (files or {}).items():
            (Path(folder) / name).write_bytes(data)
        path = Path(folder) / "scene.usdc"
        made.GetRootLayer().Export(str(path))
        target = Path(folder) / "scene.usdz"
        assert UsdUtils.CreateNewUsdzPackage(str(path), str(target))
        return target.read_bytes()


def text(made: Any) -> bytes:
    """The stage as USDA."""
    whole: str = made.GetRootLayer().ExportToString()
    return whole.encode()


def mesh(made: Any, path: str, points: Any, faces: Any, **options: Any) -> Any:
    found = UsdGeom.Mesh.Define(made, path)
    found.CreatePointsAttr(Vt.Vec3fArray.FromNumpy(np.asarray(points, np.float32)))
    found.CreateFaceVertexCountsAttr([len(face) for face in faces])
    found.CreateFaceVertexIndicesAttr([index for face in faces for index in face])
    found.CreateSubdivisionSchemeAttr(options.pop("scheme", "none"))
    if options.pop("left", False):
        found.CreateOrientationAttr("leftHanded")
    return found


def square(made: Any, path: str = "/Square") -> Any:
    """2 m x 1 m in the XY plane, looking along +Z, with coordinates st."""
    found = mesh(made, path, [(0, 0, 0), (2, 0, 0), (2, 1, 0), (0, 1, 0)], [(0, 1, 2, 3)])
    st = UsdGeom.PrimvarsAPI(found).CreatePrimvar("st", Sdf.ValueTypeNames.TexCoord2fArray, "faceVarying")
    st.Set([(0, 0), (1, 0), (1, 1), (0, 1)])
    return found


def picture(colour: Any = (200, 40, 40), kind: str = "PNG", size: int = 8, mode: str = "RGB") -> bytes:
    out = io.BytesIO()
    Image.new(mode, (size, size), colour).save(out, kind)
    return out.getvalue()


def textured(made: Any, prim: Any, inputs: dict[str, tuple[str, str]], **options: Any) -> Any:
    """Bind a preview surface whose inputs come from pictures: input → (file, channel)."""
    material = UsdShade.Material.Define(made, options.pop("at", "/Looks/Paint"))
    shader = UsdShade.Shader.Define(made, material.GetPath().AppendChild("Surface"))
    shader.CreateIdAttr(options.pop("surface", "UsdPreviewSurface"))
    reader = UsdShade.Shader.Define(made, material.GetPath().AppendChild("Coordinates"))
    reader.CreateIdAttr("UsdPrimvarReader_float2")
    reader.CreateInput("varname", Sdf.ValueTypeNames.String).Set("st")
    source = reader.ConnectableAPI()
    moved = options.pop("moved", None)
    if moved:
        transform = UsdShade.Shader.Define(made, material.GetPath().AppendChild("Moved"))
        transform.CreateIdAttr("UsdTransform2d")
        transform.CreateInput("rotation", Sdf.ValueTypeNames.Float).Set(moved[0])
        transform.CreateInput("scale", Sdf.ValueTypeNames.Float2).Set(moved[1])
        transform.CreateInput("translation", Sdf.ValueTypeNames.Float2).Set(moved[2])
        transform.CreateInput("in", Sdf.ValueTypeNames.Float2).ConnectToSource(source, "result")
        source = transform.ConnectableAPI()
    for name, (file, channel) in inputs.items():
        texture = UsdShade.Shader.Define(made, material.GetPath().AppendChild(f"Tex_{name}"))
        texture.CreateIdAttr("UsdUVTexture")
        texture.CreateInput("file", Sdf.ValueTypeNames.Asset).Set(file)
        texture.CreateInput("st", Sdf.ValueTypeNames.Float2).ConnectToSource(source, "result")
        kind = Sdf.ValueTypeNames.Color3f if len(channel) == 3 else Sdf.ValueTypeNames.Float
        shader.CreateInput(name, kind).ConnectToSource(texture.ConnectableAPI(), channel)
    for name, value in options.items():
        shader.CreateInput(name, Sdf.ValueTypeNames.Float).Set(value)
    material.CreateSurfaceOutput().ConnectToSource(shader.ConnectableAPI(), "surface")
    UsdShade.MaterialBindingAPI.Apply(prim.GetPrim()).Bind(material)
    return material


# --- scenes, each with (area in m², triangles) where it is known


def concave() -> tuple[bytes, float, int]:
    """An L with six corners in one face, and a face that is a hole."""
    made = stage()
    points = [(x, y, 0) for x, y in L_SHAPE] + [(2, 2, 0), (3, 2, 0), (2, 3, 0)]
    found = mesh(made, "/L", points, [range(6), range(6, 9)])
    found.CreateHoleIndicesAttr([1])
    return packed(made), 6.0, 4


def left_handed() -> tuple[bytes, float, int]:
    made = stage()
    mesh(made, "/Left", [(0, 0, 0), (0, 1, 0), (2, 1, 0), (2, 0, 0)], [(0, 1, 2, 3)], left=True)
    return packed(made), 2.0, 2


def centimetres() -> tuple[bytes, float, int]:
    made = stage("Z", 0.01)
    UsdGeom.Cube.Define(made, "/Room/Box").CreateSizeAttr(100)
    return packed(made), 6.0, 12


def sheared() -> tuple[bytes, float, int]:
    """A scale above a turn: no node of glTF can say that."""
    made = stage()
    UsdGeom.Xform.Define(made, "/A").AddScaleOp().Set(Gf.Vec3f(2, 1, 1))
    UsdGeom.Xform.Define(made, "/A/B").AddRotateZOp().Set(45)
    square(made, "/A/B/Square")
    # (1, 1)/√2 becomes (2, 1)/√2: sides √2·(2, 1) and (-2, 1)/√2, whose cross product is 4
    return packed(made), 4.0, 2


def mirrored() -> tuple[bytes, float, int]:
    made = stage()
    UsdGeom.Xform.Define(made, "/M").AddScaleOp().Set(Gf.Vec3f(-1, 1, 1))
    square(made, "/M/Square")
    return packed(made), 2.0, 2


def rough_matrix() -> tuple[bytes, float, int]:
    """What scanners write in the last place of a matrix."""
    made = stage()
    cube = UsdGeom.Cube.Define(made, "/Wall0")
    cube.CreateSizeAttr(1)
    turn = math.radians(33.3)
    place = [[np.float32(math.cos(turn)), 0, np.float32(-math.sin(turn)), 0], [0, 1, 0, 0],
             [np.float32(math.sin(turn)), 0, np.float32(math.cos(turn)), 0], [3, 1, -2, 0.99999994]]  # fmt: skip
    cube.AddTransformOp().Set(Gf.Matrix4d([[float(x) for x in row] for row in place]))
    cube.AddScaleOp().Set(Gf.Vec3f(4, 2.5, 0.1))
    return packed(made), 2 * (4 * 2.5 + 4 * 0.1 + 2.5 * 0.1), 12


def instances() -> tuple[bytes, float, int]:
    """Three native instances of one square, one of them larger."""
    made = stage()
    square(made, "/Proto/Square")
    made.GetPrimAtPath("/Proto").SetSpecifier(Sdf.SpecifierClass)
    for at in range(3):
        prim = UsdGeom.Xform.Define(made, f"/I{at}")
        prim.AddTranslateOp().Set(Gf.Vec3d(at * 3, 0, 0))
        prim.AddScaleOp().Set(Gf.Vec3f(1 + at % 2))
        prim.GetPrim().GetReferences().AddInternalReference("/Proto")
        prim.GetPrim().SetInstanceable(True)
    return packed(made), 2.0 + 8.0 + 2.0, 6


def point_instances() -> tuple[bytes, float, int]:
    made = stage()
    instancer = UsdGeom.PointInstancer.Define(made, "/Many")
    square(made, "/Many/Protos/Square")
    instancer.CreatePrototypesRel().AddTarget("/Many/Protos/Square")
    instancer.CreateProtoIndicesAttr([0, 0, 0, 0])
    instancer.CreatePositionsAttr([(0, 0, 0), (5, 0, 0), (0, 5, 0), (5, 5, 0)])
    instancer.CreateScalesAttr([(1, 1, 1)] * 3 + [(2, 2, 2)])
    return packed(made), 3 * 2.0 + 8.0, 8


def solids() -> tuple[bytes, float, int]:
    made = stage()
    for at, (kind, axis) in enumerate((k, a) for k in ("Cylinder", "Cone", "Capsule", "Plane") for a in "XYZ"):
        prim = getattr(UsdGeom, kind).Define(made, f"/{kind}{axis}")
        prim.CreateAxisAttr(axis)
        prim.AddTranslateOp().Set(Gf.Vec3d(5 * at, 0, 0))
    UsdGeom.Sphere.Define(made, "/Ball").AddTranslateOp().Set(Gf.Vec3d(0, 9, 0))
    return packed(made), -1.0, -1


def subsets() -> tuple[bytes, float, int]:
    made = stage()
    found = mesh(made, "/Two", [(0, 0, 0), (1, 0, 0), (2, 0, 0), (2, 1, 0), (1, 1, 0), (0, 1, 0)],
                 [(0, 1, 4, 5), (1, 2, 3, 4)])  # fmt: skip
    for at, colour in enumerate(((1, 0, 0), (0, 0, 1))):
        subset = UsdShade.MaterialBindingAPI.Apply(found.GetPrim()).CreateMaterialBindSubset(f"part{at}", [at])
        material = UsdShade.Material.Define(made, f"/Looks/M{at}")
        shader = UsdShade.Shader.Define(made, f"/Looks/M{at}/S")
        shader.CreateIdAttr("UsdPreviewSurface")
        shader.CreateInput("diffuseColor", Sdf.ValueTypeNames.Color3f).Set(colour)
        material.CreateSurfaceOutput().ConnectToSource(shader.ConnectableAPI(), "surface")
        UsdShade.MaterialBindingAPI.Apply(subset.GetPrim()).Bind(material)
    return packed(made), 2.0, 4


def painted() -> tuple[bytes, float, int]:
    """Pictures for everything, with metal and roughness in pictures of their own, and coordinates that are moved."""
    made = stage()
    files = {
        "colour.png": picture((200, 40, 40)),
        "rough.png": picture(90, mode="L"),
        "metal.png": picture(255, mode="L"),
        "normal.jpg": picture((128, 128, 255), "JPEG"),
        "light.webp": picture((9, 9, 9), "WEBP"),
    }
    textured(made, square(made), {
        "diffuseColor": ("colour.png", "rgb"), "roughness": ("rough.png", "r"), "metallic": ("metal.png", "r"),
        "normal": ("normal.jpg", "rgb"), "emissiveColor": ("light.webp", "rgb"),
    }, moved=(30.0, (2, 3), (0.1, 0.2)))  # fmt: skip
    return packed(made, files), 2.0, 2


def coloured() -> tuple[bytes, float, int]:
    made = stage()
    found = square(made)
    found.CreateDisplayColorPrimvar("vertex").Set([(1, 0, 0), (0, 1, 0), (0, 0, 1), (1, 1, 1)])
    found.CreateDisplayOpacityPrimvar("constant").Set([0.5])
    found.CreateNormalsAttr([(0, 0, 1)] * 4)
    found.SetNormalsInterpolation("faceVarying")
    return packed(made), 2.0, 2


def cloud() -> tuple[bytes, float, int]:
    made = stage()
    points = UsdGeom.Points.Define(made, "/Cloud")
    points.CreatePointsAttr([(0, 0, 0), (1, 0, 0), (0, 1, 0)])
    points.CreateDisplayColorPrimvar("vertex").Set([(1, 0, 0), (0, 1, 0), (0, 0, 1)])
    return packed(made), 0.0, 0


def smooth() -> tuple[bytes, float, int]:
    made = stage()
    corners = [(x, y, z) for x in (0, 1) for y in (0, 1) for z in (0, 1)]
    faces = [(0, 1, 3, 2), (4, 6, 7, 5), (0, 4, 5, 1), (2, 3, 7, 6), (0, 2, 6, 4), (1, 5, 7, 3)]
    mesh(made, "/Ball", corners, faces, scheme="catmullClark")
    return packed(made), 6.0, 12


def with_losses() -> tuple[bytes, float, int]:
    """A square, and one of everything that does not come along."""
    made = stage()
    found = square(made)
    UsdGeom.Camera.Define(made, "/Camera")
    UsdLux.SphereLight.Define(made, "/Lamp")
    UsdGeom.BasisCurves.Define(made, "/Hair")
    hidden = mesh(made, "/Hidden", [(0, 0, 0), (1, 0, 0), (0, 1, 0)], [(0, 1, 2)])
    hidden.CreateVisibilityAttr("invisible")
    move = UsdGeom.Xformable(found).AddTranslateOp()
    move.Set(Gf.Vec3d(0, 0, 0), 1)
    move.Set(Gf.Vec3d(5, 0, 0), 9)
    other = square(made, "/Other")
    textured(made, other, {}, at="/Looks/Odd", surface="ND_standard_surface_surfaceshader")
    third = square(made, "/Third")
    textured(made, third, {"diffuseColor": ("gone.png", "rgb")}, at="/Looks/Gone")
    UsdGeom.PrimvarsAPI(third).CreatePrimvar("depth", Sdf.ValueTypeNames.FloatArray, "vertex").Set([1, 2, 3, 4])
    return text(made), 6.0, 6


SCENES: dict[str, Callable[[], tuple[bytes, float, int]]] = {
    one.__name__: one
    for one in (
        concave, left_handed, centimetres, sheared, mirrored, rough_matrix, instances, point_instances, solids,
        subsets, painted, coloured, cloud, smooth, with_losses,
    )
}  # fmt: skip


def zipped(files: dict[str, bytes], method: int = zipfile.ZIP_STORED) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", method) as package:
        for name, data in files.items():
            package.writestr(name, data)
    return out.getvalue()
