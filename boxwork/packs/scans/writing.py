"""From a scene to GLB, the binary form of glTF 2.0."""

from __future__ import annotations

import re
from typing import Any

import numpy as np

from boxwork.packs.scans.scene import Material, Node, Piece, Scene, Texture

FLOAT, SHORT, WORD = 5126, 5123, 5125
VERTICES, INDICES = 34962, 34963
WRAPS = (("repeat", 10497), ("mirror", 33648), ("clamp", 33071))
LINEAR, LINEAR_MIPMAP_LINEAR = 9729, 9987
SHAPES = (("SCALAR", 1), ("VEC2", 2), ("VEC3", 3), ("VEC4", 4))
POINTS = 0  # the mode of a point cloud; triangles are 4


def write_glb(scene: Scene, about: dict[str, Any], *, unique_names: bool = False) -> bytes:
    """The scene's bytes; `about` stands in `asset.extras`.  The same scene makes the same bytes."""
    return Writing(scene, about, unique_names).bytes


class Writing:
    def __init__(self, scene: Scene, about: dict[str, Any], unique_names: bool) -> None:
        import pygltflib

        self.lib = pygltflib
        self.scene = scene
        self.unique_names = unique_names
        self.names: dict[str, int] = {}
        self.chunks: list[bytes] = []
        self.length = 0
        self.used: set[str] = set()
        self.samplers: dict[tuple[str, str], int] = {}
        self.known_textures: dict[tuple[int, int], int] = {}
        asset = pygltflib.Asset(version="2.0", generator="Boxwork scans", extras=about)
        self.gltf = pygltflib.GLTF2(asset=asset)
        for name, media, data in scene.images:
            view = self._view(data, None)
            self.gltf.images.append(pygltflib.Image(name=name, mimeType=media, bufferView=view))
        self.gltf.materials = [self._material(one) for one in scene.materials]
        self.gltf.meshes = [
            pygltflib.Mesh(name=mesh.name, primitives=[self._primitive(piece) for piece in mesh.pieces])
            for mesh in scene.meshes
        ]
        roots = [self._node(root) for root in scene.roots]
        if roots:
            self.gltf.scenes = [pygltflib.Scene(name="scan", nodes=roots)]
            self.gltf.scene = 0
        if self.length:
            self.gltf.buffers = [pygltflib.Buffer(byteLength=self.length)]
            self.gltf.set_binary_blob(b"".join(self.chunks))
        self.gltf.extensionsUsed = sorted(self.used)
        self.bytes = b"".join(self.gltf.save_to_bytes())

    def _view(self, data: bytes, target: int | None) -> int:
        self.gltf.bufferViews.append(
            self.lib.BufferView(buffer=0, byteOffset=self.length, byteLength=len(data), target=target)
        )
        padded = data + b"\0" * (-len(data) % 4)
        self.chunks.append(padded)
        self.length += len(padded)
        return len(self.gltf.bufferViews) - 1

    def _accessor(self, values: Any, component: int, target: int, *, bounds: bool = False) -> int:
        width = 1 if values.ndim == 1 else values.shape[1]
        kind = next(name for name, count in SHAPES if count == width)
        made = self.lib.Accessor(
            bufferView=self._view(values.tobytes(), target),
            byteOffset=0,
            componentType=component,
            count=len(values),
            type=kind,
        )
        if bounds:
            made.min = [float(one) for one in values.min(axis=0)]
            made.max = [float(one) for one in values.max(axis=0)]
        self.gltf.accessors.append(made)
        return len(self.gltf.accessors) - 1

    def _primitive(self, piece: Piece) -> Any:
        attributes = self.lib.Attributes()
        attributes.POSITION = self._floats(piece.points, bounds=True)
        if piece.normals is not None:
            attributes.NORMAL = self._floats(piece.normals)
        for name, uv in zip(("TEXCOORD_0", "TEXCOORD_1"), piece.uvs, strict=False):
            setattr(attributes, name, self._floats(uv))
        if piece.colours is not None:
            attributes.COLOR_0 = self._floats(piece.colours)
        made = self.lib.Primitive(attributes=attributes, material=piece.material if piece.material >= 0 else None)
        if piece.triangles is None:
            made.mode = POINTS
        else:
            small = len(piece.points) < 65_535  # the highest number restarts a strip
            flat = piece.triangles.reshape(-1).astype("<u2" if small else "<u4")
            made.indices = self._accessor(flat, SHORT if small else WORD, INDICES)
        return made

    def _floats(self, values: Any, *, bounds: bool = False) -> int:
        return self._accessor(np.ascontiguousarray(values, dtype="<f4"), FLOAT, VERTICES, bounds=bounds)

    def _node(self, node: Node) -> int:
        made = self.lib.Node(name=self._name(node), mesh=node.mesh if node.mesh >= 0 else None)
        if node.labels:
            made.extras = dict(node.labels)
        translation, turned, scale = taken_apart(node.matrix)
        if any(translation):
            made.translation = translation
        if turned != [0.0, 0.0, 0.0, 1.0]:
            made.rotation = turned
        if scale != [1.0, 1.0, 1.0]:
            made.scale = scale
        index = len(self.gltf.nodes)
        self.gltf.nodes.append(made)
        made.children = [self._node(child) for child in node.children]
        return index

    def _name(self, node: Node) -> str:
        """In Unity nodes are found by their names: with the category in front, and none twice."""
        if not self.unique_names:
            return node.name
        category = re.sub(r"\W+", "", node.labels.get("Category", ""))
        name = (
            f"{category}_{node.name}" if category and not node.name.lower().startswith(category.lower()) else node.name
        )
        count = self.names[name] = self.names.get(name, 0) + 1
        if count == 1:
            return name
        other = f"{name}_{count}"
        while other in self.names:
            count += 1
            other = f"{name}_{count}"
        self.names[other] = 1
        return other

    # --- materials

    def _material(self, material: Material) -> Any:
        lib = self.lib
        surface = lib.PbrMetallicRoughness(
            baseColorFactor=[float(one) for one in material.colour],
            metallicFactor=material.metallic,
            roughnessFactor=material.roughness,
            baseColorTexture=self._info(material.colour_texture, lib.TextureInfo),
            metallicRoughnessTexture=self._info(material.metallic_roughness_texture, lib.TextureInfo),
        )
        made = lib.Material(
            name=material.name,
            pbrMetallicRoughness=surface,
            normalTexture=self._info(material.normal_texture, lib.NormalMaterialTexture),
            occlusionTexture=self._info(material.occlusion_texture, lib.OcclusionTextureInfo),
            emissiveTexture=self._info(material.emissive_texture, lib.TextureInfo),
            emissiveFactor=list(material.emissive),
            alphaMode=material.alpha,
            alphaCutoff=material.cutoff if material.alpha == "MASK" else None,
            doubleSided=material.double_sided,
        )
        if abs(material.ior - 1.5) > 1e-6:
            made.extensions["KHR_materials_ior"] = {"ior": material.ior}
        if material.clearcoat > 0:
            made.extensions["KHR_materials_clearcoat"] = {
                "clearcoatFactor": material.clearcoat,
                "clearcoatRoughnessFactor": material.clearcoat_roughness,
            }
        self.used.update(made.extensions)
        return made

    def _info(self, texture: Texture | None, kind: Any) -> Any:
        if texture is None:
            return None
        sampler = self._sampler(texture)
        key = (texture.image, sampler)
        if key not in self.known_textures:
            self.known_textures[key] = len(self.gltf.textures)
            self.gltf.textures.append(self.lib.Texture(source=texture.image, sampler=sampler))
        made = kind(index=self.known_textures[key], texCoord=texture.uv)
        if texture.offset != (0.0, 0.0) or texture.rotation or texture.scale != (1.0, 1.0):
            made.extensions["KHR_texture_transform"] = {
                "offset": list(texture.offset),
                "rotation": texture.rotation,
                "scale": list(texture.scale),
            }
            self.used.add("KHR_texture_transform")
        return made

    def _sampler(self, texture: Texture) -> int:
        key = (texture.wrap_s, texture.wrap_t)
        if key not in self.samplers:
            self.samplers[key] = len(self.gltf.samplers)
            wraps = dict(WRAPS)
            self.gltf.samplers.append(
                self.lib.Sampler(
                    magFilter=LINEAR, minFilter=LINEAR_MIPMAP_LINEAR, wrapS=wraps[key[0]], wrapT=wraps[key[1]]
                )
            )
        return self.samplers[key]


def taken_apart(matrix: Any) -> tuple[list[float], list[float], list[float]]:
    """(translation, rotation as a quaternion x y z w, scale) of a matrix that is made of these."""
    linear = matrix[:3, :3]
    scale = np.linalg.norm(linear, axis=1)
    turned = linear / scale[:, None]
    if np.linalg.det(turned) < 0:
        scale, turned = scale * (-1, 1, 1), turned * [[-1], [1], [1]]
    scale = np.where(np.abs(np.abs(scale) - 1) < 1e-9, np.sign(scale), scale)
    return [float(x) for x in matrix[3, :3]], quaternion(turned.T), [float(x) for x in scale]


def quaternion(turned: Any) -> list[float]:
    """Of a rotation matrix for column vectors (Shepperd: from the largest component, so that nothing cancels)."""
    m = turned
    squares = np.array([1 + m[0, 0] - m[1, 1] - m[2, 2], 1 - m[0, 0] + m[1, 1] - m[2, 2],
                        1 - m[0, 0] - m[1, 1] + m[2, 2], 1 + m[0, 0] + m[1, 1] + m[2, 2]])  # fmt: skip
    at = int(np.argmax(squares))
    rows = (
        (squares[0], m[1, 0] + m[0, 1], m[2, 0] + m[0, 2], m[2, 1] - m[1, 2]),
        (m[1, 0] + m[0, 1], squares[1], m[2, 1] + m[1, 2], m[0, 2] - m[2, 0]),
        (m[2, 0] + m[0, 2], m[2, 1] + m[1, 2], squares[2], m[1, 0] - m[0, 1]),
        (m[2, 1] - m[1, 2], m[0, 2] - m[2, 0], m[1, 0] - m[0, 1], squares[3]),
    )
    row = np.array(rows[at])
    row = row / np.linalg.norm(row)
    if row[3] < 0:
        row = -row
    made = [float(x) for x in row]
    return [0.0, 0.0, 0.0, 1.0] if max(abs(x) for x in made[:3]) < 1e-12 else made
