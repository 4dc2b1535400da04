// For the pictures and for the history; `element` and `trigger` are Gradio's.
element.addEventListener("click", (event) => {
  const step = event.target.closest("[data-step]");
  if (step) trigger("click", { step: Number(step.dataset.step) });
  const picture = event.target.closest(".studio-panels img");
  if (picture) {
    const box = picture.getBoundingClientRect();
    trigger("click", { x: (event.clientX - box.left) / box.width, y: (event.clientY - box.top) / box.height });
  }
});

// A step that was chosen by the keyboard keeps the focus, and the newest step is in sight.
let focused = null;
element.addEventListener("focusin", (event) => (focused = event.target.closest("[data-step]")?.dataset.step ?? null));
element.addEventListener("focusout", (event) => event.relatedTarget && (focused = null));
watch("value", () => {
  window.studioFetchLater();
  if (focused !== null) element.querySelector(`[data-step="${focused}"]`)?.focus();
  const current = element.querySelector("[aria-current]");
  if (current) current.parentElement.scrollLeft = current.offsetLeft - current.parentElement.clientWidth / 2;
});

// Once for the page: comparing, saving what the server made, and fetching answers that were lost on the way.
if (!window.studioSave) {
  // Gradio may close the stream of answers when one is still to come (the server had no more to do, and an event was
  // sent before the page knew). It comes with those of later events: such are sent after whatever happens, until one is
  // answered, for then all before it were.
  let timer, happened, sent;
  const fetchAnswers = () => {
    sent = performance.now();
    document.querySelector("#studio-fetch").click();
    timer = setTimeout(fetchAnswers, 700);
  };
  window.studioFetchLater = () => {
    happened = performance.now();
    clearTimeout(timer);
    timer = setTimeout(fetchAnswers, 700);
  };
  window.studioFetched = () => sent > happened && clearTimeout(timer);
  for (const kind of ["click", "input", "change"]) {
    document.addEventListener(kind, (event) => event.target.id !== "studio-fetch" && window.studioFetchLater());
  }
  window.studioSave = (file) => {
    const link = document.createElement("a");
    Object.assign(link, { href: file.href, download: file.name }).click();
  };
  const compare = (on) => document.querySelector("#studio-view").classList.toggle("comparing", on);
  const meant = (event) => event.target.closest?.("#studio-compare");
  const pressed = (event) => meant(event) && [" ", "Enter"].includes(event.key);
  document.addEventListener("pointerdown", (event) => meant(event) && compare(true));
  document.addEventListener("keydown", (event) => pressed(event) && compare(true));
  for (const end of ["pointerup", "pointercancel", "keyup", "blur"]) window.addEventListener(end, () => compare(false));
  document.addEventListener("contextmenu", (event) => meant(event) && event.preventDefault());
}
