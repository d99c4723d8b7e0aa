"""The networks in the browser (book/_style/unet.js) against PyTorch, in headless Chromium."""

import base64
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

import minidiff as md
from minidiff.engine.checkpoint import save_weights

ROOT = Path(__file__).resolve().parent.parent
SCRIPT = ROOT / "book" / "_style" / "unet.js"
TOLERANCE = 1e-4
WALK = """async ([name, text, x, labels, tau, stopAfter]) => {
  const model = await minidiff.load(name);
  const stop = new AbortController(), steps = [], shares = [];
  const progress = (share) => { shares.push(share); if (shares.length === stopAfter) stop.abort(); };
  const asked = { x: Float32Array.from(x), labels, tau, progress, signal: stop.signal };
  for await (const { t, x, x0, raw } of model.ddim(asked)) steps.push([t, [...x], [...x0], [...raw]]);
  return { steps, shares };
}"""


def weights_script(name, file):
    return f'minidiff.deliver("{name}", "{base64.b64encode(file.read_bytes()).decode()}");'
import functools,http.server
@pytest.fixture
def page(browser, tmp_path):
    (tmp_path / "weights").mkdir()
    (tmp_path / "unet.js").write_text(SCRIPT.read_text())
    (tmp_path / "page.html").write_text("<!doctype html><script src=unet.js></script>")
    tab = browser.new_page()
    tab.on("console", lambda m: print(m.text)); tab.on("pageerror", lambda m: print(m))
    tab.goto((tmp_path / "page.html").as_uri())
    yield tab
    tab.close()

@pytest.mark.parametrize("name", ["digits", "digits_labels", "fashion"])
def test_x(page, tmp_path, name):
    import time
    (tmp_path / "weights" / f"{name}.js").write_text(weights_script(name, ROOT/"minidiff"/"weights"/f"{name}.safetensors"))
    model = md.load_pretrained(name)
    c = model.net.config
    n = 16 if c.size==8 else 2
    g = torch.Generator().manual_seed(0)
    x = torch.randn(n, c.in_channels, c.size, c.size, generator=g)
    labels = torch.arange(n) % (c.num_classes+1) if c.num_classes else None
    tau = md.tau(1000, S=20)
    cond = {} if labels is None else {"labels": labels}
    page.evaluate("name => minidiff.load(name)", name)
    t=time.time()
    out = page.evaluate(WALK, [name, "", x.flatten().tolist(), None if labels is None else labels.tolist(), tau, 0])
    print("browser", time.time()-t)
    print(page.evaluate("""async ([name, n]) => {const model=await minidiff.load(name); const x=Float32Array.from({length:n},()=>Math.random()); const t0=performance.now(); for await (const s of model.ddim({x,tau:minidiff.tau(1000,20)})); return performance.now()-t0}""",[name,x.numel()]))
    t=time.time()
    xt=x
    with torch.no_grad():
        for (t_, xj, x0j, rawj), step, prev in zip(out["steps"], md.ddim(model, x, tau, **cond), tau, strict=True) if False else zip(out["steps"], md.ddim(model, x, tau, **cond), tau):
            raw = model(xt, prev, **cond).raw
            print(t_, step.t, (torch.tensor(xj).reshape(x.shape)-step.x).abs().max().item(), (torch.tensor(x0j).reshape(x.shape)-step.x0).abs().max().item(), (torch.tensor(rawj).reshape(x.shape)-raw).abs().max().item())
            xt = step.x
    print("torch", time.time()-t)
