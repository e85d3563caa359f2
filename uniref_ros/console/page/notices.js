// Messages for a while: what was done, with a way back, and refusals in the node's own words.
const STAY = { done: 8000, error: 20000 }; // ms
const MOST = 5;

export class Notices {
  #list;
  #undo;

  constructor(list, undo) {
    this.#list = list;
    this.#undo = undo;
  }

  // level: "done" or "error". id: of an object that was added, which can be removed again.
  add(text, level, id = "") {
    const again = [...this.#list.children].find((one) => one.dataset.text === text);
    again?.remove(); // the same words stand once
    const notice = document.createElement("div");
    notice.className = "notice";
    notice.dataset.level = level;
    notice.dataset.text = text;
    const words = document.createElement("span");
    words.textContent = text;
    notice.append(words);
    if (id) notice.append(button("Undo", `Undo: remove object ${id}`, () => (notice.remove(), this.#undo(id))));
    notice.append(button("✕", "Dismiss this message", () => notice.remove()));
    this.#list.append(notice);
    while (this.#list.children.length > MOST) this.#list.firstElementChild.remove();
    setTimeout(() => notice.remove(), STAY[level]);
  }
}

function button(text, label, action) {
  const made = document.createElement("button");
  made.type = "button";
  made.textContent = text;
  made.setAttribute("aria-label", label);
  made.addEventListener("click", action);
  return made;
}
