// In the head of the page: moving the crop of a photo. The numbers are those of a `Square` in pixels of the photo.
(() => {
  const crop = () => document.querySelector(".studio-crop");
  const value = (name) => Number(crop().dataset[name]);
  const set = (values) => {
    Object.assign(crop().dataset, values);
    draw();
  };
  const image = () => crop().querySelector("img");
  const draw = () => {
    const shown = image();
    if (!shown.naturalWidth) return;
    const scale = shown.clientWidth / shown.naturalWidth;
    const shape = value("shape");
    const [width, height] = shape < 1 ? [value("size") / shape, value("size")] : [value("size"), value("size") * shape];
    Object.assign(crop().querySelector(".studio-square").style, {
      left: `${value("x") * scale}px`,
      top: `${value("y") * scale}px`,
      width: `${width * scale}px`,
      height: `${height * scale}px`,
      transform: `translate(-50%, -50%) rotate(${value("angle")}deg)`,
    });
    const longer = Math.max(shown.naturalWidth, shown.naturalHeight);
    const size = crop().querySelector("[data-field=size]");
    Object.assign(size, { min: longer / 20, max: longer * 1.5, step: longer / 200, value: value("size") });
    crop().querySelector("[data-field=angle]").value = value("angle");
  };
  window.studioShowCrop = () => crop() && image().decode().then(draw);
  window.addEventListener("resize", () => crop() && draw());

  let from = null; // of a drag: pointer and center
  document.addEventListener("pointerdown", (event) => {
    if (!event.target.closest?.(".studio-whole")) return;
    event.preventDefault();
    from = [event.clientX, event.clientY, value("x"), value("y")];
  });
  document.addEventListener("pointermove", (event) => {
    if (!from || !crop()) return;
    const scale = image().naturalWidth / image().clientWidth;
    set({ x: from[2] + (event.clientX - from[0]) * scale, y: from[3] + (event.clientY - from[1]) * scale });
  });
  for (const end of ["pointerup", "pointercancel"]) document.addEventListener(end, () => (from = null));
  document.addEventListener("input", (event) => {
    const field = event.target.closest?.(".studio-crop") && event.target.dataset.field;
    if (field) set({ [field]: event.target.value });
  });
  document.addEventListener("keydown", (event) => {
    const step = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key];
    if (!step || !event.target.matches?.(".studio-square")) return;
    event.preventDefault();
    const pixels = value("size") / 50;
    set({ x: value("x") + step[0] * pixels, y: value("y") + step[1] * pixels });
  });
  document.addEventListener("click", (event) => {
    const action = event.target.closest?.(".studio-crop") && event.target.dataset.action;
    if (action === "automatic") {
      const [x, y, size, angle] = JSON.parse(crop().dataset.automatic);
      return set({ x, y, size, angle });
    }
    if (action === "use") window.studioSubmitCrop(["x", "y", "size", "angle"].map(value));
    if (action) crop().remove();
  });
})();
