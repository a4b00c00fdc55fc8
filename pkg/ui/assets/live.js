// What changes on a page comes as server-sent events: elements that replace those with
// their ids, or stand at the beginning of another one. The server has escaped them.
(() => {
  "use strict";
  const main = document.getElementById("main");
  const address = main && main.dataset.live;
  if (!address || !window.EventSource) return;

  const trusted = window.trustedTypes
    ? window.trustedTypes.createPolicy("sallyport", { createHTML: (html) => html })
    : { createHTML: (html) => html };
  const parse = (html) => {
    const template = document.createElement("template");
    template.innerHTML = trusted.createHTML(html);
    return template.content;
  };

  // Whoever is at a link or a button of an element stays there when it is replaced.
  const focusable = "a[href], button, input, select, summary, [tabindex]";
  const replace = (old, fresh) => {
    if (old.isEqualNode(fresh)) return;
    const at = old.contains(document.activeElement)
      ? [...old.querySelectorAll(focusable)].indexOf(document.activeElement)
      : -1;
    const href = at >= 0 ? document.activeElement.getAttribute("href") : null;
    old.replaceWith(fresh);
    if (at < 0) return;
    const all = [...fresh.querySelectorAll(focusable)];
    const same = all.find((e) => href && e.getAttribute("href") === href) || all[at] || all[0];
    if (same) same.focus({ preventScroll: true });
  };

  const take = (piece) => {
    const content = parse(piece.html);
    if (piece.id) {
      const old = document.getElementById(piece.id);
      const fresh = content.getElementById(piece.id);
      if (old && fresh) replace(old, fresh);
      return;
    }
    const within = document.getElementById(piece.within);
    if (!within) return;
    // After a pause, or a time without a connection, some may come again.
    for (const child of [...content.children]) {
      if (child.id && document.getElementById(child.id)) child.remove();
    }
    within.prepend(content);
    while (piece.most && within.children.length > piece.most) {
      if (within.lastElementChild.contains(document.activeElement)) break;
      within.lastElementChild.remove();
    }
  };

  // A page that shows takes what has come once a frame; one that is hidden has none.
  let queue = [];
  const flush = () => {
    const pieces = queue;
    queue = [];
    pieces.forEach(take);
  };
  const receive = (piece) => {
    if (document.hidden) {
      flush();
      take(piece);
    } else if (queue.push(piece) === 1) requestAnimationFrame(flush);
  };
  document.addEventListener("visibilitychange", flush);

  const bar = document.querySelector(".live");
  const state = document.getElementById("live-state");
  const pause = document.getElementById("live-pause");
  const say = (text) => { if (state.textContent !== text) state.textContent = text; };
  let source = null;
  let last = "";
  const open = () => {
    const from = last && `${address.includes("?") ? "&" : "?"}last=${encodeURIComponent(last)}`;
    source = new EventSource(address + from);
    source.addEventListener("open", () => say("Live"));
    source.addEventListener("error", () => say(source && source.readyState === EventSource.CLOSED ? "Not live" : "Reconnecting"));
    source.addEventListener("piece", (event) => {
      last = event.lastEventId;
      receive(JSON.parse(event.data));
    });
    pause.textContent = "Pause";
  };
  const close = () => {
    if (source) source.close();
    source = null;
  };
  pause.addEventListener("click", () => {
    if (source) {
      close();
      say("Paused");
      pause.textContent = "Resume";
    } else open();
  });
  // A page that is left must not hold one of the few connections that a browser has.
  window.addEventListener("pagehide", close);
  window.addEventListener("pageshow", (event) => { if (event.persisted && !source) open(); });
  bar.hidden = false;
  open();
})();
