// Runs for the images, the history, the variations and the crop; Gradio provides `element`, `trigger` and `watch`.
element.addEventListener("click", (event) => {
  const button = event.target.closest("[data-step], [data-pin], [data-seed]");
  if (button) {
    const [kind, value] = Object.entries(button.dataset)[0];
    trigger("click", { kind, value: Number(value) });
  }
  const image = event.target.closest(".studio-panels img");
  if (image) {
    const box = image.getBoundingClientRect();
    trigger("click", { x: (event.clientX - box.left) / box.width, y: (event.clientY - box.top) / box.height });
  }
});
if (element.closest("#studio-view")) window.studioSubmit = (labels, base) => trigger("submit", { labels, base });
if (element.closest("#studio-crop")) window.studioSubmitCrop = (square) => trigger("submit", { square });

// After an update, keep the keyboard's focus on its step, and scroll the current step into view.
const name = (button) => button && (button.dataset.step ? `[data-step="${button.dataset.step}"]` : `[data-pin="${button.dataset.pin}"]`);
let focused = null;
element.addEventListener("focusin", (event) => (focused = name(event.target.closest("[data-step], [data-pin]"))));
element.addEventListener("focusout", (event) => event.relatedTarget && (focused = null));
watch("value", () => {
  window.studioFetchLater();
  if (focused !== null) element.querySelector(focused)?.focus();
  const current = element.querySelector("[data-step][aria-current]");
  if (current) current.parentElement.scrollLeft = current.offsetLeft - current.parentElement.clientWidth / 2;
  window.studioPanelsChanged();
  window.studioShowCrop();
});
