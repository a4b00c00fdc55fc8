// The choice between light, dark and what the system says. It is loaded before the page is
// shown, so that nothing flashes.
(() => {
  "use strict";
  const root = document.documentElement;
  const words = ["auto", "dark", "light"];
  const chosen = () => {
    try {
      const word = localStorage.getItem("theme");
      return words.includes(word) ? word : "auto";
    } catch {
      return "auto"; // storage may be forbidden
    }
  };
  const show = (word) => {
    if (word === "auto") delete root.dataset.theme;
    else root.dataset.theme = word;
  };
  show(chosen());
  document.addEventListener("DOMContentLoaded", () => {
    const button = document.getElementById("theme");
    if (!button) return;
    let word = chosen();
    const label = () => { button.querySelector("span").textContent = word; };
    label();
    button.hidden = false;
    button.addEventListener("click", () => {
      word = words[(words.indexOf(word) + 1) % words.length];
      try {
        localStorage.setItem("theme", word);
      } catch {
        // then it is for this page only
      }
      show(word);
      label();
    });
  });
})();
