// The gallery of what can be called by name.
export function showKnown(section, message, order) {
  const list = section.querySelector("ul");
  section.hidden = message.objects.length + message.damaged.length === 0;
  const before = new Map([...list.children].map((item) => [item.dataset.name, item]));
  for (const object of message.objects) {
    const item = before.get(object.name) ?? makeItem(object.name, order);
    before.delete(object.name);
    const image = item.querySelector("img");
    image.hidden = !object.picture;
    if (image.src !== object.picture) image.src = object.picture;
    item.querySelector(".views").textContent = `${object.views} view${object.views === 1 ? "" : "s"}`;
    list.append(item);
  }
  for (const item of before.values()) item.remove();
  const damaged = section.querySelector("#damaged");
  damaged.hidden = message.damaged.length === 0;
  damaged.textContent = `Left out: ${message.damaged.join("; ")}`;
}

function makeItem(name, order) {
  const item = document.getElementById("known-template").content.firstElementChild.cloneNode(true);
  item.dataset.name = name;
  item.querySelector(".title").textContent = name;
  for (const [kind, fields] of [["follow", ["say", { text: name }]], ["forget", ["forget", { name }]]]) {
    const button = item.querySelector(`.${kind}`);
    button.setAttribute("aria-label", `${button.textContent} ${name}`);
    button.addEventListener("click", () => order(...fields));
  }
  return item;
}
