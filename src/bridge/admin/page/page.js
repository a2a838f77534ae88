"use strict";
// Fetches the page repeatedly, and replaces the parts that have changed.
{
  const TIMEOUT = 3000;
  const PAUSE = 1000;
  const find = (id) => document.getElementById(id);
  let seen = document.querySelector("#seen time").textContent;

  const show = (page) => {
    document.title = page.title;
    for (const part of page.querySelectorAll("[data-swap]")) {
      const old = find(part.id);
      if (!old.isEqualNode(part)) old.replaceChildren(...part.childNodes);
    }
    // A section that a person has opened or closed stays so until the bridge's choice changes.
    for (const { id, open } of page.querySelectorAll("details")) {
      if (find(id).dataset.open !== String(open)) find(id).open = open;
      find(id).dataset.open = open;
    }
    seen = page.querySelector("#seen time").textContent;
  };

  const look = async () => {
    const began = performance.now();
    let isLost = false;
    try {
      const answer = await fetch("status", { signal: AbortSignal.timeout(TIMEOUT) });
      if (!answer.ok) throw new Error(answer.statusText);
      show(new DOMParser().parseFromString(await answer.text(), "text/html"));
    } catch {
      isLost = true;
    }
    find("seen").textContent = isLost ? "" : `Live, ${seen}`;
    find("lost").hidden = !isLost;
    find("lost").querySelector("time").textContent = seen;
    document.body.toggleAttribute("data-lost", isLost);
    setTimeout(look, Math.max(0, began + PAUSE - performance.now()));
  };

  look();
}
