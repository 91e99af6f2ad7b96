"""From an open USD stage to a scene: every prim is carried over, or stands in the report.

Transforms: glTF's nodes hold a scale, a rotation and a translation.  What USD has beyond that (a shear, and for Unity
also every scale) is taken off the node and handed down: `carry` is what is still to be done to the points below.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from boxwork.packs.scans import polygons, solids
from boxwork.packs.scans.package import Opened
from boxwork.packs.scans.scene import Mesh, Node, Piece, Scene
from boxwork.packs.scans.shading import Shading

# Unit: nodes of one scene; an office building scanned room by room has some 20,000.
NODES_MAX = 200_000
# Unit: triangles of one scene; 20 million are 700 MB while they are worked on.
TRIANGLES_MAX = 20_000_000
# Unit: generations of prims; a file deeper than this was made to be.
DEPTH_MAX = 200
# A node's matrix is a scale, a rotation and a translation if putting them together again gives it so exactly.
EXACT = 1e-6

SOLIDS = ("Cube", "Sphere", "Cylinder", "Cylinder_1", "Cone", "Capsule", "Capsule_1", "Plane")
# Prims that group or bind and have nothing to be seen.
GROUPS = ("", "Xform", "Scope", "SkelRoot")
SILENT = ("Material", "Shader", "NodeGraph", "GeomSubset")
LABELS_MAX = 32
LABEL_LENGTH_MAX = 200


def read_scene(opened: Opened, *, bake_scale: bool = False) -> Scene:
    """The scene in metres with Y up.  With `bake_scale` no node has a scale.  Raises `ValueError` on a broken file."""
    return Reading(opened, bake_scale).scene


class Reading:
    def __init__(self, opened: Opened, bake_scale: bool) -> None:
        from pxr import Usd, UsdGeom

        self.stage = opened.stage
        self.bake_scale = bake_scale
        self.scene = Scene(opened.kind)
        self.report = self.scene.report
        self.shading = Shading(opened, self.scene)
        self.time = Usd.TimeCode.EarliestTime()
        self.shared: dict[Any, int] = {}
        self.nodes = 0
        self.triangles = 0
        self.scene.up = str(UsdGeom.GetStageUpAxis(self.stage))
        metres = float(UsdGeom.GetStageMetersPerUnit(self.stage))
        if not (math.isfinite(metres) and metres > 0):
            raise ValueError(f"metersPerUnit is {metres}: a length above 0, please")
        self.scene.metres_per_unit = metres
        self._problems()
        world = np.diag([metres, metres, metres, 1.0])
        if self.scene.up == "Z":
            world = np.array([[1, 0, 0, 0], [0, 0, -1, 0], [0, 1, 0, 0], [0, 0, 0, 1.0]]) @ world
        root = Node("scan", "/", np.eye(4))
        root.matrix, carry = self._split(world)
        self.top, self.top_carry = root, carry
        for prim in self.stage.GetPseudoRoot().GetFilteredChildren(Usd.TraverseInstanceProxies()):
            self._visit(prim, root, carry, 0)
        self.scene.roots = root.children if np.array_equal(root.matrix, np.eye(4)) else [root]
        if not self.scene.meshes:
            lost = ", ".join(f"{entry['count']} x {entry['what']} ({entry['why']})" for entry in self.report.lost[:5])
            raise ValueError(f"there is nothing in this scan that can be carried over; it has {lost or 'no prims'}")

    def _problems(self) -> None:
        """What USD could not put together, as a missing reference; it goes on without."""
        for fault in getattr(self.stage, "GetCompositionErrors", list)():
            where = str(getattr(fault, "rootSite", "") or "").split("@")[-1].strip("<>") or "/"
            self.report.lose("reference", where, f"USD could not put it together ({str(fault.errorType)[19:]})")

    # --- prims

    def _visit(self, prim: Any, parent: Node, carry: Any, depth: int) -> None:
        from pxr import Usd, UsdGeom

        path, kind = str(prim.GetPath()), str(prim.GetTypeName())
        if depth > DEPTH_MAX:
            raise ValueError(f"{path[:200]}: prims are nested more than {DEPTH_MAX} deep")
        if kind in SILENT:
            return None
        imageable = UsdGeom.Imageable(prim)
        if imageable and imageable.GetVisibilityAttr().Get(self.time) == UsdGeom.Tokens.invisible:
            return self.report.lose("hidden prim", path, "it is invisible in the scan, with all below it")
        if imageable and imageable.GetPurposeAttr().Get() in (UsdGeom.Tokens.guide, UsdGeom.Tokens.proxy):
            return self.report.lose("guide or proxy", path, "it is not meant to be seen in a picture")
        sets = prim.GetVariantSets()
        for name in sets.GetNames():
            others = sets.GetVariantSet(name).GetVariantNames()
            if len(others) > 1:
                self.report.lose("variant", path, f"only the chosen variant of {name!r} comes along")
        node = self._node(prim, path, parent)
        node.matrix, carry = self._placed(prim, node, carry)
        if kind == "PointInstancer":
            return self._instances(UsdGeom.PointInstancer(prim), node, carry, depth)
        self._content(prim, kind, path, node, carry)
        for child in prim.GetFilteredChildren(Usd.TraverseInstanceProxies()):
            self._visit(child, node, carry, depth + 1)
        if kind == "Scope" and not node.children and not node.labels:
            parent.children.remove(node)  # it held materials
        return None

    def _node(self, prim: Any, path: str, parent: Node) -> Node:
        self.nodes += 1
        if self.nodes > NODES_MAX:
            raise ValueError(f"the scan has more than {NODES_MAX:,} nodes, counting every instance")
        node = Node(prim.GetName(), path, np.eye(4), labels=labels_of(prim.GetCustomData()))
        parent.children.append(node)
        return node

    def _placed(self, prim: Any, node: Node, carry: Any) -> tuple[Any, Any]:
        from pxr import UsdGeom

        place = UsdGeom.Xformable(prim)
        if not place:
            return self._split(carry)
        ops = place.GetOrderedXformOps()
        if any(op.MightBeTimeVarying() for op in ops):
            self.report.lose("animation", node.path, "the node moves; it stands as it does at first")
        matrix = np.array(place.GetLocalTransformation(self.time), dtype=np.float64).reshape(4, 4)
        if not np.isfinite(matrix).all():
            raise ValueError(f"{node.path}: its transform has a number that is not finite")
        matrix[:, 3] = (0, 0, 0, 1)  # scanners write 0.99999994 there
        if place.GetResetXformStack():
            self.report.change("transform", node.path, "it does not follow its parent; it hangs below the root now")
            self._detach(node)
            carry = self.top_carry
        return self._split(matrix @ carry)

    def _detach(self, node: Node) -> None:
        stack = [self.top]
        while stack:
            above = stack.pop()
            if any(child is node for child in above.children):
                above.children = [child for child in above.children if child is not node]
                self.top.children.append(node)
                return
            stack.extend(above.children)

    def _split(self, matrix: Any) -> tuple[Any, Any]:
        """(what the node holds, what is left for the points below): their product, left after right, is `matrix`."""
        linear = matrix[:3, :3]
        lengths = np.linalg.norm(linear, axis=1)
        if not self.bake_scale and (lengths > 0).all():
            turned = linear / lengths[:, None]
            if np.linalg.det(turned) < 0:
                lengths, turned = lengths * (-1, 1, 1), turned * [[-1], [1], [1]]
            if np.abs(turned @ turned.T - np.eye(3)).max() < EXACT:
                clean = np.eye(4)
                clean[:3, :3], clean[3, :3] = lengths[:, None] * rotation(turned), matrix[3, :3]
                return clean, np.eye(4)
        node, carry = np.eye(4), np.eye(4)
        node[3, :3] = matrix[3, :3]
        if (lengths > 0).all() and abs(np.linalg.det(linear / lengths[:, None])) > 1e-9:
            node[:3, :3] = rotation(linear / lengths[:, None])
        carry[:3, :3] = linear @ node[:3, :3].T
        if np.abs(carry - np.eye(4)).max() < EXACT:
            carry = np.eye(4)
        return node, carry

    def _content(self, prim: Any, kind: str, path: str, node: Node, carry: Any) -> None:
        """What is to be seen of this prim itself."""
        if kind == "Mesh":
            node.mesh = self._mesh(prim, path, node.name, carry, self._of_mesh)
        elif kind in SOLIDS:
            node.mesh = self._mesh(prim, path, node.name, carry, self._of_solid)
            node.shape = kind.removesuffix("_1")
            if node.shape not in ("Cube", "Plane"):
                self.report.change("solid", path, f"{node.shape}: round; it has {solids.SIDES} sides around now")
        elif kind == "Points":
            node.mesh = self._mesh(prim, path, node.name, carry, self._of_points)
        elif kind == "Camera":
            self.report.lose("camera", path, "cameras are not carried over")
        elif kind.endswith("Light") or kind == "LightFilter":
            self.report.lose("light", path, f"{kind}: lights are not carried over")
        elif kind in ("Skeleton", "SkelAnimation", "BlendShape"):
            why = "skins, bones and blend shapes are not carried over; the mesh is as it was modelled"
            self.report.lose("animation", path, why)
        elif kind not in GROUPS:
            self.report.lose("prim", path, f"{kind} has no counterpart here")

    def _mesh(self, prim: Any, path: str, name: str, carry: Any, make: Any) -> int:
        """The index of the prim's mesh; instances of one prototype share it, unless points had to be changed."""
        home = prim.GetPrimInPrototype() if prim.IsInstanceProxy() else prim
        key = (str(home.GetPath()), carry.tobytes())
        if key in self.shared:
            self._count(sum(len(p.triangles) for p in self._pieces(self.shared[key]) if p.triangles is not None), path)
            return self.shared[key]
        pieces = [placed(piece, carry) for piece in make(prim, path)]
        index = -1
        if pieces:
            index = len(self.scene.meshes)
            self.scene.meshes.append(Mesh(name, pieces))
        self.shared[key] = index
        return index

    def _pieces(self, index: int) -> list[Piece]:
        return self.scene.meshes[index].pieces if index >= 0 else []

    def _count(self, triangles: int, path: str) -> None:
        self.triangles += triangles
        if self.triangles > TRIANGLES_MAX:
            raise ValueError(f"{path}: with it the scan has more than {TRIANGLES_MAX:,} triangles")

    # --- shapes

    def _of_solid(self, prim: Any, path: str) -> list[Piece]:
        shape = self._shape(prim, path)
        points, triangles, normals = shape
        self._count(len(triangles), path)
        colour, varies = self._colour(prim, path)
        if varies is not None:
            self.report.lose("vertex colours", path, "colours on parts of a solid are not carried over")
        material = self.shading.material(prim, colour, False, False)
        if self.shading.uv_names.get(material):
            self.report.lose("texture", path, "a solid has no texture coordinates here")
        return [Piece(points.astype(np.float32), triangles.astype(np.int64), polygons.unit(normals), material=material)]

    def _shape(self, prim: Any, path: str) -> solids.Shape:
        def number(name: str, default: float) -> float:
            value = prim.GetAttribute(name).Get(self.time) if prim.GetAttribute(name) else None
            made = default if value is None else float(value)
            if not math.isfinite(made) or made < 0:
                raise ValueError(f"{path}: {name} is {made}")
            return made

        kind = str(prim.GetTypeName())
        axis = str((prim.GetAttribute("axis").Get() if prim.GetAttribute("axis") else None) or "Z")
        if kind == "Cube":
            return solids.cube(number("size", 2.0))
        if kind == "Sphere":
            return solids.sphere(number("radius", 1.0))
        if kind == "Plane":
            return solids.plane(number("width", 2.0), number("length", 2.0), axis)
        if kind.endswith("_1"):
            bottom, top = number("radiusBottom", 0.5), number("radiusTop", 0.5)
        else:
            bottom = top = number("radius", 0.5 if kind == "Capsule" else 1.0)
        height = number("height", 1.0 if kind.startswith("Capsule") else 2.0)
        if kind.startswith("Capsule"):
            return solids.capsule(bottom, top, height, axis)
        return solids.cylinder(bottom, 0.0 if kind == "Cone" else top, height, axis)

    def _of_points(self, prim: Any, path: str) -> list[Piece]:
        from pxr import UsdGeom

        points = self._array(UsdGeom.Points(prim).GetPointsAttr(), path, 3)
        colour, varies = self._colour(prim, path)
        colours = varies[0] if varies is not None and len(varies[0]) == len(points) else None
        material = self.shading.material(prim, colour, False, colours is not None)
        if UsdGeom.Points(prim).GetWidthsAttr().HasAuthoredValue():
            self.report.lose("point widths", path, "glTF has no size of a point")
        if not len(points):
            self.report.lose("points", path, "there are none in it")
            return []
        return [Piece(points.astype(np.float32), None, colours=colours, material=material)]

    def _of_mesh(self, prim: Any, path: str) -> list[Piece]:
        from pxr import UsdGeom

        mesh = UsdGeom.Mesh(prim)
        points = self._array(mesh.GetPointsAttr(), path, 3)
        counts = self._array(mesh.GetFaceVertexCountsAttr(), path)
        indices = self._array(mesh.GetFaceVertexIndicesAttr(), path)
        if int(counts.sum()) != len(indices) or (len(counts) and int(counts.min()) < 0):
            raise ValueError(f"{path}: faces ask for {int(counts.sum()):,} corners; there are {len(indices):,}")
        if len(indices) and not (0 <= int(indices.min()) and int(indices.max()) < len(points)):
            worst = int(indices.max() if indices.max() >= len(points) else indices.min())
            raise ValueError(f"{path}: a face asks for point {worst}; there are {len(points):,}")
        for attribute in (mesh.GetPointsAttr(), mesh.GetNormalsAttr()):
            if attribute.GetNumTimeSamples() > 1:
                self.report.lose("animation", path, f"{attribute.GetName()} change in time; they are as at first")
        scheme = str(mesh.GetSubdivisionSchemeAttr().Get())
        if scheme != "none" and mesh.GetSubdivisionSchemeAttr().HasAuthoredValue():
            self.report.change("subdivision", path, f"{scheme}: the cage is carried over, not the smooth surface")
        holes = self._array(mesh.GetHoleIndicesAttr(), path)
        if len(holes) and not (0 <= int(holes.min()) and int(holes.max()) < len(counts)):
            raise ValueError(f"{path}: a hole names face {int(holes.max())}; there are {len(counts):,}")
        small = int((counts < 3).sum())
        if small:
            self.report.lose("face", path, "it has less than 3 corners")
        left = mesh.GetOrientationAttr().Get() == UsdGeom.Tokens.leftHanded
        corners, faces = polygons.cut(counts, indices, points.astype(np.float64), holes, left)
        self._count(len(corners), path)
        if not len(corners):
            self.report.lose("mesh", path, "it has no face")
            return []
        return self._split_mesh(mesh, prim, path, points, indices, corners, faces, scheme)

    def _split_mesh(
        self, mesh: Any, prim: Any, path: str, points: Any, indices: Any, corners: Any, faces: Any, scheme: str
    ) -> list[Piece]:
        """One piece for each material."""
        from pxr import UsdGeom, UsdShade

        double = bool(mesh.GetDoubleSidedAttr().Get())
        colour, varies = self._colour(prim, path)
        owner = np.full(int(faces.max()) + 1, -1, np.int64)
        bearers = [prim]
        for subset in UsdShade.MaterialBindingAPI(prim).GetMaterialBindSubsets():
            if subset.GetElementTypeAttr().Get() != UsdGeom.Tokens.face:
                self.report.lose("subset", str(subset.GetPath()), "it is not one of faces")
                continue
            chosen = self._array(subset.GetIndicesAttr(), str(subset.GetPath()))
            chosen = chosen[(chosen >= 0) & (chosen < len(owner))]
            owner[chosen] = len(bearers)
            bearers.append(subset.GetPrim())
        normals = self._normals(mesh, path)
        pieces = []
        whose = owner[faces]
        for at, bearer in enumerate(bearers):
            of_it = whose == (at if at else -1)
            if not of_it.any():
                continue
            material = self.shading.material(bearer, colour, double, varies is not None)
            columns = self._columns(prim, path, material, normals, varies)
            mine = slice(None) if of_it.all() else of_it
            piece = gathered(path, points, indices, corners[mine], faces[mine], columns)
            if piece.normals is None and scheme != "none":
                piece.normals = polygons.smooth_normals(piece.points, piece.triangles)
            piece.material = material
            pieces.append(piece)
        return pieces

    def _columns(self, prim: Any, path: str, material: int, normals: Any, varies: Any) -> list[tuple[str, Any, str]]:
        """What each vertex has beside its place: (name, values, interpolation)."""
        from pxr import UsdGeom

        columns = []
        if normals is not None:
            columns.append(("normals", *normals))
        known = UsdGeom.PrimvarsAPI(prim)
        names = self.shading.uv_names.get(material, [])
        for name in names or ["st"]:
            given = known.FindPrimvarWithInheritance(name)
            value = given.ComputeFlattened(self.time) if given and given.HasValue() else None
            if value is None:
                if names:
                    self.report.lose("texture", path, f"the mesh has no coordinates {name!r} to lay it out by")
                    columns.append(("uv", np.zeros((1, 2), np.float32), "constant"))
                continue
            flat = self._plain(value, f"{path}:{name}", 2)
            flat = np.stack([flat[:, 0], 1 - flat[:, 1]], axis=1)
            columns.append(("uv", flat, str(given.GetInterpolation())))
        if varies is not None:
            columns.append(("colours", *varies))
        carried = {*names, "st", "displayColor", "displayOpacity", "normals"}
        for other in known.GetPrimvarsWithAuthoredValues():
            if other.GetPrimvarName() not in carried and other.GetAttr().GetNamespace() == "primvars":
                self.report.lose("primvar", f"{path}:{other.GetPrimvarName()}", "no material asks for these values")
        return columns

    def _normals(self, mesh: Any, path: str) -> tuple[Any, str] | None:
        from pxr import UsdGeom

        given = UsdGeom.PrimvarsAPI(mesh.GetPrim()).GetPrimvar("normals")
        if given and given.HasValue():
            value, how = given.ComputeFlattened(self.time), str(given.GetInterpolation())
        else:
            value, how = mesh.GetNormalsAttr().Get(self.time), str(mesh.GetNormalsInterpolation())
        if value is None or not len(value):
            return None
        return polygons.unit(np.asarray(value, np.float64).reshape(-1, 3)), how

    def _colour(self, prim: Any, path: str) -> tuple[Any, tuple[Any, str] | None]:
        """(the one colour of it or None, colours that vary with their interpolation or None)."""
        from pxr import UsdGeom

        known, found = UsdGeom.PrimvarsAPI(prim), []
        for name, width in (("displayColor", 3), ("displayOpacity", 1)):
            given = known.FindPrimvarWithInheritance(name)
            value = given.ComputeFlattened(self.time) if given and given.HasValue() else None
            if value is not None and len(value):
                flat = np.clip(self._plain(value, f"{path}:{name}", width), 0, 1)
                found.append((flat, "constant" if len(flat) == 1 else str(given.GetInterpolation())))
            else:
                found.append((np.ones((1, width), np.float32), "" if width == 3 else "constant"))
        (colour, how), (opacity, how_clear) = found
        if how in ("", "constant") and how_clear == "constant":
            plain = (*colour[0], opacity[0, 0]) if how else (None if opacity[0, 0] == 1 else (1, 1, 1, opacity[0, 0]))
            return None if plain is None else tuple(float(one) for one in plain), None
        if how in ("", "constant"):
            colour, how = np.repeat(colour, len(opacity), 0), how_clear
        elif len(opacity) != len(colour):
            if how_clear != "constant":
                self.report.lose("vertex colours", path, "opacity is given at other places than colour")
            opacity = np.repeat(opacity[:1], len(colour), 0)
        return None, (np.concatenate([colour, opacity], axis=1).astype(np.float32), how)

    # --- instances

    def _instances(self, instancer: Any, node: Node, carry: Any, depth: int) -> None:
        from pxr import UsdGeom

        which = self._array(instancer.GetProtoIndicesAttr(), node.path)
        targets = instancer.GetPrototypesRel().GetForwardedTargets()
        places = instancer.ComputeInstanceTransformsAtTime(
            self.time, self.time, UsdGeom.PointInstancer.ExcludeProtoXform, UsdGeom.PointInstancer.IgnoreMask
        )
        if len(places) != len(which):
            raise ValueError(f"{node.path}: {len(which)} instances and {len(places)} places for them")
        masked = set(instancer.GetInvisibleIdsAttr().Get(self.time) or ())
        if masked:
            self.report.lose("hidden prim", node.path, "instances that are invisible")
        ids = instancer.GetIdsAttr().Get(self.time) or range(len(which))
        for at, (chosen, place) in enumerate(zip(which, places, strict=True)):
            prim = self.stage.GetPrimAtPath(targets[int(chosen)]) if 0 <= int(chosen) < len(targets) else None
            if not prim:
                raise ValueError(f"{node.path}: instance {at} is of prototype {int(chosen)}; there are {len(targets)}")
            if ids[at] in masked:
                continue
            holder = Node(f"{node.name}_{at}", f"{node.path}[{at}]", np.eye(4))
            self.nodes += 1
            node.children.append(holder)
            holder.matrix, below = self._split(np.array(place, dtype=np.float64).reshape(4, 4) @ carry)
            self._visit(prim, holder, below, depth + 1)

    # --- values

    def _array(self, attribute: Any, path: str, width: int = 0) -> Any:
        value = attribute.Get(self.time)
        if value is None:
            return np.zeros((0, width) if width else 0, np.float64 if width else np.int64)
        return self._plain(value, f"{path}.{attribute.GetName()}", width) if width else np.array(value, np.int64)

    def _plain(self, value: Any, path: str, width: int) -> Any:
        made = np.array(value, dtype=np.float32).reshape(-1, width)
        if not np.isfinite(made).all():
            raise ValueError(f"{path}: a number in it is not finite")
        return made


def gathered(
    path: str, points: Any, indices: Any, corners: Any, faces: Any, columns: list[tuple[str, Any, str]]
) -> Piece:
    """Triangles with one vertex for all corners that agree in everything."""
    of_point = indices[corners].reshape(-1)
    chosen = []
    for name, values, how in columns:
        try:
            chosen.append(polygons.spread(values, how, corners, faces, indices))
        except ValueError as fault:
            raise ValueError(f"{path}: {name} {fault}") from None
    apart = [
        polygons.same_rows(values)[rows]
        for (_, values, how), rows in zip(columns, chosen, strict=True)
        if how in ("faceVarying", "uniform")
    ]
    first, vertex = polygons.share([of_point, *apart])
    piece = Piece(points[of_point[first]].astype(np.float32), vertex.reshape(-1, 3))
    for (name, values, _), rows in zip(columns, chosen, strict=True):
        taken = values[rows[first]].astype(np.float32)
        if name == "normals":
            piece.normals = taken
        elif name == "uv":
            piece.uvs = (*piece.uvs, taken)
        else:
            piece.colours = taken
    return piece


def placed(piece: Piece, carry: Any) -> Piece:
    """The piece with `carry` done to its points."""
    if np.array_equal(carry, np.eye(4)):
        return piece
    piece.points = (piece.points.astype(np.float64) @ carry[:3, :3] + carry[3, :3]).astype(np.float32)
    if piece.normals is not None:
        linear = carry[:3, :3]
        away = np.linalg.det(linear)
        back = np.linalg.inv(linear).T if abs(away) > 1e-30 else np.eye(3)
        piece.normals = polygons.unit(piece.normals.astype(np.float64) @ back)
    if piece.triangles is not None and np.linalg.det(carry[:3, :3]) < 0:
        piece.triangles = piece.triangles[:, ::-1]
    return piece


def rotation(matrix: Any) -> Any:
    """The rotation next to a matrix (without its mirror), exact to rounding: its polar factor."""
    left, _, right = np.linalg.svd(matrix)
    turned = left @ right
    if np.linalg.det(turned) < 0:
        left[:, 2] *= -1
        turned = left @ right
    return turned


def labels_of(data: Any) -> dict[str, str]:
    """What the scanner says of a prim: its category and UUID, as plain texts."""
    found: dict[str, str] = {}
    for name, value in list(data.items())[:LABELS_MAX]:
        if isinstance(value, (str, int, float, bool)):
            found[str(name)[:LABEL_LENGTH_MAX]] = str(value)[:LABEL_LENGTH_MAX]
    return found
