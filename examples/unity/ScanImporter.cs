// Loads a scan from a Boxwork node into a Unity scene, and gives walls and floors colliders.
//
// Needs the package com.unity.cloud.gltfast (glTFast 6).  This file is a sample: it was written against glTFast's
// documented API and has NOT been compiled or run here, because there is no Unity on the machines that test Boxwork.
// What is tested is the file it loads (profile `unity`): no node has a scale, the root has no turn for axes or units,
// no name is there twice, and a name begins with the category that the scanner gave: Wall…, Door…, Window…, Floor….
//
// glTF is right-handed with Y up and looks along +Z; glTFast turns it into Unity's left-handed space by itself (it
// mirrors X).  So do not flip anything here.

using System.Threading.Tasks;
using GLTFast;
using UnityEngine;

public sealed class ScanImporter : MonoBehaviour
{
    [Tooltip("The node, as http://scans.example:8000")]
    public string server = "http://127.0.0.1:8000";

    [Tooltip("The scan's name: 64 hexadecimal digits, from its page or from GET /scans/items")]
    public string scan;

    private async void Start()
    {
        try
        {
            await Load();
        }
        catch (System.Exception fault)
        {
            Debug.LogError($"The scan {scan} was not loaded: {fault.Message}", this);
        }
    }

    private async Task Load()
    {
        var import = new GltfImport();
        var address = $"{server}/scans/{scan}.glb?profile=unity";
        if (!await import.Load(address))
        {
            throw new System.InvalidOperationException($"{address} did not answer with a GLB; its error is in the console");
        }

        if (!await import.InstantiateMainSceneAsync(transform))
        {
            throw new System.InvalidOperationException("glTFast made no scene of it");
        }

        foreach (var filter in GetComponentsInChildren<MeshFilter>())
        {
            if (IsPartOf(filter.transform, "Wall") || IsPartOf(filter.transform, "Floor"))
            {
                filter.gameObject.AddComponent<MeshCollider>().sharedMesh = filter.sharedMesh;
            }
        }
    }

    // The category stands in the name of the element, which may be above the node that has the mesh.
    private bool IsPartOf(Transform node, string category)
    {
        for (; node != null && node != transform; node = node.parent)
        {
            if (node.name.StartsWith(category, System.StringComparison.OrdinalIgnoreCase))
            {
                return true;
            }
        }

        return false;
    }
}
