// The list of objects. Elements are changed in place, so that what has the focus keeps it.
const UNITS = ["x", "y", "z"];

export class Objects {
  #list;
  #empty;
  #order;
  #items = new Map(); // by id

  constructor(list, empty, order) {
    this.#list = list;
    this.#empty = empty;
    this.#order = order;
  }


  update(cameras) {
    const sights = new Map(); // by id: [camera, object] pairs
    for (const camera of cameras) {
      for (const object of camera.objects) {
        if (!sights.has(object.id)) sights.set(object.id, []);
        sights.get(object.id).push([camera, object]);
      }
    }
    for (const [id, item] of this.#items) {
      if (sights.has(id)) continue;
      item.remove();
      this.#items.delete(id);
    }
    for (const [id, found] of sights) this.#show(id, found, cameras.length > 1);
    this.#empty.hidden = sights.size > 0;
  }

  flash(id) {
    const item = this.#items.get(id);
    if (!item) return;
    item.scrollIntoView({ block: "nearest" });
    item.classList.add("flash");
    setTimeout(() => item.classList.remove("flash"), 1500);
  }

  #show(id, found, several) {
    const item = this.#items.get(id) ?? this.#make(id, found[0][1]);
    const title = item.querySelector(".title");
    if (title.textContent !== titleOf(found[0][1])) title.textContent = titleOf(found[0][1]); // it was given a name
    item.querySelector(".swatch").style.background = found[0][1].colour;
    const rows = item.querySelector(".sights");
    while (rows.children.length > found.length) rows.lastElementChild.remove();
    while (rows.children.length < found.length) rows.append(makeSight());
    found.forEach(([camera, object], index) => fillSight(rows.children[index], several ? camera.name : "", object));
  }

  #make(id, object) {
    const item = document.getElementById("object-template").content.firstElementChild.cloneNode(true);
    const title = titleOf(object);
    item.dataset.id = id;
    item.querySelector(".title").textContent = title;
    item.querySelector(".id").textContent = `id ${id}`;
    this.#wireNaming(item, id, title);
    for (const [name, kind] of [["anchor", "reanchor"], ["remove", "remove"]]) {
      const button = item.querySelector(`.${name}`);
      button.setAttribute("aria-label", `${button.textContent} ${title}, id ${id}`);
      button.addEventListener("click", () => this.#order(kind, { id }));
    }
    this.#items.set(id, item);
    this.#list.append(item);
    return item;
  }

  // "Call it…": the object is known by a name from then on.
  #wireNaming(item, id, title) {
    const [button, form] = [item.querySelector("button.name"), item.querySelector(".naming")];
    const input = form.querySelector("input");
    button.setAttribute("aria-label", `Call ${title}, id ${id}, by a name`);
    input.setAttribute("aria-label", `Name for ${title}, id ${id}`);
    const show = (shown) => {
      form.hidden = !shown;
      button.setAttribute("aria-expanded", String(shown));
      (shown ? input : button).focus();
    };
    button.addEventListener("click", () => show(form.hidden));
    form.addEventListener("keydown", (event) => event.key === "Escape" && show(false));
    form.addEventListener("submit", async (event) => {
      event.preventDefault();
      if (!input.value.trim()) return;
      const answer = await this.#order("teach", { id, name: input.value.trim() });
      if (answer.ok) show(false);
    });
  }
}

function titleOf(object) {
  const named = object.label !== object.id; // without a label, the node takes the words, else the id
  return (named && object.label) || object.prompt || "marked";
}

function makeSight() {
  const row = document.createElement("li");
  for (const name of ["camera", "state", "score", "seen", "position"]) {
    const part = document.createElement("span");
    part.className = name;
    row.append(part);
  }
  return row;
}

function fillSight(row, camera, object) {
  const texts = {
    camera,
    state: object.state,
    score: `score ${object.score === null ? "–" : object.score.toFixed(2)}`,
    seen: lastSeen(object),
    position: object.position
      ? `at ${object.position.map((value, axis) => `${UNITS[axis]} ${value.toFixed(2)}`).join(", ")} m`
      : "",
  };
  for (const [name, text] of Object.entries(texts)) {
    const part = row.querySelector(`.${name}`);
    if (part.textContent !== text) part.textContent = text;
    part.hidden = !text;
  }
  row.querySelector(".state").dataset.state = object.state;
}

function lastSeen(object) {
  const images = `${object.images} image${object.images === 1 ? "" : "s"}`;
  if (object.since_seen_s === null) return object.images ? `seen in ${images}` : "never seen";
  if (object.since_seen_s < 1) return `in view, ${images}`;
  return `seen ${object.since_seen_s.toFixed(0)} s ago, ${images}`;
}
