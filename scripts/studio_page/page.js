// In the head of the page. `studioModel` holds names and colours of the classes.
(() => {
  const find = (selector) => document.querySelector(selector);

  const say = (window.studioSay = (text) => {
    const line = find(".studio-status");
    if (line) line.innerHTML = "<strong class=studio-warning></strong>";
    if (line) line.firstChild.textContent = text;
  });

  // ---- Answers ----
  // Gradio may close its stream of answers while one is still pending, if an event was sent just before the page learned
  // that the server was idle. The answer then arrives with those of the next event. So send an event after every action,
  // again and again until one sent after the action is answered: by then all earlier answers have arrived. It returns
  // the session to keep.
  let timer, actionTime;
  const fetchAnswers = () => {
    find("#studio-fetch")?.click();
    timer = setTimeout(fetchAnswers, 700);
  };
  window.studioFetchLater = (delay = 700) => {
    actionTime = performance.now();
    clearTimeout(timer);
    timer = setTimeout(fetchAnswers, delay);
  };
  window.studioFetched = (sent, content) => {
    if (sent > actionTime) clearTimeout(timer);
    if (content) keep(content);
  };
  for (const kind of ["click", "input", "change"]) {
    document.addEventListener(kind, (event) => event.target.id !== "studio-fetch" && window.studioFetchLater());
  }

  // ---- The session is kept in the browser, one for each tab and model ----
  const tab = (sessionStorage[`studio ${studioModel.id}`] ??= `${Date.now()} ${Math.random()}`);
  const MAX_KEPT = 5;
  const database = () =>
    new Promise((resolve, reject) => {
      const request = indexedDB.open("studio", 1);
      request.onupgradeneeded = () => request.result.createObjectStore("sessions", { keyPath: "tab" });
      request.onsuccess = () => resolve(request.result);
      request.onerror = () => reject(request.error);
    });
  const newest = async () => {
    const all = await stored("readonly", (store) => store.getAll());
    return all.filter((each) => each.model === studioModel.id).sort((a, b) => b.time - a.time);
  };
  const stored = async (mode, act) => {
    const transaction = (await database()).transaction("sessions", mode);
    return new Promise((resolve, reject) => {
      const request = act(transaction.objectStore("sessions"));
      transaction.oncomplete = () => resolve(request.result);
      transaction.onerror = transaction.onabort = () => reject(transaction.error);
    });
  };
  let kept = "";
  const keep = async (content) => {
    if (content === kept) return;
    kept = content;
    try {
      await stored("readwrite", (store) => store.put({ tab, model: studioModel.id, time: Date.now(), content }));
      for (const old of (await newest()).slice(MAX_KEPT)) await stored("readwrite", (store) => store.delete(old.tab));
    } catch (error) {
      say(`This browser cannot keep the session (${error?.name ?? error}): save it before you leave.`);
    }
  };
  window.studioKept = async () => {
    try {
      const all = await newest();
      return (all.find((each) => each.tab === tab) ?? all[0])?.content ?? "";
    } catch {
      return "";
    }
  };

  // ---- Lost connection: the page loads again when the server answers, and restores the session ----
  let isLost = false;
  let isReloading = false;
  let lastLook = Date.now();
  setInterval(async () => {
    const slept = Date.now() - lastLook > 600_000; // the server may have dropped the session of a sleeping computer
    lastLook = Date.now();
    try {
      const answer = await fetch("gradio_api/app_id", { cache: "no-store", signal: AbortSignal.timeout(4000) });
      if (answer.ok && (isLost || slept)) {
        isReloading = true;
        location.reload();
      }
    } catch {
      if (!isLost) say("The connection to the studio is lost. Your session is kept in this browser; waiting for the studio...");
      isLost = true;
    }
  }, 3000);

  // ---- Files ----
  window.studioSave = (file) => {
    const link = document.createElement("a");
    Object.assign(link, { href: file.href, download: file.name }).click();
  };
  document.addEventListener("dragover", (event) => event.dataTransfer?.types.includes("Files") && event.preventDefault());
  document.addEventListener("drop", (event) => {
    const input = find("#studio-head input[type=file]");
    if (!event.dataTransfer?.files.length || !input) return;
    event.preventDefault();
    const files = new DataTransfer();
    files.items.add(event.dataTransfer.files[0]);
    input.files = files.files;
    input.dispatchEvent(new Event("change", { bubbles: true }));
  });

  // ---- Comparing ----
  const compare = (isOn) => find("#studio-view")?.classList.toggle("comparing", isOn);
  const isCompare = (event) => event.target.closest?.("#studio-compare");
  const isPressed = (event) => isCompare(event) && [" ", "Enter"].includes(event.key);
  document.addEventListener("pointerdown", (event) => isCompare(event) && compare(true));
  document.addEventListener("keydown", (event) => isPressed(event) && compare(true));
  for (const end of ["pointerup", "pointercancel", "keyup", "blur"]) window.addEventListener(end, () => compare(false));
  document.addEventListener("contextmenu", (event) => isCompare(event) && event.preventDefault());
  const showLayer = () => {
    const view = find("#studio-view");
    if (!view || !find("#studio-layer")) return;
    view.dataset.layer = find("#studio-layer").value;
    view.style.setProperty("--hidden", `${100 - find("#studio-reveal").value}%`);
    find('#studio-layer option[value="photo"]').disabled = !view.querySelector('[data-layer="photo"]');
  };
  document.addEventListener("input", (event) => ["studio-layer", "studio-reveal"].includes(event.target.id) && showLayer());

  // ---- Keys ----
  // Gradio gives every radio button a name of its own; so make each group one for arrow keys, Tab and screen readers.
  const GROUPS = { "studio-part": "Part", "studio-kind": "Codes of the part", "studio-size": "Size of saved images" };
  const joinGroups = () => {
    for (const [id, label] of Object.entries(GROUPS)) {
      const group = document.getElementById(id);
      if (!group) continue;
      group.setAttribute("role", "radiogroup");
      group.setAttribute("aria-label", label);
      group.querySelectorAll("input").forEach((each) => (each.tabIndex = each.checked ? 0 : -1));
    }
  };
  document.addEventListener("change", () => setTimeout(joinGroups));
  document.addEventListener("keydown", (event) => {
    const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
    const group = event.target.type === "radio" && event.target.closest("[role=radiogroup]");
    if (!step || !group || !(group.id in GROUPS)) return;
    event.preventDefault();
    const all = [...group.querySelectorAll("input:not(:disabled)")];
    const next = all[(all.indexOf(event.target) + step + all.length) % all.length];
    next.focus();
    next.click();
  });
  const isText = (target) => target.matches?.("textarea, select, input:not([type=radio]):not([type=range]):not([type=checkbox])");
  document.addEventListener("keydown", (event) => {
    if (isText(event.target)) return;
    const key = event.key.toLowerCase();
    const command = event.ctrlKey || event.metaKey;
    const button =
      command && key === "z" ? (event.shiftKey ? "#studio-redo" : "#studio-undo")
      : command && key === "y" ? "#studio-redo"
      : !command && key === "delete" ? "#studio-toggle"
      : null;
    if (button) {
      event.preventDefault();
      if (!find(button).disabled) find(button).click();
    } else if (!command && !event.altKey) {
      const tool = find(`input[name=studio-tool][data-key="${CSS.escape(key)}"]`);
      if (tool) tool.click();
    }
  });

  // ---- New session ----
  const QUESTION = "Start a new session? The steps of this one are dropped, except pinned ones.";
  document.addEventListener("click", (event) => {
    if (!event.target.closest?.("#studio-new") || document.querySelectorAll("[data-step]").length < 2) return;
    if (!confirm(QUESTION)) event.stopImmediatePropagation();
  }, true);

  // ---- Leaving while an edit runs, which is then lost ----
  window.addEventListener("beforeunload", (event) => {
    if (!isReloading && find("#studio-stop")?.checkVisibility?.()) event.preventDefault();
  });

  // ---- Start ----
  window.studioPanelsChanged = () => {
    showLayer();
    joinGroups();
    window.studioDrawPainting();
  };
  const initialize = setInterval(() => {
    if (!find("#studio-layer") || !find("#studio-view")) return;
    clearInterval(initialize);
    showLayer();
    joinGroups();
  }, 100);
})();
