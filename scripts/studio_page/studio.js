// Runs for the images and for the history; Gradio provides `element`, `trigger` and `watch`.
element.addEventListener("click", (event) => {
  const step = event.target.closest("[data-step]");
  if (step) trigger("click", { step: Number(step.dataset.step) });
  const image = event.target.closest(".studio-panels img");
  if (image) {
    const box = image.getBoundingClientRect();
    trigger("click", { x: (event.clientX - box.left) / box.width, y: (event.clientY - box.top) / box.height });
  }
});

// After an update, keep the keyboard's focus on its step, and scroll the current step into view.
let focused = null;
element.addEventListener("focusin", (event) => (focused = event.target.closest("[data-step]")?.dataset.step ?? null));
element.addEventListener("focusout", (event) => event.relatedTarget && (focused = null));
watch("value", () => {
  window.studioFetchLater();
  if (focused !== null) element.querySelector(`[data-step="${focused}"]`)?.focus();
  const current = element.querySelector("[aria-current]");
  if (current) current.parentElement.scrollLeft = current.offsetLeft - current.parentElement.clientWidth / 2;
});

// Once per page: comparing, saving files made by the server, and fetching lost answers.
if (!window.studioSave) {
  // Gradio may close its stream of answers while one is still pending, if an event was sent just before the page learned
  // that the server was idle. The answer then arrives with those of the next event. So send an event without effect
  // after every action, again and again until one is answered: by then all earlier answers have arrived.
  let timer, actionTime, sentTime;
  const fetchAnswers = () => {
    sentTime = performance.now();
    document.querySelector("#studio-fetch").click();
    timer = setTimeout(fetchAnswers, 700);
  };
  window.studioFetchLater = () => {
    actionTime = performance.now();
    clearTimeout(timer);
    timer = setTimeout(fetchAnswers, 700);
  };
  window.studioFetched = () => sentTime > actionTime && clearTimeout(timer);
  for (const kind of ["click", "input", "change"]) {
    document.addEventListener(kind, (event) => event.target.id !== "studio-fetch" && window.studioFetchLater());
  }
  window.studioSave = (file) => {
    const link = document.createElement("a");
    Object.assign(link, { href: file.href, download: file.name }).click();
  };
  const compare = (isOn) => document.querySelector("#studio-view").classList.toggle("comparing", isOn);
  const isCompare = (event) => event.target.closest?.("#studio-compare");
  const isPressed = (event) => isCompare(event) && [" ", "Enter"].includes(event.key);
  document.addEventListener("pointerdown", (event) => isCompare(event) && compare(true));
  document.addEventListener("keydown", (event) => isPressed(event) && compare(true));
  for (const end of ["pointerup", "pointercancel", "keyup", "blur"]) window.addEventListener(end, () => compare(false));
  document.addEventListener("contextmenu", (event) => isCompare(event) && event.preventDefault());
}
