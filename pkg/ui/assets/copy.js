// Buttons that copy an element's text. Where the clipboard is out of reach, as over plain
// HTTP, the text is selected, to be copied by hand.
(() => {
  "use strict";
  const say = (text) => {
    const status = document.getElementById("copied");
    if (status) status.textContent = text;
  };
  for (const button of document.querySelectorAll("button[data-copy]")) {
    const source = document.getElementById(button.dataset.copy);
    if (!source) continue;
    button.hidden = false;
    button.addEventListener("click", async () => {
      try {
        await navigator.clipboard.writeText(source.textContent);
        button.textContent = "Copied";
        say("Copied");
      } catch {
        getSelection().selectAllChildren(source);
        source.focus();
        button.textContent = "Selected: copy it now";
        say("The text is selected");
      }
      setTimeout(() => { button.textContent = "Copy"; }, 3000);
    });
  }
})();
