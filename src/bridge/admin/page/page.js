"use strict";
// Puts what /status.json says in the places that the page has for it. It makes no words of its own, and
// what it is told becomes text, never HTML.
{
  const PATIENCE = 3000;
  const LOST_AGAIN = 1000;

  const find = (id) => document.getElementById(id);

  const say = (element, text) => {
    if (element.textContent !== text) element.textContent = text;
  };

  // The element's own text where it asks for one, and that of each element in it.
  const fill = (element, item) => {
    if (item.tone) element.dataset.tone = item.tone;
    if (element.dataset.say) say(element, item[element.dataset.say]);
    for (const part of element.querySelectorAll("[data-say]")) say(part, item[part.dataset.say]);
  };

  // As many elements as there are items; those that are there already stay what they are.
  const fillList = (list, template, items) => {
    while (list.childElementCount > items.length) list.lastElementChild.remove();
    while (list.childElementCount < items.length) {
      list.append(find(template).content.firstElementChild.cloneNode(true));
    }
    items.forEach((item, at) => fill(list.children[at], item));
  };

  const show = (status) => {
    document.title = `${status.state.word} · koobridge`;
    find("state").dataset.tone = status.state.tone;
    say(find("state").firstElementChild, status.state.word);
    fillList(find("notes"), "note", status.notes);
    for (const id of ["top", "middle", "empty"]) say(find(id), status.chart[id]);
    const layers = find("layers").children;
    status.chart.series.forEach((series, at) => layers[at].setAttribute("d", series.path));
    fillList(find("legend"), "entry", status.chart.series);
    for (const section of status.sections) {
      const element = find(section.id);
      fillList(element.querySelector("dl"), "row", section.rows);
      say(element.querySelector(".foot"), section.foot);
    }
  };

  let seen = new Date();

  const clock = () => seen.toLocaleTimeString([], { hourCycle: "h23" });

  const look = async () => {
    const began = performance.now();
    let again = LOST_AGAIN;
    try {
      const signal = AbortSignal.timeout(PATIENCE);
      const answer = await fetch("status.json", { cache: "no-store", signal });
      if (!answer.ok) throw new Error(answer.statusText);
      const status = await answer.json();
      show(status);
      again = status.again_ms;
      seen = new Date();
      say(find("seen"), `Live, ${clock()}`);
      find("lost").hidden = true;
    } catch {
      say(find("lost").querySelector("time"), clock());
      say(find("seen"), "");
      find("lost").hidden = false;
    }
    document.body.toggleAttribute("data-lost", !find("lost").hidden);
    setTimeout(look, Math.max(0, began + again - performance.now()));
  };

  look();
}
