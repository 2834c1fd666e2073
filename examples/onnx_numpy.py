"""Pictures through an ONNX artefact exported with --with-post: python onnx_numpy.py ARTEFACT PICTURE..."""

import json
import sys
from pathlib import Path

import numpy as np
import onnxruntime
from PIL import Image

folder, pictures = Path(sys.argv[1]), sys.argv[2:]
manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
facts, pose, least = manifest["preparation"], manifest["task"] == "pose", manifest["batch"]["minimum"]
most, canvas_wh = min(manifest["batch"]["maximum"] or 16, max(least, 16)), np.array(facts["canvas_hw"][::-1])
session = onnxruntime.InferenceSession(str(folder / manifest["entry"]), providers=["CPUExecutionProvider"])
for start in range(0, len(pictures), most):
    names, canvases, crops = pictures[start : start + most], [], []
    for picture in (Image.open(name).convert("RGB") for name in names):
        wh = np.array(picture.size)  # for pose the picture is one person's box; for maps it is stretched to the canvas
        crop_wh = canvas_wh * (wh / canvas_wh).max() * facts["box_padding"] if pose else wh
        step, corner = crop_wh / (canvas_wh - pose), (wh - crop_wh) / 2
        (ax, ay), (x, y) = step, corner + pose * (1 - step) / 2
        canvases.append(picture.transform(tuple(canvas_wh), Image.AFFINE, (ax, 0, x, 0, ay, y), Image.BILINEAR))
        crops.append((crop_wh, corner))
    batch = np.stack([np.asarray(one) for one in canvases + canvases[-1:] * (least - len(canvases))])
    for output, values in zip(session.get_outputs(), session.run(None, {session.get_inputs()[0].name: batch})):  # noqa: B905
        for name, value, (crop_wh, corner) in zip(names, values, crops):  # noqa: B905
            if output.name == "points":  # canvas pixels -> pixels of the picture
                value[:, :2] = value[:, :2] / canvas_wh * crop_wh + corner
            np.save(name + "." + output.name + ".npy", value)
