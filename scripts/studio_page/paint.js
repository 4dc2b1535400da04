// In the head of the page: painting on the mask. `studioModel` holds names and colours of the classes.
(() => {
  const find = (selector) => document.querySelector(selector);
  let ids = null; // Uint8Array of class ids, the painting while there is one
  let base = null; // the class ids that the painting began with
  let size = [0, 0]; // width, height
  let stroke = null; // the stroke that is being painted
  let submitted = null; // the painting that the model follows now
  const canvas = document.createElement("canvas");
  canvas.id = "studio-canvas";
  canvas.setAttribute("aria-hidden", "true");

  const tool = () => find("input[name=studio-tool]:checked")?.value ?? "select";
  const selectedClass = () => studioModel.names.indexOf(find("#studio-part input:checked")?.value);
  document.addEventListener("change", (event) => {
    if (event.target.name === "studio-tool") document.body.classList.toggle("studio-painting", tool() !== "select");
  });

  // ---- Class ids, read from an image and shown on a canvas over the mask ----
  const readIds = async () => {
    const image = find(".studio-ids");
    await image.decode();
    size = [image.naturalWidth, image.naturalHeight];
    const context = new OffscreenCanvas(...size).getContext("2d");
    context.drawImage(image, 0, 0);
    const { data } = context.getImageData(0, 0, ...size);
    return Uint8Array.from({ length: size[0] * size[1] }, (_, i) => data[4 * i]);
  };
  const draw = (window.studioDrawPainting = () => {
    const holder = find('[data-panel="mask"] > div');
    if (!ids || !holder) return canvas.remove();
    if (canvas.parentElement !== holder) holder.append(canvas);
    [canvas.width, canvas.height] = size;
    const pixels = new ImageData(...size);
    ids.forEach((id, i) => pixels.data.set([...studioModel.colors[id], 255], 4 * i));
    canvas.getContext("2d").putImageData(pixels, 0, 0);
  });

  // ---- Tools ----
  const neighbours = (i) => {
    const [width, height] = size;
    const found = [];
    if (i % width) found.push(i - 1);
    if ((i + 1) % width) found.push(i + 1);
    if (i >= width) found.push(i - width);
    if (i + width < width * height) found.push(i + width);
    return found;
  };
  // The ids of `source`, where pixels of `part` get the id of the nearest pixel of another part.
  const withoutPart = (source, part) => {
    const result = source.slice();
    let border = [...source.keys()].filter((i) => source[i] !== part);
    while (border.length) {
      const next = [];
      for (const i of border) {
        for (const j of neighbours(i).filter((each) => result[each] === part)) {
          result[j] = result[i];
          next.push(j);
        }
      }
      border = next;
    }
    return result;
  };
  const pixelsUnder = ([x0, y0], [x1, y1], act) => {
    const radius = Math.max(0.75, ((find("#studio-brush").value / 64) * size[0]) / 2);
    const steps = Math.ceil(2 * Math.hypot(x1 - x0, y1 - y0)) + 1;
    for (let step = 0; step <= steps; step++) {
      const [x, y] = [x0 + ((x1 - x0) * step) / steps, y0 + ((y1 - y0) * step) / steps];
      for (let row = Math.max(0, Math.floor(y - radius)); row <= Math.min(size[1] - 1, y + radius); row++) {
        for (let column = Math.max(0, Math.floor(x - radius)); column <= Math.min(size[0] - 1, x + radius); column++) {
          if (Math.hypot(column + 0.5 - x, row + 0.5 - y) <= radius) act(row * size[0] + column);
        }
      }
    }
  };
  const at = ([x, y]) => Math.min(size[1] - 1, Math.max(0, Math.floor(y))) * size[0] + Math.min(size[0] - 1, Math.max(0, Math.floor(x)));
  const tools = {
    brush: ({ part, last }, point) => pixelsUnder(last, point, (i) => (ids[i] = part)),
    eraser: ({ part, last, behind }, point) => pixelsUnder(last, point, (i) => ids[i] === part && (ids[i] = behind[i])),
    fill: ({ part, before }, point) => {
      const queue = [at(point)];
      const old = before[queue[0]];
      while (old !== part && queue.length) {
        const i = queue.pop();
        if (ids[i] !== old) continue;
        ids[i] = part;
        queue.push(...neighbours(i));
      }
    },
    move: ({ part, before, first, behind }, point) => {
      const [right, down] = [Math.round(point[0] - first[0]), Math.round(point[1] - first[1])];
      ids = behind.slice();
      before.forEach((id, i) => {
        const [column, row] = [(i % size[0]) + right, Math.floor(i / size[0]) + down];
        if (id === part && row >= 0 && column >= 0 && row < size[1] && column < size[0]) ids[row * size[0] + column] = part;
      });
    },
  };

  // ---- Strokes ----
  const isOnMask = (event) => tool() !== "select" && event.target.closest?.('[data-panel="mask"]');
  const position = ({ clientX, clientY }) => {
    const box = find('[data-panel="mask"] img.now').getBoundingClientRect();
    return [((clientX - box.left) / box.width) * size[0], ((clientY - box.top) / box.height) * size[1]];
  };
  const paintTo = (point) => {
    tools[stroke.tool](stroke, point);
    stroke.last = point;
    draw();
  };
  const begin = async (event) => {
    const part = selectedClass();
    if (part < 0) return window.studioSay("Select a single part first, then paint.");
    const own = (stroke = { tool: tool(), part, waiting: [event], isOver: false });
    if (!ids) {
      const read = await readIds().catch(() => null); // moves made by then wait
      if (!read) return void (stroke = null); // the mask was replaced
      ids = read;
      base = read.slice();
    }
    const first = position(event);
    Object.assign(own, { before: ids.slice(), behind: withoutPart(ids, part), first, last: first });
    own.waiting.forEach((each) => paintTo(position(each)));
    own.waiting = null;
    if (own.isOver) end();
  };
  const end = () => {
    const isChanged = stroke.before.some((id, i) => id !== ids[i]);
    stroke = null;
    if (submitted) return; // this stroke is submitted next
    if (isChanged) submit();
    else clear();
  };
  const encoded = (values) => btoa(values.reduce((text, id) => text + String.fromCharCode(id), ""));
  const submit = () => {
    submitted = ids.slice();
    window.studioSubmit(encoded(submitted), encoded(base));
  };
  const clear = () => {
    ids = null;
    draw();
  };
  // The model has followed a painting, or could not.
  window.studioPainted = () => {
    const isNewer = ids && submitted && submitted.some((id, i) => id !== ids[i]);
    submitted = null;
    if (stroke) return;
    if (isNewer) submit();
    else clear();
  };

  // A ring shows the size of the brush.
  const ring = document.createElement("div");
  ring.id = "studio-ring";
  document.addEventListener("pointermove", (event) => {
    const panel = event.pointerType === "mouse" && ["brush", "eraser"].includes(tool()) && event.target.closest?.('[data-panel="mask"]');
    if (!panel) return ring.remove();
    const box = panel.querySelector("img.now").getBoundingClientRect();
    const side = `${Math.max(1.5 / (size[0] || 64), find("#studio-brush").value / 64) * box.width}px`;
    if (!ring.isConnected) document.body.append(ring);
    Object.assign(ring.style, { left: `${event.clientX}px`, top: `${event.clientY}px`, width: side, height: side });
  });

  document.documentElement.addEventListener("pointerleave", () => ring.remove());
  document.addEventListener("change", (event) => event.target.name === "studio-tool" && ring.remove());

  // On touch screens, a stroke must not scroll the page; and a click at its end must not select a part.
  document.addEventListener("touchstart", (event) => isOnMask(event) && event.preventDefault(), { passive: false });
  document.addEventListener("click", (event) => isOnMask(event) && event.stopPropagation(), true);
  document.addEventListener("pointerdown", (event) => {
    if (!isOnMask(event) || event.button > 0 || stroke) return;
    event.preventDefault();
    begin(event);
  });
  document.addEventListener("pointermove", (event) => {
    if (!stroke || stroke.tool === "fill") return;
    if (stroke.waiting) stroke.waiting.push(event);
    else paintTo(position(event));
  });
  for (const kind of ["pointerup", "pointercancel"]) {
    document.addEventListener(kind, () => {
      if (stroke?.waiting) stroke.isOver = true;
      else if (stroke) end();
    });
  }
})();
